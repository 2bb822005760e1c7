"""Recorded calls, made once more in this process, with their results in a temporary folder.

`rebuild` makes the calls.  `audit` compares the hashes of the results, and `diff` the results.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeVar

from ..runtime.call import arguments, call
from ..runtime.copies import Copies
from ..runtime.entry import Entry
from ..runtime.store import Written, sweep_parts, write_results
from ..storage.roots import Root
from .rebuild import Call, CannotRecompute, in_a_line

_T = TypeVar("_T")


def values_for(recalled: Call) -> list:
    """Read the arguments for one run.

    They are read anew for each run, because the function may have modified those of the run before.

    Raises
    ------
    CannotRecompute
        If an input can't be read, or if the function writes to its target itself.
    """
    spec = recalled.work.spec
    if spec.options.save is False and not spec.signature.takes_target_path:
        raise CannotRecompute("it writes its target itself, and not to a parameter target_path")
    for item in recalled.inputs:
        if isinstance(item, Entry):
            item.read_only = True
    try:
        return arguments(recalled.work, recalled.inputs, Copies())
    except Exception as error:
        raise CannotRecompute(f"its inputs can't be read: {in_a_line(error)}") from error


class Recomputed(NamedTuple):
    """Results of a call that was made again."""

    #: The results as they would be stored, in a temporary folder; tables of databases in memory.
    results: list[Written]
    #: What the function returned for each result; empty if it writes its targets itself.
    returned: list
    #: Run time of the function in seconds.
    seconds: float


def recompute(recalled: Call, values: list, look: Callable[[Recomputed], _T]) -> _T:
    """Make a call again, and return what `look` returns for its results, which exist only meanwhile.

    Raises
    ------
    Exception
        Any error of the function, of writing its results, or of `look`.
    """
    with TemporaryDirectory(prefix="daskcache-again-") as folder:
        elsewhere = recalled.work._replace(root=folder)
        started = time.perf_counter()
        result, own_paths = call(elsewhere, values)
        seconds = time.perf_counter() - started
        written = write_results(Root(folder), elsewhere, recalled.inputs, result, own_paths)
        try:
            return look(Recomputed(written, _each(result, recalled, own_paths), seconds))
        finally:
            sweep_parts(Root(folder), [each.part.path for each in written])  # tables are in memory


def _each(result, recalled, own_paths):
    layout = recalled.work.spec.layout
    if own_paths is not None:
        return []
    if layout is None:
        return [result]
    return list(result) if isinstance(layout, int) else [result[name] for name in layout]
