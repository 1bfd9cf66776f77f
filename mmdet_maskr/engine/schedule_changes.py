"""Resuming with a changed config: its learning rate and schedule replace the checkpoint's.

mmengine overwrites optimizer and schedulers by the checkpoint's state, settings included, so that a
longer schedule or another learning rate in the config would do nothing. Here the settings that the
run was saved with are compared with the present ones. Where they differ, the schedules are gone
through anew up to the checkpoint's iteration, as if the run had had the present config from the
start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.runner import Runner

from mmdet_maskr.engine.optimizers import optim_wrappers
from mmdet_maskr.engine.run_state import OTHER, plain
from mmdet_maskr.errors import UserError

_MOVING = {"optimizer", "last_step", "_global_step", "_last_value", "base_values", "verbose"}
_OF_PLATEAU = {"best", "num_bad_epochs", "cooldown_counter"}
# Options of torch's optimizers that say how to compute the same; versions differ in them.
_HOW = {"foreach", "fused", "capturable", "differentiable", "maximize", "decoupled_weight_decay"}


class Settings:
    """Optimizers' and schedulers' settings as a run is configured, before anything is loaded.

    Args:
        runner: with its optimizer and schedulers built, and nothing resumed.

    Attributes:
        content: by optimizer (one, named '', unless there are several): ``type``, ``groups`` and
            ``schedulers``, as plain values.
    """

    def __init__(self, runner: Runner) -> None:
        self.content: dict[str, dict[str, Any]] = {}
        self._groups: dict[str, list[dict]] = {}
        self._states: dict[str, list[dict]] = {}
        for name, wrapper, schedulers in _optimizers(runner):
            self._groups[name] = [_without(group, {"params"}) for group in wrapper.param_groups]
            self._states[name] = [_without(vars(s), {"optimizer"}) for s in schedulers]
            self.content[name] = dict(
                type=type(wrapper.optimizer).__name__,
                parameters=sum(len(g["params"]) for g in wrapper.optimizer.param_groups),
                groups=[_plain_items(group) for group in self._groups[name]],
                schedulers=[
                    dict(
                        _plain_items(vars(s), _moving(s)),
                        type=type(s).__name__,
                        need_val_args=_goes_by_scores(s),
                    )
                    for s in schedulers
                ],
            )

    def prevail(self, runner: Runner, checkpoint: Mapping) -> list[str]:
        """Put the settings in place of those that a checkpoint has brought, where they differ.

        Args:
            runner: with the checkpoint's state of optimizer and schedulers loaded.
            checkpoint: its content, with this class's ``content`` as ``settings`` if it has any.

        Returns:
            A line for each difference.
        """
        told = []
        for name, wrapper, schedulers in _optimizers(runner):
            saved = _saved(checkpoint, name)
            changes = [] if saved is None else list(_changes(saved, self.content[name], name))
            if saved is None or not changes:
                continue
            told += [text for text, _ in changes]
            fresh = self._groups[name]
            for group, own, was in zip(wrapper.param_groups, fresh, saved["groups"], strict=True):
                for key, value in own.items():
                    if not _is_scheduled(key, own, was) and plain(value) != was.get(key, value):
                        group[key] = value
            for scheduler, state in zip(schedulers, self._states[name], strict=True):
                if _goes_by_scores(scheduler):
                    vars(scheduler).update(_without(state, _MOVING | _OF_PLATEAU))
            if any(moves for _, moves in changes):
                self._replay(runner, name, wrapper, schedulers, checkpoint)
                told += [
                    f"{type(s).__name__}: what it has lowered so far is not taken over"
                    for s in schedulers
                    if _goes_by_scores(s)
                ]
        return told

    def _replay(
        self, runner: Runner, name: str, wrapper: Any, schedulers: list, checkpoint: Mapping
    ) -> None:
        """Let values and schedulers go the way from the start to here."""
        for group, fresh in zip(wrapper.param_groups, self._groups[name], strict=True):
            moved = {key for key in {*group, *fresh} if _is_scheduled(key, group, fresh)}
            for key in moved - fresh.keys():
                del group[key]
            group.update({key: fresh[key] for key in moved & fresh.keys()})
        for scheduler, state in zip(schedulers, self._states[name], strict=True):
            if not _goes_by_scores(scheduler):
                vars(scheduler).update(state)
        batches = (checkpoint.get("exact_resume") or {}).get("batches")
        _step(runner, wrapper, [s for s in schedulers if not _goes_by_scores(s)], batches)


def _optimizers(runner: Runner) -> Iterator[tuple[str, Any, list]]:
    schedulers = runner.param_schedulers or []
    for name, wrapper in optim_wrappers(runner.optim_wrapper).items():
        own = schedulers.get(name, []) if isinstance(schedulers, dict) else schedulers
        if hasattr(wrapper, "optimizer"):
            yield name, wrapper, list(own)


def _saved(checkpoint: Mapping, name: str) -> dict | None:
    """The settings that a checkpoint was saved with, or what mmengine's states tell of them."""
    settings = (checkpoint.get("exact_resume") or {}).get("settings")
    if settings is not None:
        return settings.get(name)
    optimizer = _of(checkpoint.get("optimizer"), name)
    schedulers = checkpoint.get("param_schedulers") or []
    if name:
        schedulers = schedulers.get(name, []) if isinstance(schedulers, Mapping) else []
    if "param_groups" not in optimizer:
        return None
    groups = list(optimizer["param_groups"])
    if optimizer.get("base_param_settings") is not None:
        groups.append(optimizer["base_param_settings"])
    return dict(
        groups=[_plain_items(group) for group in groups],
        schedulers=[_plain_items(state, _MOVING | _OF_PLATEAU) for state in schedulers],
    )


