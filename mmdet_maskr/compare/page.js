// The page: its controls, its panels and its table. Texts of the content are put in as text only.

const content = JSON.parse(document.getElementById("content").textContent);
const { classes, models, images } = content;
const hasTruth = content.truth !== null;
const every = images.flatMap((image) => [
  ...image.results.flatMap((result) => result.detections),
  ...(image.truth ?? []),
]);
const layers = { boxes: true, masks: true, keypoints: true, labels: true, truth: true };
const state = { image: 0, threshold: 0.5, reference: "", overlap: 0.5, hidden: new Set() };
const pairings = new Map(); // by the lists of detections of the one side and of the other
const skeletons = {};
for (const { skeleton } of models) {
  if (skeleton) skeletons[skeleton.colors.length] ??= skeleton;
}
const at = (id) => document.getElementById(id);

function add(parent, tag, properties = {}, attributes = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  parent.append(element);
  return element;
}

// ---------------------------------------------------------------------------------- what is shown
// A panel's key is "truth" or a model's number; its detections at the present threshold.
function all(image, key) {
  return key === "truth" ? (image.truth ?? []) : image.results[key].detections;
}

function visible(image, key) {
  return all(image, key).filter(
    (d) => !state.hidden.has(d.label) && (d.score ?? 1) >= state.threshold,
  );
}

function isKnown(image, key) {
  return key !== "truth" || image.truth !== null;
}

function differences(image, key) {
  if (state.reference === "" || String(key) === state.reference) return null;
  if (!isKnown(image, key) || !isKnown(image, state.reference)) return null;
  const sides = [all(image, key), all(image, state.reference)];
  const pairs = cached(cached(pairings, sides[0], () => new Map()), sides[1], () =>
    pairsOf(...sides),
  );
  return compare(visible(image, key), visible(image, state.reference), pairs, state.overlap);
}

// ---------------------------------------------------------------------------------------- controls
function makeControls() {
  at("title").textContent = content.title;
  document.title = content.title;
  for (const note of content.notes) add(at("notes"), "li", { textContent: note });
  at("notes").hidden = content.notes.length === 0;
  const names = {
    boxes: every.length > 0 && "Boxes",
    masks: every.some((d) => d.mask) && "Masks",
    keypoints: every.some((d) => d.keypoints) && "Keypoints",
    labels: every.length > 0 && "Labels",
    truth: hasTruth && content.truth.name,
  };
  for (const [key, name] of Object.entries(names)) {
    if (!name) continue;
    const label = add(at("layers"), "label");
    const box = add(label, "input", { type: "checkbox", checked: true, id: `layer-${key}` });
    label.append(name);
    box.addEventListener("change", () => {
      layers[key] = box.checked;
      update();
    });
  }
  const reference = at("reference");
  add(reference, "option", { value: "", textContent: "off" });
  models.forEach(({ name }, i) => add(reference, "option", { value: i, textContent: name }));
  if (hasTruth) {
    add(reference, "option", { value: "truth", textContent: content.truth.name });
  }
  reference.addEventListener("change", () => {
    state.reference = reference.value;
    update();
  });
  for (const key of ["threshold", "overlap"]) {
    at(key).addEventListener("input", () => {
      state[key] = Number(at(key).value);
      at(`${key}-value`).value = state[key].toFixed(2);
      update();
    });
  }
  images.forEach((image, i) => {
    add(at("image"), "option", { value: i, textContent: `${i + 1}/${images.length} ${image.name}` });
    const button = add(at("strip"), "button", { type: "button" }, { "aria-label": image.name });
    add(button, "img", { src: image.source, alt: "", decoding: "async" });
    add(button, "span", { hidden: true });
    button.addEventListener("click", () => show(i));
  });
  at("images").hidden = at("strip").hidden = images.length < 2;
  at("image").addEventListener("change", () => show(Number(at("image").value)));
  at("previous").addEventListener("click", () => show(state.image - 1));
  at("next").addEventListener("click", () => show(state.image + 1));
  document.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const busy = event.target.closest("input, select, [role=region]");
    if (step && !busy && !event.altKey && !event.ctrlKey && !event.metaKey) {
      show(state.image + step);
    }
  });
}

