"""The functions of the package over nodes: verbs, plans, and what the accessor says of each."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from typing import Any

from dask.base import unpack_collections

from ..calls.recipe import Recipe
from ..errors import NotANode
from ..planning.planner import Planner
from ..planning.states import BLOCKED, DECIDE, LOAD, RUN, SKIP, PlannedNode
from ..targets.base import Target
from . import verb
from .node import Node


class Plan:
    """What will be skipped, loaded, run or decided for the requested nodes, and why.

    Iterate over it for its `PlannedNode`; in a notebook it shows as a table.
    """

    def __init__(self, recipes: list[Recipe], planner: Planner):
        self._recipes = recipes
        self._planner = planner
        self.nodes = tuple(planner.nodes.values())

    def __iter__(self) -> Iterator[PlannedNode]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def counts(self) -> dict[str, int]:
        """Number of nodes for each action."""
        found = Counter(node.action for node in self.nodes)
        return {action: found[action] for action in (RUN, DECIDE, BLOCKED, LOAD, SKIP)}

    @property
    def left(self) -> int:
        """Number of nodes that are to run, or whose worker will decide."""
        return self.counts[RUN] + self.counts[DECIDE]

    @property
    def seconds(self) -> float:
        """Estimated run time of what is left, in seconds of one worker thread."""
        return sum(self.estimate(node) or 0 for node in self.nodes if node.is_to_do)

    def estimate(self, node: PlannedNode) -> float | None:
        """Seconds that a node took when it ran last, or that its function takes on average."""
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

    def compute(self, **kwargs: Any) -> tuple:
        """Run exactly this plan and return the requested values.

        Parameters
        ----------
        **kwargs
            As in `dask.compute`.
        """
        nodes = tuple(Node(recipe) for recipe in self._recipes)
        return verb.compute_planned(nodes, self._planner, kwargs)

    def to_frame(self):
        """The plan as a `pandas.DataFrame`, a row for each node."""
        from ..planning.display.tables import plan_frame

        return plan_frame(self)

    def svg(self) -> str:
        """A picture of the plan as SVG."""
        from ..planning.display.svg import plan_svg

        return plan_svg(self)

    def __str__(self) -> str:
        from ..planning.display.tables import plan_text

        return plan_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from ..planning.display.tables import plan_html

        return plan_html(self)


def make_plan(recipes: list[Recipe], force=False, collect: bool = False) -> Plan:
    """Plan the computation of `recipes`; reads only, and shows what can't run as blocked."""
    planner = Planner(force, collect)
    planner.request_all(recipes)
    return Plan(recipes, planner)


def plan(*args: Any, force: Any = False, errors: str = "raise") -> Plan:
    """What computing these nodes would do, and why.  Reads only.

    Parameters
    ----------
    *args : nodes, or lists, tuples and dicts of them
        What would be requested.
    force : bool or nodes
        Rerun everything, or these nodes, although they are complete.
    errors : {"raise", "collect"}
        For `Plan.compute`, see `compute`.

    Returns
    -------
    Plan
        Shows as a table; ``plan.compute()`` runs exactly it.

    Raises
    ------
    NotANode
        If an argument holds no node.
    TargetCollision, ArgumentChanged
        If two nodes claim one target, or a node was made from what is something else now.
    """
    return make_plan([n._recipe for n in nodes_in(args)], _forced(force), _collect(errors))


def compute(*args: Any, force: Any = False, errors: str = "raise", **kwargs: Any) -> tuple:
    """Compute nodes and other collections; complete nodes are read here, without any task.

    Parameters
    ----------
    *args : nodes and other Dask collections, or lists, tuples and dicts of them
        What to compute.
    force : bool or nodes
        Rerun everything, or these nodes, although they are complete.
    errors : {"raise", "collect"}
        With "collect", what can go on after a failure goes on; the value of a failed node, and of
        those that need it, is a `NodeFailed`.
    **kwargs
        As in `dask.compute`, e.g. ``scheduler="threads"``.

    Returns
    -------
    tuple
        The arguments, with values in place of collections.
    """
    if all(isinstance(arg, Node) for arg in args):
        collections, repack = args, tuple
    else:
        collections, repack = unpack_collections(*args)
    if not collections:
        raise _not_a_node(args)
    results = verb.compute(tuple(collections), force=_forced(force), collect=_collect(errors), **kwargs)
    return tuple(repack(results))


