"""Nodes to a plan: what is left to do, and why.  Reads only.

A `Planner` examines recipes, parents first: the *state* of each depends on what is on disk.  Then it
goes down from the requested ones and gives each an *action*, which depends on what is needed.

A `Plan` is the frozen outcome: what is shown and, by `Plan.compute`, exactly what runs.
"""

from __future__ import annotations

import functools
import gc
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import DaskcacheError, ForeignTarget, TargetModified
from .examining import (
    COMPLETE,
    FOREIGN,
    MODIFIED,
    PENDING,
    SKIP,
    STALE,
    Examiner,
    PlannedNode,
)
from .reasons import headlines
from .recipe import DaskInput, Recipe

LOAD, RUN, DECIDE = "load", "run", "decide"


class Planner(Examiner):
    """Plans what to do, for the length of one verb."""

    def request(self, recipe: Recipe) -> PlannedNode:
        """Plan a node whose value is wanted, with all that comes before it."""
        planned = self.look(recipe)
        planned.requested = True
        if planned.state == COMPLETE and not planned.forced:
            planned.action = LOAD
        else:
            self._need(planned)
        return planned

    def request_all(self, recipes: Iterable[Recipe]) -> None:
        with garbage_later():
            for recipe in recipes:
                self.request(recipe)

    def _need(self, planned: PlannedNode) -> None:
        """Decide to run a node, and what that needs; all of it, or nothing if something can't run."""
        decided: list[PlannedNode] = []
        try:
            self._decide(planned, decided)
        except DaskcacheError:
            for node in decided:
                node.action = SKIP
            raise

    def _decide(self, planned, decided):
        stack = [planned]
        while stack:
            current = stack.pop()
            if current.action in (RUN, DECIDE):
                continue
            self._check_runnable(current)
            current.action = self._how(current)
            decided.append(current)
            for parent in current.parents:
                if parent is None or parent.action in (RUN, DECIDE):
                    continue
                if parent.state == COMPLETE and not parent.forced:
                    parent.action = LOAD
                else:
                    stack.append(parent)
            stack += [
                self.nodes[recipe.identity]
                for item in current.recipe.upstream
                if isinstance(item, DaskInput)
                for recipe in item.recipes
                if self.nodes[recipe.identity].state != COMPLETE
            ]

    def _how(self, planned):
        if planned.outdated or not planned.recipe.paths:
            return RUN
        exists = planned.records and None not in planned.records
        waiting = any(p is not None and (p.forced or p.state != COMPLETE) for p in planned.parents)
        settled = planned.state in (PENDING, STALE) and exists and waiting
        return DECIDE if settled else RUN

    def _check_runnable(self, planned):
        recipe = planned.recipe
        location = ", ".join(f"{recipe.root}/{path}" for path in recipe.paths)
        if planned.state == FOREIGN:
            raise ForeignTarget(
                "a file that daskcache did not write is where a result belongs",
                node=recipe.title,
                target=location,
                expected="nothing there, or a recorded target",
                got="; ".join(headlines(planned.reasons)),
                hint='move the file away, change the template, or take it in with check="exists"',
            )
        if planned.state == MODIFIED and recipe.spec.options.on_modified == "error":
            raise TargetModified(
                "a target was edited after it was stored",
                node=recipe.title,
                target=location,
                expected="the file as it was stored",
                got="; ".join(headlines(planned.reasons)),
                hint='delete the file to recompute it, or set on_modified="recompute", which keeps '
                "the edited file in the trash",
            )


# ---- the frozen plan ----------------------------------------------------------------------------


class Plan:
    """What will be skipped, loaded, run or decided for the requested nodes, and why.

    Iterate over it for its `PlannedNode`; in a notebook it shows as a table.
    """

    def __init__(self, recipes: list[Recipe], planner: Planner, collect: bool = False):
        self._recipes = recipes
        self._planner = planner
        self._collect = collect
        self.nodes = tuple(planner.nodes.values())

    def __iter__(self) -> Iterator[PlannedNode]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def counts(self) -> dict[str, int]:
        """Number of nodes for each action."""
        found = Counter(node.action for node in self.nodes)
        return {action: found[action] for action in (RUN, DECIDE, LOAD, SKIP)}

    @property
    def left(self) -> int:
        """Number of nodes that are to run, or whose worker will decide."""
        return self.counts[RUN] + self.counts[DECIDE]

    @property
    def seconds(self) -> float:
        """Estimated run time of what is left, in seconds of one worker thread."""
        return sum(self.estimate(node) or 0 for node in self.nodes if node.action in (RUN, DECIDE))

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
        from .graph import compute_plan

        return compute_plan(self, **kwargs)

    def to_frame(self):
        """The plan as a `pandas.DataFrame`, a row for each node."""
        from .display.table import plan_frame

        return plan_frame(self)

    def svg(self) -> str:
        """A picture of the plan as SVG."""
        from .display.picture import plan_svg

        return plan_svg(self)

    def __str__(self) -> str:
        from .display.table import plan_text

        return plan_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from .display.table import plan_html

        return plan_html(self)


def make_plan(recipes: list[Recipe], force=False, collect: bool = False) -> Plan:
    """Plan the computation of `recipes`; reads only."""
    planner = Planner(force)
    planner.request_all(recipes)
    return Plan(recipes, planner, collect)


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