def _of(optimizer: Any, name: str) -> dict:
    """The state of one of several optimizers, or of the only one."""
    if not isinstance(optimizer, Mapping):
        return {}
    return (optimizer.get(name) or {}) if name else dict(optimizer)


def check_optimizer(settings: Settings, checkpoint: Mapping, file: str) -> None:
    """Refuse to go on with the state of another optimizer, or of other parameters.

    Args:
        settings: of the run.
        checkpoint: content of the file.
        file: for the message.

    Raises:
        UserError: says what differs.
    """
    for name, now in settings.content.items():
        saved = _saved(checkpoint, name)
        if saved is None:
            continue
        cure = (
            "go on with the config that it was saved with, or begin from its weights by "
            f"load_from={file} without --resume."
        )
        wanted = set().union(*now["groups"]) - _HOW
        lacking = sorted(
            key
            for key in wanted - set().union(*saved["groups"])
            if not key.startswith(("initial_", "max_", "min_"))
        )
        other = saved.get("type", now["type"]) != now["type"]
        if other or lacking:
            what = saved.get("type") or f"an optimizer without {', '.join(lacking)}"
            raise UserError(
                f"{file} cannot be resumed with optim_wrapper.optimizer.type={now['type']}: it has "
                f"the state of {what}; {cure}"
            )
        loaded = _of(checkpoint.get("optimizer"), name)
        counts = [sum(len(group["params"]) for group in loaded.get("param_groups", ()))]
        counts.append(now["parameters"])
        if loaded and counts[0] != counts[1]:
            raise UserError(
                f"{file} cannot be resumed: its optimizer has {counts[0]} parameters, but the "
                f"model of this config trains {counts[1]}; {cure}"
            )
        if len(saved["groups"]) != len(now["groups"]):
            raise UserError(
                f"{file} cannot be resumed: its optimizer has {len(saved['groups'])} parameter "
                "groups, but optim_wrapper (paramwise_cfg) of this config makes "
                f"{len(now['groups'])}; {cure}"
            )


def _changes(saved: dict, now: dict, name: str) -> Iterator[tuple[str, bool]]:
    """Differences as text, and whether values that schedulers move depend on them."""
    prefix = f"{name}." if name else ""
    told = set()
    for was, own in zip(saved["groups"], now["groups"], strict=True):
        for key in sorted(own.keys() & was.keys()):
            if key in _HOW or key.startswith(("initial_", "max_", "min_")):
                continue
            scheduled = _is_scheduled(key, own, was)
            before, after = (
                group.get(f"initial_{key}", group[key]) if scheduled else group[key]
                for group in (was, own)
            )
            text = _told(f"optim_wrapper.{prefix}optimizer.{key}", before, after)
            if before != after and text not in told:
                told.add(text)
                yield text, scheduled
    before, after = saved["schedulers"], now["schedulers"]
    for number, own in enumerate(after):
        place = f"param_scheduler.{prefix}[{number}]".replace(".[", "[")
        if number >= len(before):
            yield f"{place}: {own['type']} of the config, the checkpoint has none", True
            continue
        was = before[number]
        keys = (own.keys() | was.keys()) - {"type", "need_val_args"}
        if was.get("type", own["type"]) != own["type"] or any(
            key not in own or key not in was for key in keys
        ):
            before_type = was.get("type", "another one")
            yield _told(place, before_type, own["type"]), True
            continue
        for key in sorted(key for key in keys if own[key] != was[key]):
            yield _told(f"{place}.{key}", was[key], own[key]), not own["need_val_args"]
    if len(before) > len(after):
        yield f"param_scheduler: {len(after)} of the config, the checkpoint has {len(before)}", True


def _told(place: str, before: Any, after: Any) -> str:
    return f"{place}: {after} of the config instead of {before} of the checkpoint"


def _is_scheduled(key: str, *groups: Mapping) -> bool:
    """Whether a scheduler moves this value of a group, or has set it up (``initial_lr``)."""
    name = key
    for prefix in ("initial_", "max_", "min_"):
        name = name.removeprefix(prefix)
    return any(f"initial_{name}" in group for group in groups)


def _goes_by_scores(scheduler: Any) -> bool:
    return getattr(scheduler, "need_val_args", False)


def _step(runner: Runner, wrapper: Any, schedulers: list, batches: int | None) -> None:
    """What ParamSchedulerHook does from the start to the present iteration and epoch."""
    counter = getattr(wrapper, "_global_step", None)
    wrapper._global_step = 0  # or each scheduler warns that it moves before the optimizer
    by_iter = [s for s in schedulers if not s.by_epoch]
    by_epoch = [s for s in schedulers if s.by_epoch]
    length = batches or len(runner.train_dataloader)
    epochs, done = runner.epoch, 0
    for iteration in range(1, runner.iter + 1):
        for scheduler in by_iter:
            scheduler.step()
        if iteration % length == 0 and done < epochs:
            done += 1
            for scheduler in by_epoch:
                scheduler.step()
    for _ in range(epochs - done):
        for scheduler in by_epoch:
            scheduler.step()
    if counter is None:
        del wrapper._global_step
    else:
        wrapper._global_step = counter


def _moving(scheduler: Any) -> set[str]:
    return _MOVING | (_OF_PLATEAU if _goes_by_scores(scheduler) else set())


def _plain_items(values: Mapping, without: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
    found = {}
    for key, value in values.items():
        if isinstance(value, Mapping):  # milestones
            value = sorted(value.elements()) if hasattr(value, "elements") else OTHER
        simple = value if value is OTHER else plain(value)
        if key not in without and key != "params" and simple is not OTHER:
            found[key] = list(simple) if isinstance(simple, tuple) else simple
    return found


def _without(values: Mapping, keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}
