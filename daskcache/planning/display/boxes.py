"""Boxes of pictures: one for each node, or one for several nodes of a large plan.

`svg`, `graph_texts` and `page` draw the same boxes, and `layout` arranges them.  Nodes share a box in
this order, until the picture is readable:

1. those of one function, in a column with more than `MAX_ROWS` boxes;
2. connected ones in neighbouring columns, if there are more than `MAX_COLUMNS` columns;
3. the smallest boxes of a column, if there are still too many.

The column of a box is the number of boxes on the longest way to it.  Each step keeps lines from left to
right, so no boxes depend on each other in a circle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from ..reasons import headlines
from ..states import STATES, PlannedNode
from .tables import ACTIONS

#: Largest numbers of columns, and of boxes in a column.
MAX_COLUMNS, MAX_ROWS = 11, 12
#: Above this number of nodes, a picture has at most `MAX_ELEMENTS` elements.
MAX_NODES, MAX_ELEMENTS = 200, 300

#: Number of functions that the details of a box name.
_NAMED = 6

#: States in the order in which boxes show them: those that need attention first.
SHOWN_STATES = tuple(reversed(STATES))

#: Colours of states, which are told apart on white and on black.
STATE_COLORS = {
    "complete": "#2e8b57",
    "adopted": "#00838f",
    "missing": "#8d9aa3",
    "stale": "#e08a00",
    "modified": "#9c5bbd",
    "corrupt": "#a8321e",
    "foreign": "#d0568b",
    "failed": "#e0362c",
    "pending": "#b8a13a",
}


@dataclass(frozen=True)
class Box:
    """One box of a picture."""

    title: str
    nodes: tuple[PlannedNode, ...]
    column: int
    #: Positions of the upstream boxes in the list of boxes.
    parents: tuple[int, ...]

    @property
    def actions(self) -> dict[str, int]:
        """Number of nodes for each action that occurs, what is left to do first."""
        return _counts(ACTIONS, [node.action for node in self.nodes])

    @property
    def states(self) -> dict[str, int]:
        """Number of nodes in each state that occurs, the states that need attention first."""
        return _counts(SHOWN_STATES, [node.state for node in self.nodes])

    @property
    def action(self) -> str:
        """The action that counts most."""
        return next(iter(self.actions))

    @property
    def is_group(self) -> bool:
        return len(self.nodes) > 1

    @property
    def subtitle(self) -> str:
        """The path of the node, or the number of nodes in each state."""
        if self.is_group:
            return " · ".join(f"{count:,} {state}" for state, count in self.states.items())
        return ", ".join(self.nodes[0].recipe.paths) or "not cached"

    @property
    def details(self) -> str:
        """One line on what is to be done, and why."""
        if self.is_group:
            to_do = ", ".join(f"{count:,} {action}" for action, count in self.actions.items())
            names = list(dict.fromkeys(node.recipe.name for node in self.nodes))
            several = f"; {', '.join(names[:_NAMED])}{' …' * (len(names) > _NAMED)}"
            return f"{self.title}: {to_do}; {self.subtitle}{several if len(names) > 2 else ''}"
        (node,) = self.nodes
        parts = [f"{self.title}: {node.action}, {node.state}, {self.subtitle}", *headlines(node.reasons)]
        return "; ".join(parts)


def boxes_of(nodes: Iterable[PlannedNode]) -> list[Box]:
    """Return the boxes of planned nodes, upstream boxes first.

    Parameters
    ----------
    nodes : iterable of PlannedNode
        Upstream nodes first, as in a plan.
    """
    nodes = list(nodes)
    position = {node.recipe.identity: i for i, node in enumerate(nodes)}
    parents = [[position[p.recipe.identity] for p in n.parents if p is not None] for n in nodes]
    columns = _depths(parents)
    crowd = Counter(columns)
    groups: list[Hashable] = [
        (column, node.recipe.name) if crowd[column] > MAX_ROWS else i
        for i, (node, column) in enumerate(zip(nodes, columns, strict=True))
    ]
    if len(crowd) > MAX_COLUMNS:
        span = -(-len(crowd) // MAX_COLUMNS)
        columns = [column // span for column in columns]
        groups = _connected(groups, columns, parents)
    for rows in (MAX_ROWS, 8, 6, 4, 3, 2, 1):
        boxes = _boxes(nodes, columns, parents, _folded(groups, columns, rows))
        if len(nodes) <= MAX_NODES or _elements(boxes) <= MAX_ELEMENTS:
            break
    return boxes


def _depths(parents: Sequence[Sequence[int]]) -> list[int]:
    """Return the number of steps upstream of each node."""
    depths: list[int] = []
    for before in parents:
        depths.append(1 + max((depths[p] for p in before), default=-1))
    return depths


def _connected(groups, columns, parents):
    """Join groups with nodes in one column that are connected."""
    leader = {group: group for group in groups}

    def find(group):
        while leader[group] != group:
            leader[group] = leader[leader[group]]
            group = leader[group]
        return group

    for i, before in enumerate(parents):
        for p in before:
            if columns[p] == columns[i]:
                leader[find(groups[i])] = find(groups[p])
    return [find(group) for group in groups]


def _folded(groups, columns, rows):
    """Join the smallest groups of each column with more than a number of rows."""
    sizes: dict[int, Counter] = {}
    for group, column in zip(groups, columns, strict=True):
        sizes.setdefault(column, Counter())[group] += 1
    kept = {
        column: {group for group, _ in counts.most_common(rows - 1 if len(counts) > rows else rows)}
        for column, counts in sizes.items()
    }
    return [
        group if group in kept[column] else ("others", column)
        for group, column in zip(groups, columns, strict=True)
    ]


def _boxes(nodes, columns, parents, groups):
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    # a box may begin with a node that stands before nodes upstream of the box: sort by column
    order = sorted(members, key=lambda group: columns[members[group][0]])
    place = {group: at for at, group in enumerate(order)}
    boxes = []
    for group in order:
        inside = members[group]
        before = {place[groups[p]] for i in inside for p in parents[i]} - {place[group]}
        taken = tuple(nodes[i] for i in inside)
        boxes.append(Box(_title(taken), taken, columns[inside[0]], tuple(sorted(before))))
    return boxes


def _title(nodes):
    if len(nodes) == 1:
        recipe = nodes[0].recipe
        return recipe.label or recipe.name
    names = list(dict.fromkeys(node.recipe.name for node in nodes))
    shown = ", ".join(names) if len(names) < 3 else f"{len(names):,} functions"
    return f"{shown} × {len(nodes):,}"


def _counts(names, found):
    counts = Counter(found)
    return {name: counts[name] for name in names if counts[name]}


def _elements(boxes):
    """Return a bound of the number of elements of a picture."""
    legend = 10 + 2 * (len(ACTIONS) + len(STATES))
    return legend + sum(6 + len(box.states) + len(box.parents) for box in boxes)
