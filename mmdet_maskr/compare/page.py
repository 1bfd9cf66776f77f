"""The page: HTML, style and script of this folder with a comparison's content, in one file.

Nothing of the content becomes HTML or script here: it is JSON in which ``<``, ``>`` and ``&`` are
escaped, and the script puts texts into the page as text. A content security policy with the hashes
of the page's own style and script lets the browser run and load nothing else.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

from mmdet_maskr.html_pages import content_policy

SCRIPTS = ("matching.js", "drawing.js", "page.js")
_ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def render(content: dict) -> str:
    """The page as text.

    Args:
        content: from :meth:`.Comparison.run`.
    """
    style = _part("page.css")
    script = "(() => {\n" + "\n".join(_part(name) for name in SCRIPTS) + "})();\n"
    parts = dict(
        policy=content_policy(style, script),
        title=html.escape(content["title"]),
        style=style,
        script=script,
        content=json.dumps(content, allow_nan=False).translate(_ESCAPED),
    )
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _part("page.html"))


def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
