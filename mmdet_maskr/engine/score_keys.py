"""Compares the scores that a run asks for with those of its evaluators.

A name that no evaluator gives would end the run after the first validation, hours later, or let
it go on for good.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from mmdet.evaluation import CityScapesMetric, CocoMetric, LVISMetric, VOCMetric
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation import CocoInstanceMetric

_COCO = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")
_COCO_PROPOSALS = ("AR@100", "AR@300", "AR@1000", "AR_s@1000", "AR_m@1000", "AR_l@1000")
_LVIS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf")
_LVIS_PROPOSALS = ("AR@300", "ARs@300", "ARm@300", "ARl@300")


def check_score_keys(runner: Runner) -> None:
    """Look for each name that a hook or a scheduler watches among the evaluators' names.

    Args:
        runner: with its training and validation loops and schedulers built.

    Raises:
        UserError: names the setting and what it may be.
    """
    wanted = list(_wanted(runner))
    reason = _why_no_validation(runner)
    if reason is not None:
        for setting, key in wanted:
            runner.logger.warning(f"{setting}={key!r} has no effect: {reason}.")
    if not isinstance(runner._val_loop, BaseLoop):
        return
    metrics = getattr(runner._val_loop.evaluator, "metrics", None)
    if metrics is None:
        return
    known, patterns = names_of(metrics)
    for setting, key in wanted:
        if key not in known and not any(re.fullmatch(pattern, key) for pattern in patterns):
            tails = {name.rpartition("/")[2]: name for name in sorted(known)}
            close = difflib.get_close_matches(key.rpartition("/")[2], tails, n=1)
            guess = f" Did you mean {tails[close[0]]!r}?" if close else ""
            raise UserError(
                f"{setting}={key!r}: val_evaluator does not compute this score. It computes "
                f"{', '.join(sorted(known)) or 'none'}.{guess}"
            )


def _why_no_validation(runner: Runner) -> str | None:
    if not isinstance(runner._val_loop, BaseLoop):
        return "the config has no validation (val_cfg)"
    loop = runner._train_loop
    if isinstance(loop, EpochBasedTrainLoop):
        last = loop.max_epochs
    elif isinstance(loop, IterBasedTrainLoop):
        last = loop.max_iters
    else:
        return None
    if loop.val_begin > last:
        return f"validation begins after the training's end (train_cfg.val_begin={loop.val_begin})"
    return None


def names_of(metrics: list[BaseMetric]) -> tuple[set[str], list[str]]:
    """Names of the scores that metrics give, and regular expressions for those that vary."""
    names: set[str] = set()
    patterns = []
    for metric in metrics:
        own, more = _names(metric)
        prefix = f"{metric.prefix}/" if metric.prefix else ""
        names.update(prefix + name for name in own)
        patterns += [re.escape(prefix) + pattern for pattern in more]
    return names, patterns


def _names(metric: BaseMetric) -> tuple[list[str], list[str]]:
    """Those of one metric without its prefix; anything, of a metric that is not known here."""
    compute = type(metric).compute_metrics
    if compute is DumpResults.compute_metrics or getattr(metric, "format_only", False):
        return [], []
    if compute is CityScapesMetric.compute_metrics:
        return ["mAP", "AP@50"], []
    if compute is VOCMetric.compute_metrics:
        return ["mAP"], [r"AP\d+", r"AR@\d+", r"recall@.+"]
    if compute is LVISMetric.compute_metrics:
        return _of_coco(metric, _LVIS, _LVIS_PROPOSALS)
    if compute in (CocoMetric.compute_metrics, CocoInstanceMetric.compute_metrics):
        return _of_coco(metric, _COCO, _COCO_PROPOSALS)
    return [], [".+"]


def _of_coco(
    metric: BaseMetric, items: tuple[str, ...], proposals: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    names = []
    for kind in metric.metrics:
        if kind == "proposal_fast":
            names += [f"AR@{number}" for number in metric.proposal_nums]
            continue
        if isinstance(metric, CocoInstanceMetric):
            own = metric.items_of(kind)
        else:
            own = metric.metric_items or (proposals if kind == "proposal" else items)
        names += [item if kind == "proposal" else f"{kind}_{item}" for item in own]
    return names, [".+_precision"] if metric.classwise else []


def _wanted(runner: Runner) -> Iterator[tuple[str, str]]:
    """Settings that name a score, and the names."""
    for hook in runner.hooks:
        kind = type(hook).__name__
        if isinstance(hook, CheckpointHook):
            for key in hook.save_best or ():
                if key != "auto":
                    yield f"{kind}.save_best", key
        elif isinstance(hook, EarlyStoppingHook):
            yield f"{kind}.monitor", hook.monitor
    schedulers = runner.param_schedulers or []
    lists = schedulers.values() if isinstance(schedulers, dict) else [schedulers]
    for scheduler in (scheduler for several in lists for scheduler in several):
        if getattr(scheduler, "need_val_args", False) and hasattr(scheduler, "monitor"):
            yield f"{type(scheduler).__name__}.monitor", scheduler.monitor
