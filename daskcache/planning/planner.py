"""Nodes to a plan: what is left to do, and why.  Reads only.

A `Planner` examines recipes, parents first: the *state* of each depends on what is on disk.  Then it
goes down from the requested ones and gives each an *action*, which depends on what is needed.

A `Plan` is the frozen outcome: what is shown and, by `Plan.compute`, exactly what runs.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from contextlib import contextmanager

from ..calls.recipe import DaskInput, Recipe, recipes_before
from ..errors import NodeFailed
from .examiner import Examiner
from .reasons import headlines
from .states import (
    BLOCKED,
    DECIDE,
    FOREIGN,
    LOAD,
    MISSING,
    MODIFIED,
    PENDING,
    RUN,
    SKIP,
    STALE,
    PlannedNode,
)


class Planner(Examiner):
    """Plans what to do, for the length of one verb.

    Parameters
    ----------
    force, running
        See `Examiner`.
    collect : bool
        Whether nodes that can't run are left out, instead of being an error.
    """

    def __init__(
        self,
        force: bool | Iterable[Recipe] = False,
        collect: bool = False,
        running: Iterable[Recipe] = (),
    ):
        super().__init__(force, running)
        self.collect = collect
        #: Nodes that would have to run, but for what is at their targets.
        self._blocked: dict[str, PlannedNode] = {}

    def request(self, recipe: Recipe) -> PlannedNode:
        """Plan a node whose value is wanted, with all that comes before it, and `check`."""
        planned = self._request(recipe)
        self.check()
        return planned

    def _request(self, recipe):
        planned = self.look(recipe)
        planned.requested = True
        if planned.is_complete:
            planned.action = LOAD
        elif planned.action != BLOCKED:
            self._need(planned)
        return planned

    def request_all(self, recipes: Iterable[Recipe]) -> None:
        """Plan nodes whose values are wanted, as `request` does; see `check`."""
        with garbage_later():
            for recipe in recipes:
                self._request(recipe)

    def can_run(self, recipe: Recipe) -> bool:
        """Tell if a node is complete or can run, without requesting it."""
        decided: list[PlannedNode] = []
        planned = self.look(recipe)
        blocked = not planned.is_complete and self._decide(planned, decided)
        for node in decided:
            node.action = SKIP
        return not blocked

    def _need(self, planned: PlannedNode) -> None:
        """Decide to run a node, and what that needs; all of it, or nothing if something can't run."""
        decided: list[PlannedNode] = []
        blocked = self._decide(planned, decided)
        if blocked:
            self._block(planned, decided, blocked)

    def _decide(self, planned, decided):
        blocked = []
        stack = [planned]
        while stack:
            current = stack.pop()
            if current.is_to_do:
                continue
            if current.action == BLOCKED or _is_blocked(current):
                blocked.append(current)
                continue
            current.action = self._how(current)
            decided.append(current)
            for parent in current.parents:
                if parent is None or parent.is_to_do:
                    continue
                if parent.is_complete:
                    parent.action = LOAD
                else:
                    stack.append(parent)
            stack += [
                self.nodes[recipe.identity]
                for item in current.recipe.upstream
                if isinstance(item, DaskInput)
                for recipe in item.recipes
                if not self.nodes[recipe.identity].is_complete
            ]
        return blocked

    def _how(self, planned):
        if planned.outdated or not planned.recipe.paths:
            return RUN
        was_made = planned.records and None not in planned.records
        waiting = any(p is not None and not p.is_complete for p in planned.parents)
        decided = planned.state in (PENDING, STALE, MISSING) and was_made and waiting
        return DECIDE if decided else RUN

    def _block(self, requested, decided, blocked):
        """Take back what was decided for a node that can't run, and say which ones can't, either."""
        stuck = {node.recipe.identity for node in blocked}
        undone = {node.recipe.identity for node in decided}
        for identity, node in self.nodes.items():  # parents first
            if identity in undone:
                before = [self.nodes[r.identity] for r in recipes_before(node.recipe)]
                waits = [parent for parent in before if parent.recipe.identity in stuck]
                node.action = BLOCKED if waits else SKIP
                if waits:
                    stuck.add(identity)
                    node.reasons.append(f"{waits[0].recipe.title} can't run")
        for node in blocked:
            node.action = BLOCKED
            self._blocked[node.recipe.identity] = node
        requested.action = BLOCKED

    def check(self) -> None:
        """Raise if a requested node can't run because of what a person has left at a target.

        Raises
        ------
        ForeignTarget, TargetModified
            Naming every such node.
        """
        if self.collect or not self._blocked:
            return
        from ..runtime import obstacles

        kinds = (
            (obstacles.foreign, lambda node: node.state == FOREIGN),
            (obstacles.modified, lambda node: node.state == MODIFIED),
            (obstacles.corrected, lambda node: node.contested),
        )
        for make_error, fits in kinds:
            found = [_obstacle(node) for node in self._blocked.values() if fits(node)]
            if found:
                raise make_error(found)


def blocked_failure(planned: PlannedNode) -> NodeFailed:
    """What stands in for the value of a node that can't run, where failures are collected."""
    recipe = planned.recipe
    return NodeFailed(
        f"TargetModified: {'; '.join(headlines(planned.reasons))}",
        node=recipe.title,
        target=", ".join(recipe.paths) or None,
    )


def _is_blocked(planned):
    if planned.state == MODIFIED:
        return planned.recipe.spec.options.on_modified == "error"
    if planned.contested:
        return planned.recipe.spec.options.on_modified != "recompute"
    return planned.state == FOREIGN


def _obstacle(planned):
    from ..runtime.obstacles import Obstacle

    recipe = planned.recipe
    return Obstacle(recipe.title, recipe.root, recipe.paths, headlines(planned.reasons))


@contextmanager
def garbage_later():
    """Pause the garbage collector: all that planning makes lives on, and it would look at it again and
    again."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()
