"""Sphinx's roles in docstrings, such as :func:`~mmdet_maskr.ops.roi_align`, as plain code names.

An extension of griffe, which mkdocstrings reads docstrings with; mkdocs.yml names it.
"""

from __future__ import annotations

import re

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`([~.]?)([^`]+)`")


def without_roles(text: str) -> str:
    """``:func:`~a.b``` becomes ```b```; other names lose a leading dot alone."""

    def name(match: re.Match) -> str:
        prefix, path = match.groups()
        return f"`{path.rpartition('.')[2] if prefix else path}`"

    # reStructuredText ends a line with '::' before a literal block; Markdown needs the indent alone
    return re.sub(r"\s*::$", ":", ROLE.sub(name, text), flags=re.MULTILINE)


class SphinxRoles(Extension):
    """Rewrites every docstring before it is parsed."""

    def on_instance(self, *, obj: Object, **kwargs) -> None:
        """Called by griffe for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = without_roles(obj.docstring.value)
