"""The commands of ``maskr``, with one line about each."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """A subcommand.

    Attributes:
        summary: what it does, for the list of commands.
        group: heading that it is listed under.
        stopped: what is said after Ctrl-C.
        heavy: whether its arguments are known only once torch is loaded.
    """

    summary: str
    group: str
    stopped: str = "stopped"
    heavy: bool = False


MODEL, DATA, STUDY, HERE = "Models", "Data", "Study", "This installation"
COMMANDS: dict[str, Command] = {
    "train": Command("train on a folder of annotated photos, or train a config", MODEL),
    "test": Command("compute the AP of a checkpoint on test data", MODEL),
    "predict": Command(
        "detect objects in photos, folders, URLs, a video or a camera", MODEL,
        stopped="stopped; the files have what was found until then",
    ),
    "export": Command("export to ONNX, TorchScript or OpenVINO, and compare with PyTorch", MODEL),
    "zoo": Command("list configs and pretrained models", MODEL),
    "publish": Command("write a folder with all that is needed to load a model", MODEL),
    "convert-weights": Command(
        "convert checkpoints of Detectron2, torchvision or mmdet", MODEL
    ),
    "check": Command("find problems in annotations and images", DATA),
    "convert": Command("convert the folder of an annotation tool to a COCO dataset", DATA),
    "suggest": Command("suggest which photos to annotate next", DATA),
    "tile": Command("cut a dataset of large images into crops", DATA),
    "browse": Command("draw the training images as the model sees them", DATA),
    "shapes": Command(
        "write the synthetic SHAPES dataset", DATA,
        stopped="stopped; the same command without --force continues",
    ),
    "report": Command("write an HTML report about a trained model", STUDY),
    "errors": Command("analyze the errors of a detector, by kind and class", STUDY),
    "compare": Command("compare models side by side in one HTML page", STUDY),
    "plot": Command("plot the logs of trainings", STUDY),
    "replay": Command("compute the losses of a saved bad batch again", STUDY),
    "ablate": Command(
        "list, run and report the ablation tables of the paper", STUDY,
        stopped="stopped; the same command continues",
    ),
    "benchmark": Command("compare speed and memory with stock mmdet", STUDY, heavy=True),
    "env": Command("print versions and devices, for bug reports", HERE),
    "completion": Command("print a completion script for bash, zsh or fish", HERE),
}  # fmt: skip
