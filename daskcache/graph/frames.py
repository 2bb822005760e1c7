"""Facts about the running Dask call, found by walking the stack.

Dask does not say where a verb begins and ends, which client sends, or that a graph is being composed.
The callers' frames do.  `graph.verb`, `graph.late`, `graph.builder` and `graph.node` ask here.  If Dask
changes these functions, ``tests/integration/test_dask_internals.py`` says what broke.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any

#: Functions of Dask that pickle or cull graphs, and for each the name of its set of wanted keys.
_STEPS = {"_graph_to_futures": "keyset", "cull": "keys_set"}


def dask_step() -> Any:
    """Return an object that identifies the running step of a Dask verb, and lives as long as the step.

    A step is one of three: the loop that calls ``HLGExpr.from_collection`` for all collections of a
    verb; ``HighLevelGraph.cull``; and ``Client._graph_to_futures``, which pickles.

    Returns
    -------
    frame, set or None
        The frame of the loop, or the set of the wanted keys.  None outside such a step.
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
    """Return True while a distributed client pickles a graph to send it to its scheduler."""
    return _running("_graph_to_futures", "distributed.client") is not None


def sending() -> tuple[Any, dict[str, Any], Any] | None:
    """Return the client that is pickling a graph, its new futures and the expression, or None."""
    frame = _running("_graph_to_futures", "distributed.client")
    return frame and tuple(frame.f_locals[name] for name in ("self", "futures", "expr"))


def is_for_some_workers() -> bool:
    """Return True while a distributed client pickles a graph for workers that the verb names."""
    frame = _running("_graph_to_futures", "distributed.client")
    return frame is not None and bool(frame.f_locals.get("workers"))


def client_of_verb() -> Any:
    """Return the distributed client to which the running verb will send its graph.

    Return None if no client is known, or if the verb of a client names the workers for its graph.
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
    """Return the layers of the graph that is being culled, or an empty tuple."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not (frame.f_code.co_name == "cull" and "keys_set" in frame.f_locals):
        frame = frame.f_back
    return frame.f_locals["self"].layers.values() if frame is not None else ()


def is_composing() -> bool:
    """Return True while `dask.delayed` composes a graph of nodes in containers."""
    return _running("unpack_collections", "dask.delayed") is not None


def is_read_for_composing(reader: FrameType) -> bool:
    """Return True if the frame `reader` reads ``node.dask`` for composing.

    This is faster than `is_composing`, because it looks at fixed frames only.
    """
    if reader.f_code.co_name != "from_collection" or reader.f_back is None:
        return False
    caller = reader.f_back.f_back
    return caller is not None and _is(caller, "unpack_collections", "dask.delayed")


def _running(function, module):
    # The frame of the innermost running call, or None.  It skips the caller in this module.
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not _is(frame, function, module):
        frame = frame.f_back
    return frame


def _is(frame, function, module):
    return frame.f_code.co_name == function and frame.f_globals.get("__name__") == module
