"""The action of each node: run, decide, load, skip or blocked.

`Planner` extends `examiner.Examiner`.  It examines recipes, parents first, because the *state* of
a node depends on files and on its parents.  Then it walks upstream from the requested nodes and gives
each an *action*, which depends on the need for its value.  Planning only reads.

`graph.plan.Plan` holds the result, which is shown and, by `Plan.compute`, runs as it is.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from contextlib import contextmanager

from ..calls.recipe import DaskInput, Recipe, recipes_before
from ..errors import DaskcacheError, ForeignTarget, NodeFailed, TargetCollision, TargetModified
from ..runtime import obstacles
from . import states
from .examiner import Examiner
from .reasons import headlines
from .states import PlannedNode


class Planner(Examiner):
    """Decide the actions of nodes for one verb.

    Parameters
    ----------
    force, running
        See `Examiner`.
    collect : bool
        True to leave out nodes that can't run, instead of raising an error.
    """

    def __init__(
        self,
        force: bool | Iterable[Recipe] = False,
        collect: bool = False,
        running: Iterable[Recipe] = (),
    ):
        super().__init__(force, running)
        self.collect = collect
        #: Nodes that have to run but can't, or must not because of a user's file at a target, and all
        #: that claim another one's target.
        self._blocked: dict[str, PlannedNode] = {}

    def request(self, recipe: Recipe) -> PlannedNode:
        """Plan a requested node and all nodes upstream of it, once, then `check`."""
        planned = self._request(recipe)
        if planned.action == states.BLOCKED:
            self.check()
        return planned

    def _refuse(self, planned, error):
        super()._refuse(planned, error)
        if isinstance(error, TargetCollision):
            # Two nodes of one verb claim a target: that is an error even if neither is needed now.
            planned.action, planned.obstacle = states.BLOCKED, planned
            self._blocked[planned.recipe.identity] = planned

    def _request(self, recipe):
        planned = self.look(recipe)
        if planned.requested:
            return planned
        planned.requested = True
        if planned.is_complete:
            planned.action = states.LOAD
        elif planned.action != states.BLOCKED:
            decided, blocked = self._decide(planned)
            if blocked:  # none of the nodes runs
                self._block(planned, decided, blocked)
        return planned

    def request_all(self, recipes: Iterable[Recipe]) -> list[PlannedNode]:
        """Plan requested nodes as `request` does, but without its `check`."""
        requested = list(recipes)
        self.wanted.append(lambda: requested)
        with garbage_later():
            if any(recipe.base for recipe in requested):
                for recipe in requested:
                    if not recipe.base:  # nodes of variants may share what the base's nodes make
                        self._request(recipe)
            for recipe in requested:
                self._request(recipe)
            while lost := [node for node in self.lost if node.is_to_do and not node.unsettled]:
                self._give_up(lost)
            return [self._request(recipe) for recipe in requested]

    def _give_up(self, lost):
        """Decide again about what follows from corrections that were deleted and are not made again.

        As below any other deleted result, what was made from them is complete, until this verb lets
        their functions make other data in their place.
        """
        for node in lost:
            node.unsettled = True
        again = []
        for node in self.planned_nodes:  # parents first
            if any(parent is not None and parent.may_change for parent in node.parents):
                if node.state == states.ADOPTED:  # its worker decides
                    node.state, node.reasons, node.forms = states.COMPLETE, [], ()
                self._consider_parents(node)
                if node.action == states.LOAD and not node.is_complete:
                    again.append(node)
        for node in again:
            node.action = states.SKIP
        for node in again:
            was_requested, node.requested = node.requested, False
            self._request(node.recipe)
            node.requested = was_requested

    def can_run(self, recipe: Recipe) -> bool:
        """Return True if a node is complete or can run, without requesting it."""
        planned = self.look(recipe)
        if planned.is_complete:
            return True
        decided, blocked = self._decide(planned)
        for node in decided:  # take the actions back: this was only a question
            node.action = states.SKIP
        return not blocked

    def _decide(self, planned):
        """Decide to run a node that is not complete, and the nodes that it needs.

        Walk upstream as far as complete nodes, which are loaded.  Return the nodes that are now to run
        or to be loaded, so that callers can take that back, and those that must not run.
        """
        decided: list[PlannedNode] = []
        blocked: list[PlannedNode] = []
        stack = [planned]
        while stack:
            current = stack.pop()
            if current.is_to_do:
                continue
            if current.action == states.BLOCKED or _is_blocked(current):
                blocked.append(current)  # the walk goes on, so that the error names all such nodes
                continue
            current.action = self._how(current)
            decided.append(current)
            if current.taking is not None:
                continue  # a user's file takes the place of what would be made of the parents
            for parent in current.parents:
                if parent is None or parent.is_to_do or parent.action == states.LOAD:
                    continue
                if parent.is_complete:
                    parent.action = states.LOAD
                    decided.append(parent)
                else:
                    stack.append(parent)
            stack += [
                self.nodes[recipe.identity]
                for item in current.recipe.upstream
                if isinstance(item, DaskInput)
                for recipe in item.recipes
                if not self.nodes[recipe.identity].is_complete
            ]
        return decided, blocked

    def _how(self, planned):
        # A worker can decide only where an earlier result has a record to compare with the new inputs.
        # If all parents are complete, planning has compared them, and waiting would add nothing.
        if planned.taking is not None:
            return states.RUN
        is_open = planned.state in (states.PENDING, states.STALE, states.MISSING)
        if not is_open or planned.outdated or not planned.records or None in planned.records:
            return states.RUN
        waits = any(p is not None and not p.is_complete for p in planned.parents)
        return states.DECIDE if waits else states.RUN

    def _block(self, requested, decided, blocked):
        """Take back the decisions for a node that can't run, and block the nodes on the way to it."""
        for node in blocked:
            node.action = states.BLOCKED
            node.obstacle = node.obstacle or node
            self._blocked[node.recipe.identity] = node
        undone = set(decided)
        for node in self.planned_nodes:  # parents first
            if node in undone:
                before = [self.nodes[r.identity] for r in recipes_before(node.recipe)]
                needs = before if node.taking is None else []
                waits = [p for p in needs if p.action == states.BLOCKED and node.is_to_do]
                node.action = states.BLOCKED if waits else states.SKIP
                if waits:
                    node.obstacle = waits[0].obstacle
                    node.reasons.append(f"{waits[0].recipe.title} can't run")
        requested.action = states.BLOCKED

    def check(self) -> None:
        """Raise an error if requested nodes can't run.

        With `collect`, nothing is raised.

        Raises
        ------
        DaskcacheError
            If a node can't be used, for example because a source is gone or its target is another
            function's.
        ForeignTarget
            If daskcache did not write a file at a target.  The error names every such node.
        TargetModified
            If a target was edited, an adopted result belongs to another recipe, or the correction of
            which it is a copy was removed.  The error names every such node.
        """
        if self.collect or not self._blocked:
            return
        for node in self._blocked.values():
            if node.error is not None:
                raise node.error
        kinds = (
            (obstacles.foreign, lambda node: node.state == states.FOREIGN),
            (obstacles.modified, lambda node: node.state == states.MODIFIED),
            (obstacles.corrected, lambda node: node.contested and not node.withdrawn),
            (obstacles.withdrawn, lambda node: node.withdrawn),
        )
        for make_error, fits in kinds:
            found = [_obstacle(node) for node in self._blocked.values() if fits(node)]
            if found:
                raise make_error(found)


