"""Releases on the Hugging Face hub, by ``hf://org/name[@revision]``; needs ``huggingface_hub``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_maskr.errors import UserError
from mmdet_maskr.zoo.release import FILES

_FORM = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


class Place(NamedTuple):
    """A repository of the hub: ``name`` is org/name, ``revision`` a branch, tag or commit."""

    name: str
    revision: str | None


def read_address(text: str) -> Place:
    """What ``hf://org/name[@revision]`` names.

    Raises:
        UserError: another form.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise UserError(f"{text[:200]!r}: write hf://org/name, or hf://org/name@revision.")
    return Place(match["name"], match["revision"])


def _client() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            "hf:// needs the package huggingface_hub: pip install huggingface_hub."
        ) from error
    return huggingface_hub


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def download(address: str) -> Path:
    """The folder of a release, in the cache of ``huggingface_hub``; only files of releases.

    Raises:
        UserError: no such repository or revision, no connection and nothing kept; the package is
            not installed.
    """
    place = read_address(address)
    client = _client()
    try:
        found = client.snapshot_download(
            place.name,
            revision=place.revision,
            allow_patterns=list(FILES),
            endpoint=_endpoint(),
            library_name="mmdet_maskr",
        )
    except Exception as error:  # of the client, of the connection, of the disk
        raise UserError(f"{address} cannot be downloaded: {_reason(error)}.") from error
    return Path(found)


def push(folder: Path, address: str, private: bool = False) -> str:
    """Upload a release; the repository is made where it is not there.

    Args:
        folder: that :func:`.release.write` wrote.
        address: ``hf://org/name[@branch]``.
        private: of a new repository.

    Returns:
        Where the commit can be seen.

    Raises:
        UserError: no permission, no connection; the package is not installed.
    """
    place = read_address(address)
    client = _client()
    api = client.HfApi(endpoint=_endpoint(), library_name="mmdet_maskr")
    try:
        api.create_repo(place.name, private=private, exist_ok=True)
        if place.revision is not None:
            api.create_branch(place.name, branch=place.revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=place.name,
            folder_path=str(folder),
            revision=place.revision,
            allow_patterns=list(FILES),
            commit_message=f"Release of {place.name}",
        )
    except Exception as error:  # of the client, of the connection
        raise UserError(
            f"{address} cannot be written: {_reason(error)}. `hf auth login` or HF_TOKEN "
            "logs you in."
        ) from error
    return str(commit.commit_url)


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:300]
