"""One training with one seed: its folder, its commands, and its state on disk.

Rows of several tables can be the same training (RoIAlign of Table 2c is sigmoid of Table 2b): they
are one job. A job's folder is named after its config and a digest of the settings that decide its
result, so a changed config is a new job and is not taken for done. Where the data lie and how many
processes train are not in the digest: what was begun with others is refused. In the folder:

    train/, test/    work dirs of tools/train.py and tools/test.py
    train.log, ...   what they printed
    state.json       seconds so far, whether training is over, data folder and processes
    result.json      metrics, data folder and processes: the job is done
    failure.json     why the last attempt ended
    lock             locked (flock) by the processes that work on it
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdet_maskr import data_files
from mmdet_maskr.ablations.tables import Table, TableRow
from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.data_files import field as checked
from mmdet_maskr.data_files import is_number
from mmdet_maskr.engine.durable_files import has_checkpoint
from mmdet_maskr.engine.score_files import score_file
from mmdet_maskr.errors import UserError

# What a result follows from; hooks, logs and pictures do not change it.
DECISIVE = (
    "model",
    "train_dataloader",
    "test_dataloader",
    "test_evaluator",
    "train_cfg",
    "optim_wrapper",
    "param_scheduler",
    "load_from",
)


def _are_metrics(value: object) -> bool:
    return isinstance(value, dict) and all(map(is_number, value.values()))


_SECONDS = (lambda value: is_number(value) and value >= 0, "a number of seconds")
_TEXT = (lambda value: isinstance(value, str), "a text")
_FOLDER = (lambda value: value is None or isinstance(value, str), "a folder, or null")
_COUNT = (lambda value: type(value) is int and value > 0, "a number of processes")
_CONDITIONS = dict(data_root=_FOLDER, gpus=_COUNT)
# Files of a job, and what their values have to be.
FILES: dict[str, dict[str, tuple]] = {
    "result.json": dict(
        metrics=(_are_metrics, "numbers by name"), config=_TEXT, seconds=_SECONDS, **_CONDITIONS
    ),
    "failure.json": dict(reason=_TEXT),
    "state.json": dict(
        seconds=_SECONDS,
        trained=(lambda value: isinstance(value, bool), "true or false"),
        **_CONDITIONS,
    ),
}
NEEDED = {
    "result.json": ("metrics", "config", "seconds"),
    "failure.json": ("reason",),
    "state.json": (),
}


@dataclass(frozen=True)
class Settings:
    """What all jobs of a call have in common.

    Attributes:
        repo: the checkout, with ``configs/`` and ``tools/``.
        scale: 'coco' or 'mini'.
        work_dir: folder of the results.
        data_root: folder of the dataset, absolute, that was asked for; None for the default.
        launcher: 'none' or 'pytorch'.
        gpus: processes of a job, with the launcher.
        python: interpreter that runs the tools.
        default_root: folder of the dataset without ``data_root``; None for the configs' own.
    """

    repo: Path
    scale: str
    work_dir: Path
    data_root: str | None = None
    launcher: str = "none"
    gpus: int = 1
    python: str = sys.executable
    default_root: str | None = None


@dataclass
class Job:
    """A training with one seed.

    Attributes:
        settings: of the call.
        config: path of the config, relative to ``configs/``; what names its folder.
        seed: N.
        rows: (table, row) pairs that it is.
        needs: the job whose last checkpoint is this one's first weights.
    """

    settings: Settings
    config: str
    seed: int
    rows: list[tuple[str, str]] = field(default_factory=list)
    needs: Job | None = None

    def __post_init__(self) -> None:
        self.cfg = read_config(self.settings.repo, self.config)
        self.digest = self._digest()
        name = f"{Path(self.config).stem}-{self.digest}"
        self.folder = self.settings.work_dir / self.settings.scale / name / f"seed_{self.seed}"

    def _digest(self) -> str:
        parts = {key: self.cfg.get(key) for key in DECISIVE}
        parts["needs"] = None if self.needs is None else self.needs.digest
        parts["seed"] = None  # the folder inside says which
        text = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def title(self) -> str:
        """Its first row, for progress lines."""
        table, row = self.rows[0] if self.rows else ("", self.config)
        return f"{table}: {row}, seed {self.seed}".removeprefix(": ")

    @property
    def damage(self) -> str | None:
        """What is wrong with one of its files, or None; it costs this job, and no other."""
        for name in FILES:
            try:
                self._read(name)
            except UserError as error:
                return str(error)
        return None

    def _read(self, name: str) -> dict | None:
        """One of :data:`FILES`, or None where it is not there.

        Raises:
            UserError: it is damaged; says what to do.
        """
        file = self.folder / name
        content = read_json(file, "Remove it, and run the row again.")
        if content is not None:
            for key, (is_good, wanted) in FILES[name].items():
                if key in content or key in NEEDED[name]:
                    checked(content, key, is_good, wanted, f"{file} is damaged:")
        return content

    def _known(self, name: str) -> dict | None:
        try:
            return self._read(name)
        except UserError:  # damage says so
            return None

    @property
    def result(self) -> dict | None:
        """What it gave, or None where it is not done, or a file of it is damaged."""
        return None if self.damage else self._known("result.json")

    @property
    def failure(self) -> dict | None:
        """Why the last attempt ended, or a file is damaged; None where it did not fail."""
        damage = self.damage
        if damage is not None:
            return dict(phase="files", reason=damage)
        return None if self.result is not None else self._known("failure.json")

    @property
    def state(self) -> dict:
        """``seconds`` so far, and whether it is ``trained``."""
        return {"seconds": 0.0, "trained": False, **(self._known("state.json") or {})}

    @property
    def conditions(self) -> dict:
        """What its result follows from besides the config, as its records tell it."""
        return dict(data_root=self.settings.data_root, gpus=self.settings.gpus)

    def check_conditions(self) -> None:
        """Refuse to go on with, or to take for done, what was begun under other conditions.

        Records of older versions have none, and are taken.

        Raises:
            UserError: names the folder and both values.
        """
        recorded = {**self.state, **(self.result or {})}
        for key, now in self.conditions.items():
            then = recorded.get(key, now)
            if then != now:
                option = f"--{key.replace('_', '-')}"
                before, here = (
                    f"without {option}" if value is None else f"with {option} {value}"
                    for value in (then, now)
                )
                raise UserError(
                    f"{self.folder} was started {before}, but this call is {here}: repeat the "
                    "first call, or choose another folder with --work-dir."
                )

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint that training ends with."""
        length = self.cfg.train_cfg
        by_epoch = length.get("max_epochs") is not None
        name = f"epoch_{length.max_epochs}" if by_epoch else f"iter_{length.max_iters}"
        return self.folder / "train" / f"{name}.pth"

    def train_command(self, fresh: bool = False) -> list[str]:
        """What trains it; goes on from its newest checkpoint where there is one, unless fresh."""
        settings = self.settings
        options = [f"randomness.seed={self.seed}"]
        if settings.scale == "mini":  # it is tested once, at the end
            options += ["val_cfg=None", "val_dataloader=None", "val_evaluator=None"]
        # --resume without a checkpoint would drop load_from
        resume = not fresh and has_checkpoint(self.folder / "train")
        if self.needs is not None and not resume:
            options.append(f"load_from={self.needs.last_checkpoint}")
        more = ["--resume"] if resume else []
        if settings.scale == "coco":
            more.append("--auto-scale-lr")
        return self._tool("train", [], more, options)

    def test_command(self) -> list[str]:
        """What scores its last checkpoint."""
        return self._tool("test", [str(self.last_checkpoint)], [], [])

    def _tool(self, tool: str, args: list[str], more: list[str], options: list[str]) -> list[str]:
        settings = self.settings
        tools, config = settings.repo / "tools", settings.repo / "configs" / self.config
        if settings.launcher == "pytorch":
            start = [settings.python, str(tools / f"dist_{tool}.py"), str(config), *args]
            start.append(str(settings.gpus))
        else:
            start = [settings.python, str(tools / f"{tool}.py"), str(config), *args]
        start += ["--work-dir", str(self.folder / tool)]
        data_root = settings.data_root or settings.default_root
        if data_root is not None:
            start += ["--data-root", data_root]
        return [*start, *more, *(["--cfg-options", *options] if options else [])]

    def read_metrics(self) -> dict[str, float]:
        """Metrics of the test, in percent, without their prefix.

        Raises:
            UserError: the test left none.
        """
        found = read_json(score_file(self.folder / "test")) or {}
        return {
            key.removeprefix("coco/"): round(100 * value, 2)
            for key, value in found.items()
            if "mAP" in key and is_number(value) and value >= 0
        }

    def finish(self) -> None:
        """Write the result of the test."""
        content = dict(
            config=f"configs/{self.config}",
            scale=self.settings.scale,
            seed=self.seed,
            digest=self.digest,
            metrics=self.read_metrics(),
            seconds=round(self.state["seconds"], 1),
            **self.conditions,
        )
        write_json(self.folder / "result.json", content)
        (self.folder / "failure.json").unlink(missing_ok=True)

    def fail(self, phase: str, reason: str) -> None:
        """Write why it ended."""
        write_json(self.folder / "failure.json", dict(phase=phase, reason=reason))

    def begin(self) -> None:
        """Note under which conditions it is trained."""
        write_json(self.folder / "state.json", {**self.state, **self.conditions})

    def add_seconds(self, seconds: float, **changes: bool) -> None:
        """Count time that was spent on it, and note other changes of its state."""
        state = {**self.state, **changes}
        state["seconds"] = round(state["seconds"] + seconds, 1)
        write_json(self.folder / "state.json", state)


