// The explorer's player. page.py puts paint.js and view.js before it: one text, which is the live widget's module
// and, inlined, the script of an exported page.

const PLAY_MS = 600;
const SEND_MS = 150; // between the last move of a drag and telling Python; drawing never waits for it
const ASK_MS = 60; // a drag passes over images that nobody waits for
const AXES = ["layer", "epoch", "image", "channel"];

// One wire (a widget model) per explorer, and the players it serves; both may come first. Weak, since ipywidgets
// keeps models for as long as the kernel lives, and a player holds megabytes.
const wires = (globalThis.fmnistExplorerWires ??= new Map());

function wireOf(key) {
  if (!wires.has(key)) wires.set(key, { model: null, players: [], sending: false });
  return wires.get(key);
}

function playersOf(wire) {
  wire.players = wire.players.filter((reference) => reference.deref());
  return wire.players.map((reference) => reference.deref());
}

function python(value) {
  if (typeof value !== "string") return String(value);
  return value.includes("'") && !value.includes('"') ? `"${value}"` : `'${value.replace(/([\\'])/g, "\\$1")}'`;
}

// The place among `other` that lies as far along as `index` among `count`; position.py has the same.
function relative(index, count, other) {
  return count > 1 ? Math.floor((2 * index * (other - 1) + count - 1) / (2 * (count - 1))) : 0;
}

class Player {
  constructor(root, bundle) {
    Object.assign(this, { root, bundle, state: { ...bundle.position }, opacity: bundle.opacity });
    this.tables = Object.fromEntries(Object.entries(bundle.palettes).map(([name, text]) => [name, makeTable(text)]));
    this.views = bundle.panels.map((panel) => makePanelView(this, panel));
    this.buildControls();
    const stage = make("div", { class: "fmx-stage" }, ...this.views.map((view) => view.element));
    this.app = make("div", { class: "fmx-app" }, this.toolbar, this.sliders, stage, this.codeLine);
  }

  get kind() {
    return this.bundle.kinds[this.state.kind];
  }

  get step() {
    return this.kind.steps[this.state.layer];
  }

  async start() {
    this.wire = wireOf(this.bundle.key);
    this.wire.players.push(new WeakRef(this));
    await Promise.all([...this.bundle.panels.map(loadInputs), this.load()]);
    this.draw();
    this.root.prepend(this.app);
    this.root.dataset.live = "true";
    this.listen();
    if ("sheetBefore" in this.root.dataset) sheetBefore(this.root)?.classList.add("fmx-stand-in");
    if (this.views.length > 1) this.root.dataset.panels = this.views.length;
    for (const name of Object.keys(this.bundle.kinds)) {
      for (const panel of this.bundle.panels) {
        for (const layer of Object.values(panel.layers[name])) await this.ready(layer);
      }
    }
  }

  // A diagram on the page tells which layer was clicked. Weak, since the page may drop a player and stay.
  listen() {
    const weak = new WeakRef(this);
    document.addEventListener("fmnist-layer", (event) => weak.deref()?.goTo(event.detail?.layer));
  }

  goTo(layer) {
    const kinds = [this.state.kind, ...Object.keys(this.bundle.kinds)];
    const kind = kinds.find((name) => this.bundle.kinds[name].steps.some((step) => step.layer === layer));
    if (!kind) return;
    this.move({ kind });
    this.move({ layer: this.kind.steps.findIndex((step) => step.layer === layer) });
  }

  buildControls() {
    this.sliders = make("div", { class: "fmx-sliders" });
    this.rows = Object.fromEntries(AXES.map((axis) => [axis, this.makeRow(axis)]));
    this.rows.opacity = this.makeRow("opacity", (value) => this.fade(value / 100));
    const kinds = Object.fromEntries(Object.entries(this.bundle.kinds).map(([name, { label }]) => [name, label]));
    this.selects = {
      kind: this.makeSelect("kind", kinds),
      view: this.makeSelect("view", this.viewNames()),
      scale: this.makeSelect("scale", this.scaleNames()),
    };
    const about = { type: "button", "aria-label": "play", title: "step through the epochs" };
    this.play = make("button", about, "\u25b6 play");
    this.play.addEventListener("click", () => this.togglePlay());
    const copy = make("button", { type: "button", title: "the line of Python that brings this back" }, "copy code");
    copy.addEventListener("click", () => this.copyCode());
    const save = make("button", { type: "button", title: "what is shown now, as a PNG" }, "save picture");
    save.addEventListener("click", () => this.savePicture());
    this.codeLine = make("code", { class: "fmx-code", hidden: "" });
    const shown = Object.values(this.selects).filter((select) => select.querySelectorAll("option").length > 1);
    const buttons = this.bundle.epochs.length > 1 ? [this.play, copy, save] : [copy, save];
    this.toolbar = make("div", { class: "fmx-toolbar" }, ...shown, make("span", { class: "fmx-buttons" }, ...buttons));
  }

