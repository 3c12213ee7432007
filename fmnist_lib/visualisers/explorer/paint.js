// From packed 8-bit codes to pixels: no document here, only arrays. frames.py is the reference, to the last bit.
// Letters: N images, E epochs, C channels, H height, W width.

const LEVELS = 255; // codes 0 to 254; 255 stands for a value that is not finite
const BEYOND = LEVELS + 1; // the place in the table of what lies beyond the scale
const BINS = 24;

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

async function unpack(text) {
  const stream = new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}

// One entry per image: ranges (E, C, 2), how far outliers lie beyond them (E, C, 2), and codes (E, C, H, W).
function splitPictures(buffer, [images, epochs, channels, height, width]) {
  const tiles = epochs * channels;
  const codes = new Uint8Array(buffer, images * tiles * 16);
  const one = tiles * height * width;
  return Array.from({ length: images }, (_, image) => ({
    ranges: new Float32Array(buffer, image * tiles * 8, tiles * 2),
    beyond: new Float32Array(buffer, (images + image) * tiles * 8, tiles * 2),
    codes: codes.subarray(image * one, (image + 1) * one),
  }));
}

function makeTable(text) {
  const rgb = fromBase64(text);
  return Uint32Array.from({ length: rgb.length / 3 }, (_, i) => word([rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2], 255]));
}

const word = ([red, green, blue, alpha]) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;

function scaleEnds(ranges, { signed, scale, epoch, channel, channels }) {
  const first = { shared: 0, epoch: epoch * channels, channel: epoch * channels + channel }[scale];
  const last = { shared: ranges.length / 2, epoch: first + channels, channel: first + 1 }[scale];
  let [low, high] = [Infinity, -Infinity];
  for (let i = first; i < last; i++) {
    low = Math.min(low, ranges[2 * i]);
    high = Math.max(high, ranges[2 * i + 1]);
  }
  const extent = Math.max(-low, high, 0);
  return signed ? [-extent, extent] : [Math.min(0, low), high];
}

function paletteIndex(code, low, high, [bottom, top]) {
  const value = low + ((high - low) * code) / (LEVELS - 1);
  const place = Math.floor(((value - bottom) / (top - bottom)) * (LEVELS - 1) + 0.5);
  return Math.min(LEVELS - 1, Math.max(0, place));
}

function lookup(table, { low, high, least, most, ends }, signed) {
  const colours = new Uint32Array(256);
  const flat = signed ? (LEVELS - 1) / 2 : 0;
  for (let code = 0; code < LEVELS; code++) {
    colours[code] = table[ends[1] > ends[0] ? paletteIndex(code, low, high, ends) : flat];
  }
  colours[LEVELS] = table[LEVELS];
  if (least < low) colours[0] = table[BEYOND];
  if (most > high) colours[LEVELS - 1] = table[BEYOND];
  return colours;
}

// Writes one tile, each code repeated zoom = [down, across] times, into a picture `stride` pixels wide.
function paintTile(pixels, stride, top, left, { codes, height, width, zoom, colours, dead, look }) {
  for (let row = 0; row < height; row++) {
    const start = (top + row * zoom[0]) * stride + left;
    for (let column = 0; column < width; column++) {
      const at = start + column * zoom[1];
      pixels.fill(colours[codes[row * width + column]], at, at + zoom[1]);
    }
    for (let copy = 1; copy < zoom[0]; copy++) {
      pixels.copyWithin(start + copy * stride, start, start + width * zoom[1]);
    }
  }
  if (!dead) return;
  for (let y = 0; y < height * zoom[0]; y++) {
    for (let x = 0; x < width * zoom[1]; x++) {
      if ((x + y) % look.deadStep === 0) pixels[(top + y) * stride + left + x] = word(look.dead);
    }
  }
}

// Lays one map over its photo, at the photo's resolution; between the middles of a map's pixels values are interpolated.
function paintOver(pixels, one, { photo, size: [tall, wide], depth, zoom, table, opacity }) {
  const [rows, columns] = [between(one.height, tall), between(one.width, wide)];
  const [bottom, top] = one.ends;
  const span = top > bottom ? top - bottom : Infinity;
  const at = (row, column) => {
    const code = one.codes[row * one.width + column];
    return code === LEVELS ? NaN : one.low + ((one.high - one.low) * code) / (LEVELS - 1);
  };
  const mix = (first, second, part) =>
    part === 0 ? first : part === 1 ? second : first * (1 - part) + second * part;
  for (let y = 0; y < tall; y++) {
    const [above, below, down] = rows[y];
    for (let x = 0; x < wide; x++) {
      const [left, right, across] = columns[x];
      const value = mix(
        mix(at(above, left), at(above, right), across),
        mix(at(below, left), at(below, right), across),
        down,
      );
      const place = Math.min(LEVELS - 1, Math.max(0, Math.floor(((value - bottom) / span) * (LEVELS - 1) + 0.5)));
      const colour = table[Number.isNaN(value) ? LEVELS : place];
      const rgb = [0, 1, 2].map((part) => {
        const grey = photo[(y * wide + x) * depth + (depth === 3 ? part : 0)];
        const painted = (colour >>> (8 * part)) & 255;
        return Number.isNaN(value) ? painted : Math.floor(grey * (1 - opacity) + painted * opacity + 0.5);
      });
      pixels.fill(word([...rgb, 255]), y * zoom[0] * wide * zoom[1] + x * zoom[1], (y * zoom[0] * wide + x + 1) * zoom[1]);
    }
    const [start, stride] = [y * zoom[0] * wide * zoom[1], wide * zoom[1]];
    for (let copy = 1; copy < zoom[0]; copy++) pixels.copyWithin(start + copy * stride, start, start + stride);
  }
}

// For each of `there` places along a side, the two of `own` that it lies between, and its share of the second.
function between(own, there) {
  return Array.from({ length: there }, (_, i) => {
    const place = Math.min(own - 1, Math.max(0, ((i + 0.5) * own) / there - 0.5));
    const first = Math.floor(place);
    return [first, Math.min(first + 1, own - 1), place - first];
  });
}

// Facts about one tile, from its codes: what the numbers beside the picture say.
function describeTile({ codes, low, high, ends: [bottom, top] }) {
  const bins = new Array(BINS).fill(0);
  let [sum, zeros, finite] = [0, 0, 0];
  for (const code of codes) {
    if (code === LEVELS) continue;
    const value = low + ((high - low) * code) / (LEVELS - 1);
    finite++;
    sum += value;
    if (value === 0) zeros++;
    const place = top > bottom ? Math.floor(((value - bottom) / (top - bottom)) * BINS) : 0;
    bins[Math.min(BINS - 1, Math.max(0, place))]++;
  }
  return { finite, mean: finite ? sum / finite : 0, zeros: finite ? zeros / finite : 0, bins };
}
