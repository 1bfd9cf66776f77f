"""The command line: ``maskr COMMAND``, and ``tools/*.py`` under MMDetection's names.

``commands`` lists the commands. Each has a module of its name in ``arguments``, which describes its
options and imports nothing but the standard library, so that help and completion are fast, and one
in this folder with ``run(args)``, which is imported when the command does its work.
"""
