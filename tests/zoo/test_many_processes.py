"""The one line of the pages, in eight real processes at once, at full width and by real checksums.

The mirror's file has the published MD5, as far as that is published: the bytes after a pickle's end
are free, and are tried until the first digits agree.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2
import mirror
import numpy as np
import pytest
from local_server import Server, ok

from mmdet_maskr.zoo import catalogue, home

NAME = "mask_rcnn_R_50_FPN_3x"
PROCESSES = 8
LINE = (
    "import json; from mmdet_maskr.apis import MaskRInferencer; "
    "found = MaskRInferencer.from_pretrained({name!r})('photo.jpg'); "
    "print(json.dumps(found['predictions'][0]['scores'][:3]))"
)
LOCAL = LINE.replace(".from_pretrained({name!r})", "({config!r}, {weights!r})")


def with_md5(content: bytes, digits: str) -> bytes:
    """The content, and four bytes after it that make its MD5 begin with six digits."""
    begun, wanted = hashlib.md5(content, usedforsecurity=False), bytes.fromhex(digits)
    for number in itertools.count():
        tail = number.to_bytes(4, "little")
        tried = begun.copy()
        tried.update(tail)
        if tried.digest().startswith(wanted):
            return content + tail
    raise AssertionError


def start(code: str, folder: Path, env: Mapping[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def scores(process: subprocess.Popen) -> list[float]:
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-2000:]
    return json.loads(out.splitlines()[-1])


def cpu_seconds(code: str, folder: Path, env: Mapping[str, str]) -> float:
    """Of a process that runs code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    scores(start(code, folder, env))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
def test_the_line_of_the_pages(tmp_path: Path, repo: Path):
    model = catalogue.find(NAME)
    arrays = {name: value.numpy() for name, value in mirror.detectron2_state(model).items()}
    content = pickle.dumps(dict(model=arrays, __author__="Detectron2 Model Zoo"))
    content = with_md5(content, model.checksum.removeprefix("md5:"))
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "photo.jpg"), pixels)
    server = Server(lambda connection, path: connection.sendall(ok(content)))
    env = {
        **os.environ, "PYTHONPATH": str(repo), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
        home.HOME: str(tmp_path / "home"), home.MIRROR: server.url,
    }  # fmt: skip
    line = LINE.format(name=NAME)
    children = [start(line, tmp_path, env) for _ in range(PROCESSES)]
    found = [scores(child) for child in children]
    server.close()
    assert found == [found[0]] * PROCESSES
    assert len(server.requests) == 1, "one fetches it, and the others wait"
    folder = Path(env[home.HOME]) / "models" / NAME
    local = LOCAL.format(
        config=str(folder / "config.py"), weights=str(folder / "model.safetensors")
    )
    named = min(cpu_seconds(line, tmp_path, env) for _ in range(2))
    plain = min(cpu_seconds(local, tmp_path, env) for _ in range(2))
    print(f"a second start by name: {named:.1f} s of CPU; from the local files: {plain:.1f} s")
    assert named < plain + 2.0
