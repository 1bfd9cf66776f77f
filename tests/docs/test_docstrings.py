"""Every public name has a docstring: shapes of its arrays, and the errors that it raises itself."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mmdet_maskr
from mmdet_maskr.cli.commands import COMMANDS

PACKAGE = Path(mmdet_maskr.__file__).parent
ARRAYS = ("Tensor", "ndarray", "NDArray")
# (N, 4), (N,), (height, width) bool, or a pointer to where the shapes are
SHAPE = re.compile(r"\((?:[A-Z0-9]|height)[^()]*,[^()]*\)|:func:|:meth:")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Two functions are alike in all commands. The docstring of mmdet_maskr.cli is theirs, so that it
# does not stand in 44 places; what a command does is the docstring of its module, its help text.
PROTOCOL = {
    f"mmdet_maskr.cli.{folder}{command.replace('-', '_')}:{function}"
    for command in COMMANDS
    for folder, function in (("", "run"), ("arguments.", "add_arguments"))
}


class Public(NamedTuple):
    """A public module, class, function or method, and the class that it belongs to."""

    name: str
    node: ast.AST
    owner: ast.ClassDef | None

    @property
    def text(self) -> str:
        """Its docstring, and that of its class; of a command's functions the protocol's."""
        texts = [ast.get_docstring(node) for node in (self.node, self.owner) if node is not None]
        if self.name in PROTOCOL:
            texts.append(inspect.getdoc(mmdet_maskr.cli))
        return "\n".join(text for text in texts if text)


def public_names() -> Iterator[Public]:
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if any(part.startswith("_") for part in parts):
            continue
        module = ".".join(parts)
        tree = ast.parse(file.read_text(encoding="utf-8"))
        yield Public(module, tree, None)
        for node in tree.body:
            if not isinstance(node, (*FUNCTIONS, ast.ClassDef)) or node.name.startswith("_"):
                continue
            yield Public(f"{module}:{node.name}", node, None)
            for member in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(member, FUNCTIONS) and not member.name.startswith("_"):
                    yield Public(f"{module}:{node.name}.{member.name}", member, node)


def is_documented_override(name: str) -> bool:
    """Whether a method without a docstring overrides one that has it, as hooks do mmengine's."""
    module, _, path = name.partition(":")
    owner, method = path.split(".")
    bases = getattr(importlib.import_module(module), owner).__mro__[1:]
    return any(inspect.getdoc(vars(base).get(method)) for base in bases)


def raises_user_error(node: ast.AST) -> bool:
    return any(
        isinstance(part, ast.Raise) and part.exc is not None and "UserError" in ast.dump(part.exc)
        for part in ast.walk(node)
    )


def takes_arrays(node: ast.AST) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    annotations = [ast.unparse(a.annotation) for a in arguments if a.annotation is not None]
    return any(array in annotation for annotation in annotations for array in ARRAYS)


def test_every_public_name_has_a_docstring():
    lacking = [
        public.name
        for public in public_names()
        if ast.get_docstring(public.node) is None
        and public.name not in PROTOCOL
        and not (public.owner is not None and is_documented_override(public.name))
    ]
    assert lacking == []


def test_docstrings_tell_the_shapes_of_arrays():
    lacking = [
        public.name
        for public in public_names()
        if isinstance(public.node, FUNCTIONS)
        and takes_arrays(public.node)
        and ast.get_docstring(public.node) is not None
        and not SHAPE.search(public.text)
    ]
    assert lacking == []


def test_docstrings_tell_the_errors():
    """A function that raises a UserError itself says when; a constructor does in its class."""
    lacking = []
    for public in public_names():
        nodes = [public.node] if isinstance(public.node, FUNCTIONS) else []
        if isinstance(public.node, ast.ClassDef):
            nodes = [part for part in public.node.body if getattr(part, "name", "") == "__init__"]
        if any(raises_user_error(node) for node in nodes) and "Raises:" not in public.text:
            lacking.append(public.name)
    assert lacking == []


def test_the_functions_of_commands_are_as_their_protocol_says():
    signatures = {
        public.name: f"{public.node.name}({ast.unparse(public.node.args)}) -> "
        + ast.unparse(public.node.returns)
        for public in public_names()
        if public.name in PROTOCOL
    }
    assert signatures.keys() == PROTOCOL
    protocol = inspect.getdoc(mmdet_maskr.cli)
    others = [name for name, line in signatures.items() if f"``{line}``\n" not in protocol]
    assert others == []


def test_the_walk_sees_the_package():
    names = {public.name for public in public_names()}
    assert {"mmdet_maskr.ops.roi_align:roi_align", "mmdet_maskr.apis"} <= names
    assert len(names) > 500
