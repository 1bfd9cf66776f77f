"""Standalone HTML pages: one file that loads nothing else."""

from __future__ import annotations

import base64
import hashlib


def content_policy(style: str, script: str) -> str:
    """A content security policy with the hashes of a page's own style and script.

    The browser then runs and loads nothing else; pictures are data URIs.
    """
    return (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
