"""What daskcache knows of a node: behind ``node.dc``, and as functions of the package."""

from __future__ import annotations

import os
from typing import Any

from dask.base import unpack_collections

from .errors import NotANode, TargetMissing
from .node import Node
from .planning import Plan, PlannedNode, Planner, make_plan
from .recipe import Recipe
from .records import RecordStore
from .storage import Root
from .targets.base import Target


class Accessor:
    """What daskcache knows of one node.  Everything but `load` reads only metadata."""

    def __init__(self, recipe: Recipe):
        self._recipe = recipe

    @property
    def key(self) -> str:
        """Hash of the recipe: 32 hex digits.  Known before anything runs."""
        return self._recipe.key

    @property
    def target(self) -> Target | tuple[Target, ...] | None:
        """Where the result lives, at its absolute path; a tuple for several results."""
        recipe = self._recipe
        targets = tuple(t.at(f"{recipe.root}/{t.path}") for t in recipe.targets)
        return targets[0] if len(targets) == 1 else targets or None

    @property
    def path(self) -> str | tuple[str, ...] | None:
        """Absolute path of the target."""
        target = self.target
        if isinstance(target, tuple):
            return tuple(t.path for t in target)
        return target.path if target is not None else None

    @property
    def state(self) -> str:
        """State of the node, as of now: "complete", "missing", "stale" …"""
        return self._look().state

    @property
    def record(self) -> dict[str, Any] | None:
        """What made the target: the content of its record, or None."""
        records = self._look().records
        if not records or records[0] is None:
            return None
        return RecordStore(Root(self._recipe.root)).read(records[0])

    def why(self) -> str:
        """Why the node would run, a line for each reason; empty if it is complete."""
        return "\n".join(self._look().reasons)

    def load(self) -> Any:
        """Read the stored result.

        Raises
        ------
        TargetMissing
            If the node is not complete.
        """
        planned = self._look()
        if planned.state != "complete":
            raise TargetMissing(
                "the node has no complete result to load",
                node=self._recipe.title,
                target=", ".join(self._recipe.paths) or None,
                expected="state complete",
                got=f"state {planned.state}: {'; '.join(planned.reasons)}",
                hint="node.compute()",
            )
        return planned.entry.load()

    def invalidate(self) -> None:
        """Forget that the result is complete: the target is moved to the root's trash."""
        from .storage import move_to_trash

        for path in self._recipe.paths:
            location = f"{self._recipe.root}/{path}"
            if os.path.lexists(location):
                move_to_trash(Root(self._recipe.root), location, path.rpartition("/")[2])

    def _look(self) -> PlannedNode:
        return Planner().look(self._recipe)

    def __repr__(self):
        recipe = self._recipe
        return f"<{recipe.title}: {self.state}, key {recipe.key}>"


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
    TargetCollision, TargetModified, ForeignTarget, ArgumentChanged
        If the graph can't be computed as it is.
    """
    return make_plan([n._recipe for n in _nodes(args)], _forced(force), _collect(errors))


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
    from . import graph

    if all(isinstance(arg, Node) for arg in args):
        collections, repack = args, tuple
    else:
        collections, repack = unpack_collections(*args)
    if not collections:
        raise _not_a_node(args)
    results = graph.compute(tuple(collections), force=_forced(force), collect=_collect(errors), **kwargs)
    return tuple(repack(results))


def why(node: Node) -> str:
    """Why a node would run, a line for each reason; empty if it is complete."""
    return _one(node).why()


def status(node: Node) -> str:
    """State of a node, as of now: "complete", "missing", "stale" …"""
    return _one(node).state


def target(node: Node) -> Target | tuple[Target, ...] | None:
    """Where a node's result lives."""
    return _one(node).target


def _one(node):
    if not isinstance(node, Node):
        raise _not_a_node(node)
    return node.dc


def _nodes(args):
    """The nodes in nested arguments, each once."""
    found: dict[int, Node] = {}
    stack = list(reversed(args))
    while stack:
        value = stack.pop()
        if isinstance(value, Node):
            found[id(value)] = value
        elif isinstance(value, (list, tuple, set, frozenset)):
            stack += reversed(list(value))
        elif isinstance(value, dict):
            stack += reversed(list(value.values()))
        else:
            raise _not_a_node(value)
    if not found:
        raise _not_a_node(args)
    return list(found.values())


def _not_a_node(value):
    return NotANode(
        "this holds no node of daskcache",
        expected="what a function decorated with daskcache.delayed returned",
        got=repr(value)[:100],
        hint="decorate the function with @daskcache.delayed and call it",
    )


def _forced(force):
    return force if isinstance(force, bool) else [node._recipe for node in _nodes((force,))]


def _collect(errors):
    if errors not in ("raise", "collect"):
        raise ValueError(f'errors must be "raise" or "collect", got {errors!r}')
    return errors == "collect"
