"""Pretrained weights by name: without torchvision, and with an error that says what to do."""

from __future__ import annotations

import functools
import json
import pickle
from collections.abc import Callable
from pathlib import Path

from mmdet_maskr.errors import UserError

ADVICE = (
    "Name a file instead: --cfg-options model.backbone.init_cfg.checkpoint=FILE (or load_from=FILE "
    "for a whole detector); --cfg-options model.backbone.init_cfg=None starts from random weights, "
    "with a C4 backbone model.roi_head.shared_head.init_cfg=None too."
)


def load_from_torchvision(filename: str, map_location: object = None) -> dict:
    """As mmengine's, which imports torchvision only to look at its version."""
    from mmengine.runner.checkpoint import load_from_http

    return load_from_http(torchvision_urls()[filename.split("://")[1]], map_location=map_location)


@functools.cache
def torchvision_urls() -> dict[str, str]:
    """Addresses of torchvision's weights by name, as mmengine lists them."""
    import mmengine

    path = Path(mmengine.__file__).parent / "hub" / "torchvision_0.12.json"
    return json.loads(path.read_text(encoding="utf-8"))


def explained(load: Callable[..., dict]) -> Callable[..., dict]:
    """The loader, with errors that name the weights and the way without a download.

    Raises:
        UserError: later, by it.
    """

    @functools.wraps(load)
    def loader(filename: str, map_location: object = None, **options) -> dict:
        """Load weights by name or address.

        Raises:
            UserError: an unknown name, or they could not be downloaded.
        """
        try:
            return load(filename, map_location=map_location, **options)
        except KeyError as error:
            raise UserError(f"there are no pretrained weights {filename}. {ADVICE}") from error
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"the pretrained weights {filename} could not be loaded ({reason}). {ADVICE}"
            ) from error

    return loader
