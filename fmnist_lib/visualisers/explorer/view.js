// The picture of one recording, and what stands beside it. Part of player.js's text, after paint.js.

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  // JupyterLab takes arrow keys for itself unless the control itself says no.
  if (["input", "select", "button"].includes(tag)) element.setAttribute("data-lm-suppress-shortcuts", "true");
  return element;
}

function number(value) {
  const text = value === 0 ? "0" : Number(value.toPrecision(3)).toString();
  return text.replace("-", "\u2212");
}

function pixelsOf(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height || !canvas.image) {
    Object.assign(canvas, { width, height });
    canvas.image = new ImageData(width, height);
    canvas.pixels = new Uint32Array(canvas.image.data.buffer);
  }
  return canvas.pixels;
}

const show = (canvas) => canvas.getContext("2d").putImageData(canvas.image, 0, 0);

function histogramPath(bins) {
  const most = Math.max(...bins, 1);
  return bins.map((n, i) => `M${i * 4},40v${-(n ? Math.max(1, (40 * n) / most) : 0)}h3.2V40z`).join("");
}

async function loadLayer(layer) {
  layer.pictures = splitPictures(await unpack(layer.data), layer.size);
  layer.data = null;
}

async function loadInputs(panel) {
  const pixels = new Uint8Array(await unpack(panel.inputs.data));
  const [images] = panel.inputs.size;
  const one = pixels.length / images;
  panel.inputs.pictures = Array.from({ length: images }, (_, i) => pixels.subarray(i * one, (i + 1) * one));
}

// The picture of one recording: canvas, colour bar, and what stands beside it.
function makePanelView(player, panel) {
  const several = player.bundle.panels.length > 1;
  const canvas = make("canvas", { class: "fmx-canvas", role: "img" });
  const bar = make("canvas", { class: "fmx-bar", role: "img", "aria-label": "colour scale" });
  const [low, high] = [make("span"), make("span")];
  const input = make("canvas", { class: "fmx-input", role: "img" });
  const [said, facts, warning] = ["fmx-said", "fmx-facts", "fmx-warning"].map((name) => make("div", { class: name }));
  const title = make("div", { class: "fmx-title" });
  const histogram = make("div", { class: "fmx-histogram" });
  const side = make("div", { class: "fmx-side" }, input, said, facts, histogram, warning);
  const picture = make("div", { class: "fmx-picture" }, canvas, make("div", { class: "fmx-scale" }, low, bar, high));
  const body = make("div", { class: "fmx-body" }, picture, side);
  const element = make("div", { class: "fmx-panel" }, ...(several ? [title] : []), body);
  const view = { element, canvas, panel, player, bar, low, high, input, said, facts, warning, title, histogram };
  view.draw = (place, layer) => drawPanel(view, place, layer);
  canvas.addEventListener("click", (event) => enlarge(view, event));
  return view;
}

function drawPanel(view, place, layer) {
  const { player, panel } = view;
  const { state, kind, bundle } = player;
  const [, , channels, height, width] = layer.size;
  const epoch = place.epochs[state.epoch];
  const channel = place.channels[state.channel];
  const image = place.images[state.image];
  const { ranges, codes } = layer.pictures[image];
  const dead = layer.dead[epoch];
  const table = player.tables[kind.signed ? "diverging" : "sequential"];
  const tile = (index) => {
    const at = epoch * channels + index;
    const ends = scaleEnds(ranges, { signed: kind.signed, scale: state.scale, epoch, channel: index, channels });
    const [low, high] = [ranges[2 * at], ranges[2 * at + 1]];
    const own = codes.subarray(at * height * width, (at + 1) * height * width);
    return { codes: own, height, width, low, high, ends, dead: dead.includes(index), look: bundle.look };
  };
  const colour = (one) => ({ ...one, colours: lookup(table, one.low, one.high, one.ends, kind.signed) });
  view.place = { channels, height, width, grid: layer.grid };
  if (state.view === "single") drawSingle(view, colour(tile(channel)));
  else drawSheet(view, { channels, selected: channel, tile: (index) => colour(tile(index)) });
  show(view.canvas);
  drawBar(view, table, tile(channel).ends);
  const notFinite = layer.numbers.map((_, index) => index).filter((index) => tile(index).codes.includes(LEVELS));
  describe(view, { one: tile(channel), layer, epoch, channel, image, notFinite });
}

function drawSheet(view, { channels, selected, tile }) {
  const { grid, height, width } = view.place;
  const { gap, frame, selected: colour } = view.player.bundle.look;
  const [stepY, stepX] = [height * grid.zoom[0] + gap, width * grid.zoom[1] + gap];
  const wide = Math.min(channels, grid.columns) * stepX + gap;
  const pixels = pixelsOf(view.canvas, wide, Math.ceil(channels / grid.columns) * stepY + gap);
  pixels.fill(0);
  for (let index = 0; index < channels; index++) {
    const [top, left] = [Math.floor(index / grid.columns) * stepY, (index % grid.columns) * stepX];
    for (let y = top + gap - frame; index === selected && y < top + stepY + frame; y++) {
      pixels.fill(word(colour), y * wide + left + gap - frame, y * wide + left + stepX + frame);
    }
    paintTile(pixels, wide, top + gap, left + gap, { ...tile(index), zoom: grid.zoom });
  }
}

