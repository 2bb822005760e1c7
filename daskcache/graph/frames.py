"""The step that Dask is in, read off the functions that are running.

Dask does not say where a verb begins and ends, which client sends, or that a graph is being composed.
``tests/integration/test_dask_internals.py`` says what broke, should Dask change these functions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any

#: Functions of Dask that cull graphs or pickle them, and a local variable of each.
_STEPS = {"_graph_to_futures": "keyset", "cull": "keys_set"}


def dask_step() -> Any:
    """An object that lives as long as the step that Dask is in: as long as one verb reads graphs.

    Dask does not say where a verb begins and ends, so this looks at the functions that are running:
    ``HLGExpr.from_collection``, called in one loop for all collections of a verb;
    ``HighLevelGraph.cull``; and ``Client._graph_to_futures``, which pickles.
    ``tests/integration/test_dask_internals.py`` says what broke, should Dask change them.

    Returns
    -------
    frame, set or None
        The frame of the loop, or the set of the wanted keys.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_name
        if name == "from_collection":
            return frame.f_back
        if name in _STEPS and _STEPS[name] in frame.f_locals:
            return frame.f_locals[_STEPS[name]]
        frame = frame.f_back
    return None


def is_sending() -> bool:
    """Whether a distributed client pickles a graph just now, to send it to its scheduler."""
    return _running("_graph_to_futures", "distributed.client") is not None


def sending() -> tuple[Any, dict[str, Any], Any] | None:
    """The distributed client that pickles a graph just now, the futures that it made, the expression."""
    frame = _running("_graph_to_futures", "distributed.client")
    return frame and tuple(frame.f_locals[name] for name in ("self", "futures", "expr"))


def is_for_some_workers() -> bool:
    """Whether a distributed client pickles a graph just now for workers that its verb names."""
    frame = _running("_graph_to_futures", "distributed.client")
    return frame is not None and bool(frame.f_locals.get("workers"))


def client_of_verb() -> Any:
    """The distributed client that a verb under way will send its graph to; None if none is known.

    Nor is it of a verb that names the workers for its graph.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in ("compute", "persist"):
            module = frame.f_globals.get("__name__")
            if module == "distributed.client":
                return None if frame.f_locals.get("workers") else frame.f_locals["self"]
            if module == "dask.base":
                found = getattr(frame.f_locals.get("schedule"), "__self__", None)
                return found if hasattr(found, "scheduler_info") else None
        frame = frame.f_back
    return None


def culled_layers() -> Iterable[Any]:
    """The layers of the graph that is culled just now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not (frame.f_code.co_name == "cull" and "keys_set" in frame.f_locals):
        frame = frame.f_back
    return frame.f_locals["self"].layers.values() if frame is not None else ()


def is_composing() -> bool:
    """Whether a graph is composed just now, by `dask.delayed` over nodes in containers."""
    return _running("unpack_collections", "dask.delayed") is not None


def is_read_for_composing(reader: FrameType) -> bool:
    """Whether ``node.dask``, read in the frame `reader`, is read for composing: a quicker look."""
    if reader.f_code.co_name != "from_collection" or reader.f_back is None:
        return False
    caller = reader.f_back.f_back
    return caller is not None and _is(caller, "unpack_collections", "dask.delayed")


def _running(function, module):
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not _is(frame, function, module):
        frame = frame.f_back
    return frame


def _is(frame, function, module):
    return frame.f_code.co_name == function and frame.f_globals.get("__name__") == module
