"""Pictures of plans: layered graphs in SVG, drawn without the `dot` program.

The column of a node is the number of steps upstream of it.  A plan of more than `MAX_NODES` nodes has
one box for each function instead of one for each node.  `tables` has the colours.
"""

from __future__ import annotations

import html
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from ...printable import printable
from .cells import COLORS
from .tables import ACTIONS, headline

if TYPE_CHECKING:
    from ...graph.plan import Plan

#: Largest number of nodes that have one box each.
MAX_NODES = 200

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN, _HEAD = 190, 34, 70, 14, 20, 44


class Box(NamedTuple):
    """One box of the picture."""

    title: str
    subtitle: str
    action: str
    column: int
    #: Positions of the upstream boxes in the list of boxes.
    parents: tuple[int, ...]


def plan_svg(plan: Plan) -> str:
    """Return the picture of a plan as SVG text."""
    boxes = _boxes(plan)
    columns = Counter(box.column for box in boxes)
    tallest = max(columns.values(), default=1)
    width = 2 * _MARGIN + len(columns) * _WIDTH + (len(columns) - 1) * _GAP_X
    height = _HEAD + 2 * _MARGIN + tallest * _HEIGHT + (tallest - 1) * _GAP_Y
    places = _places(boxes, columns, tallest)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, sans-serif">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _legend(plan),
    ]
    for box, (x, y) in zip(boxes, places, strict=True):
        parts += [
            _edge(places[p], (x, y), sag=_HEIGHT * (box.column - boxes[p].column - 1))
            for p in box.parents
        ]
    parts += [_box(box, place) for box, place in zip(boxes, places, strict=True)]
    return "\n".join([*parts, "</svg>"])


def _boxes(plan):
    """Return one box for each node, or for each function of a large plan.

    The box of a function is in the column of its leftmost node.
    """
    by_function = len(plan) > MAX_NODES
    depths: dict[str, int] = {}
    groups: dict[str, list] = {}
    for node in plan:
        recipe = node.recipe
        before = [depths[p.recipe.identity] for p in node.parents if p is not None]
        depths[recipe.identity] = 1 + max(before, default=-1)
        groups.setdefault(recipe.name if by_function else recipe.identity, []).append(node)
    # by identity, the position of the box that a node is in
    order = {node.recipe.identity: i for i, nodes in enumerate(groups.values()) for node in nodes}
    columns = [min(depths[node.recipe.identity] for node in nodes) for nodes in groups.values()]
    dense = {column: position for position, column in enumerate(sorted(set(columns)))}
    boxes = []
    for own, (nodes, column) in enumerate(zip(groups.values(), columns, strict=True)):
        parents = {order[p.recipe.identity] for node in nodes for p in node.parents if p is not None}
        told = _function_told(nodes) if by_function else _node_told(nodes[0])
        boxes.append(Box(*told, dense[column], tuple(sorted(parents - {own}))))
    return boxes


def _node_told(node):
    recipe = node.recipe
    path = recipe.paths[0] if recipe.paths else "not cached"
    return recipe.label or recipe.name, path, node.action


def _function_told(nodes):
    counts = Counter(node.action for node in nodes)
    found = [action for action in ACTIONS if counts[action]]
    subtitle = ", ".join(f"{counts[action]} {action}" for action in found)
    return f"{nodes[0].recipe.name} × {len(nodes)}", subtitle, found[0]


def _places(boxes, columns, tallest):
    """Return the top left corner of each box.  Columns are centred, with boxes in the order given."""
    rows: Counter = Counter()
    places = []
    for box in boxes:
        missing = tallest - columns[box.column]
        row = rows[box.column] + missing / 2
        rows[box.column] += 1
        x = _MARGIN + box.column * (_WIDTH + _GAP_X)
        places.append((x, _HEAD + _MARGIN + row * (_HEIGHT + _GAP_Y)))
    return places


def _legend(plan):
    parts = [_text(_MARGIN, 24, f"Plan: {headline(plan)}", size=14, weight="bold")]
    x = _MARGIN
    for action in ACTIONS:
        if plan.counts[action]:
            parts.append(f'<rect x="{x}" y="36" width="10" height="10" fill="{COLORS[action]}"/>')
            label = f"{action} {plan.counts[action]}"
            parts.append(_text(x + 15, 45, label, size=11))
            x += 34 + 7 * len(label)
    return "\n".join(parts)


def _edge(start, end, sag):
    """Draw a curve between two boxes, which sags below the boxes of columns that it passes."""
    x1, y1 = start[0] + _WIDTH, start[1] + _HEIGHT / 2
    x2, y2 = end[0], end[1] + _HEIGHT / 2
    bend = (x2 - x1) / 2
    return (
        f'<path d="M{x1},{y1:g} C{x1 + bend:g},{y1 + sag:g} {x2 - bend:g},{y2 + sag:g} '
        f'{x2},{y2:g}" '
        'fill="none" stroke="#b0b8bd"/>'
    )


def _box(box, place):
    x, y = place
    color = COLORS[box.action]
    return "\n".join(
        [
            f"<g><title>{_shown(f'{box.title}: {box.action}, {box.subtitle}')}</title>",
            f'<rect x="{x}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" fill="white"/>',
            f'<rect x="{x}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" '
            f'fill="{color}" fill-opacity="0.1" stroke="{color}"/>',
            f'<rect x="{x}" y="{y:g}" width="5" height="{_HEIGHT}" rx="2" fill="{color}"/>',
            _text(x + 13, y + 14, _shorten(box.title, 28), size=12, weight="bold"),
            _text(x + 13, y + 27, _shorten(box.subtitle, 32), size=10, color="#566"),
            "</g>",
        ]
    )


def _text(x, y, text, size, weight="normal", color="#222"):
    return (
        f'<text x="{x}" y="{y:g}" font-size="{size}" font-weight="{weight}" fill="{color}">'
        f"{_shown(text)}</text>"
    )


def _shown(text):
    return html.escape(printable(text))


def _shorten(text, length):
    return text if len(text) <= length else f"{text[: length // 2 - 1]}…{text[-length // 2 :]}"