  // How strongly a map lies over its photo: a matter of looking, and no part of the position.
  fade(opacity) {
    this.opacity = opacity;
    this.draw();
  }

  namesOfAxes() {
    const image = this.kind.kernel ? "input channel" : "image";
    return { ...Object.fromEntries(AXES.map((axis) => [axis, axis])), image, ...this.bundle.names };
  }

  // Where an axis stands, such as "epoch 3"; nothing of an axis without a name, which is there for the form's sake.
  at(axis, number) {
    const name = this.namesOfAxes()[axis];
    return name ? `${name} ${number}` : "";
  }

  viewNames() {
    const isOwn = this.bundle.names.channel; // called otherwise, which has no plural that is known here
    return isOwn ? { sheet: "side by side", single: "one" } : { sheet: "all channels", single: "one channel" };
  }

  scaleNames() {
    const { epoch, channel } = this.namesOfAxes();
    const shared = epoch ? `shared over ${epoch}s` : "shared";
    return { shared, epoch: `per ${epoch || "epoch"}`, channel: `per ${channel || "channel"}` };
  }

  makeRow(axis, move = (value) => this.move({ [axis]: value })) {
    const input = make("input", { type: "range", min: 0, step: 1, "aria-label": axis, "data-axis": axis });
    const row = { input, name: make("span", { class: "fmx-name" }), value: make("span", { class: "fmx-value" }) };
    row.track = make("span", { class: "fmx-track" }, input);
    input.addEventListener("input", () => move(Number(input.value)));
    input.addEventListener("change", () => this.tell()); // let go: whatever runs next shall know
    row.label = make("label", { class: "fmx-row" }, row.name, row.track, row.value);
    this.sliders.append(row.label);
    return row;
  }

  makeSelect(name, options) {
    const choices = Object.entries(options).map(([value, label]) => make("option", { value }, label));
    const select = make("select", { "aria-label": name }, ...choices);
    select.addEventListener("change", () => this.move({ [name]: select.value }));
    return make("label", { class: "fmx-select" }, make("span", {}, name), select);
  }

  // Changes some of the state. A layer that another kind lacks gives way to that of the same depth, a place beyond
  // the end to the last one; another kind has its own default scale. Axes.move in position.py does the same.
  move(changes) {
    const before = this.state;
    this.state = { ...before, ...changes };
    if (changes.kind !== undefined && changes.kind !== before.kind) {
      const [was, is] = [before.kind, changes.kind].map((kind) => this.bundle.kinds[kind].steps);
      const same = is.findIndex((step) => step.layer === was[before.layer].layer);
      this.state.layer = same >= 0 ? same : relative(before.layer, was.length, is.length);
      this.state.scale = changes.scale ?? this.kind.scale;
      if (this.kind.kernel !== this.bundle.kinds[before.kind].kernel) this.state.image = 0;
    }
    this.state.channel = Math.min(this.state.channel, this.step.channels.length - 1);
    this.state.image = Math.min(this.state.image, this.step.images.length - 1);
    this.send();
    if (this.layersHere().every((layer) => layer.pictures)) this.draw();
    else this.load().then(() => this.draw());
  }

  // How many positions the image slider has: those at hand, or all of them while Python can compute the others.
  imageCount() {
    const all = this.step.images.length;
    if (this.kind.kernel || this.wire?.model) return all;
    return Math.min(all, ...this.bundle.panels.map((panel) => panel.ready));
  }

  imageNote() {
    const [{ recorded }] = this.bundle.panels;
    return this.step.images.length < recorded ? `(${this.step.images.length} of ${recorded} recorded)` : "";
  }

  // The model has other weights by now: what the old ones gave must not stand beside what the new ones give.
  async forget(panel, state) {
    panel.state = state;
    panel.guesses[0].length = 0;
    for (const layer of Object.values(panel.layers.maps)) {
      await this.ready(layer);
      layer.pictures = [];
    }
  }

