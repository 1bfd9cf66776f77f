"""Print versions, devices, MMCV's ops and the registered parts: paste it into bug reports.

The output contains no paths and no user names.
"""

from __future__ import annotations

import argparse

from mmdet_maskr.cli.arguments.common import add_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    add_json(parser, "the same")
