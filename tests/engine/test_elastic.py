"""Two gloo processes of which one dies or hangs: restarted, finished, equal to undisturbed ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import child_training as child
import pytest
from test_distributed import free_port

CONFIG = """
_base_ = {base!r}
train_cfg = dict(max_epochs=2)
model = dict(backbone=dict(norm_eval=True))
val_cfg = val_dataloader = val_evaluator = None
default_hooks = dict(checkpoint=dict(save_best=None))
env_cfg = dict(dist_cfg=dict(timeout=60))
custom_hooks = [dict(type='WriteLosses'), {hooks}]
"""


def launch(
    repo: Path, data: Path, work_dir: Path, hooks: str = "", processes: int = 2, **nodes: str
) -> subprocess.Popen:
    config = work_dir.with_suffix(".py")
    config.write_text(CONFIG.format(base=str(child.CONFIG), hooks=hooks))
    command = [
        sys.executable, str(repo / "tools" / "dist_train.py"), str(config), str(processes),
        "--work-dir", str(work_dir), "--data-root", str(data),
    ]  # fmt: skip
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONPATH": f"{child.HERE}:{repo}", "PORT": free_port()}
    env.update(OMP_NUM_THREADS="1", **nodes)
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def launch_nodes(
    repo: Path, data: Path, work_dir: Path, hooks: str
) -> tuple[subprocess.Popen, subprocess.Popen]:
    """Two nodes of one process each on this machine; node 1 is started first."""
    nodes = dict(NNODES="2", MASTER_ADDR="127.0.0.1", PORT=free_port())
    second = launch(repo, data, work_dir, hooks, processes=1, NODE_RANK="1", **nodes)
    time.sleep(5)
    return launch(repo, data, work_dir, hooks, processes=1, NODE_RANK="0", **nodes), second


def output_of(process: subprocess.Popen) -> str:
    try:
        return process.communicate(timeout=200)[0]
    finally:
        if process.poll() is None:  # torchrun ends its processes on SIGTERM
            process.terminate()
            process.wait()


@pytest.mark.slow
def test_a_process_dies(tmp_path: Path, repo: Path, shapes_root: Path):
    """Rank 1 is killed in the second epoch; another run is left in peace."""
    calm, disturbed = tmp_path / "calm", tmp_path / "disturbed"
    processes = [
        launch(repo, shapes_root, calm),
        launch(repo, shapes_root, disturbed, "dict(type='DieOnce', rank=1, iteration=5)"),
    ]
    outputs = [output_of(process) for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output[-3000:]
    assert "restart" not in outputs[0]
    assert f"restart 1 of at most 3: continuing from {disturbed}/epoch_1.pth" in outputs[1]
    assert child.losses(calm, 0) != child.losses(calm, 1)
    for rank in (0, 1):
        expected = child.losses(calm, rank)
        assert len(expected) == 8
        assert child.losses(disturbed, rank) == expected
    child.assert_same_weights(disturbed / "epoch_2.pth", calm / "epoch_2.pth")


@pytest.mark.slow
def test_a_process_of_two_nodes_dies(tmp_path: Path, repo: Path, shapes_root: Path):
    """Only its own node counts the restart; both go on."""
    work_dir = tmp_path / "work"
    agents = launch_nodes(repo, shapes_root, work_dir, "dict(type='DieOnce', rank=1, iteration=5)")
    outputs = [output_of(agent) for agent in agents]
    for agent, output in zip(agents, outputs, strict=True):
        assert agent.returncode == 0, output[-3000:]
    assert f"continuing from {work_dir}/epoch_1.pth" in "".join(outputs)
    for rank in (0, 1):
        assert len(child.losses(work_dir, rank)) == 8
    assert (work_dir / "epoch_2.pth").exists()


@pytest.mark.slow
@pytest.mark.parametrize("node", [0, 1])
def test_one_of_two_nodes_is_stopped(tmp_path: Path, repo: Path, shapes_root: Path, node: int):
    """Both save and leave; none is restarted, and none waits for the other."""
    work_dir = tmp_path / "work"
    hooks = f"dict(type='StopNode', node={node}, iteration=2)"
    agents = launch_nodes(repo, shapes_root, work_dir, hooks)
    outputs = [output_of(agent) for agent in agents]
    assert [agent.returncode for agent in agents] == [143, 143], "\n".join(outputs)[-5000:]
    saved = re.findall(r"SIGTERM: saved (\S+) after iteration \d and exiting", "".join(outputs))
    assert saved and "restart 1" not in "".join(outputs)
    assert (work_dir / "last_checkpoint").read_text().endswith(saved[0])


def test_wrong_input_is_not_restarted(tmp_path: Path, repo: Path):
    process = launch(repo, tmp_path / "nowhere", tmp_path / "work")
    output = output_of(process)
    assert process.returncode != 0
    assert output.count("there is no annotation file") <= 2  # once a rank