def why(node: Node) -> str:
    """Why a node would run, or who adopted its result, a line each; empty if it is complete."""
    return _one(node).why()


def accept(*nodes: Node) -> int:
    """Say that what changed does not change the results of these nodes: they are complete as they are.

    Parameters
    ----------
    *nodes : Node
        Each after those that it depends on.

    Returns
    -------
    int
        How many were stale.

    Raises
    ------
    NotANode, TargetMissing, TargetModified, GraphError
        If one can't be accepted, see `Accessor.accept`; those before it are.
    """
    return sum([_one(node).accept() for node in nodes])


def adopt(*nodes: Node) -> int:
    """Take in what a person edited, or put where the results of these nodes belong.

    Parameters
    ----------
    *nodes : Node
        Each after those that it depends on.

    Returns
    -------
    int
        How many targets were not as stored.

    Raises
    ------
    NotANode, TargetMissing, TargetCorrupt, FormatLimit, UntrustedPickle
        If one can't be adopted, see `Accessor.adopt`; those before it are.
    """
    return sum([_one(node).adopt() for node in nodes])


def keep(*nodes: Node) -> int:
    """Let adopted results of these nodes stand for their recipes as they are now.

    Parameters
    ----------
    *nodes : Node

    Returns
    -------
    int
        How many had been made for other recipes.

    Raises
    ------
    NotANode, TargetMissing, GraphError
        If one can't be kept, see `Accessor.keep`; those before it are.
    """
    return sum([_one(node).keep() for node in nodes])


def release(*nodes: Node) -> int:
    """Give up adopted results of these nodes: they go to the trash, and the nodes run when needed.

    Parameters
    ----------
    *nodes : Node

    Returns
    -------
    int
        How many had been adopted.

    Raises
    ------
    NotANode
        If one is no node; the results of those before it are released.
    """
    return sum([_one(node).release() for node in nodes])


def invalidate(*nodes: Node) -> None:
    """Forget that these nodes are complete: their targets are moved to the root's trash."""
    for node in nodes:
        _one(node).invalidate()


def status(node: Node) -> str:
    """State of a node, as of now: "complete", "adopted", "missing", "stale" …"""
    return _one(node).state


def target(node: Node) -> Target | tuple[Target, ...] | None:
    """Where a node's result lives."""
    return _one(node).target


def _one(node):
    if not isinstance(node, Node):
        raise _not_a_node(node)
    return node.dc


def nodes_in(args: Any) -> list[Node]:
    """The nodes in nested arguments, in order.

    Raises
    ------
    NotANode
        If something among them is none, or there is none.
    """
    found: list[Node] = []
    stack = list(reversed(args))
    while stack:
        value = stack.pop()
        if isinstance(value, Node):
            found.append(value)
        elif isinstance(value, (list, tuple, set, frozenset)):
            stack += reversed(list(value))
        elif isinstance(value, dict):
            stack += reversed(list(value.values()))
        else:
            raise _not_a_node(value)
    if not found:
        raise _not_a_node(args)
    return found


def _not_a_node(value):
    return NotANode(
        "this holds no node of daskcache",
        expected="what a function decorated with daskcache.delayed returned",
        got=repr(value)[:100],
        hint="decorate the function with @daskcache.delayed and call it",
    )


def _forced(force):
    return force if isinstance(force, bool) else [node._recipe for node in nodes_in((force,))]


def _collect(errors):
    if errors not in ("raise", "collect"):
        raise ValueError(f'errors must be "raise" or "collect", got {errors!r}')
    return errors == "collect"
