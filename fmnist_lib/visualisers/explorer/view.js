// The picture of one recording, and what stands beside it. Part of player.js's text, after paint.js.

const HINT = "Point at the picture, or focus it and press the arrow keys, to read values.";

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
  // An application, so that a screen reader leaves it the arrow keys.
  const canvas = make("canvas", { class: "fmx-canvas", role: "application", tabindex: 0 });
  canvas.setAttribute("data-lm-suppress-shortcuts", "true");
  const marks = make("div", { class: "fmx-marks", "aria-hidden": "true" });
  const cursor = make("div", { class: "fmx-cursor", hidden: "" });
  const pointer = make("div", { class: "fmx-pointer" }, HINT);
  const bar = make("canvas", { class: "fmx-bar", role: "img", "aria-label": "colour scale" });
  const [low, high] = [make("span"), make("span")];
  const input = make("canvas", { class: "fmx-input", role: "img" });
  const [said, facts, warning] = ["fmx-said", "fmx-facts", "fmx-warning"].map((name) => make("div", { class: name }));
  const title = make("div", { class: "fmx-title" });
  const histogram = make("div", { class: "fmx-histogram" });
  const side = make("div", { class: "fmx-side" }, input, said, facts, histogram, warning);
  const frame = make("div", { class: "fmx-frame" }, canvas, marks, cursor);
  const scale = make("div", { class: "fmx-scale" }, low, bar, high);
  const scroll = make("div", {}, frame);
  const picture = make("div", { class: "fmx-picture" }, scroll, scale, pointer);
  const body = make("div", { class: "fmx-body" }, picture, side);
  const element = make("div", { class: "fmx-panel" }, ...(several ? [title] : []), body);
  const parts = { element, canvas, scroll, marks, cursor, pointer, bar, low, high, input, said, facts, warning, title };
  const view = { ...parts, histogram, panel, player };
  view.draw = (place, layer) => drawPanel(view, place, layer);
  canvas.addEventListener("click", (event) => enlarge(view, locate(view, event)));
  canvas.addEventListener("pointermove", (event) => pointAt(view, locate(view, event), false));
  canvas.addEventListener("pointerleave", () => pointAt(view, null, false));
  canvas.addEventListener("keydown", (event) => walk(view, event));
  canvas.addEventListener("blur", () => pointAt(view, null, false));
  return view;
}

function drawPanel(view, place, layer) {
  const { player, panel } = view;
  const { state, kind, bundle } = player;
  const [, , channels, height, width] = layer.size;
  const epoch = place.epochs[state.epoch];
  const channel = place.channels[state.channel];
  const image = place.images[state.image];
  const { ranges, beyond, codes } = layer.pictures[image];
  const dead = layer.dead[epoch];
  const table = player.tables[kind.signed ? "diverging" : "sequential"];
  const tile = (index) => {
    const at = epoch * channels + index;
    const ends = scaleEnds(ranges, { signed: kind.signed, scale: state.scale, epoch, channel: index, channels });
    const [low, high] = [ranges[2 * at], ranges[2 * at + 1]];
    const [least, most] = [low + beyond[2 * at], high + beyond[2 * at + 1]];
    const own = codes.subarray(at * height * width, (at + 1) * height * width);
    const range = { low, high, least, most, ends };
    return { codes: own, height, width, ...range, dead: dead.includes(index), look: bundle.look };
  };
  const colour = (one) => ({ ...one, colours: lookup(table, one, kind.signed) });
  view.place = { channels, height, width, grid: layer.grid, isSheet: state.view === "sheet" && !kind.photo, channel };
  view.tile = tile;
  if (kind.photo) drawOver(view, tile(0), panel.inputs, image, table);
  else if (state.view === "single") drawSingle(view, colour(tile(channel)));
  else drawSheet(view, { channels, selected: channel, tile: (index) => colour(tile(index)) });
  show(view.canvas);
  keepInSight(view, channel);
  drawBar(view, table, tile(channel).ends);
  const all = layer.numbers.map((_, index) => index);
  const notFinite = all.filter((index) => tile(index).codes.includes(LEVELS));
  const far = all.filter((index) => beyond[2 * (epoch * channels + index)] || beyond[2 * (epoch * channels + index) + 1]);
  describe(view, { one: tile(channel), layer, epoch, channel, image, notFinite, far });
  drawMarks(view, layer);
  pointAt(view, view.pointed ?? null, false);
}

