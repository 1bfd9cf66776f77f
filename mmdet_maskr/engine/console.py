"""Short console messages of a training, one line each.

The log file in the work dir keeps everything, as mmengine writes it.
"""

from __future__ import annotations

import logging
import re

from mmengine.logging import MMLogger

# Messages of mmengine that users do not need, or that a shorter line replaces.
_LEFT_OUT = re.compile(
    r'"FileClient" will be|"HardDiskBackend" is the alias|Exp name: |Saving checkpoint at|'
    r"Evaluating \w+\.\.\.|\w+ is evaluated by |\w+_mAP_copypaste: |Checkpoints will be saved to|"
    r"The best checkpoint with|The previous best checkpoint|Loads checkpoint by|"
    r"MMCV's ops are computed|Load checkpoint from|Distributed training is not used|"
    r"Auto resumed from|Advance dataloader|nothing is left to train"
)
_TRAIN = re.compile(
    r"Iter\(train\) \[\s*(?P<at>\d+/\d+)\].*?eta: (?P<left>.*?)  .*?loss: (?P<loss>\S+)"
)
_RESUMED = re.compile(r"resumed epoch: \d+, iter: (\d+)")
_SCORE = re.compile(r"coco/(bbox|segm|keypoints)_mAP: (\S+)")
_KINDS = dict(bbox="box", segm="mask", keypoints="keypoint")


def shorten_console(logger: MMLogger) -> None:
    """Show only short lines on the console of a logger; its file keeps everything."""
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not hasattr(handler, "baseFilename"):
            handler.addFilter(is_short)
            handler.setFormatter(ShortLines())


def is_short(record: logging.LogRecord) -> bool:
    """Whether the console shows a record: warnings, and useful messages of one line."""
    message = record.getMessage()
    if _LEFT_OUT.match(message):
        return False
    return record.levelno > logging.INFO or "\n" not in message.strip()


class ShortLines(logging.Formatter):
    """Time and message; iterations and validations are shortened."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s  %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of a record; other handlers still get the full record."""
        text = short_message(record.getMessage())
        if record.levelno > logging.INFO:
            text = f"{record.levelname}: {text}"
        return f"{self.formatTime(record, self.datefmt)}  {text}"


def short_message(message: str) -> str:
    """Shorten a message of mmengine's LoggerHook or about a resume; others stay unchanged."""
    train = _TRAIN.match(message)
    if train is not None:
        return f"iteration {train['at']}, loss {float(train['loss']):.3g}, {train['left']} left"
    resumed = _RESUMED.match(message)
    if resumed is not None:
        return f"resumed after iteration {resumed[1]}"
    if message.startswith("Iter(val)") and (scores := _SCORE.findall(message)):
        named = (f"{_KINDS[kind]} AP {100 * max(float(score), 0):.1f}" for kind, score in scores)
        return f"validation: {', '.join(named)}"
    return message
