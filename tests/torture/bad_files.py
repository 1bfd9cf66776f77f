"""Images and checkpoints that are not what they should be, each with what is said about it."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

SIDE = 96  # of the images of the small shapes


class BadImage(NamedTuple):
    """``says`` is why it is replaced, None where it is used as it is; ``raises`` a UserError."""

    name: str
    write: Callable[[Path], object]
    says: str | None = None
    raises: str | None = None


def _noise(channels: int = 3, side: int = SIDE, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max, (side, side, channels), dtype).squeeze()


def _encoded(suffix: str, image: np.ndarray | None = None) -> bytes:
    return cv2.imencode(suffix, _noise() if image is None else image)[1].tobytes()


def _png_of_size(width: int, height: int) -> bytes:
    """A PNG that claims a size; the checksum is right."""
    content = bytearray(_encoded(".png"))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


IMAGES = [
    BadImage("missing", lambda path: path.unlink(), "No such file"),
    BadImage("a folder", _folder, "Is a directory"),
    BadImage("a link to itself", _loop, "symbolic links"),
    BadImage("empty", _bytes(b""), "cannot be decoded"),
    BadImage("a web page", _bytes(b"<html>404</html>"), "cannot be decoded"),
    BadImage("zeros", _bytes(bytes(1000)), "cannot be decoded"),
    BadImage("a header alone", _bytes(_encoded(".png")[:40]), "cannot be decoded"),
    BadImage("a JPEG's header alone", _bytes(_encoded(".jpg")[:100]), "cannot be decoded"),
    BadImage("claims 100,000 x 100,000", _bytes(_png_of_size(100_000, 100_000)),
             "cannot be decoded"),
    BadImage("claims no pixels", _bytes(_png_of_size(0, 0)), "cannot be decoded"),
    BadImage("a PDF", _bytes(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), "cannot be decoded"),
    BadImage("of another size", _bytes(_encoded(".png", _noise(side=64))),
             raises=r"has 64 x 64 pixels, but 96 x 96"),
    BadImage("gray", _bytes(_encoded(".png", _noise(1)))),
    BadImage("with transparency", _bytes(_encoded(".png", _noise(4)))),
    BadImage("of 16 bits", _bytes(_encoded(".png", _noise(3, dtype=np.uint16)))),
    BadImage("a JPEG under a wrong name", _bytes(_encoded(".jpg"))),
]  # fmt: skip


class Call:
    """Pickles as a call of ``os.system``."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class BadSource(NamedTuple):
    """A file that tools/convert_weights.py is given, named in place of {file}."""

    name: str
    write: Callable[[Path], object]
    says: str
    file: str = "model.pth"
    args: str = "{file} {out} --from torchvision"


def _torch(value: object) -> Callable[[Path], object]:
    return lambda path: torch.save(value, path)


def _pickle(value: object) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(pickle.dumps(value, protocol=2))


def _cut(path: Path) -> None:
    torch.save(dict(weight=torch.zeros(1000)), path)
    path.write_bytes(path.read_bytes()[:2000])


def _yaml(text: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        path.with_suffix(".yaml").write_text(text)
        torch.save({"model": {"proposal_generator.rpn_head.conv.weight": torch.zeros(1)}}, path)

    return write


DETECTRON2 = "{file} {out} --from detectron2 --source-config {yaml}"
SOURCES = [
    BadSource("missing", lambda path: None, r"no checkpoint .*model\.pth"),
    BadSource("a folder", lambda path: path.mkdir(), r"no checkpoint .*model\.pth"),
    BadSource("empty", lambda path: path.touch(), r"model\.pth cannot be read"),
    BadSource("a text", lambda path: path.write_text("x"), r"model\.pth cannot be read"),
    BadSource("cut off", _cut, r"model\.pth cannot be read"),
    BadSource("a list", _torch([1, 2]), r"contains a list, not a dictionary"),
    BadSource("without weights", _torch(dict(epoch=3)), r"contains no weights"),
    BadSource("texts for weights", _torch(dict(model={"rpn.head.conv.weight": "x"})),
              r"rpn\.head\.conv\.weight is a str, not an array of numbers"),
    BadSource("of another codebase",
              _torch(dict(state_dict={"rpn_head.rpn_cls.weight": torch.zeros(1)})),
              r"not a two-stage detector of torchvision.*--from mmdet"),
    BadSource("of a classifier", _torch({"fc.weight": torch.zeros(10, 10)}),
              r"not a two-stage detector of torchvision"),
    BadSource("with code", _torch(dict(a=Call("touch witness"))), r"refused.*could run code"),
    BadSource("a pickle with code", _pickle(dict(a=Call("touch witness"))),
              r"refused.*could run code", file="model.pkl"),
    BadSource("a damaged pickle", lambda path: path.write_bytes(b"\x80\x02}q"),
              r"model\.pkl cannot be read", file="model.pkl"),
    BadSource("settings missing", _torch(dict(model={})), r"none\.yaml", args=DETECTRON2.replace(
        "{yaml}", "none.yaml")),
    BadSource("settings with code", _yaml("a: !!python/object/apply:os.system ['touch witness']"),
              r"model\.yaml", args=DETECTRON2),
    BadSource("settings of nothing", _yaml("[1, 2]"), r"model\.yaml", args=DETECTRON2),
    BadSource("settings without a model", _yaml("MODEL: {META_ARCHITECTURE: RetinaNet}"),
              r"RetinaNet", args=DETECTRON2),
]  # fmt: skip