function drawOver(view, one, { pictures, size: [, tall, wide, depth], zoom }, image, table) {
  const pixels = pixelsOf(view.canvas, wide * zoom[1], tall * zoom[0]);
  const { opacity } = view.player;
  paintOver(pixels, one, { photo: pictures[image], size: [tall, wide], depth, zoom, table, opacity });
}

// Where a cell of a tile lies on the canvas, [left, top, width, height] in its pixels.
function cellBox(view, { index, row, column }) {
  const { height, width, grid, isSheet } = view.place;
  if (!isSheet) {
    const [across, down] = [view.canvas.width / width, view.canvas.height / height];
    return [column * across, row * down, across, down];
  }
  const { gap } = view.player.bundle.look;
  const left = (index % grid.columns) * (width * grid.zoom[1] + gap) + gap;
  const top = Math.floor(index / grid.columns) * (height * grid.zoom[0] + gap) + gap;
  return [left + column * grid.zoom[1], top + row * grid.zoom[0], grid.zoom[1], grid.zoom[0]];
}

function putAt(view, element, [left, top, width, height]) {
  const { canvas } = view;
  const share = (part, whole) => `${(100 * part) / whole}%`;
  Object.assign(element.style, { left: share(left, canvas.width), top: share(top, canvas.height) });
  if (width) Object.assign(element.style, { width: share(width, canvas.width), height: share(height, canvas.height) });
}

// The cell of a tile under the mouse; null between the tiles.
function locate(view, event) {
  const { channels, height, width, grid, isSheet, channel } = view.place;
  const { gap } = view.player.bundle.look;
  const box = view.canvas.getBoundingClientRect();
  let across = ((event.clientX - box.left) / box.width) * view.canvas.width;
  let down = ((event.clientY - box.top) / box.height) * view.canvas.height;
  if (!isSheet) {
    const [column, row] = [(across / view.canvas.width) * width, (down / view.canvas.height) * height].map(Math.floor);
    return { index: channel, row: Math.min(height - 1, Math.max(0, row)), column: Math.min(width - 1, Math.max(0, column)) };
  }
  const [stepX, stepY] = [width * grid.zoom[1] + gap, height * grid.zoom[0] + gap];
  const [tileX, tileY] = [Math.min(grid.columns - 1, Math.floor(across / stepX)), Math.floor(down / stepY)];
  const index = tileY * grid.columns + tileX;
  if (index >= channels || index < 0) return null;
  [across, down] = [across - tileX * stepX - gap, down - tileY * stepY - gap];
  const inside = (part, zoom, count) => Math.min(count - 1, Math.max(0, Math.floor(part / zoom)));
  return { index, row: inside(down, grid.zoom[0], height), column: inside(across, grid.zoom[1], width) };
}

// Says which value is under the mouse or the cursor; a screen reader is told only what keys have chosen.
function pointAt(view, cell, byKeys) {
  const { channels, height, width } = view.place;
  const isThere = cell && cell.index < channels && cell.row < height && cell.column < width;
  view.pointed = isThere ? cell : null;
  view.cursor.hidden = !isThere;
  view.pointer.setAttribute("aria-live", byKeys ? "polite" : "off");
  view.pointer.textContent = isThere ? tellValue(view, cell) : HINT;
  if (isThere) putAt(view, view.cursor, cellBox(view, cell));
}

function tellValue(view, { index, row, column }) {
  const { player, panel } = view;
  const { kind, state, step } = player;
  const place = step.places[player.views.indexOf(view)];
  const layer = panel.layers[state.kind][place.layer];
  const one = view.tile(index);
  const channel = kind.photo ? "" : player.at("channel", layer.numbers[index]);
  const image = step.images.length > 1 || !kind.kernel ? player.at("image", step.images[state.image]) : "";
  const where = [place.layer, image, channel, `row ${row}`, `column ${column}`].filter(Boolean).join(", ");
  const isRecorded = layer.recorded[place.epochs[state.epoch]];
  return `${where}: ${isRecorded ? valueOf(one, one.codes[row * one.width + column]) : "not recorded at this epoch"}`;
}