function show(number) {
  state.image = (number + images.length) % images.length;
  at("image").value = state.image;
  const { name, source } = images[state.image];
  for (const panel of panels) Object.assign(panel.picture, { src: source, alt: name });
  const current = at("strip").children[state.image];
  const strip = at("strip");
  strip.scrollLeft = current.offsetLeft - strip.offsetLeft - strip.clientWidth / 2 + 42;
  fit();
}

// ------------------------------------------------------------------------------------------ panels
const panels = [];

function makePanels() {
  const keys = hasTruth ? ["truth", ...models.keys()] : [...models.keys()];
  for (const key of keys) {
    const figure = add(at("panels"), "figure", { id: `panel-${key}` });
    const caption = add(figure, "figcaption");
    const name = key === "truth" ? content.truth.name : models[key].name;
    add(caption, "strong", { textContent: name });
    const count = add(caption, "span", { className: "count" });
    const stage = add(figure, "div", { className: "stage" });
    const picture = add(stage, "img", { draggable: false });
    const svg = shape(stage, "svg", { role: "img" });
    const drawing = new Drawing(svg, classes, skeletons);
    panels.push({ key, name, figure, count, stage, picture, svg, drawing });
  }
}

// Pictures keep their shape and stay as low as the window; lines and letters stay as they are.
function fit() {
  const image = images[state.image];
  const tall = 0.8 * (window.frameElement ? window.parent.innerHeight : window.innerHeight);
  for (const { stage } of panels) {
    stage.style.aspectRatio = `${image.width} / ${image.height}`;
    stage.style.maxWidth = `${(tall * image.width) / image.height}px`;
  }
  update();
}

function update() {
  const image = images[state.image];
  for (const panel of panels) {
    panel.figure.hidden = panel.key === "truth" && !layers.truth;
    if (!panel.figure.hidden) updatePanel(panel, image);
  }
  at("key").hidden = at("overlap-label").hidden = state.reference === "";
  updateClasses(image);
  updateStrip();
}

function updatePanel(panel, image) {
  const found = visible(image, panel.key);
  const difference = differences(image, panel.key);
  const marks = difference
    ? ["common", "missing", "extra"].flatMap((mark) => difference[mark].map((d) => [d, mark]))
    : found.map((d) => [d, ""]);
  const unit = image.width / (panel.stage.clientWidth || image.width);
  panel.drawing.show(image, marks, layers, unit);
  panel.figure.classList.toggle("reference", String(panel.key) === state.reference);
  const text = countText(panel.key, image, found, difference);
  panel.count.textContent = text;
  panel.svg.setAttribute("aria-label", `${panel.name} on ${image.name}: ${text}`);
}

function countText(key, image, found, difference) {
  if (!isKnown(image, key)) return "no annotations of this image";
  if (difference) {
    const { extra, missing, common } = difference;
    return `+${extra.length}, −${missing.length}, ${common.length} in common`;
  }
  if (key === "truth") return `${found.length} objects`;
  const { detections, milliseconds } = image.results[key];
  return `${found.length} of ${detections.length} detections, ${milliseconds.toFixed(0)} ms`;
}

function updateClasses(image) {
  const here = [...image.results.flatMap((r) => r.detections), ...(image.truth ?? [])];
  const labels = [...new Set(here.map((d) => d.label))].sort((a, b) => a - b);
  const group = at("classes");
  const focused = [...group.children].findIndex((button) => button === document.activeElement);
  group.replaceChildren();
  group.hidden = labels.length === 0;
  for (const label of labels) {
    const pressed = String(!state.hidden.has(label));
    const button = add(group, "button", { type: "button" }, { "aria-pressed": pressed });
    if (!content.by_instance) {
      const patch = shape(button, "svg", { viewBox: "0 0 12 12", "aria-hidden": "true" });
      shape(patch, "circle", { cx: 6, cy: 6, r: 6, fill: classes[label].color });
    }
    button.append(classes[label].name);
    button.addEventListener("click", () => {
      if (!state.hidden.delete(label)) state.hidden.add(label);
      update();
    });
  }
  group.children[focused]?.focus();
}