def blocked_failure(planned: PlannedNode) -> NodeFailed:
    """Return the stand-in for the value of a node that can't run, for ``errors="collect"``."""
    recipe, obstacle = planned.recipe, planned.obstacle or planned
    kind: type[DaskcacheError] = TargetModified
    if obstacle.error is not None:
        kind = type(obstacle.error)
    elif obstacle.state == states.FOREIGN:
        kind = ForeignTarget
    where = f"{obstacle.recipe.title}: " if obstacle is not planned else ""
    failed = NodeFailed(
        f"{kind.__name__}: {where}{'; '.join(headlines(obstacle.reasons))}",
        node=recipe.title,
        target=", ".join(recipe.paths) or None,
    )
    failed.__cause__ = obstacle.error
    return failed


def _is_blocked(planned):
    if planned.error is not None:
        return True
    if planned.state == states.MODIFIED:
        return planned.recipe.spec.options.on_modified == "error"
    if planned.contested:
        return planned.recipe.spec.options.on_modified != "recompute"
    return planned.state == states.FOREIGN


def _obstacle(planned):
    recipe = planned.recipe
    return obstacles.Obstacle(recipe.title, recipe.root, recipe.paths, headlines(planned.reasons))


@contextmanager
def garbage_later():
    """Pause the garbage collector.

    The objects that planning makes all live on, and the collector would scan them again and again.
    """
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()