function valueOf({ low, high, least, most }, code) {
  if (code === LEVELS) return "not finite";
  if (code === 0 && least < low) return `far below the scale, down to ${number(least)}`;
  if (code === LEVELS - 1 && most > high) return `far above the scale, up to ${number(most)}`;
  const half = (high - low) / (LEVELS - 1) / 2;
  return number(low + ((high - low) * code) / (LEVELS - 1)) + (half ? ` \u00b1 ${Number(half.toPrecision(1))}` : "");
}

// Arrow keys move a cursor from value to value, over the edge into the next tile; Enter enlarges as a click does.
function walk(view, event) {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  const { height, width, grid, channels, channel, isSheet } = view.place;
  const from = view.pointed ?? { index: channel, row: Math.floor(height / 2), column: Math.floor(width / 2) };
  if (event.key === "Enter") enlarge(view, from);
  else if (event.key === "Escape") pointAt(view, null, true);
  else if (!step) return;
  else if (!view.pointed) pointAt(view, from, true);
  else {
    let [index, row, column] = [from.index, from.row + step[0], from.column + step[1]];
    if (isSheet && (row < 0 || row >= height)) index += Math.sign(step[0]) * grid.columns;
    if (isSheet && (column < 0 || column >= width)) index += step[1];
    if (index < 0 || index >= channels) index = from.index;
    if (index !== from.index) [row, column] = [(row + height) % height, (column + width) % width];
    row = Math.min(height - 1, Math.max(0, row));
    pointAt(view, { index, row, column: Math.min(width - 1, Math.max(0, column)) }, true);
  }
  event.preventDefault();
}

