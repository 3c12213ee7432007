(() => {
  const root = document.currentScript.closest(".fmd");
  const list = root.querySelector(".fmd-rows"), svg = list.querySelector("svg");
  const leaves = [...list.querySelectorAll("[data-from]")];
  const LANE = 7;

  // The box that stands for a leaf: itself, or the outermost folded module around it.
  const shown = (leaf) => {
    let box = leaf;
    for (let at = leaf.closest("details"); at; at = at.parentElement.closest("details")) {
      if (!at.open) box = at.firstElementChild;
    }
    return box;
  };

  const draw = () => {
    const boxes = [...new Set(leaves.map(shown))], place = new Map(boxes.map((box, number) => [box, number]));
    const edges = boxes.map(() => new Set());
    for (const leaf of leaves) {
      const end = place.get(shown(leaf));
      for (const from of leaf.dataset.from.split(" ").filter(Boolean)) {
        const start = place.get(shown(leaves[from]));
        if (start !== end) edges[start].add(end);
      }
    }
    const ends = [], lanes = edges.map((targets, start) => {
      const last = Math.max(...targets);
      if (!targets.size || last === start + 1) return -1;
      const free = ends.findIndex((end) => end <= start), lane = free < 0 ? ends.length : free;
      ends[lane] = last;
      return lane;
    });
    list.style.paddingRight = `${ends.length * LANE + 14}px`;
    const frame = list.getBoundingClientRect(), right = frame.width - ends.length * LANE - 6;
    const spots = boxes.map((box) => {
      const { left, right, top, bottom } = box.getBoundingClientRect();
      return { left: left - frame.left, right: right - frame.left, top: top - frame.top, bottom: bottom - frame.top };
    });
    svg.replaceChildren();
    edges.forEach((targets, start) => targets.forEach((end) => {
      const [a, b] = [spots[start], spots[end]], x = Math.max(a.left, b.left) + 30;
      const middle = (spot) => (spot.top + spot.bottom) / 2;
      const line = document.createElementNS(svg.namespaceURI, "path");
      line.setAttribute("d", end === start + 1
        ? `M${x} ${a.bottom}V${b.top}m-3 -4l3 4l3 -4`
        : `M${a.right} ${middle(a) + 4}H${right + lanes[start] * LANE}V${middle(b) - 4}H${b.right}m5 -3l-5 3l5 3`);
      line.ends = [boxes[start], boxes[end]];
      svg.append(line);
    }));
  };

  const light = (box) => svg.childNodes.forEach((line) => line.classList.toggle("lit", line.ends.includes(box)));
  const box = (event) => event.target.closest("summary, button");
  list.addEventListener("pointerover", (event) => light(box(event)));
  list.addEventListener("focusin", (event) => light(box(event)));
  list.addEventListener("toggle", draw, true);
  list.addEventListener("click", (event) => {
    const layer = box(event)?.dataset.layer;
    if (!layer) return;
    list.querySelector("[aria-current]")?.removeAttribute("aria-current");
    box(event).setAttribute("aria-current", "true");
    box(event).dispatchEvent(new CustomEvent("fmnist-layer", { bubbles: true, composed: true, detail: { layer } }));
  });
  new ResizeObserver(draw).observe(list);
})();
