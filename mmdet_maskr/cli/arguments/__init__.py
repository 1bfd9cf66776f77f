"""Options of each command: ``add_arguments(parser)`` in a module of the command's name.

These modules import the standard library alone, and one another. Choices and defaults that other
modules own stand here as plain values; tests/cli compares them. The docstring of
:mod:`mmdet_maskr.cli` says what the function does.
"""
