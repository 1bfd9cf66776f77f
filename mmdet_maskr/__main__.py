"""``python -m mmdet_maskr``: what is installed here, for bug reports."""

from __future__ import annotations

import argparse

from mmdet_maskr.environment import describe

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m mmdet_maskr",
        description="Print versions, devices, MMCV's ops and the registered parts: paste it into "
        "bug reports. It has no paths and no names of yours.",
    )
    parser.parse_args()
    print(describe())
