"""A plan as text, as HTML and as a data frame."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes, format_time

from ..errors import require
from ..reasons import headlines

if TYPE_CHECKING:
    from ..planning import Plan

#: Nodes listed one by one; beyond, the summary by function has to do.
MAX_ROWS = 30

ACTIONS = ("run", "decide", "load", "skip")

#: What stands for an action, readable on white and when printed without colour.
COLORS = {"run": "#d95f02", "decide": "#b58900", "load": "#1f78b4", "skip": "#7f8c8d"}


def plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """One row for each node, in the order in which they would run."""
    return [
        {
            "node": node.recipe.title,
            "function": node.recipe.name,
            "action": node.action,
            "state": node.state,
            "seconds": plan.estimate(node),
            "bytes": node.nbytes,
            "target": ", ".join(node.recipe.paths),
            "why": "; ".join(headlines(node.reasons)),
            "key": node.recipe.key,
        }
        for node in plan
    ]


def function_rows(plan: Plan) -> list[dict[str, Any]]:
    """One row for each function: how many of its nodes, what is done with them, how long, how big."""
    rows: dict[str, dict[str, Any]] = {}
    for node in plan:
        empty = dict.fromkeys(("nodes", *ACTIONS, "seconds", "bytes"), 0)
        row = rows.setdefault(node.recipe.name, {"function": node.recipe.name, **empty})
        row["nodes"] += 1
        row[node.action] += 1
        row["bytes"] += node.nbytes or 0
        if node.action in ("run", "decide"):
            row["seconds"] += plan.estimate(node) or 0
    return list(rows.values())


def headline(plan: Plan) -> str:
    """The plan in one line."""
    counts = plan.counts
    left = counts["run"] + counts["decide"]
    if not left:
        return f"nothing to run: all {_nodes(len(plan))} are up to date or not needed"
    parts = [f"{_nodes(counts['run'])} to run"]
    if counts["decide"]:
        parts.append(f"{counts['decide']} decided on the way")
    parts.append(f"{len(plan) - left} finished or not needed")
    estimate = f", about {format_time(plan.seconds)} of work" if plan.seconds else ""
    return ", ".join(parts) + estimate


def text_table(cells: list[list[str]]) -> str:
    """Rows of texts as aligned columns; the first row is the head."""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)) for r in cells]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def plan_text(plan: Plan) -> str:
    """The plan as plain text: summary by function, then the nodes that are left to do."""
    left = [row for row in plan_rows(plan) if row["action"] in ("run", "decide")]
    blocks = [f"Plan: {headline(plan)}", text_table(_function_cells(plan))]
    if left:
        cells = [["node", "action", "state", "why"]]
        cells += [[_short(row[name]) for name in cells[0]] for row in left[:MAX_ROWS]]
        blocks.append(text_table(cells))
    if len(left) > MAX_ROWS:
        blocks.append(f"… and {len(left) - MAX_ROWS} more; plan.to_frame() has them all")
    return "\n\n".join(blocks)


def plan_html(plan: Plan) -> str:
    """The plan as HTML with inline styles only, as untrusted notebooks allow."""
    rows = plan_rows(plan)
    cells = [["", "node", "state", "time", "size", "why"]]
    for row in rows[:MAX_ROWS]:
        cells.append(
            [
                _Badge(row["action"]),
                row["node"],
                row["state"],
                _time(row["seconds"]),
                _size(row["bytes"]),
                row["why"],
            ]
        )
    more = len(rows) - MAX_ROWS
    note = f"<p>… and {more} more: <code>plan.to_frame()</code> has them all</p>" if more > 0 else ""
    return (
        f"<p><b>Plan</b>: {html.escape(headline(plan))}</p>"
        f"{_html_table(_function_cells(plan))}"
        f"<details><summary>{_nodes(len(rows))}</summary>{_html_table(cells)}{note}</details>"
    )


def plan_frame(plan: Plan) -> Any:
    """The plan as a `pandas.DataFrame`."""
    columns = ["node", "function", "action", "state", "seconds", "bytes", "target", "why", "key"]
    return require("pandas", "table").DataFrame(plan_rows(plan), columns=columns)


# ---- helpers ------------------------------------------------------------------------------------


class _Badge(str):
    """An action, shown in its colour."""


def _function_cells(plan):
    cells = [["function", "nodes", *ACTIONS, "time left", "size"]]
    for row in function_rows(plan):
        cells.append(
            [
                row["function"],
                str(row["nodes"]),
                *[str(row[action] or "·") for action in ACTIONS],
                _time(row["seconds"]),
                _size(row["bytes"]),
            ]
        )
    return cells


def _html_table(cells):
    style = 'style="text-align: left; padding: 2px 10px"'
    head = "".join(f"<th {style}>{html.escape(cell)}</th>" for cell in cells[0])
    body = "".join(
        "<tr>" + "".join(f"<td {style}>{_html_cell(cell)}</td>" for cell in row) + "</tr>"
        for row in cells[1:]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_cell(cell):
    text = html.escape(cell)
    if isinstance(cell, _Badge):
        return f'<span style="color: {COLORS[cell]}; font-weight: bold">{text}</span>'
    return text


def _short(text, length=90):
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _nodes(count):
    return f"{count} node{'' if count == 1 else 's'}"


def _time(seconds):
    return format_time(seconds) if seconds else "·"


def _size(nbytes):
    return format_bytes(nbytes) if nbytes else "·"
