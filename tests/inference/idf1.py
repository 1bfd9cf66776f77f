"""IDF1 of tracks: how much of the ground truth's tracks one track each has found.

Ristani et al., Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking, 2016.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

Frame = Sequence[tuple[int | None, int | None]]


def idf1(frames: Sequence[Frame]) -> float:
    """2 IDTP / (2 IDTP + IDFP + IDFN), for the pairing of tracks that gives the most IDTP.

    Args:
        frames: for each frame, pairs of a true id and the id that its detection was given; None
            for the true id of a detection that is no object, and for the id of an object that was
            not detected or given none.
    """
    pairs = [pair for frame in frames for pair in frame]
    together = Counter((t, f) for t, f in pairs if t is not None and f is not None)
    true = sorted({t for t, _ in pairs if t is not None})
    found = sorted({f for _, f in pairs if f is not None})
    counts = np.array([[together[t, f] for f in found] for t in true]).reshape(len(true), -1)
    idtp = counts[linear_sum_assignment(counts, maximize=True)].sum()
    lengths = sum(t is not None for t, _ in pairs) + sum(f is not None for _, f in pairs)
    return 2 * idtp / lengths
