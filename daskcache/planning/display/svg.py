"""Pictures of plans in SVG, which need no other program and no fonts.

`boxes` says what is drawn, and `layout` where.  A picture fits a screen of 1600 × 900 pixels with texts
of at least 10 pixels.  It has a ground of its own, and follows the reader's choice of light or dark.
"""

from __future__ import annotations

import html
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...printable import printable
from ..states import PlannedNode
from .boxes import SHOWN_STATES, STATE_COLORS, Box, boxes_of
from .cells import COLORS
from .layout import Slot, columns_of
from .tables import ACTIONS, headline

if TYPE_CHECKING:
    from ...graph.plan import Plan

# 1.1 times the screen of 1600 × 900, because the smallest text has 11 pixels.
_MAX_WIDTH, _MAX_HEIGHT = 1760, 990
_MIN_WIDTH, _MIN_BOX, _MAX_BOX, _HEIGHT = 720, 120, 230, 46
_GAP_X, _GAP_Y, _LANE, _MARGIN = 28, 10, 10, 20

#: Average widths of letters, in parts of the size of the text.
_BOLD, _NORMAL = 0.62, 0.56

_STYLE = """
@media (prefers-color-scheme: dark) {
.ground { fill: #14181b } .box { fill: #20262b } .line { stroke: #66727a }
.strong { fill: #f0f3f5 } .soft { fill: #b4bfc6 }
}
"""


class Frame(NamedTuple):
    """The place of a box, in pixels."""

    x: float
    y: float
    width: float
    height: float = _HEIGHT


def plan_svg(plan: Plan) -> str:
    """Return the picture of a plan as SVG text."""
    return nodes_svg(plan.nodes, f"Plan: {headline(plan)}", plan.counts)


def nodes_svg(nodes: Sequence[PlannedNode], title: str, actions: Mapping[str, int]) -> str:
    """Return a picture of planned nodes as SVG text.

    Parameters
    ----------
    nodes : sequence of PlannedNode
        Upstream nodes first.
    title : str
        The line above the picture.
    actions : mapping of str to int
        Number of nodes for each action; empty to leave them out of the legend.
    """
    boxes = boxes_of(nodes)
    columns = columns_of(boxes)
    count = max(len(columns), 1)
    room = (_MAX_WIDTH - 2 * _MARGIN - (count - 1) * _GAP_X) / count
    box_width = int(max(_MIN_BOX, min(_MAX_BOX, room)))
    width = max(_MIN_WIDTH, 2 * _MARGIN + count * box_width + (count - 1) * _GAP_X)
    legend, top = _legend(nodes, title, actions, width)
    frames, lanes, height = _places(columns, box_width, top)
    lines = [
        _line(frames[p], [lanes[slot] for slot in _passed(columns, p, i)], frames[i])
        for i, box in enumerate(boxes)
        for p in box.parents
    ]
    drawn = [_box(box, frames[i]) for i, box in enumerate(boxes)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="Helvetica, Arial, sans-serif">',
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{width:g}" height="{height:g}" fill="white"/>',
    ]
    return "\n".join([*parts, *legend, *lines, *drawn, "</svg>"])


def _places(columns, box_width, top):
    """Return the frames of boxes, those of lines on their way, and the height of the picture.

    Columns are centred.  Lines are brought closer together if the picture would be too high.
    """
    free = _MAX_HEIGHT - top - 2 * _MARGIN
    lane = float(_LANE)
    for column in columns:
        passing = sum(isinstance(slot, tuple) for slot in column)
        rows = len(column) - passing
        if passing:
            lane = max(0.0, min(lane, (free - rows * (_HEIGHT + _GAP_Y)) / passing))
    heights = [sum(_slot_height(slot, lane) for slot in column) for column in columns]
    tallest = max(heights, default=0)
    frames: dict[int, Frame] = {}
    lanes: dict[tuple[int, int, int], Frame] = {}
    for at, (column, height) in enumerate(zip(columns, heights, strict=True)):
        x = _MARGIN + at * (box_width + _GAP_X)
        y = top + _MARGIN + (tallest - height) / 2
        for slot in column:
            if isinstance(slot, tuple):
                lanes[(*slot, at)] = Frame(x, y, box_width, lane)
            else:
                frames[slot] = Frame(x, y, box_width)
            y += _slot_height(slot, lane)
    return frames, lanes, top + 2 * _MARGIN + tallest


