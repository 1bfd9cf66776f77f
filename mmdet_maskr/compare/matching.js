// Which detections two models have in common: pure functions on the content's detections.

// IoU of two boxes [x1, y1, x2, y2]; with `ofFirst`, the share of the first inside of the second.
function overlapOf(a, b, ofFirst = false) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  const shared = width * height;
  return shared / (ofFirst ? area(a) : area(a) + area(b) - shared);
}

// What stands on one side alone. Pairs of one class are joined from the largest IoU down, so that
// the result does not depend on which side is called the first. A crowd, which is many objects,
// takes what lies in it and is itself no object that could be missing.
function compare(here, there, least) {
  const pairs = [];
  const taken = { here: new Set(), there: new Set() };
  here.forEach((a, i) => {
    there.forEach((b, j) => {
      if (a.label !== b.label) return;
      if (a.crowd || b.crowd) {
        if (!a.crowd && overlapOf(a.box, b.box, true) >= least) taken.here.add(i);
        if (!b.crowd && overlapOf(b.box, a.box, true) >= least) taken.there.add(j);
        return;
      }
      const overlap = overlapOf(a.box, b.box);
      if (overlap >= least) pairs.push([overlap, i, j]);
    });
  });
  pairs.sort((p, q) => q[0] - p[0] || p[1] - q[1] || p[2] - q[2]);
  const joined = { here: new Set(), there: new Set() };
  for (const [, i, j] of pairs) {
    if (joined.here.has(i) || joined.there.has(j)) continue;
    joined.here.add(i);
    joined.there.add(j);
  }
  const alone = (side, name) =>
    side.filter((d, i) => !d.crowd && !joined[name].has(i) && !taken[name].has(i));
  const extra = alone(here, "here");
  return {
    extra,
    missing: alone(there, "there"),
    common: here.filter((d) => !extra.includes(d)),
  };
}
