// A box that takes one picture (dropped, pasted, chosen, photographed or drawn) and shows what Python answers.
const SIDE = 280; // pixels of the canvas, ten for one of what the network sees
const MOST_BYTES = 4e6; // a larger file is made smaller here: a message to the kernel has its limit
const MOST_SIDE = 2048;

const PAGE = `
<div class="own-picture" tabindex="0" style="border: 2px dashed #888; padding: 8px; max-width: 1100px">
  <div style="display: flex; gap: 16px; flex-wrap: wrap; align-items: flex-start">
    <canvas width="${SIDE}" height="${SIDE}" aria-label="draw here" style="background: white; touch-action: none; border: 1px solid #888; cursor: crosshair"></canvas>
    <div>
      <p style="margin-top: 0">Draw a garment here, dark on white, and fill it.<br>Or drop a picture on this box, or paste one.</p>
      <p><label>Brush <input type="range" min="6" max="60" value="30" aria-label="brush"></label></p>
      <p><button type="button">Clear</button></p>
      <p><label>Choose or photograph: <input type="file" accept="image/*"></label></p>
    </div>
  </div>
  <div class="own-picture-reply" role="status" aria-live="polite"></div>
</div>`;

async function shrink(file) {
  const image = await createImageBitmap(file);
  const share = Math.min(1, MOST_SIDE / Math.max(image.width, image.height));
  const small = new OffscreenCanvas(Math.round(image.width * share), Math.round(image.height * share));
  small.getContext("2d").drawImage(image, 0, 0, small.width, small.height);
  return small.convertToBlob({ type: "image/png" });
}

function render({ model, el }) {
  el.innerHTML = PAGE;
  const [box, canvas, brush, choose] = [".own-picture", "canvas", "[type=range]", "[type=file]"].map((what) => el.querySelector(what));
  const reply = el.querySelector(".own-picture-reply");
  const pen = canvas.getContext("2d");

  function clear() {
    pen.fillStyle = "white";
    pen.fillRect(0, 0, SIDE, SIDE);
    reply.textContent = "";
  }

  async function send(file) {
    if (!file) return;
    reply.textContent = "Looking ...";
    const blob = file.size > MOST_BYTES ? await shrink(file).catch(() => file) : file;
    model.set("picture", new DataView(await blob.arrayBuffer()));
    model.set("asked", model.get("asked") + 1);
    model.save_changes();
  }

  function place(event) {
    const at = canvas.getBoundingClientRect();
    return [((event.clientX - at.left) * SIDE) / at.width, ((event.clientY - at.top) * SIDE) / at.height];
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pen.lineWidth = brush.value;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(...place(event));
    pen.lineTo(...place(event));
    pen.stroke();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    pen.lineTo(...place(event));
    pen.stroke();
  });
  canvas.addEventListener("pointerup", () => canvas.toBlob(send));
  el.querySelector("button").addEventListener("click", clear);
  choose.addEventListener("change", () => send(choose.files[0]));
  box.addEventListener("dragover", (event) => event.preventDefault());
  box.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    send(event.dataTransfer.files[0]);
  });
  box.addEventListener("paste", (event) => {
    event.stopPropagation();
    send(event.clipboardData.files[0]);
  });
  model.on("change:answered", () => { reply.innerHTML = model.get("reply"); });
  clear();
}

export default { render };