  // Python's answer: one more image, for every panel.
  async receive({ image, panels }) {
    if (!panels) return;
    for (const [i, answer] of panels.entries()) {
      const panel = this.bundle.panels[i];
      if (panel.state !== answer.state) await this.forget(panel, answer.state);
      panel.inputs.pictures[image] = new Uint8Array(await unpack(answer.input));
      panel.guesses[0][image] = answer.guess;
      for (const [name, data] of Object.entries(answer.layers)) {
        const layer = panel.layers.maps[name];
        await this.ready(layer);
        [layer.pictures[image]] = splitPictures(await unpack(data), [1, ...layer.size.slice(1)]);
      }
    }
    this.draw();
  }

  layersHere() {
    return this.step.places.map((place, i) => this.bundle.panels[i].layers[this.state.kind][place.layer]);
  }

  load() {
    return Promise.all(this.layersHere().map((layer) => this.ready(layer)));
  }

  ready(layer) {
    return layer.pictures ? null : (layer.loading ??= loadLayer(layer));
  }

  draw() {
    const layers = this.layersHere();
    if (!layers.every((layer) => layer.pictures)) return;
    const images = this.step.places.map((place) => place.images[this.state.image]);
    if (!layers.every((layer, i) => layer.pictures[images[i]])) return this.ask();
    this.views.forEach((view, i) => view.draw(this.step.places[i], layers[i]));
    this.showControls();
    const { kind, scale, view } = this.state;
    const { layer, epoch, channel, image } = this.named();
    this.root.dataset.frame = [layer, epoch, channel, image, kind, scale, view].join("/");
  }

  named() {
    const { step, state } = this;
    return {
      kind: state.kind,
      layer: step.layer,
      epoch: this.bundle.epochs[state.epoch],
      channel: step.channels[state.channel],
      image: step.images[state.image],
      scale: state.scale,
      view: state.view,
    };
  }

  showControls() {
    const { step, state, kind } = this;
    const counts = { layer: kind.steps.length, epoch: this.bundle.epochs.length };
    Object.assign(counts, { image: this.imageCount(), channel: step.channels.length });
    const [first] = this.bundle.panels;
    const layer = first.layers[state.kind][step.places[0].layer];
    const named = this.named();
    const picture = kind.kernel ? "" : first.names[state.image];
    const some = `\u2002(${counts.channel} of ${layer.shape[0]}; channels= keeps others)`;
    const kept = !kind.photo && layer.shape[0] > counts.channel ? some : "";
    const texts = {
      layer: `${named.layer}\u2002${layer.shape.join(" \u00d7 ")}`,
      epoch: String(named.epoch),
      image: [named.image, picture, kind.kernel ? "" : this.imageNote()].filter((part) => part !== "").join("\u2002"),
      channel: `${named.channel}${kept}`,
    };
    for (const axis of AXES) this.showRow(axis, counts[axis], texts[axis]);
    this.rows.channel.label.hidden ||= kind.photo;
    this.selects.view.hidden = kind.photo;
    this.rows.opacity.label.hidden = !kind.photo;
    const { input } = this.rows.opacity;
    input.max = 100;
    input.value = Math.round(100 * this.opacity);
    this.rows.opacity.name.textContent = "opacity";
    this.rows.opacity.value.textContent = `${input.value}\u00a0%`;
    for (const name of ["kind", "view", "scale"]) this.selects[name].querySelector("select").value = state[name];
  }

  showRow(axis, count, text) {
    const { input, track, name, value, label } = this.rows[axis];
    name.textContent = this.namesOfAxes()[axis];
    label.hidden = !name.textContent;
    input.setAttribute("aria-label", name.textContent);
    value.textContent = text;
    if (count < 2) return input.remove(); // one value: nothing to slide
    input.max = count - 1;
    input.value = this.state[axis];
    input.setAttribute("aria-valuetext", text);
    if (!input.parentNode) track.append(input);
  }

  togglePlay() {
    const next = () => this.move({ epoch: (this.state.epoch + 1) % this.bundle.epochs.length });
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return next(); // one step for each press
    if (this.timer) clearInterval(this.timer);
    this.timer = this.timer ? null : setInterval(() => (this.root.isConnected ? next() : this.togglePlay()), PLAY_MS);
    this.play.textContent = this.timer ? "\u275a\u275a pause" : "\u25b6 play";
    this.play.setAttribute("aria-label", this.timer ? "pause" : "play");
  }

