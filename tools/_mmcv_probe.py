"""Ask the running interpreter about its torch and its mmcv; used by install_mmcv.py.

It runs in a process of its own, as an `mmcv._ext` compiled for another torch may kill the process
that loads it. Two lines of JSON go to stdout, each flushed at once: the facts about the
environment, then the problem with mmcv (null where its ops work). No second line: it crashed.

    python _mmcv_probe.py [--full]      --full also imports mmcv.ops as a user does (slower)
"""

import csv
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import platform
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

OWNERS = ("mmcv", "onedl-mmcv", "mmcv-full", "mmcv-lite")  # all of them own the folder `mmcv`
DEPENDENCIES = {
    "addict": "addict",
    "mmengine": "mmengine",
    "numpy": "numpy",
    "cv2": "opencv-python",
    "packaging": "packaging",
    "PIL": "Pillow",
    "yaml": "pyyaml",
    "yapf": "yapf",
}
Problem = dict[str, str] | None


def environment() -> tuple[dict[str, Any], Problem]:
    """Facts about interpreter, torch and the owners of the folder `mmcv`; a problem with torch."""
    facts: dict[str, Any] = {
        "python": f"cp{sys.version_info.major}{sys.version_info.minor}",
        "platform": f"{platform.system()}_{platform.machine()}".lower(),
        "executable": sys.executable,
        "purelib": sysconfig.get_path("purelib"),
        "header": str(Path(sysconfig.get_path("include"), "Python.h")),
        "missing": [
            pip for name, pip in DEPENDENCIES.items() if importlib.util.find_spec(name) is None
        ],
        "dists": {
            name: found[0].version
            for name in OWNERS
            if (found := list(importlib.metadata.distributions(name=name)))
        },
    }
    if importlib.util.find_spec("torch") is None:
        return facts, {"kind": "no-torch", "text": "torch is not installed"}
    try:
        import torch

        facts |= {
            "torch": torch.__version__,
            "torch_git": (torch.version.git_version or "")[:8],
            "cuda": torch.version.cuda,
            "hip": torch.version.hip,
            "gpu": torch.cuda.is_available(),
            "arch": gpu_archs(torch),
            "torch_dir": str(Path(torch.__file__).parent),
        }
    except Exception as error:
        return facts, {"kind": "bad-torch", "text": f"torch cannot be imported: {error}"}
    return facts, None


def gpu_archs(torch: ModuleType) -> str:
    """Compute capabilities of the GPUs here, such as '8.0;9.0': what an extension is built for."""
    if not (torch.cuda.is_available() and torch.version.cuda):
        return ""
    found = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
    return ";".join(f"{major}.{minor}" for major, minor in sorted(found))


def incomplete(dists: dict[str, str]) -> str | None:
    """Name what an interrupted installation left missing or cut short, if anything."""
    if not dists:
        return "a folder mmcv without a distribution that owns it"
    for name in dists:
        dist = importlib.metadata.distribution(name)
        record = dist.read_text("RECORD")  # dist.files leaves out what is missing, from 3.12 on
        if not record:
            return f"the list of files of {name}"
        for file, _, size in csv.reader(record.splitlines()):
            if file.endswith(".pyc"):
                continue
            path = Path(dist.locate_file(file))
            if not path.exists() or size not in ("", str(path.stat().st_size)):
                return f"{file} (missing or cut short)"
    return None


def run_ops(ext: ModuleType, device: str) -> str | None:
    """Run RoIAlign and NMS of `ext` on `device` and compare with numbers worked out by hand.

    The feature is the ramp f(x, y) = x + 4y on 4x4 pixels, so that RoIAlign of the whole image into
    2x2 bins, with samples half a pixel off the corners, gives f at the bins' centers. Of three
    boxes the second overlaps the first with IoU 81/119 > 0.5 and has to go.
    """
    import torch

    ramp = torch.arange(16.0, device=device).view(1, 1, 4, 4)
    rois = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]], device=device)
    out, arg_y, arg_x = ramp.new_zeros(1, 1, 2, 2), ramp.new_zeros(0), ramp.new_zeros(0)
    ext.roi_align_forward(
        ramp,
        rois,
        out,
        arg_y,
        arg_x,
        aligned_height=2,
        aligned_width=2,
        spatial_scale=1.0,
        sampling_ratio=2,
        pool_mode=1,
        aligned=True,
    )
    if out.flatten().tolist() != [2.5, 4.5, 10.5, 12.5]:
        return f"RoIAlign on {device} gives {out.flatten().tolist()}, not [2.5, 4.5, 10.5, 12.5]"
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 11.0, 11.0], [20.0, 20.0, 30.0, 30.0]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    keep = ext.nms(boxes.to(device), scores.to(device), iou_threshold=0.5, offset=0)
    return None if keep.tolist() == [0, 2] else f"NMS on {device} keeps {keep.tolist()}, not [0, 2]"


def check_mmcv(facts: dict[str, Any], full: bool) -> Problem:
    """Find out what is wrong with the mmcv that this interpreter would import; None if nothing."""
    import torch

    spec = importlib.util.find_spec("mmcv")
    if spec is None:
        if facts["dists"]:
            return {"kind": "broken", "text": "the folder mmcv is missing"}
        return {"kind": "missing", "text": "mmcv is not installed"}
    lost = "mmcv/__init__.py" if spec.origin is None else incomplete(facts["dists"])
    if lost:
        return {"kind": "broken", "text": f"the installation is incomplete: {lost}"}
    found = [
        path
        for suffix in importlib.machinery.EXTENSION_SUFFIXES
        if (path := Path(spec.origin or "").parent / f"_ext{suffix}").exists()
    ]
    if not found:
        return {"kind": "no-ops", "text": f"no compiled ops (mmcv._ext) for {facts['python']}"}
    try:
        module_spec = importlib.util.spec_from_file_location("mmcv._ext", found[0])
        ext = importlib.util.module_from_spec(module_spec)
        module_spec.loader.exec_module(ext)
    except (ImportError, OSError) as error:
        text = f"its ops were compiled for another torch than {torch.__version__}: {error}"
        return {"kind": "abi", "text": text}
    try:
        facts["ops_cuda"] = ext.get_compiling_cuda_version()
        wrong = run_ops(ext, "cpu")
        if not wrong and facts["gpu"]:
            if "not available" in facts["ops_cuda"]:
                return {"kind": "cpu-only", "text": "it has no CUDA ops, and there is a GPU here"}
            wrong = run_ops(ext, "cuda")
        if not wrong and full and not facts["missing"]:
            importlib.import_module("mmcv.ops")
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
    return {"kind": "wrong", "text": wrong} if wrong else None


def main() -> None:
    """Print the two lines."""
    facts, problem = environment()
    print(json.dumps(facts), flush=True)
    if problem is None:
        problem = check_mmcv(facts, "--full" in sys.argv[1:])
    ops_cuda = str(facts.get("ops_cuda", ""))
    print(json.dumps({"problem": problem, "ops_cuda": ops_cuda}), flush=True)


if __name__ == "__main__":
    main()
