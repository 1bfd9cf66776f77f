"""Readers of YAML, JSON and pickles for mmengine that execute nothing.

mmengine reads YAML with PyYAML's full loader and .pkl files with pickle, both of which call
for every name in the file. Writing stays mmengine's.
"""

from __future__ import annotations

from typing import Any

from mmengine.fileio.handlers import JsonHandler, PickleHandler, YamlHandler

from mmdet_maskr import data_files
from mmdet_maskr.safe_pickle import load_pickle


class SafeYamlHandler(YamlHandler):
    """Plain YAML alone."""

    def load_from_fileobj(self, file: Any, **kwargs) -> Any:
        """Read an open file.

        Raises:
            UserError: it is damaged, or holds more than data.
        """
        return data_files.parse_yaml(file.read())


class SafeJsonHandler(JsonHandler):
    """JSON that does not grow when it is read."""

    def load_from_fileobj(self, file: Any) -> Any:
        """Read an open file.

        Raises:
            UserError: it is damaged.
        """
        return data_files.parse_json(file.read())


class SafePickleHandler(PickleHandler):
    """Pickles of containers, numbers, texts, arrays and tensors."""

    def load_from_fileobj(self, file: Any, **kwargs) -> Any:
        """Read an open file.

        Raises:
            UserError: it is damaged, or asks for anything else.
        """
        return load_pickle(file, **kwargs)
