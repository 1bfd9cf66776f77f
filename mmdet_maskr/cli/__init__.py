"""The command line: ``maskr COMMAND``, and ``tools/*.py`` under MMDetection's names.

``commands`` lists the commands. Each has a module of its name in ``arguments``, which describes its
options and imports nothing but the standard library, so that help and completion are fast, and one
in this folder with ``run(args)``, which is imported when the command does its work.

What a command does is the docstring of its module in ``arguments``, which is its help text, too.
The two functions are alike in all commands:

``add_arguments(parser: argparse.ArgumentParser) -> None``
    adds description and options to an empty parser.

``run(args: argparse.Namespace) -> None``
    does the work with the parsed options, and prints what comes of it.

    Raises:
        UserError: options, files or data that do not fit, in one sentence that names them;
            :func:`mmdet_maskr.engine.launch.run_tool` prints it, with exit code 2.
        SystemExit: exit code 1 where the work is done and the answer is no: errors found, images
            left out, outputs that differ, rows that failed.
"""
