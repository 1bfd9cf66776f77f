"""``python -m mmdet_maskr COMMAND`` is ``maskr COMMAND``; without a command it is ``maskr env``."""

from __future__ import annotations

import sys

import maskr

if __name__ == "__main__":
    maskr.main(sys.argv[1:] or ["env"])