def jobs_of(
    rows: Iterable[tuple[Table, TableRow]], seeds: Sequence[int], settings: Settings
) -> list:
    """The jobs that rows need, each once, in the order of seeds and rows.

    A job that others start from comes before them.

    Raises:
        UserError: a config is missing.
    """
    jobs: dict[tuple[str, str, int], Job] = {}

    def add(config: str, seed: int, needs: Job | None = None) -> Job:
        job = Job(settings, config, seed, needs=needs)
        return jobs.setdefault((job.config, job.digest, seed), job)

    rows = list(rows)
    for seed in seeds:
        for table, row in rows:
            weights = row.mini_weights if settings.scale == "mini" else None
            needs = None if weights is None else add(weights, seed)
            add(row.config(settings.scale), seed, needs).rows.append((table.name, row.name))
    return list(jobs.values())


def read_config(repo: Path, config: str) -> Config:
    """Parse a config, relative to ``configs/``.

    Raises:
        UserError: there is none.
    """
    path = repo / "configs" / config
    if not path.is_file():
        raise UserError(f"there is no config {path}.")
    return Config.fromfile(path, import_custom_modules=False)


def shell(command: Sequence[str], repo: Path) -> str:
    """A command as one would type it in the checkout."""
    words = ["python" if word == sys.executable else word.removeprefix(f"{repo}/")
             for word in command]  # fmt: skip
    return shlex.join(words)


def read_json(file: Path, cure: str = "", kind: type = dict) -> Any:
    """Content of a JSON file, or None where there is none.

    Args:
        file: its path.
        cure: what to do about a damaged one.
        kind: dict or list, what it has to hold.

    Raises:
        UserError: it is damaged, or of another kind.
    """
    try:
        file.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from error
    return data_files.read_json(file, "file", kind, cure)


def write_json(file: Path, content: dict | list) -> None:
    """Write a file that can be read by people, too."""
    write_whole(file, json.dumps(content, indent=2) + "\n")
