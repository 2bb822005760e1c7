"""Which functions call which when two nodes are computed: over how many borders, into which rooms.

    python docs/trace_node.py [--json]

Counted are calls of the package's Python functions by one another, each time that one happens, in a
cold run of two nodes (one made from the other) on Dask's synchronous scheduler, from the decorators to
the value.  A call counts if its caller, the next frame in the stack, is the package's too: calls that
come by way of Dask, the standard library or a user's function do not.  Bodies of modules and classes,
lambdas and comprehensions are part of the function that they stand in.  A room is the folder of a file,
or the file itself if it lies at the top.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import dask

import daskcache as dc

PACKAGE = str(Path(dc.__file__).parent) + "/"


def pipeline():
    """Decorate two functions, call them, and compute."""

    @dc.delayed(target="{n}/number.json")
    def number(n):
        return n

    @dc.delayed(target="double/{n.parent}.json")
    def double(n):
        return 2 * n

    return double(number(21)).compute()


def warm_up():
    """Import what a run imports, with another function: code that runs at import is not a node's."""
    dc.delayed(target="warm.json")(lambda: 0)().compute()


def trace(function) -> Counter:
    """Return how often each function of the package called each other one, as (file, name) pairs."""
    calls: Counter = Counter()

    def watch(frame, event, argument):
        if event != "call":
            return
        callee, caller = _ours(frame), _ours(frame.f_back)
        if callee and caller and not frame.f_code.co_name.startswith("<"):
            calls[caller, callee] += 1

    sys.setprofile(watch)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


def _ours(frame):
    """Name the file and function of a frame of the package; None for any other."""
    while frame is not None and frame.f_code.co_name.startswith("<"):
        if frame.f_code.co_name == "<module>":
            break
        frame = frame.f_back
    if frame is None or not frame.f_code.co_filename.startswith(PACKAGE):
        return None
    return frame.f_code.co_filename.removeprefix(PACKAGE), frame.f_code.co_qualname


def room_of(file: str) -> str:
    return file.partition("/")[0].removesuffix(".py")


def summary(calls: Counter) -> dict:
    """Count calls, functions, files, and what crosses the borders of files and rooms."""
    functions = {each for pair in calls for each in pair}
    entered: dict[str, set[str]] = {}
    for caller, callee in calls:
        if room_of(caller[0]) != room_of(callee[0]):
            entered.setdefault(room_of(callee[0]), set()).add(room_of(caller[0]))
    total = sum(calls.values())
    files = sum(n for (a, b), n in calls.items() if a[0] != b[0])
    rooms = sum(n for (a, b), n in calls.items() if room_of(a[0]) != room_of(b[0]))
    return {
        "calls": total,
        "functions": len(functions),
        "files": len({file for file, _ in functions}),
        "over a file's border": files,
        "over a room's border": rooms,
        "share over a room's border": round(rooms / total, 3),
        "entered from": {room: sorted(found) for room, found in sorted(entered.items())},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="all pairs of functions, too")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        dask.config.set({"daskcache.root": folder, "scheduler": "sync"}),
    ):
        warm_up()
        calls = trace(pipeline)
    found = summary(calls)
    if arguments.json:
        found["pairs"] = [[*a, *b, n] for (a, b), n in sorted(calls.items())]
        print(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        if isinstance(value, dict):
            print(f"{name}:", *(f"\n  {room}: {', '.join(rooms)}" for room, rooms in value.items()))
        else:
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