  code() {
    const { kind, ...others } = this.named();
    const { before, after, remakes } = this.bundle.code;
    const more = remakes ? Object.keys(this.bundle.kinds).filter((name) => name !== kind) : [];
    const kinds = [kind, ...more].map(python);
    const named = { kind: kinds.length > 1 ? `[${kinds.join(", ")}]` : kinds[0] };
    for (const [name, value] of Object.entries(others)) named[name] = python(value);
    const values = Object.entries(named).map(([name, text]) => `${name}=${text}`);
    return before + values.join(", ") + after;
  }

  async copyCode() {
    this.codeLine.textContent = this.code();
    this.codeLine.hidden = false;
    getSelection().selectAllChildren(this.codeLine); // selected, for where the clipboard is out of bounds
    await navigator.clipboard?.writeText(this.code()).catch(() => null);
  }

  // The two lines above a view's picture, where it leaves the page.
  labels(view) {
    const { panel } = view;
    const { step, state, kind } = this;
    const place = step.places[this.views.indexOf(view)];
    const layer = panel.layers[state.kind][place.layer];
    const channel = kind.photo ? "" : this.at("channel", layer.numbers[place.channels[state.channel]]);
    const image = this.at("image", step.images[state.image]);
    const what = [panel.title, kind.label, place.layer, `(${layer.shape.join(" \u00d7 ")})`].filter(Boolean).join(" ");
    const epoch = this.at("epoch", layer.epochs[place.epochs[state.epoch]]);
    return [what, [epoch, image, channel, `scale ${this.scaleNames()[state.scale]}`].filter(Boolean).join(", ")];
  }

  savePicture() {
    const titles = this.bundle.panels.map((panel) => panel.title).filter(Boolean);
    const name = `${[...titles, this.root.dataset.frame].join("_").replace(/[^\w.-]+/g, "_")}.png`;
    make("a", { href: compose(this).toDataURL("image/png"), download: name }).click();
  }

  // An image that is not at hand: the old frame stays until Python has answered.
  ask() {
    clearTimeout(this.asker);
    this.asker = setTimeout(() => this.wire?.model?.send({ image: this.state.image }), ASK_MS);
    const state = this.wire?.model ? "computing \u2026" : "not at hand";
    this.rows.image.value.textContent = `${this.state.image}\u2002${state}`;
  }

  // Python moved the sliders.
  follow(position) {
    this.state = Object.fromEntries(Object.keys(this.state).map((name) => [name, position[name]]));
    this.load().then(() => this.draw());
  }

  send() {
    clearTimeout(this.sender);
    this.sender = setTimeout(() => this.tell(), SEND_MS);
  }

  tell() {
    clearTimeout(this.sender);
    if (!this.wire.model) return;
    this.wire.sending = true; // what this player says is not for the same explorer's other displays
    this.wire.model.set("position", { ...this.state });
    this.wire.sending = false;
    this.wire.model.save_changes();
  }
}

// The contact sheet that is an output of its own, right before the player's; wherever one lives, outputs are siblings.
function sheetBefore(root) {
  for (let [node, steps] = [root, 0]; node && steps < 8; node = node.parentElement, steps++) {
    const before = node.previousElementSibling;
    if (before && !before.matches("style, script")) return before.querySelector("img, .fmx") ? before : null;
  }
  return null;
}

function mount(root) {
  const data = root?.querySelector("script.fmx-data");
  // Without these a browser keeps the contact sheet, as paper does.
  if (!data || root.querySelector(".fmx-app") || !globalThis.DecompressionStream) return;
  new Player(root, JSON.parse(data.textContent)).start();
}

// anywidget calls this for every model, shown or not.
function initialize({ model }) {
  const wire = wireOf(model.get("key"));
  wire.model = model;
  model.on("change:position", () => {
    if (!wire.sending) for (const player of playersOf(wire)) player.follow(model.get("position"));
  });
  model.on("msg:custom", (message) => playersOf(wire).forEach((player) => player.receive(message)));
  const draw = () => playersOf(wire).forEach((player) => player.draw());
  draw();
  return () => {
    wire.model = null; // Python's end is gone, and with it all images that are not on the page
    draw();
  };
}

function render({ model, el }) {
  el.innerHTML = model.get("page");
  mount(el.querySelector(".fmx"));
}

export default { initialize, render, mount };
