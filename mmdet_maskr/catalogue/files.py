"""The folder of the configs: in the repository, or in ``.mim`` of an installed package."""

from __future__ import annotations

import difflib
from pathlib import Path

from mmdet_maskr.cli.spelling import call
from mmdet_maskr.errors import UserError

PACKAGE = Path(__file__).resolve().parent.parent


def configs_dir() -> Path:
    """Folder of the configs: that of a checkout, else the installed package's own.

    Raises:
        UserError: neither is there.
    """
    for folder in (PACKAGE.parent / "configs", PACKAGE / ".mim" / "configs"):
        if (folder / "maskr_r50_fpn_1x.py").is_file():
            return folder
    raise UserError(
        f"there are no configs next to or in {PACKAGE}: install mmdet_maskr with pip "
        "from a checkout."
    )


def config_paths() -> list[Path]:
    """All configs but the parts in ``_base_`` and old names of others, sorted."""
    paths = (path for path in configs_dir().rglob("*.py") if "_base_" not in path.parts)
    return sorted(path for path in paths if not is_old_name(path))


def is_old_name(path: Path) -> bool:
    """Whether a config is only there for those who know it by a name that it had before."""
    return "\n_deprecation_ = " in path.read_text(encoding="utf-8")


def config_path(name: str) -> str:
    """Path of a config by its name, for Config.fromfile, DetInferencer and mmdet's tools.

    Args:
        name: relative to the folder of configs, with or without ``.py``: 'maskr_r50_fpn_1x',
            'lvis/maskr_r50_fpn_ms-1x'.

    Raises:
        UserError: no such config; with the nearest names.
    """
    path = configs_dir() / f"{name.removesuffix('.py')}.py"
    if not path.is_file():
        known = [str(p.relative_to(configs_dir()).with_suffix("")) for p in config_paths()]
        close = difflib.get_close_matches(name.removesuffix(".py"), known, n=3)
        hint = f"did you mean {close}?" if close else f"{call('zoo')} lists them."
        raise UserError(f"there is no config {name!r} in {configs_dir()}: {hint}")
    return str(path)
