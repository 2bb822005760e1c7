"""A program that runs scripts as ``python script.py`` does, each in a process of its own.

They are forked from this one, which has imported what takes most of the time of a short script.
Each line that it reads names one: the folder to run it in, its path, arguments, variables of the
environment, and the file for its output.  The answer is a line with its exit status.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import threading
from importlib import import_module

import dask

for _name in (
    "prefect.flow_engine",
    "daskcache.prefect.flows",
    "daskcache.testing",
    "daskcache.cpr.alias",
):
    import_module(_name)


def serve():
    assert threading.active_count() == 1, threading.enumerate()
    for line in sys.stdin:
        folder, script, arguments, environment, output = json.loads(line)
        child = os.fork()
        if child == 0:
            return run(folder, script, arguments, environment, output)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(folder, script, arguments, environment, output):
    to = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(to, 1)
    os.dup2(to, 2)
    os.chdir(folder)
    os.environ |= environment
    dask.config.refresh()
    sys.argv = [script, *arguments]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    runpy.run_path(os.path.abspath(script), run_name="__main__")


if __name__ == "__main__":
    serve()
