"""Nodes that are computed, or complete, without a cluster."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr
from unittest.mock import patch

import dask

import daskcache as dc

from .graphs import in_root
from .measuring import Comparison, Times, timed
from .scenes import Size, cached_make, dask_make, finished, joblib_memory, root, wide


def cold(size: Size) -> Iterator[Comparison]:
    """What saving a small result costs above plain Dask, against a cold call of joblib.Memory."""
    calls = size.calls

    def ours() -> Times:
        with root():
            nodes = wide(cached_make, calls)
            return timed(lambda: dask.compute(*nodes, scheduler="sync"))

    def remembered() -> Times:
        with joblib_memory() as function:
            return timed(lambda: [function(i) for i in range(calls)])

    def plain() -> Times:
        nodes = wide(dask_make, calls)
        return timed(lambda: dask.compute(*nodes, scheduler="sync"))

    yield Comparison(
        "a cold node above Dask's, one thread",
        {"daskcache": ours, "joblib": remembered, "dask.delayed": plain},
        *(calls, 1.1),
        ceiling=4,
        ratio=lambda seconds: (seconds["daskcache"] - seconds["dask.delayed"]) / seconds["joblib"],
        note="ours less Dask's, by joblib's",
    )


class Terminal(io.StringIO):
    """A stream that passes for a terminal."""

    def isatty(self):
        return True


def watched(size: Size) -> Iterator[Comparison]:
    """Small nodes whose progress is shown from the beginning, against the same ones in silence."""

    def compute(progress: float | bool) -> Times:
        terminal = {"CI": "", "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
        with root(), patch.dict(os.environ, terminal), redirect_stderr(Terminal()):
            nodes = wide(cached_make, size.calls)
            with dask.config.set({"daskcache.progress": progress}):
                return timed(lambda: dask.compute(*nodes, scheduler="sync"))

    compute(0.0)  # imports what draws
    yield Comparison(
        "small nodes with progress",
        {"shown": lambda: compute(0.0), "silent": lambda: compute(False)},
        *(size.calls, 1.02),
        ceiling=1.3,
        note="shown from the first moment on",
    )


def warm(size: Size) -> Iterator[Comparison]:
    """Nodes that are complete are read, each from its file."""
    calls = size.calls
    with finished(calls) as (nodes, _), joblib_memory() as function:
        literals = [dask.delayed(i) for i in range(calls)]
        for i in range(calls):
            function(i)
        yield Comparison(
            "complete nodes, dask.compute",
            {
                "daskcache": lambda: dask.compute(*nodes, scheduler="sync"),
                "dask.delayed": lambda: dask.compute(*literals, scheduler="sync"),
            },
            *(calls, 1.1),
            ceiling=5,
            note="beside as many literals",
        )
        yield Comparison(
            "complete nodes, daskcache.compute",
            {
                "daskcache": lambda: dc.compute(*nodes, scheduler="sync"),
                "joblib": lambda: [function(i) for i in range(calls)],
            },
            *(calls, 0.4),
            ceiling=4,
        )


def commands(_size: Size) -> Iterator[Comparison]:
    """Commands that look at a root of many records, beside `dask --version`: seconds more than that."""
    records = 100_000
    with finished(records) as (_, paths):
        environment = in_root(os.path.dirname(os.path.dirname(paths[0])))

        def command(*words: str):
            program = "from dask.__main__ import main; main()"
            subprocess.run(
                [sys.executable, "-c", program, *words],
                check=True,
                env=environment,
                stdout=subprocess.DEVNULL,
            )

        command("cache", "status")  # reads each record, once
        for name in ("status", "ls", "du"):
            yield Comparison(
                f"dask cache {name}, {records:,} records",
                {
                    "daskcache": lambda: command("cache", name),  # noqa: B023
                    "dask --version": lambda: command("--version"),
                },
                bar=1,
                ratio=lambda seconds: seconds["daskcache"] - seconds["dask --version"],
                note="seconds more, once each record was read",
            )


def imports(size: Size) -> Iterator[Comparison]:
    """Fresh interpreters import what decorates functions."""
    keeping = {n: value for n, value in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}

    def fresh(statement: str) -> Times:
        clock = "time.perf_counter(), time.process_time()"
        code = f"import time; a, b = {clock}; {statement}; c, d = {clock}; print(c - a, d - b)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=os.sep,
            env=keeping,  # as users have it, each module is compiled once
        )
        return Times(*map(float, done.stdout.split()))

    yield Comparison(
        "import, and delayed",
        {
            "daskcache": lambda: fresh("from daskcache import delayed"),
            "dask.delayed": lambda: fresh("from dask.delayed import delayed"),
        },
        bar=1.05,
        ceiling=2.5,
    )
