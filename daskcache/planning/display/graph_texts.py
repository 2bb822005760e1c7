"""Plans as texts for other programs: DOT for Graphviz, and Mermaid for pages in Markdown.

They have the boxes of `boxes`.  Labels may hold any text, since files and arguments give them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...printable import printable
from .boxes import boxes_of
from .cells import COLORS

if TYPE_CHECKING:
    from ...graph.plan import Plan

#: What needs no escape in a label of Mermaid besides letters and digits.
_PLAIN = frozenset(" ._-/=,:()×·…")


def plan_dot(plan: Plan) -> str:
    """Return a plan in Graphviz's language DOT."""
    lines = [
        "digraph plan {",
        "  rankdir=LR",
        '  node [shape=box, style="rounded,filled", fillcolor=white, fontname="Helvetica"]',
    ]
    boxes = boxes_of(plan)
    for i, box in enumerate(boxes):
        label = f"{_dot(box.title)}\\n{_dot(box.subtitle)}"
        lines.append(
            f'  n{i} [label="{label}", color="{COLORS[box.action]}", tooltip="{_dot(box.details)}"]'
        )
    lines += [f"  n{p} -> n{i}" for i, box in enumerate(boxes) for p in box.parents]
    return "\n".join([*lines, "}"])


def plan_mermaid(plan: Plan) -> str:
    """Return a plan as a flowchart of Mermaid, which GitHub and notebooks draw in Markdown."""
    boxes = boxes_of(plan)
    lines = ["flowchart LR"]
    for i, box in enumerate(boxes):
        label = f"{_mermaid(box.title)}<br>{_mermaid(box.subtitle)}"
        lines.append(f'  n{i}["{label}"]:::{box.action}')
    lines += [f"  n{p} --> n{i}" for i, box in enumerate(boxes) for p in box.parents]
    lines += [
        f"  classDef {action} stroke:{COLORS[action]},stroke-width:2px"
        for action in dict.fromkeys(box.action for box in boxes)
    ]
    return "\n".join(lines)


def _dot(text):
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')


def _mermaid(text):
    """Write each character that Mermaid, Markdown or HTML might act on by its number."""
    return "".join(c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" for c in printable(text))
