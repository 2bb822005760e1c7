"""`Plan`, the decisions of a planner for requested nodes, as users see and run them.

`api.plan` makes plans.  `planning.display` shows them, and `verb` runs them.
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..calls.recipe import Recipe
from ..planning.display import pictures, svg, tables
from ..planning.planner import Planner
from ..planning.space import room_needed
from ..planning.states import BLOCKED, DECIDE, LOAD, RUN, SKIP, PlannedNode
from ..tracebacks import shortened
from . import verb
from .node import Node
from .selecting import Selector


class Plan:
    """A plan for requested nodes, with the action for each node and the reasons.

    `plan` makes plans.  Iterating yields each `PlannedNode`, upstream nodes first.
    ``plan["seg/*.npy"]`` selects some, as `Nodes` does.  In a notebook, and printed, a plan shows a line
    for each function and reason: blocked and failed nodes first, then those that run.

    Parameters
    ----------
    recipes : list of Recipe
        The recipes of the requested nodes.
    planner : Planner
        The planner to which they were given.

    Attributes
    ----------
    nodes : tuple of PlannedNode
        The requested nodes and all nodes upstream of them, upstream nodes first.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> plan = dc.plan(square(2), square(3))
    >>> plan.counts
    {'run': 2, 'decide': 0, 'blocked': 0, 'load': 0, 'skip': 0}
    >>> plan.compute()
    (4, 9)
    """

    def __init__(self, recipes: list[Recipe], planner: Planner):
        self._recipes = recipes
        self._planner = planner
        self.nodes = tuple(planner.planned_nodes)

    def __iter__(self) -> Iterator[PlannedNode]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, index: Any) -> Any:
        """Select planned nodes by position, name, pattern or mask, as `Nodes` does.

        Parameters
        ----------
        index : int, str, slice, or sequence of bool, int or str

        Returns
        -------
        PlannedNode or tuple of PlannedNode
            One for a position or a name, with its state, action and reasons.

        Raises
        ------
        IndexError, NoSuchNode, GraphError
            As ``nodes[index]``.

        Examples
        --------
        >>> @dc.delayed(target="squares/{n}.json")
        ... def square(n):
        ...     return n * n
        >>> plan = dc.plan(square.map([2, 3]))
        >>> plan["squares/2"], plan["squares/*"][1].reasons
        (<square(squares/2.json): missing, run>, ['was never computed'])
        """
        found = self._selector.positions(index)
        return tuple(self.nodes[i] for i in found) if isinstance(found, list) else self.nodes[found]

    @functools.cached_property
    def _selector(self):
        return Selector([node.recipe for node in self.nodes])

    @property
    def counts(self) -> dict[str, int]:
        """Number of nodes for each action: "run", "decide", "blocked", "load" and "skip".

        "decide": a worker decides if the node runs, once its inputs' data are known.  "blocked": the
        node can't run because of a user's file at a target.  "skip": the node is not needed.
        """
        found = Counter(node.action for node in self.nodes)
        return {action: found[action] for action in (RUN, DECIDE, BLOCKED, LOAD, SKIP)}

    @property
    def left(self) -> int:
        """Number of nodes with the action "run" or "decide"."""
        return self.counts[RUN] + self.counts[DECIDE]

    @property
    def seconds(self) -> float:
        """Estimated run time of the nodes that are left, in seconds on one worker thread.

        Nodes without an estimate count as 0 s.
        """
        return sum(self.estimate(node) or 0 for node in self.nodes if node.is_to_do)

    @property
    def nbytes(self) -> int:
        """Estimated growth of the roots in bytes when the nodes that are left run.

        It comes from recorded sizes.  Nodes of functions without a record in this plan count as 0 bytes.
        """
        return sum(room_needed(self.nodes).values())

    def estimate(self, node: PlannedNode) -> float | None:
        """Estimate the run time of a node from recorded run times.

        Parameters
        ----------
        node : PlannedNode
            A node of this plan.

        Returns
        -------
        float or None
            Seconds of the node's last run.  Without a record, the mean for the function's nodes in this
            plan, or None if none of them has a record.

        Examples
        --------
        >>> @dc.delayed(target="squares/{n}.json")
        ... def square(n):
        ...     return n * n
        >>> plan = dc.plan(square(2))
        >>> [plan.estimate(node) for node in plan]
        [None]
        """
        if node.seconds is not None:
            return node.seconds
        return self._average_seconds.get(node.recipe.name)

    @functools.cached_property
    def _average_seconds(self):
        known: dict[str, list[float]] = {}
        for node in self.nodes:
            if node.seconds is not None:
                known.setdefault(node.recipe.name, []).append(node.seconds)
        return {name: sum(seconds) / len(seconds) for name, seconds in known.items()}

    @shortened
    def compute(self, progress: bool | float | str | None = None, **kwargs: Any) -> tuple[Any, ...]:
        """Run exactly this plan and return the requested values.

        Parameters
        ----------
        progress : bool, float or str, optional
            As in `compute`.
        **kwargs
            As in `dask.compute`.

        Returns
        -------
        tuple
            One value for each requested node.  With ``errors="collect"``, the value of a failed or
            blocked node is a `NodeFailed`.

        Raises
        ------
        ForeignTarget, TargetModified
            If a node is blocked, unless the plan was made with ``errors="collect"``.
        TargetMissing, TargetCorrupt
            If a stored result is gone or damaged when it is loaded.
        Exception
            Any error of a function that runs, unless the plan was made with ``errors="collect"``.

        Examples
        --------
        >>> @dc.delayed(target="squares/{n}.json")
        ... def square(n):
        ...     return n * n
        >>> dc.plan(square(2)).compute()
        (4,)
        """
        nodes = tuple(Node(recipe) for recipe in self._recipes)
        return verb.compute_planned(nodes, self._planner, kwargs, progress=progress)

    def to_frame(self):
        """Return the plan as a data frame.

        Returns
        -------
        pandas.DataFrame
            One row for each node, upstream nodes first.  The columns are ``node``, ``function``,
            ``action``, ``state``, ``seconds``, ``bytes``, ``target``, ``why`` and ``key``.

        Raises
        ------
        MissingExtra
            If pandas is not installed.

        Examples
        --------
        >>> @dc.delayed(target="squares/{n}.json")
        ... def square(n):
        ...     return n * n
        >>> dc.plan(square(2)).to_frame()[["function", "action", "state"]]
          function action    state
        0   square    run  missing
        """
        return tables.plan_frame(self)

    def svg(self) -> str:
        """Draw the plan.

        Returns
        -------
        str
            SVG text with one box for each node, or for several nodes of a large plan: those of one
            function, with the number of nodes in each state.  On a screen of 1600 × 900 pixels, all
            texts are readable.

        Examples
        --------
        >>> @dc.delayed(target="squares/{n}.json")
        ... def square(n):
        ...     return n * n
        >>> dc.plan(square(2)).svg()[:4]
        '<svg'
        """
        return svg.plan_svg(self)

    def visualize(self, path: str | os.PathLike[str] | None = None) -> pictures.Picture:
        """Draw the plan into a file, or for a notebook.

        Parameters
        ----------
        path : str or path, optional
            The suffix decides the format: ``.svg``; ``.png``, which needs the extra ``picture``;
            ``.html`` for a page to zoom, search and click; ``.dot`` for Graphviz; ``.mmd`` for Mermaid.
            An earlier picture is replaced.  Without a path, no file is written.

        Returns
        -------
        Picture
            Notebooks show it.  Its attribute ``path`` is that of the file.

        Raises
        ------
        UnknownFormat
            If no format has this suffix.
        MissingExtra
            If the format needs a package that is not installed.
        ForeignTarget
            If a file is there that daskcache did not draw, or that was edited since.
        StorageError
            If the file can't be written.

        Examples
        --------
        >>> @dc.delayed(target="squares/{n}.json")
        ... def square(n):
        ...     return n * n
        >>> dc.plan(square(2)).visualize("plan.mmd")
        <Picture of 1 node: plan.mmd>
        >>> print(Path("plan.mmd").read_text().splitlines()[1])
          n0["square<br>squares/2.json"]:::run
        """
        return pictures.Picture(self, None if path is None else pictures.write_picture(self, path))

    def __str__(self) -> str:
        return tables.plan_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return tables.plan_html(self)
