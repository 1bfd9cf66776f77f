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
    "train": Command("train on a folder of annotated photos, or a config", MODEL),
    "test": Command("score a checkpoint on the test data of its config", MODEL),
    "predict": Command(
        "detect on photos, folders, URLs, a video or a camera", MODEL,
        stopped="stopped; files have what was found until then",
    ),
    "export": Command("write ONNX, TorchScript or OpenVINO, and compare with PyTorch", MODEL),
    "zoo": Command("list the configs, and the pretrained models", MODEL),
    "publish": Command("make a folder of a checkpoint that loads with nothing else", MODEL),
    "convert-weights": Command(
        "make config and checkpoint of a model of Detectron2, torchvision or mmdet", MODEL
    ),
    "check": Command("look for what is wrong in annotations and images", DATA),
    "convert": Command("write a folder of any annotation tool as a COCO dataset", DATA),
    "suggest": Command("say which photos to annotate next", DATA),
    "tile": Command("cut a dataset of large images into crops", DATA),
    "browse": Command("draw what a config's dataset gives to the training", DATA),
    "shapes": Command(
        "write the synthetic SHAPES dataset", DATA,
        stopped="stopped; the same command without --force goes on",
    ),
    "report": Command("write one HTML page about a trained model", STUDY),
    "errors": Command("say what a detector gets wrong, by kind and class", STUDY),
    "compare": Command("show several models side by side in one HTML page", STUDY),
    "plot": Command("draw what trainings have logged", STUDY),
    "replay": Command("compute the losses of a batch that were not finite", STUDY),
    "ablate": Command(
        "the ablation tables of the paper: list, run, report", STUDY,
        stopped="stopped; the same command goes on",
    ),
    "benchmark": Command("measure speed and memory against stock mmdet", STUDY, heavy=True),
    "env": Command("print versions and devices, for bug reports", HERE),
    "completion": Command("print what completes this command in bash, zsh or fish", HERE),
}  # fmt: skip
