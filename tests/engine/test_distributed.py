"""Two gloo processes train like one process with the same total batch."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmdet_maskr.datasets import shapes

HERE = Path(__file__).parent
BOXES = [(8, 8, 32, 32), (48, 40, 36, 30), (20, 50, 18, 34)]  # x, y, w, h; the same on all images


@pytest.fixture(scope="module")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 noisy images with boxes at the same places, of other colors and keypoints each."""
    root = tmp_path_factory.mktemp("toy")
    (root / "annotations").mkdir()
    (root / "train").mkdir()
    rng = np.random.default_rng(0)
    content = dict(images=[], annotations=[], categories=[])
    for i, name in enumerate(shapes.CLASSES, start=1):
        content["categories"].append(dict(id=i, name=name))
    for i in range(16):
        image = rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)
        for k, (x, y, w, h) in enumerate(BOXES):
            image[y : y + h, x : x + w] = rng.integers(0, 255, 3)
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            points = rng.integers((x, y), (x + w, y + h), (len(shapes.KEYPOINTS), 2))
            keypoints = [value for point in points.tolist() for value in (*point, 2)]
            content["annotations"].append(
                dict(id=3 * i + k, image_id=i, category_id=1 + (i + k) % 6, bbox=[x, y, w, h],
                     area=w * h, iscrowd=0, segmentation=[polygon], keypoints=keypoints,
                     num_keypoints=len(points))
            )  # fmt: skip
        cv2.imwrite(str(root / "train" / f"{i}.png"), image)
        content["images"].append(dict(id=i, file_name=f"{i}.png", width=96, height=96))
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return root


