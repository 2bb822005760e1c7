"""`visualize` of nodes: a picture of their plan, where Dask would draw its tasks with Graphviz.

`node` and `nodes` call it, and `planning.display.pictures` draws.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..planning.display.pictures import FORMATS, Picture
from . import api
from .node import Node

#: Formats of Graphviz alone.
_OF_DASK = {".pdf", ".jpg", ".jpeg"}


def draw(
    nodes: Sequence[Node],
    of_dask: Callable,
    filename: str | os.PathLike[str] | None,
    format: str | None,
    optimize_graph: bool,
    options: dict[str, Any],
) -> Any:
    """Draw the plan of nodes, or let Dask draw its tasks if an option or a format asks for that.

    Parameters
    ----------
    nodes : sequence of Node
    of_dask : callable
        Dask's own method, which takes the other parameters.
    filename, format, optimize_graph, options
        The arguments of `Node.visualize`.
    """
    suffix = (f".{format}" if format else Path(filename or "").suffix or ".svg").lower()
    if options or optimize_graph or (suffix not in FORMATS and suffix in _OF_DASK):
        return of_dask(filename=filename, format=format, optimize_graph=optimize_graph, **options)
    plan = api.plan(nodes)
    if filename is None:
        return Picture(plan)
    path = os.fspath(filename)
    return plan.visualize(path if path.lower().endswith(suffix) else path + suffix)
