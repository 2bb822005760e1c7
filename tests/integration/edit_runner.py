"""Runs programs one after the other, each in a process forked from one that has imported the packages.

Standard input is a JSON list of jobs: folder, way to start, root, and file for the output.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import types
from pathlib import Path

PACKAGES = (
    *(
        "attrs",
        "beartype",
        "dask",
        "dask.delayed",
        "daskcache",
        "daskcache.testing",
        "numpy",
        "pydantic",
    ),
    *("IPython.core.interactiveshell", "daskcache.graph", "daskcache.runtime.node"),
)


def run_script(path):
    """Run a script as ``python path`` does."""
    main = types.ModuleType("__main__")
    main.__file__ = path
    sys.modules["__main__"] = main
    sys.path[0] = str(Path(path).resolve().parent)
    exec(compile(Path(path).read_text(), path, "exec"), vars(main))


def run_module(path):
    """Import a program as a module, and call its main function."""
    sys.path[0] = str(Path(path).parent)
    __import__("program").main(sys.argv[1])


#: How a program is started, from a folder inside of its own.
STARTS = {
    "absolute path": lambda folder: run_script(f"{folder}/program.py"),
    "relative path": lambda folder: run_script("../program.py"),
    "module": lambda folder: run_module(f"{folder}/program.py"),
    "notebook": lambda folder: run_script("../notebook.py"),
    "whole cells": lambda folder: run_script("../whole_cells.py"),
}


def run_forked(folder, start, root, output):
    """Run a program in a child; its output, or its errors, go to a file."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    status = 1
    try:
        with open(output, "w") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
            os.chdir(f"{folder}/cwd")
            sys.argv = ["program", root]
            STARTS[start](folder)
            status = 0
    except BaseException:  # noqa: BLE001 (whatever the program raises is its output)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    for package in PACKAGES:
        __import__(package)
    for job in json.load(sys.stdin):
        run_forked(*job)
