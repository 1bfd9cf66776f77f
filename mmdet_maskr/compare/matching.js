// Which detections two models have in common: pure functions on the content's detections.

const LEAST_OVERLAP = 0.1; // of the slider

// IoU of two boxes [x1, y1, x2, y2]; with `ofFirst`, the share of the first inside of the second.
function overlapOf(a, b, ofFirst = false) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  const shared = width * height;
  return shared / (ofFirst ? area(a) : area(a) + area(b) - shared);
}

// Pairs [overlap, here, there] of one class from the largest IoU down, and [share, object, crowd]
// of what lies in a crowd, whichever side that is on. Scores play no part in it.
function pairsOf(here, there) {
  const pairs = [];
  const crowded = [];
  for (const a of here) {
    for (const b of there) {
      if (a.label !== b.label) continue;
      if (a.crowd || b.crowd) {
        const [single, crowd] = a.crowd ? [b, a] : [a, b];
        if (!single.crowd) crowded.push([overlapOf(single.box, crowd.box, true), single, crowd]);
        continue;
      }
      const overlap = overlapOf(a.box, b.box);
      if (overlap >= LEAST_OVERLAP) pairs.push([overlap, a, b]);
    }
  }
  pairs.sort((p, q) => q[0] - p[0]);
  return { pairs, crowded };
}

// What stands on one side alone, of what is visible (two lists). Pairs are joined from the largest
// IoU down, so that it does not matter which side is called the first. A crowd, which is many
// objects, takes what lies in it and is itself no object that could be missing.
function compare(here, there, { pairs, crowded }, least) {
  const visible = new Set([...here, ...there]);
  const joined = new Set();
  for (const [overlap, a, b] of pairs) {
    if (overlap < least) break;
    if (!visible.has(a) || !visible.has(b) || joined.has(a) || joined.has(b)) continue;
    joined.add(a).add(b);
  }
  for (const [share, single, crowd] of crowded) {
    if (share >= least && visible.has(single) && visible.has(crowd)) joined.add(single);
  }
  const isAlone = (detection) => !detection.crowd && !joined.has(detection);
  return {
    extra: here.filter(isAlone),
    missing: there.filter(isAlone),
    common: here.filter((detection) => !isAlone(detection)),
  };
}