// The number of differences on each small picture, where one looks for them.
function updateStrip() {
  [...at("strip").children].forEach((button, i) => {
    button.setAttribute("aria-current", String(i === state.image));
    let count = 0;
    for (const { key } of panels) {
      const difference = key === "truth" ? null : differences(images[i], key);
      if (difference) count += difference.extra.length + difference.missing.length;
    }
    const badge = button.lastChild;
    badge.hidden = state.reference === "";
    badge.textContent = count;
    const text = badge.hidden ? images[i].name : `${images[i].name}, ${count} differences`;
    button.setAttribute("aria-label", text);
  });
}

// ------------------------------------------------------------------------------------------- table
const millions = (value) => `${(value / 1e6).toFixed(1)} M`;
const COLUMNS = [
  { name: "Parameters", get: (m) => m.parameters, text: millions, better: Math.min },
  {
    name: "GFLOPs",
    small: `at ${content.measured.operations}`,
    get: (m) => m.operations,
    text: (value) => (value / 1e9).toFixed(1),
    better: Math.min,
  },
  {
    name: "ms an image",
    small: "median",
    get: (m) => m.milliseconds,
    text: (value) => value.toFixed(0),
    better: Math.min,
  },
  ...["box", "mask", "keypoint"].map((kind) => ({
    name: `${kind} AP`,
    small: "%",
    get: (m) => m.scores[kind] ?? null,
    text: (value) => value.toFixed(1),
    better: Math.max,
    optional: true,
    measured: true,
  })),
];

function makeTable() {
  const used = COLUMNS.filter((c) => !c.optional || models.some((m) => c.get(m) !== null));
  add(at("columns"), "th", { textContent: "Model", scope: "col" });
  for (const column of used) {
    const head = add(at("columns"), "th", { textContent: column.name, scope: "col" });
    if (column.small) add(head, "small", { textContent: column.small });
  }
  add(at("columns"), "th", { textContent: "Config and weights", scope: "col", className: "text" });
  for (const model of models) {
    const row = add(at("rows"), "tr");
    add(row, "th", { textContent: model.name, scope: "row" });
    for (const { name, small, get, text, better, measured } of used) {
      const value = get(model);
      const cell = add(row, "td", { textContent: value === null ? "–" : text(value) });
      cell.dataset.name = small ? `${name} (${small})` : name; // its head, on narrow screens
      const others = models.map(get).filter((other) => other !== null);
      const equal = others.every((other) => other === others[0]);
      const comparable = !measured || models.every((m) => m.scores_from === null);
      const best = !equal && comparable && value !== null && value === better(...others);
      cell.classList.toggle("best", best);
    }
    const files = add(row, "td", { className: "text" });
    for (const path of [model.config, model.weights]) add(files, "div", { textContent: path });
  }
  for (const remark of remarks()) add(at("remarks"), "li", { textContent: remark });
}

function remarks() {
  const { device, ann, ann_images: scored } = content.measured;
  const lines = [`Time: one image after another, from the file to the masks, on ${device}.`];
  if (ann !== null) lines.push(`AP: COCO's, measured on ${scored} of these images with ${ann}.`);
  for (const { name, scores_from: source } of models) {
    if (source !== null) lines.push(`AP of ${name}: published for its config by ${source}.`);
  }
  return lines;
}

// In the live form the page is a frame, which is made as tall as what is in it.
function fillFrame() {
  const frame = window.frameElement;
  if (!frame) return;
  const root = document.documentElement;
  root.classList.add("framed");
  const fill = () => Object.assign(frame.style, { height: `${root.offsetHeight + 2}px` });
  new ResizeObserver(() => requestAnimationFrame(fill)).observe(root);
}

// Scroll bars come and go, and change the width, without an event of the window.
function watchWidth(element, changed) {
  let before = element.clientWidth;
  new ResizeObserver(() => {
    if (element.clientWidth === before) return;
    before = element.clientWidth;
    requestAnimationFrame(changed);
  }).observe(element);
}

makeControls();
makePanels();
makeTable();
show(0);
window.addEventListener("resize", fit);
watchWidth(at("panels"), fit);
fillFrame();
