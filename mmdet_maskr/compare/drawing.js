// One image's detections as SVG, in pixels of the image.

const SVG = "http://www.w3.org/2000/svg";
const LETTERS = 12; // pixels of the screen
const PLAIN = "#3cc83c"; // keypoints without names
const ruler = document.createElement("canvas").getContext("2d");
ruler.font = `600 ${LETTERS}px system-ui, sans-serif`;

function shape(parent, tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  parent.append(element);
  return element;
}

const areaOf = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);

function textOf(detection, classes) {
  const name = classes[detection.label].name + (detection.crowd ? " (crowd)" : "");
  return "score" in detection ? `${name} ${detection.score.toFixed(2)}` : name;
}

// Draw detections into an emptied <svg>, large ones first, so that none is covered.
// marks: [detection, "extra" | "missing" | "common" | ""] each; unit: image pixels of one screen
// pixel; skeletons: by number of keypoints.
function draw(svg, image, marks, { classes, layers, skeletons, unit }) {
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${image.width} ${image.height}`);
  const ordered = [...marks].sort((a, b) => areaOf(b[0]) - areaOf(a[0]));
  for (const [detection, mark] of ordered) {
    const colour = classes[detection.label].colour;
    const group = shape(svg, "g", {
      class: `detection ${mark}${detection.crowd ? " crowd" : ""}`,
    });
    shape(group, "title", {}).textContent = textOf(detection, classes);
    if (layers.masks && detection.mask) drawMask(group, detection.mask, colour);
    if (layers.boxes) drawBox(group, detection.box, colour);
    if (layers.keypoints && detection.keypoints) {
      drawKeypoints(group, detection.keypoints, skeletons[detection.keypoints.length], unit);
    }
  }
  if (!layers.labels) return;
  const taken = [];
  const top = shape(svg, "g", { class: "labels", "aria-hidden": "true" });
  for (const [detection, mark] of ordered.reverse()) {
    if (mark !== "common") {
      const sign = { extra: "+ ", missing: "− " }[mark] ?? "";
      const text = sign + textOf(detection, classes);
      drawLabel(top, image, detection.box, text, classes[detection.label].colour, unit, taken);
    }
  }
}

function drawMask(group, rings, colour) {
  const path = rings.map((ring) => {
    const points = [];
    for (let i = 0; i < ring.length; i += 2) points.push(`${ring[i]} ${ring[i + 1]}`);
    return `M${points.join("L")}Z`;
  });
  const d = path.join("");
  shape(group, "path", { class: "halo", d });
  shape(group, "path", { class: "mask", d, fill: colour, stroke: colour });
}

function drawBox(group, [x1, y1, x2, y2], colour) {
  const place = { x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1) };
  shape(group, "rect", { class: "box", ...place, stroke: colour });
}

function drawKeypoints(group, points, skeleton, unit) {
  const limbs = (skeleton?.limbs ?? []).filter(([a, b]) => points[a][2] > 0 && points[b][2] > 0);
  const line = (name, a, b, rest) =>
    shape(group, "line", { class: name, x1: a[0], y1: a[1], x2: b[0], y2: b[1], ...rest });
  for (const [a, b] of limbs) line("edge", points[a], points[b], {});
  for (const [a, b, first, second] of limbs) {
    const middle = [0, 1].map((axis) => (points[a][axis] + points[b][axis]) / 2);
    line("limb", points[a], middle, { stroke: first });
    line("limb", middle, points[b], { stroke: second });
  }
  points.forEach(([x, y, visibility], i) => {
    if (visibility === 0) return;
    const fill = visibility === 1 ? "#fff" : (skeleton?.colours[i] ?? PLAIN);
    const stroke = visibility === 1 ? (skeleton?.colours[i] ?? PLAIN) : "#191919";
    shape(group, "circle", {
      class: "joint", cx: x, cy: y, r: 3.2 * unit, fill, stroke, "stroke-width": 1.2 * unit,
    });
  });
}

// At a corner of its box where no other label is, inside of the image.
function drawLabel(group, image, [x1, y1, x2, y2], text, colour, unit, taken) {
  const width = (ruler.measureText(text).width + 8) * unit;
  const height = (LETTERS + 5) * unit;
  const inside = ([x, y]) => {
    const left = Math.max(0, Math.min(x, image.width - width));
    const up = Math.max(0, Math.min(y, image.height - height));
    return [left, up, left + width, up + height];
  };
  const corners = [[x1, y1 - height], [x1, y1], [x1, y2], [x2 - width, y2 - height], [x2, y1]];
  const places = corners.map(inside);
  const apart = (a, b) => a[0] >= b[2] || b[0] >= a[2] || a[1] >= b[3] || b[1] >= a[3];
  const place = places.find((p) => taken.every((other) => apart(p, other))) ?? places[0];
  taken.push(place);
  shape(group, "rect", {
    x: place[0], y: place[1], width, height, rx: 2 * unit, fill: colour,
  });
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const light = 0.299 * red + 0.587 * green + 0.114 * blue > 140;
  shape(group, "text", {
    x: place[0] + 4 * unit,
    y: place[3] - 4.5 * unit,
    "font-size": LETTERS * unit,
    fill: light ? "#000" : "#fff",
  }).textContent = text;
}