// Numbers over the picture: of each tile's channel, or of the first and the last row and column.
function drawMarks(view, layer) {
  const { channels, height, width, isSheet } = view.place;
  const key = [isSheet, layer.numbers, view.canvas.width, view.canvas.height, height, width].join();
  if (view.marked === key) return;
  view.marked = key;
  const corners = [[0, 0], [height - 1, width - 1]].map(([row, column]) => ({ index: 0, row, column }));
  const cells = isSheet ? Array.from({ length: channels }, (_, index) => ({ index, row: 0, column: 0 })) : corners;
  view.marks.replaceChildren(
    ...cells.map((cell, i) => {
      const isLast = !isSheet && i === 1;
      const text = isSheet ? layer.numbers[cell.index] : `${cell.row}, ${cell.column}`;
      const mark = make("span", isLast ? { class: "fmx-last" } : {}, String(text));
      const [left, top, across, down] = cellBox(view, cell);
      putAt(view, mark, isLast ? [left + across, top + down] : [left, top]);
      return mark;
    }),
  );
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

// A sheet taller than a screen scrolls by itself, so that sliders and colour bar stay; it follows the chosen channel.
function keepInSight(view, index) {
  const { scroll, canvas, place } = view;
  const isTall = place.isSheet && canvas.height > 1.5 * canvas.width;
  scroll.classList.toggle("fmx-tall", isTall);
  if (!isTall) return;
  const [, top, , height] = cellBox(view, { index, row: 0, column: 0 });
  requestAnimationFrame(() => { // at the first drawing the picture has no size yet
    const [start, end] = [top, top + height * place.height].map((y) => (y * canvas.clientHeight) / canvas.height);
    const isSeen = start >= scroll.scrollTop && end <= scroll.scrollTop + scroll.clientHeight;
    if (!isSeen) scroll.scrollTop = start - scroll.clientHeight / 2;
  });
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

function describe(view, { one, layer, epoch, channel, image, notFinite, far }) {
  const { player, panel } = view;
  const { kind, state } = player;
  const facts = describeTile(one);
  const name = kind.photo ? kind.label : player.at("channel", layer.numbers[channel]);
  const when = player.at("epoch", layer.epochs[epoch]);
  const here = player.step.places[player.views.indexOf(view)].layer;
  view.title.textContent = [panel.title, here, layer.shape.join(" \u00d7 "), when].filter(Boolean).join("\u2002");
  const zeros = `${Math.round(100 * facts.zeros)}\u00a0%\u00a0zeros`;
  const some = `${number(one.least)} to ${number(one.most)}, mean ${number(facts.mean)}, ${zeros}`;
  const values = one.least || one.most || facts.finite < one.codes.length ? some : kind.zero || "all values are zero";
  const isRecorded = layer.recorded[epoch];
  view.facts.textContent = [name, isRecorded ? values : "not recorded at this epoch"].filter(Boolean).join(": ");
  const outline = `${histogramPath(facts.bins)}M0,40h${BINS * 4}v.6h-${BINS * 4}z`;
  view.histogram.innerHTML =
    `<svg viewBox="0 0 ${BINS * 4} 41" preserveAspectRatio="none" role="img">` +
    `<path fill="currentColor" d="${outline}"/></svg>`;
  view.histogram.firstChild.setAttribute("aria-label", `histogram of ${name || kind.label}`); // a name is text, never markup
  view.warning.textContent = [
    listChannels("dead", "hatched", layer.dead[epoch], layer),
    listChannels("with values that are not finite", "magenta", isRecorded ? notFinite : [], layer),
    listChannels("with values far beyond the scale", "cyan", far, layer),
  ].join(" ");
  const what = [kind.label, player.step.layer, when, kind.photo ? "" : name];
  view.canvas.setAttribute("aria-label", what.filter(Boolean).join(", "));
  const hasInput = !kind.kernel && panel.inputs.size[1] > 0;
  view.input.hidden = view.said.hidden = !hasInput;
  if (hasInput) drawInput(view, epoch, image);
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
function enlarge(view, cell) {
  const { player } = view;
  if (player.kind.photo || !cell) return null;
  if (player.state.view === "single") return player.move({ view: "sheet" });
  const { channels: places } = player.step.places[player.views.indexOf(view)];
  return player.move({ channel: Math.max(0, places.indexOf(cell.index)), view: "single" });
}

// What is shown now as one picture: labels, every side of a comparison, its scale, and its input.
function compose(player) {
  const [margin, line, column] = [12, 18, 132];
  const blocks = player.views.map((view) => ({ view, lines: [...player.labels(view)] }));
  const wide = ({ view }) => Math.max(340, view.canvas.width + (view.input.hidden ? 0 : column) + margin);
  const top = margin + line * blocks[0].lines.length;
  const canvas = make("canvas", {
    width: margin + blocks.reduce((sum, block) => sum + wide(block), 0),
    height: top + Math.max(...blocks.map(({ view }) => view.canvas.height)) + 3 * line,
  });
  const context = canvas.getContext("2d");
  Object.assign(context, { fillStyle: "#fff", imageSmoothingEnabled: false });
  context.fillRect(0, 0, canvas.width, canvas.height);
  Object.assign(context, { fillStyle: "#222", font: "13px system-ui, sans-serif" });
  let left = margin;
  for (const block of blocks) {
    const { view, lines } = block;
    const { width, height } = view.canvas;
    lines.forEach((text, i) => context.fillText(text, left, margin + line * i + 10, wide(block) - margin));
    context.drawImage(view.canvas, left, top);
    const length = Math.max(80, width / 2);
    context.fillText(view.low.textContent, left, top + height + line);
    const after = left + context.measureText(view.low.textContent).width + 8;
    context.drawImage(view.bar, after, top + height + line - 9, length, 9);
    context.fillText(view.high.textContent, after + length + 8, top + height + line);
    if (!view.input.hidden) {
      context.drawImage(view.input, left + width + margin, top, 112, 112);
      const said = view.said.textContent.split(/: |, /);
      said.forEach((text, i) => context.fillText(text, left + width + margin, top + 112 + line * (i + 1), column - margin));
    }
    left += wide(block);
  }
  return canvas;
}
