"""Our models with MMCV's ops in Python against the same with its compiled extension."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable

from mmdet_maskr.benchmark import inference, random_model, train_step
from mmdet_maskr.benchmark.measure import TimedCase, add_measuring_options, compare, time_in_turn
from mmdet_maskr.compat import install_command
from mmdet_maskr.errors import UserError
from mmdet_maskr.mmcv_extension import in_python, is_compiled

PEER = "compiled"
TOLERANCE = 1e-6
SIZES = dict(mini=(160, 160), r50=(800, 1333))  # of the images in which objects are detected


def add_ops(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand ops."""
    parser = subparsers.add_parser(
        "ops",
        help="our models with and without MMCV's compiled ops",
        description=(
            "Times a training step and a detection of our models, with MMCV's ops in "
            "Python and with MMCV's compiled extension. Install the extension first: "
            "`python tools/install_mmcv.py --target DIR`, then PYTHONPATH=DIR. Fails if "
            "losses or scores differ by more than 1e-6."
        ),
        epilog="example: maskr benchmark ops --models mini --repeats 15",
    )
    add_measuring_options(parser, repeats=5)
    parser.add_argument(
        "--models", nargs="+", choices=list(train_step.SETTINGS), default=list(train_step.SETTINGS)
    )
    parser.set_defaults(run=lambda args: compare(args, PEER, measure))


def measure(args: argparse.Namespace) -> list[TimedCase]:
    """A training step and a detection of each model that is asked for.

    Raises:
        UserError: there is no compiled extension to compare with.
    """
    if not is_compiled():
        raise UserError(
            "there is no compiled extension to compare with: "
            f"`{install_command('compiled')} --target DIR`, then PYTHONPATH=DIR."
        )
    rows = []
    for name in args.models:
        rows.append(_training(train_step.SETTINGS[name], args.repeats))
        rows.append(_detection(name, args.repeats))
    return rows


def _training(setting: train_step.Setting, repeats: int) -> TimedCase:
    print(f"{setting.label}, training ...", flush=True)
    step = train_step.Step(setting, "ours")
    losses = {}

    def run(name: str) -> float:
        seconds = step()
        losses[name] = step.losses
        return seconds

    timings = _in_turn(run, repeats)
    difference = train_step.loss_difference(losses["ours"], losses[PEER])
    _check(setting.label, "losses", difference)
    label, notes = f"{setting.label}, training step", dict(max_loss_difference=difference)
    return TimedCase(label, timings["ours"], timings[PEER], notes)


def _detection(name: str, repeats: int) -> TimedCase:
    setting = inference.SETTINGS[name]
    print(f"{setting.label}, detection ...", flush=True)
    batch = random_model.batch_of(random_model.synthetic_photo(*SIZES[name]))
    model = random_model.build(inference.model_config(setting, "ours"))
    random_model.calibrate(model, batch)
    contender = inference.Contender("ours", model, batch)
    found = {}

    def run(name: str) -> float:
        seconds = contender()
        found[name] = copy.deepcopy(contender.found)
        return seconds

    timings = _in_turn(run, repeats)
    differing = inference.differences(found["ours"], found[PEER])
    _check(setting.label, "scores", differing["score"] + differing["unmatched"])
    return TimedCase(f"{setting.label}, detection", timings["ours"], timings[PEER], differing)


def _in_turn(run: Callable[[str], float], repeats: int) -> dict:
    def without() -> float:
        with in_python():
            return run("ours")

    return time_in_turn({"ours": without, PEER: lambda: run(PEER)}, repeats)


def _check(label: str, what: str, difference: float) -> None:
    if not difference <= TOLERANCE:
        raise UserError(f"{label}: {what} differ by {difference:g} with and without.")
