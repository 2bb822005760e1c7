"""Nodes to a plan: what is left to do, and why.  Reads only.

A `Planner` examines recipes, parents first: the *state* of each depends on what is on disk.  Then it
goes down from the requested ones and gives each an *action*, which depends on what is needed.

A `Plan` is the frozen outcome: what is shown and, by `Plan.compute`, exactly what runs.
"""

from __future__ import annotations

import functools
import gc
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import ForeignTarget, TargetModified
from .examining import Examiner
from .planned import COMPLETE, DECIDE, FOREIGN, LOAD, MODIFIED, PENDING, RUN, SKIP, STALE, PlannedNode
from .reasons import headlines
from .recipe import DaskInput, Recipe


class Planner(Examiner):
    """Plans what to do, for the length of one verb.

    Parameters
    ----------
    force : bool or iterable of Recipe
        See `Examiner`.
    """

    def __init__(self, force: bool | Iterable[Recipe] = False):
        super().__init__(force)
        #: Nodes that would have to run, but for what is at their targets.
        self._blocked: dict[str, PlannedNode] = {}

    def request(self, recipe: Recipe) -> PlannedNode:
        """Plan a node whose value is wanted, with all that comes before it."""
        planned = self._request(recipe)
        self._raise_for_blocked()
        return planned

    def _request(self, recipe):
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
                self._request(recipe)
        self._raise_for_blocked()

    def _need(self, planned: PlannedNode) -> None:
        """Decide to run a node, and what that needs; all of it, or nothing if something can't run."""
        decided: list[PlannedNode] = []
        blocked = self._decide(planned, decided)
        if blocked:
            for node in decided:
                node.action = SKIP
            self._blocked |= {node.recipe.identity: node for node in blocked}

    def _decide(self, planned, decided):
        blocked = []
        stack = [planned]
        while stack:
            current = stack.pop()
            if current.action in (RUN, DECIDE):
                continue
            if _is_blocked(current):
                blocked.append(current)
                continue
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
        return blocked

    def _how(self, planned):
        if planned.outdated or not planned.recipe.paths:
            return RUN
        exists = planned.records and None not in planned.records
        waiting = any(p is not None and (p.forced or p.state != COMPLETE) for p in planned.parents)
        settled = planned.state in (PENDING, STALE) and exists and waiting
        return DECIDE if settled else RUN

    def _raise_for_blocked(self):
        """Name every node that can't run because of what is at its target."""
        blocked = list(self._blocked.values())
        self._blocked.clear()
        for state, make_error in ((FOREIGN, _foreign), (MODIFIED, _modified)):
            nodes = [node for node in blocked if node.state == state]
            if nodes:
                raise make_error(nodes)


def _is_blocked(planned):
    if planned.state == MODIFIED:
        return planned.recipe.spec.options.on_modified == "error"
    return planned.state == FOREIGN


def _foreign(nodes):
    return ForeignTarget(
        "files that daskcache did not write are where results belong"
        if len(nodes) > 1
        else "a file that daskcache did not write is where a result belongs",
        node=_titles(nodes),
        target=_locations(nodes),
        expected="nothing there, or a recorded target",
        got="; ".join(headlines(nodes[0].reasons)),
        hint=f"move {_it(nodes)} away, change the template, or take {_it(nodes)} in: "
        f"'{_command('adopt', nodes)}', or dc.adopt(node)",
    )


def _modified(nodes):
    return TargetModified(
        f"{len(nodes)} targets were edited after they were stored"
        if len(nodes) > 1
        else "a target was edited after it was stored",
        node=_titles(nodes),
        target=_locations(nodes),
        expected="the files as they were stored" if len(nodes) > 1 else "the file as it was stored",
        got="; ".join(headlines(nodes[0].reasons)),
        hint=f"'{_command('adopt', nodes)}' to go on with what is there, '{_command('rm', nodes)}' to "
        'recompute it; on_modified="adopt" or "recompute" does so by itself',
    )


def _it(nodes):
    return "them" if len(nodes) > 1 else "it"


def _titles(nodes):
    return ", ".join(node.recipe.title for node in nodes)


def _locations(nodes):
    paths = [f"{node.recipe.root}/{path}" for node in nodes for path in node.recipe.paths]
    return ", ".join(paths)


def _command(name, nodes):
    root = nodes[0].recipe.root
    paths = [path for node in nodes for path in node.recipe.paths]
    return shlex.join(["dask", "cache", name, "--root", root, *paths])


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
