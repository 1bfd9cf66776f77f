"""A training and a detection where Linux's own things are missing; a process of its own runs it.

What is hidden before anything else is imported: the modules fcntl and resource, POSIX's signals
but those of every platform, masks of signals, forks and the like. Data workers are spawned, and
hide the same, as they import this file again.
"""

from __future__ import annotations

import os
import platform
import re
import signal
import sys

platform.system = lambda: "Windows"  # mmengine asks, and does what it does there
sys.modules["regex"] = re  # which it requires there

for module in ("fcntl", "resource", "pwd", "grp"):
    sys.modules[module] = None  # type: ignore[assignment]
for name in ("SIGKILL", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM",
             "pthread_sigmask", "sigwaitinfo", "sigwait", "alarm", "setitimer"):  # fmt: skip
    if hasattr(signal, name):
        delattr(signal, name)
for name in ("fork", "sched_getaffinity", "getloadavg", "pread", "pwrite",
             "killpg", "getpgid", "setsid", "O_CLOEXEC", "statvfs"):  # fmt: skip
    if hasattr(os, name):
        delattr(os, name)


def main(repo: str, shapes: str, work_dir: str) -> None:
    """Train one epoch with a spawned worker, resume for one more, test, detect and export."""
    import runpy

    def tool(name: str, *arguments: str) -> None:
        sys.argv = [name, *arguments]
        runpy.run_path(os.path.join(repo, "tools", name), run_name="__main__")

    config = os.path.join(repo, "configs", "mini", "maskr_shapes.py")
    common = ["--data-root", shapes, "--work-dir", work_dir, "--cfg-options",
              "env_cfg.mp_cfg.mp_start_method=spawn", "val_dataloader.num_workers=0",
              "val_dataloader.persistent_workers=False",
              "test_dataloader.num_workers=0", "test_dataloader.persistent_workers=False",
              "train_dataloader.batch_size=4",
              "default_hooks.logger.interval=1", "train_cfg.val_interval=2"]  # fmt: skip
    tool("train.py", config, *common, "train_cfg.max_epochs=1")
    tool("train.py", config, "--resume", *common, "train_cfg.max_epochs=2")
    checkpoint = os.path.join(work_dir, "epoch_2.pth")
    tool("test.py", config, checkpoint, *common)
    from mmdet_maskr.apis import MaskRInferencer
    from mmdet_maskr.environment import describe

    assert "nms works, roi_align works" in describe()
    image = os.path.join(shapes, "val", "000001.png")
    found = MaskRInferencer(config, checkpoint, device="cpu")(image)["predictions"][0]
    assert len(found["scores"]) == len(found["masks"])
    tool("export.py", config, checkpoint, os.path.join(work_dir, "exported"),
         "--format", "torchscript")  # fmt: skip


if __name__ == "__main__":
    import multiprocessing

    multiprocessing.set_start_method("spawn")
    main(*sys.argv[1:])