function drawSingle(view, one) {
  const zoom = view.place.grid.large;
  const pixels = pixelsOf(view.canvas, one.width * zoom[1], one.height * zoom[0]);
  paintTile(pixels, view.canvas.width, 0, 0, { ...one, zoom });
}

function drawBar(view, table, [bottom, top]) {
  pixelsOf(view.bar, LEVELS, 1).set(table.subarray(0, LEVELS));
  show(view.bar);
  view.low.textContent = number(bottom);
  view.high.textContent = number(top);
}

function describe(view, { one, layer, epoch, channel, image, notFinite }) {
  const { player, panel } = view;
  const { kind, state } = player;
  const facts = describeTile(one.codes, one.low, one.high, one.ends);
  const name = `channel ${layer.numbers[channel]}`;
  const here = player.step.places[player.views.indexOf(view)].layer;
  view.title.textContent = [panel.title, here, layer.shape.join(" \u00d7 "), `epoch ${layer.epochs[epoch]}`].join("\u2002");
  const zeros = `${Math.round(100 * facts.zeros)}\u00a0%\u00a0zeros`;
  const values = `${number(one.low)} to ${number(one.high)}, mean ${number(facts.mean)}, ${zeros}`;
  const isRecorded = layer.recorded[epoch];
  view.facts.textContent = `${name}: ${isRecorded ? values : "not recorded at this epoch"}`;
  const outline = `${histogramPath(facts.bins)}M0,40h${BINS * 4}v.6h-${BINS * 4}z`;
  view.histogram.innerHTML =
    `<svg viewBox="0 0 ${BINS * 4} 41" preserveAspectRatio="none" role="img">` +
    `<path fill="currentColor" d="${outline}"/></svg>`;
  view.histogram.firstChild.setAttribute("aria-label", `histogram of ${name}`); // a name is text, never markup
  view.warning.textContent = [
    listChannels("dead", "hatched", layer.dead[epoch], layer),
    listChannels("with values that are not finite", "magenta", isRecorded ? notFinite : [], layer),
  ].join(" ");
  view.canvas.setAttribute("aria-label", `${kind.label}, ${player.step.layer}, epoch ${layer.epochs[epoch]}, ${name}`);
  view.input.hidden = view.said.hidden = kind.kernel;
  if (!kind.kernel) drawInput(view, epoch, image);
}

function drawInput(view, epoch, image) {
  const { inputs, names, guesses } = view.panel;
  const [, height, width, depth] = inputs.size;
  const pixels = pixelsOf(view.input, width, height);
  for (let i = 0; i < pixels.length; i++) {
    const [red, green, blue] = [0, 1, 2].map((part) => inputs.pictures[image][i * depth + (depth === 3 ? part : 0)]);
    pixels[i] = word([red, green, blue, 255]);
  }
  show(view.input);
  view.input.setAttribute("aria-label", `input image ${image} ${names[image]}`);
  const guess = guesses[epoch]?.[image];
  const [label, chance] = guess ?? [];
  const belief = guess ? `model says ${label}, ${Math.round(100 * chance)}\u00a0%` : "";
  view.said.textContent = [names[image], belief].filter(Boolean).join(": ");
}

function listChannels(what, look, places, layer) {
  if (!places.length) return "";
  const some = places.slice(0, 12).map((place) => layer.numbers[place]).join(", ");
  const more = places.length > 12 ? " \u2026" : "";
  return `${places.length} of ${layer.numbers.length} channels ${what} (${look}): ${some}${more}.`;
}

// A click on a tile of the sheet shows it large; a click on the large one goes back.
function enlarge(view, event) {
  const { player, canvas } = view;
  if (player.state.view === "single") return player.move({ view: "sheet" });
  const { grid, height, width, channels } = view.place;
  const box = canvas.getBoundingClientRect();
  const { gap } = player.bundle.look;
  const across = ((event.clientX - box.left) / box.width) * canvas.width;
  const down = ((event.clientY - box.top) / box.height) * canvas.height;
  const column = Math.min(grid.columns - 1, Math.floor(across / (width * grid.zoom[1] + gap)));
  const index = Math.floor(down / (height * grid.zoom[0] + gap)) * grid.columns + column;
  if (index >= channels) return null;
  const { channels: places } = player.step.places[player.views.indexOf(view)];
  return player.move({ channel: Math.max(0, places.indexOf(index)), view: "single" });
}
