// One image's detections as SVG, in pixels of the image.

const SVG = "http://www.w3.org/2000/svg";
const LETTERS = 12; // pixels of the screen
const SMALL = 40; // pixels of the screen: a box around a smaller mask would hide it
const SCORE_ROOM = 10; // of an object whose class goes without saying, for its score
const MOST_COVERED = 0.25; // of another object, by a label
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

const sideOf = ({ box }) => Math.sqrt(Math.max(0, areaOf({ box })));

function textOf(detection, classes) {
  const name = classes[detection.label].name + (detection.crowd ? " (crowd)" : "");
  return "score" in detection ? `${name} ${detection.score.toFixed(2)}` : name;
}

// What one <svg> shows. Elements are made once for an image and then put in and taken out, so that
// a slider moves fluently over hundreds of detections.
class Drawing {
  constructor(svg, classes, skeletons) {
    Object.assign(this, { svg, classes, skeletons, key: null });
  }

  // marks: [detection, "extra" | "missing" | "common" | ""] each; layers: name -> whether shown;
  // unit: image pixels of one screen pixel.
  show(image, marks, layers, unit) {
    const key = JSON.stringify([image.name, image.width, image.height, layers, unit]);
    if (key !== this.key || image !== this.image) {
      Object.assign(this, { key, image, layers, unit, groups: new Map(), labels: new Map() });
      this.svg.replaceChildren();
      this.svg.setAttribute("viewBox", `0 0 ${image.width} ${image.height}`);
      this.top = shape(this.svg, "g", { class: "labels", "aria-hidden": "true" });
    }
    // large ones first, so that none is covered
    const ordered = [...marks].sort((a, b) => areaOf(b[0]) - areaOf(a[0]));
    const groups = ordered.map(([detection, mark]) => {
      const group = cached(this.groups, detection, () => this.group(detection));
      change(group, "class", `detection ${mark}${detection.crowd ? " crowd" : ""}`);
      return group;
    });
    arrange(this.svg, [...groups, this.top]);
    arrange(this.top, layers.labels ? this.placedLabels(ordered.reverse()) : []);
  }

  group(detection) {
    const group = document.createElementNS(SVG, "g");
    const color = detection.color ?? this.classes[detection.label].color;
    const small = sideOf(detection) < SMALL * this.unit && this.layers.masks && detection.mask;
    shape(group, "title", {}).textContent = textOf(detection, this.classes);
    if (small) group.dataset.small = ""; // its lines are thin, its mask is light
    if (this.layers.masks && detection.mask) drawMask(group, detection.mask, color);
    if (this.layers.boxes && !small) drawBox(group, detection.box, color);
    if (this.layers.keypoints && detection.keypoints) {
      const skeleton = this.skeletons[detection.keypoints.length];
      drawKeypoints(group, detection.keypoints, skeleton, this.unit);
    }
    return group;
  }

  // The small ones first: they have the least choice. What has no room has no label; pointing at it
  // tells what it is, and the buttons of the classes are the legend.
  placedLabels(marks) {
    const taken = [];
    const shown = marks.filter(([, mark]) => mark !== "common");
    const boxes = shown.map(([detection]) => detection.box);
    const groups = [];
    for (const [detection, mark] of shown) {
      const sign = { extra: "+ ", missing: "− " }[mark] ?? "";
      for (const text of this.texts(detection)) {
        const label = cached(this.labels, `${sign}${text} ${detection.box}`, () =>
          makeLabel(sign + text, detection.color ?? this.classes[detection.label].color, this.unit),
        );
        const room = this.classes.length === 1 ? SCORE_ROOM : 1;
        if (areaOf(detection) < room * label.width * label.height) continue;
        const place = placeLabel(this.image, detection.box, label, taken, boxes);
        if (place === null) continue;
        taken.push(place);
        change(label.group, "transform", `translate(${place[0]} ${place[1]})`);
        groups.push(label.group);
        break;
      }
    }
    return groups;
  }

  // What may be written at an object, the fullest first.
  texts(detection) {
    const score = "score" in detection ? [detection.score.toFixed(2)] : [];
    if (this.classes.length === 1) return score;
    const name = textOf({ label: detection.label, crowd: detection.crowd }, this.classes);
    return [[name, ...score].join(" "), name];
  }
}

function cached(map, key, make) {
  if (!map.has(key)) map.set(key, make());
  return map.get(key);
}

function change(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

// Make `children` the children of an element, and touch only what is new, gone or elsewhere.
function arrange(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let next = null;
  for (const child of [...wanted].reverse()) {
    if (child.parentNode !== parent || child.nextSibling !== next) parent.insertBefore(child, next);
    next = child;
  }
}

function drawMask(group, rings, color) {
  const path = rings.map((ring) => {
    const points = [];
    for (let i = 0; i < ring.length; i += 2) points.push(`${ring[i]} ${ring[i + 1]}`);
    return `M${points.join("L")}Z`;
  });
  const d = path.join("");
  shape(group, "path", { class: "halo", d });
  shape(group, "path", { class: "mask", d, fill: color, stroke: color });
}

function drawBox(group, [x1, y1, x2, y2], color) {
  const place = { x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1) };
  shape(group, "rect", { class: "box", ...place, stroke: color });
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
    const fill = visibility === 1 ? "#fff" : (skeleton?.colors[i] ?? PLAIN);
    const stroke = visibility === 1 ? (skeleton?.colors[i] ?? PLAIN) : "#191919";
    shape(group, "circle", {
      class: "joint", cx: x, cy: y, r: 3.2 * unit, fill, stroke, "stroke-width": 1.2 * unit,
    });
  });
}

function makeLabel(text, color, unit) {
  const width = (ruler.measureText(text).width + 8) * unit;
  const height = (LETTERS + 5) * unit;
  const group = document.createElementNS(SVG, "g");
  shape(group, "rect", { width, height, rx: 2 * unit, fill: color });
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  const light = 0.299 * red + 0.587 * green + 0.114 * blue > 140;
  shape(group, "text", {
    x: 4 * unit, y: height - 4.5 * unit, "font-size": LETTERS * unit,
    fill: light ? "#000" : "#fff",
  }).textContent = text;
  return { group, width, height };
}

// Where no other label is and no other object is covered, inside of the image: at a corner of its box,
// else along its left side; null where there is no such place.
function placeLabel(image, box, { width, height }, taken, boxes) {
  const [x1, y1, x2, y2] = box;
  const corners = [[x1, y1 - height], [x1, y1], [x1, y2], [x2 - width, y2 - height], [x2, y1]];
  for (let y = y1 + height; y < Math.min(y2, image.height); y += height) corners.push([x1, y]);
  const places = corners.map(([x, y]) => {
    const left = Math.max(0, Math.min(x, image.width - width));
    const up = Math.max(0, Math.min(y, image.height - height));
    return [left, up, left + width, up + height];
  });
  const common = (a, b) =>
    Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) *
    Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  const isFree = (place) =>
    taken.every((other) => common(place, other) === 0) &&
    boxes.every((b) => b === box || common(place, b) <= MOST_COVERED * areaOf({ box: b }));
  return places.find(isFree) ?? null;
}