def _slot_height(slot, lane):
    return lane if isinstance(slot, tuple) else _HEIGHT + _GAP_Y


def _passed(columns: Sequence[Sequence[Slot]], parent: int, child: int):
    """Return the places of a line between two boxes, in the columns that it passes."""
    return [(parent, child, at) for at, column in enumerate(columns) if (parent, child) in column]


def _legend(nodes, title, actions, width):
    """Return the lines above the boxes, and the height below them."""
    states = Counter(node.state for node in nodes)
    parts = [_text(_MARGIN, 24, _cut(title, width - 2 * _MARGIN, 13), 13, "bold")]
    y = 42
    rows = [("to do:", actions, ACTIONS, COLORS)] if actions else []
    for name, counts, names, colors in (*rows, ("state:", states, SHOWN_STATES, STATE_COLORS)):
        parts.append(_text(_MARGIN, y, name, 11, css="soft"))
        x = _MARGIN + 44
        for each in names:
            if counts[each]:
                label = f"{counts[each]:,} {each}"
                if x + 26 + 7 * len(label) > width:
                    x, y = _MARGIN + 44, y + 16
                parts.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colors[each]}"/>')
                parts.append(_text(x + 14, y, label, 11))
                x += 26 + 7 * len(label)
        y += 17
    return parts, y - 12


def _line(start, lanes, end):
    """Draw a line from a box to another one, through the places in the columns between them."""
    x, y = start.x + start.width, start.y + start.height / 2
    path = f"M{x:g},{y:g}"
    for each in [*lanes, end]:
        bend, at = (each.x - x) / 2, each.y + each.height / 2
        path += f" C{x + bend:g},{y:g} {x + bend:g},{at:g} {each.x:g},{at:g}"
        x, y = each.x + each.width, at
        if each is not end:
            path += f" H{x:g}"
    return f'<path class="line" d="{path}" fill="none" stroke="#a5afb5"/>'


def _box(box: Box, frame: Frame):
    x, y, width, height = frame
    color = COLORS[box.action]
    texts = width - 20
    parts = [
        f"<g><title>{_shown(box.details)}</title>",
        f'<rect class="box" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" '
        f'fill="white" stroke="{color}"/>',
        f'<rect x="{x:g}" y="{y:g}" width="6" height="{height:g}" rx="3" fill="{color}"/>',
        _text(x + 13, y + 17, _cut(box.title, texts, 12, _BOLD), 12, "bold"),
        _text(x + 13, y + 32, _cut(box.subtitle, texts, 11, middle=not box.is_group), 11, css="soft"),
    ]
    return "\n".join([*parts, *_bar(box, x + 13, y + height - 8, texts), "</g>"])


def _bar(box, x, y, width):
    """Draw the states of a box in one bar, each at least 3 pixels wide."""
    least = 3
    spare = width - least * len(box.states)
    parts = []
    for state, count in box.states.items():
        part = least + spare * count / len(box.nodes)
        parts.append(
            f'<rect x="{x:.1f}" y="{y:g}" width="{part:.1f}" height="4" fill="{STATE_COLORS[state]}"/>'
        )
        x += part
    return parts


def _text(x, y, text, size, weight="normal", css="strong"):
    color = "#22282c" if css == "strong" else "#566166"
    bold = ' font-weight="bold"' if weight == "bold" else ""
    return (
        f'<text class="{css}" x="{x:g}" y="{y:g}" font-size="{size}"{bold} fill="{color}">'
        f"{_shown(text)}</text>"
    )


def _shown(text):
    return html.escape(printable(text))


def _cut(text, width, size, letter=_NORMAL, middle=False):
    """Cut a text to a width in pixels, at its end or in its middle."""
    text = printable(text)
    if _width_of(text) * size * letter <= width:
        return text
    half = len(text) // 2 if middle else len(text)
    left, right = text[:half], text[half:]
    while _width_of(left + "…" + right) * size * letter > width:
        left, right = (left, right[1:]) if len(right) > len(left) else (left[:-1], right)
    return f"{left}…{right}"


def _width_of(text):
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)
