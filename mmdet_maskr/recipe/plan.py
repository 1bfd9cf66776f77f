"""The numbers of a recipe, from dataset, machine and time budget.

Rules marked "mayaku" are published by mayaku for its automatic training. Rules of the small model
come from the configs in configs/mini.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mmdet_maskr.errors import UserError
from mmdet_maskr.recipe.facts import Facts
from mmdet_maskr.recipe.machine import Machine

LEAST = 30  # iterations of any training
FEW_IMAGES = 10  # below, rules from data are off (mayaku)
FEW_BOXES = 50  # from so many on, anchors follow them (mayaku)
STEP = 32  # pixels; sides of the input are multiples
EVALUATIONS = 10
EVALUATION_SHARE = 0.2  # of the time, at most
_SMALLEST, _LARGEST = 128, 480  # short side of the small model's input
_WANTED = 24.0  # pixels that the median object should have in it


@dataclass(frozen=True)
class Wishes:
    """Options of the user; None lets the recipe decide."""

    minutes: float | None = None
    epochs: float | None = None
    weights: str | None = None
    flips: str = "auto"
    seed: int = 0
    copy_paste: bool = False

    def __post_init__(self) -> None:
        for name in ("minutes", "epochs"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e6:
                raise UserError(f"--{name} {value}: it must be greater than 0.")
        if self.minutes is not None and self.epochs is not None:
            raise UserError(
                "--minutes and --epochs both set the training time: use only one of them."
            )


@dataclass(frozen=True)
class Speed:
    """Measured seconds per training iteration and per validation photo."""

    iteration: float
    photo: float


@dataclass(frozen=True)
class Plan:
    """Decisions that depend on each other.

    Attributes:
        small: whether to train the small model from scratch.
        short: short side of the input in pixels.
        long: long side.
        batch: images per iteration.
        iterations: number of training iterations.
        evaluations: number of validations.
        why_iterations: reason for the number of iterations.
        why_scale: reason for the input size.
    """

    small: bool
    short: int
    long: int
    batch: int
    iterations: int
    evaluations: int
    why_iterations: str
    why_scale: str

    @property
    def interval(self) -> int:
        """Iterations between validations."""
        return math.ceil(self.iterations / self.evaluations)


def first_plan(facts: Facts, machine: Machine, small: bool, wishes: Wishes) -> Plan:
    """The plan before speed is measured.

    Args:
        facts: of the data.
        machine: the machine of the training.
        small: whether to train the small model.
        wishes: options of the user.
    """
    short, long, why = _scale(facts, small)
    batch = _batch(facts, machine, small)
    iterations, why_iterations = _iterations(facts, batch, small, wishes.epochs)
    return Plan(
        small, short, long, batch, iterations, min(EVALUATIONS, max(1, iterations // 50)),
        why_iterations, why,
    )  # fmt: skip


def fitted(plan: Plan, facts: Facts, speed: Speed, seconds: float, minutes: float) -> Plan:
    """A plan that fits a time budget: smaller images and batches before too few iterations.

    Args:
        plan: the plan for which ``speed`` was measured.
        facts: of the data.
        speed: measured speed of ``plan``.
        seconds: that are left for training and validation.
        minutes: the time budget, for the reason.
    """
    enough = min(plan.iterations, 300)

    chosen = plan
    while seconds * (1 - EVALUATION_SHARE) / _seconds_of(chosen, plan, speed) < enough:
        smaller = _smaller(chosen)
        if smaller is None:
            break
        chosen = smaller
    ratio = chosen.short * chosen.long / (plan.short * plan.long)
    evaluation = facts.val_images * speed.photo * ratio
    evaluations = int(seconds * EVALUATION_SHARE / max(evaluation, 1e-6)) - 1
    evaluations = max(1, min(evaluations, EVALUATIONS))
    left = seconds - (evaluations + 1) * evaluation  # the report looks at the photos once more
    per_iteration = _seconds_of(chosen, plan, speed)
    iterations = max(int(left / per_iteration), LEAST)
    why = (
        f"{minutes:g} minutes at {per_iteration:.2g} s per iteration, measured, "
        "including validation"
    )
    evaluations = min(evaluations, max(1, iterations // 20))
    scale = (
        plan.why_scale if chosen.short == plan.short else f"as large as {minutes:g} minutes allow"
    )
    return replace(
        chosen, iterations=iterations, evaluations=evaluations, why_iterations=why, why_scale=scale
    )


def _seconds_of(plan: Plan, first: Plan, speed: Speed) -> float:
    """Seconds of an iteration of a plan, by those of the one that was measured."""
    pixels = plan.short * plan.long / (first.short * first.long)
    return speed.iteration * (0.15 + 0.85 * pixels * plan.batch / first.batch)


def slow_validation(
    first: Plan, plan: Plan, facts: Facts, speed: Speed, seconds: float
) -> str | None:
    """A warning if the time budget is too short, or mostly spent on validation; else None.

    Args:
        first: the plan for which ``speed`` was measured.
        plan: the result of :func:`fitted`.
        facts: of the data.
        speed: measured speed of ``first``.
        seconds: that are left for training and validation.
    """
    ratio = plan.short * plan.long / (first.short * first.long)
    spent = (plan.evaluations + 1) * facts.val_images * speed.photo * ratio
    training = plan.iterations * _seconds_of(plan, first, speed)
    if plan.iterations == LEAST and spent + training > seconds:
        return (
            f"{LEAST} iterations, the fewest that are trained, take {(spent + training) / 60:.1f} "
            f"minutes with validation and report, and {max(seconds, 0) / 60:.1f} are left for them."
        )
    if spent <= seconds / 2:
        return None
    return (
        f"validation and report take {spent / 60:.1f} of {seconds / 60:.1f} minutes "
        f"for {facts.val_images} photos: use fewer validation photos (--val 0.1) to "
        "train longer."
    )


def _smaller(plan: Plan) -> Plan | None:
    if plan.batch > 2:
        return replace(plan, batch=plan.batch // 2)
    if plan.short > _SMALLEST:
        short = max(plan.short - STEP, _SMALLEST)
        return replace(plan, short=short, long=_rounded(plan.long * short / plan.short))
    return None  # batch normalization wants two images at least


def _scale(facts: Facts, small: bool) -> tuple[int, int, str]:
    """Short and long side, and why."""
    short, long = sorted((facts.width, facts.height))
    if not small:
        side = min(800, max(short, 480))
        return int(side), _rounded(min(1333, side * max(long / short, 1.0))), (
            "COCO's scale, up to 800 pixels, as its weights are for it"
        )  # fmt: skip
    median = facts.size(0.5)
    lowest, highest = min(192, 2 * short), min(_LARGEST, 2 * short)
    side = _rounded(min(max(_WANTED / median * short, lowest), highest))
    factor = side / short
    why = f"objects of {median:.0f} pixels (median) in photos of {facts.width:.0f} x "
    why += f"{facts.height:.0f} have {median * factor:.0f} pixels at this size"
    return side, _rounded(side * long / short), why


def _rounded(side: float) -> int:
    return max(STEP, round(side / STEP) * STEP)


def _batch(facts: Facts, machine: Machine, small: bool) -> int:
    if small:
        return 4 if facts.images >= 4 else max(facts.images, 1)
    if machine.gpu is None:
        return 2
    fits = 2 ** int(math.log2(max(machine.gpu_memory / 3.5, 1)))  # GiB of an image at 1333 x 800
    return max(1, min(16, fits, facts.images))


def _iterations(facts: Facts, batch: int, small: bool, epochs: float | None) -> tuple[int, str]:
    if epochs is not None:
        count = max(math.ceil(epochs * facts.images / batch), 1)
        return count, f"{epochs:g} epochs of {facts.images} photos"
    rule = epochs_of(facts.images)
    count = math.ceil(rule * facts.images / batch)
    least = 1000 if small else 500
    if count < least:
        what = "training from scratch" if small else "a training"
        return least, f"{what} needs at least {least}: {least * batch / facts.images:.0f} epochs"
    return count, f"{rule:.0f} epochs for {facts.images} photos; more photos need fewer epochs"


def epochs_of(images: int) -> float:
    """30 epochs up to 1,000 photos, 16 from 20,000, log-linear in between (mayaku)."""
    if images <= 1000:
        return 30.0
    share = min(math.log(images / 1000) / math.log(20), 1.0)
    return 30.0 - 14.0 * share
