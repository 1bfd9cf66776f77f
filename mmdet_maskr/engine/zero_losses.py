"""Finds losses that are exactly 0 from the first iteration on."""

from __future__ import annotations

from collections.abc import Mapping

from mmdet_maskr.cli.spelling import call

ITERATIONS = 20  # of which single ones may be 0: an image without objects has no loss of boxes


class ZeroLosses:
    """Watches the parts of the loss until each was above 0, or was 0 for long enough.

    Args:
        patience: iterations until it is reported.
    """

    def __init__(self, patience: int = ITERATIONS) -> None:
        self.patience = patience
        self._zero: set[str] | None = None  # names that were 0 so far
        self._seen = 0

    @property
    def done(self) -> bool:
        """Whether there is nothing left to look for."""
        return self._zero == set()

    def add(self, parts: Mapping[str, float]) -> str | None:
        """Look at an iteration's parts of the loss; a sentence where the patience is over.

        Args:
            parts: by name; those without 'loss' in their name are left alone.
        """
        if self.done:
            return None
        zero = {name for name, value in parts.items() if "loss" in name and value == 0}
        self._zero = zero if self._zero is None else self._zero & zero
        self._seen += 1
        return self.report() if self._seen >= self.patience else None

    def report(self) -> str | None:
        """The sentence, once; None where no part was 0 all the time."""
        names, self._zero = self._zero, set()
        if not names:
            return None
        return (
            f"{', '.join(sorted(names))}: exactly 0 in each of the first {self._seen} iterations, "
            "so that nothing is learned there. Most often no annotation fits: look at the data by "
            f"{call('check')} and {call('browse')}."
        )