def train(command: list[str], work_dir: Path, data: Path, batch_size: int, **env: str) -> dict:
    """Run a training command; returns the parameters of each process by rank."""
    command = [
        *command, "--work-dir", str(work_dir), "--data-root", str(data),
        "--cfg-options", f"train_dataloader.batch_size={batch_size}",
    ]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parents[1]}", "PATH": _path(), **env}
    result = subprocess.run(command, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return {file.stem: torch.load(file) for file in sorted(work_dir.glob("rank_*.pth"))}


def _path() -> str:
    """PATH on which `python` is this interpreter."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def largest_difference(a: dict, b: dict) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path, repo: Path, toy_data: Path):
    """Four SGD steps: 2 processes x 2 images against 1 x 4 images, within 3e-4.

    The sums of gradients are rounded in another order; other batches differ by hundreds of times.
    """
    config = str(HERE / "distributed_config.py")
    dist_train = [sys.executable, str(repo / "tools" / "dist_train.py"), config, "2"]
    two = train(dist_train, tmp_path / "two", toy_data, 2, PORT=free_port())
    single = [sys.executable, str(repo / "tools" / "train.py"), config]
    one = train(single, tmp_path / "one", toy_data, 4)
    half = train(single, tmp_path / "half", toy_data, 2)

    assert sorted(two) == ["rank_0", "rank_1"]
    assert largest_difference(two["rank_0"], two["rank_1"]) == 0
    assert largest_difference(two["rank_0"], one["rank_0"]) <= 3e-4
    # the comparison can fail: other batches give other parameters
    assert largest_difference(one["rank_0"], half["rank_0"]) > 5e-3


def test_wrong_number_of_processes(repo: Path):
    command = [sys.executable, str(repo / "tools" / "dist_train.py"), "config.py", "two"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "must be a whole number from 1, not 'two'" in result.stderr


@pytest.mark.parametrize("tool", ["dist_train.sh", "dist_test.sh", "slurm_train.sh"])
def test_launchers_print_their_usage(repo: Path, tool: str):
    env = {**os.environ, "PYTHON": sys.executable}
    command = ["bash", str(repo / "tools" / tool)]
    result = subprocess.run(command, capture_output=True, text=True, env=env)
    assert result.returncode == 2
    assert f"tools/{tool.removesuffix('.sh')}" in result.stderr


@pytest.fixture
def torchrun(repo: Path):
    spec = importlib.util.spec_from_file_location("_torchrun", repo / "tools" / "_torchrun.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_launchers_pass_nodes_and_arguments(torchrun, repo: Path, monkeypatch: pytest.MonkeyPatch):
    """NNODES, NODE_RANK, MASTER_ADDR, PORT and MAX_RESTARTS reach torchrun."""
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "10.0.0.7")
    given = dict(NNODES="4", NODE_RANK="3", MASTER_ADDR="10.0.0.1", PORT="1234")
    rest = ["c.py", "--amp", "--resume"]
    assert torchrun.arguments("train.py", 8, rest, given, 3) == [
        "--nnodes=4", "--rdzv_backend=c10d", "--rdzv_endpoint=10.0.0.1:1234", "--rdzv_id=1234",
        "--rdzv_conf=is_host=0,read_timeout=1800", "--nproc_per_node=8", "--max_restarts=3",
        str(repo / "tools" / "train.py"), *rest, "--launcher", "pytorch",
    ]  # fmt: skip
    alone = torchrun.arguments("test.py", 2, ["c.py", "w.pth"], dict(MAX_RESTARTS="7"), 0)
    assert {"--rdzv_conf=is_host=1", "--local_addr=127.0.0.1", "--max_restarts=7"} <= set(alone)


@pytest.mark.parametrize("leads", ["127.0.1.1", None])
def test_nodes_whose_names_lead_nowhere(torchrun, monkeypatch: pytest.MonkeyPatch, leads):
    """They are found by the address that leads to MASTER_ADDR, on its interface."""

    def resolve(name: str) -> str:
        if leads is None:
            raise socket.gaierror(name)
        return leads

    monkeypatch.setattr(socket, "gethostbyname", resolve)
    given = dict(NNODES="2", NODE_RANK="0", MASTER_ADDR="127.0.0.1", PORT="1234")
    assert "--local_addr=127.0.0.1" in torchrun.arguments("train.py", 1, [], given, 3)
    loopback = torchrun.interface_of("127.0.0.1")
    assert loopback in [name for _, name in socket.if_nameindex()]
    assert torchrun.environment(1, given)["GLOO_SOCKET_IFNAME"] == loopback
    # what the caller says counts
    assert torchrun.local_address(dict(given, PET_LOCAL_ADDR="10.0.0.2")) is None
    chosen = torchrun.environment(1, dict(given, GLOO_SOCKET_IFNAME="eth7"))
    assert chosen["GLOO_SOCKET_IFNAME"] == "eth7"
    assert "GLOO_SOCKET_IFNAME" not in torchrun.environment(1, dict(NNODES="1"))
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "10.0.0.7")
    assert torchrun.local_address(given) is None
    assert "GLOO_SOCKET_IFNAME" not in torchrun.environment(1, given)
    assert torchrun.interface_of("203.0.113.1") is None


def test_processes_share_the_cores(torchrun, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert torchrun.environment(3, {})["OMP_NUM_THREADS"] == "2"
    assert torchrun.environment(16, {})["OMP_NUM_THREADS"] == "1"
    assert torchrun.environment(3, dict(OMP_NUM_THREADS="5"))["OMP_NUM_THREADS"] == "5"


def test_launchers_take_the_interpreter(repo: Path, tmp_path: Path):
    mine = tmp_path / "mine"
    mine.write_text('#!/bin/sh\necho mine "$@"\n')
    mine.chmod(0o755)
    for tool in ("train", "test"):
        script = repo / "tools" / f"dist_{tool}.sh"
        env = {**os.environ, "PYTHON": str(mine)}
        command = ["bash", str(script), "c.py", "8", "--amp"]
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        assert done.stdout.strip() == f"mine {script.with_suffix('.py')} c.py 8 --amp"


def test_slurm_passes_its_variables(repo: Path, tmp_path: Path):
    """GPUS and friends reach srun."""
    fake = tmp_path / "srun"
    fake.write_text('#!/bin/sh\necho "$@"\n')
    fake.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    tools = repo / "tools"

    def output(*command: str, **extra: str) -> str:
        result = subprocess.run(
            ["bash", *command], env={**env, **extra}, capture_output=True, text=True, check=True
        )
        return result.stdout.strip()

    slurm = output(
        f"{tools}/slurm_train.sh", "gpu", "job", "c.py", "w", "--amp",
        GPUS="16", SRUN_ARGS="--exclusive --time=1:00",
    )  # fmt: skip
    assert slurm == (
        "-p gpu --job-name=job --gres=gpu:8 --ntasks=16 --ntasks-per-node=8 --cpus-per-task=5 "
        f"--kill-on-bad-exit=1 --exclusive --time=1:00 python -u {tools}/train.py c.py "
        "--work-dir=w --launcher=slurm --amp"
    )
