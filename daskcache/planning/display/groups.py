"""Groups of nodes with one function, action, state and reason: one line each in plans and tables.

`tables` shows them.  Nodes whose reasons differ only in the names of their targets and inputs are in one
group, as `raw/a.tif: content changed` and `raw/b.tif: content changed`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from ...calls.recipe import Recipe, SourceInput
from ...storage import files
from .. import states
from ..reasons import headlines
from ..states import PlannedNode
from .cells import both_ends, short

#: Names of nodes that are shown for a group.
MAX_NAMES = 3
#: Lines of a reason's details that are shown, and characters of a line.
MAX_LINES, LINE = 20, 150
#: What a user has to look at comes first, then what runs.
_ACTIONS = (states.BLOCKED, states.RUN, states.DECIDE, states.LOAD, states.SKIP)
_STATES = (
    *(states.FAILED, states.CORRUPT, states.FOREIGN, states.MODIFIED, states.STALE),
    *(states.MISSING, states.PENDING, states.ADOPTED, states.COMPLETE),
)


class Group(NamedTuple):
    """Nodes with one function, action and state, and alike reasons."""

    function: str
    action: str
    state: str
    nodes: list[PlannedNode]

    @property
    def names(self) -> str:
        """The names of the first nodes, and the number of others."""
        names = ", ".join(name_of(node) for node in self.nodes[:MAX_NAMES])
        more = len(self.nodes) - MAX_NAMES
        return f"{names} and {more:,} more" if more > 0 else names

    @property
    def reason(self) -> str:
        """The reason of the first node in one line, and the number of those that only resemble it."""
        first = _story(self.nodes[0])
        others = sum(_story(node) != first for node in self.nodes)
        return f"{first}; {others:,} more like it" if others else first

    @property
    def story_for_page(self) -> str:
        """The `reason`, and the lines below the reasons of the first node."""
        lines = [line for reason in self.nodes[0].reasons for line in reason.split("\n")[1:]]
        more = [f"… and {len(lines) - MAX_LINES} more lines"] if len(lines) > MAX_LINES else []
        details = [short(line, LINE) for line in lines[:MAX_LINES]]
        return "\n".join([both_ends(self.reason, 2 * LINE), *details, *more])


def grouped(nodes: Iterable[PlannedNode]) -> list[Group]:
    """Return nodes in groups: first blocked ones, then failed ones, then others that run, then the rest.

    Nodes in equal states stay in order.
    """
    found: dict[tuple, Group] = {}
    patterns: dict[str, str] = {"": ""}  # most of many nodes have one story
    for node in nodes:
        story = _story(node)
        if story not in patterns:
            patterns[story] = _pattern(story, node.recipe)
        key = node.recipe.name, node.action, node.state, patterns[story]
        group = found.get(key)
        if group is None:
            group = found[key] = Group(node.recipe.name, node.action, node.state, [])
        group.nodes.append(node)
    return sorted(found.values(), key=rank)


def rank(node: Group | PlannedNode) -> tuple[int, int]:
    """Return the place of an action and a state: the smaller, the sooner a user should see it."""
    return _ACTIONS.index(node.action), _STATES.index(node.state)


def name_of(node: PlannedNode) -> str:
    """Return the node's label and targets, or its call if it is not cached."""
    recipe = node.recipe
    if not recipe.paths:
        return recipe.title
    return ": ".join(filter(None, [recipe.label, ", ".join(recipe.paths)]))


def _story(node):
    return "; ".join(headlines(node.reasons))


def _pattern(story, recipe):
    """Return a story with a mark in place of each name of its node and the node's inputs."""
    found = {name for name in _names(recipe) if name in story}
    for name in sorted(found, key=len, reverse=True):
        story = story.replace(name, "·")
    return story


def _names(recipe):
    yield from (recipe.title, *recipe.paths)
    for item in recipe.upstream:
        if isinstance(item, Recipe):
            yield from (item.title, *item.paths)
        elif isinstance(item, SourceInput):
            yield files.relative(item.source.path, os.getcwd())
