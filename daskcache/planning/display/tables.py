"""Tables of plans and nodes: text, HTML with inline styles, and data frames.

`graph.plan.Plan` and `graph.nodes.Nodes` use these functions.  `cells` has their building blocks,
`reports` the tables of audits, failures and prunings, and `svg` takes its headline from here.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dask.utils import format_time

from ...errors import require
from ...printable import printable
from ..reasons import headlines
from ..states import STATES, PlannedNode
from .cells import (
    MAX_ROWS,
    Badge,
    as_size,
    as_time,
    count_nodes,
    html_table,
    short,
    text_table,
)

if TYPE_CHECKING:
    from ...graph.nodes import Nodes
    from ...graph.plan import Plan

ACTIONS = ("run", "decide", "blocked", "load", "skip")


def plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """Return one row for each node, in the order in which they would run."""
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
    """Return one row for each function: its nodes, those for each action, seconds left and bytes."""
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
    """Return the plan in one line."""
    counts = plan.counts
    left = counts["run"] + counts["decide"] + counts["blocked"]
    if not left:
        return f"nothing to run: all {count_nodes(len(plan))} are up to date or not needed"
    parts = [f"{count_nodes(counts['run'])} to run"]
    if counts["decide"]:
        parts.append(f"{counts['decide']} decided on the way")
    if counts["blocked"]:
        parts.append(f"{counts['blocked']} blocked")
    parts.append(f"{len(plan) - left} finished or not needed")
    estimate = f", about {format_time(plan.seconds)} of work" if plan.seconds else ""
    return ", ".join(parts) + estimate


def plan_text(plan: Plan) -> str:
    """Return the plan as plain text: a summary by function, then the nodes left to do."""
    left = [row for row in plan_rows(plan) if row["action"] in ("run", "decide", "blocked")]
    blocks = [f"Plan: {headline(plan)}", text_table(_function_cells(plan))]
    if left:
        cells = [["node", "action", "state", "why"]]
        cells += [[short(row[name]) for name in cells[0]] for row in left[:MAX_ROWS]]
        blocks.append(text_table(cells))
    if len(left) > MAX_ROWS:
        blocks.append(f"… and {len(left) - MAX_ROWS} more; plan.to_frame() has them all")
    return "\n\n".join(blocks)


def plan_html(plan: Plan) -> str:
    """Return the plan as HTML with inline styles only, because untrusted notebooks strip others."""
    rows = plan_rows(plan)
    cells = [["", "node", "state", "time", "size", "why"]]
    for row in rows[:MAX_ROWS]:
        cost = as_time(row["seconds"]), as_size(row["bytes"])
        cells.append([Badge(row["action"]), row["node"], row["state"], *cost, row["why"]])
    more = len(rows) - MAX_ROWS
    note = f"<p>… and {more} more: <code>plan.to_frame()</code> has them all</p>" if more > 0 else ""
    return (
        f"<p><b>Plan</b>: {html.escape(headline(plan))}</p>"
        f"{html_table(_function_cells(plan))}"
        f"<details><summary>{count_nodes(len(rows))}</summary>{html_table(cells)}{note}</details>"
    )


def plan_frame(plan: Plan) -> Any:
    """Return the plan as a `pandas.DataFrame` with one row for each node."""
    columns = ["node", "function", "action", "state", "seconds", "bytes", "target", "why", "key"]
    return require("pandas", "table").DataFrame(plan_rows(plan), columns=columns)


# ---- nodes ---------------------------------------------------------------------------------------


def nodes_line(nodes: Nodes) -> str:
    """Return the number of nodes, their functions, and the number of values of each field."""
    functions = list(dict.fromkeys(node._recipe.name for node in nodes))
    made_by = f" of {', '.join(functions[:3])}{' …' if len(functions) > 3 else ''}" if functions else ""
    counts = [f"{name}: {len(set(values))}" for name, values in nodes.fields.items()]
    return printable(", ".join([count_nodes(len(nodes)) + made_by, *counts]))


def nodes_text(nodes: Nodes, looked: Sequence[PlannedNode]) -> str:
    """Return nodes as plain text: how many are in each state, and a line for each of the first.

    Parameters
    ----------
    nodes : Nodes
    looked : sequence of PlannedNode
        What was found of them, in the same order.
    """
    cells = [["target", "state", "why"], *[[short(cell) for cell in row] for row in _node_rows(looked)]]
    more = len(looked) - MAX_ROWS
    rest = [f"… and {more} more; nodes.to_frame() has them all"] if more > 0 else []
    line = f"{nodes_line(nodes)}{_states(looked)}"
    return "\n".join([f"{line}\n\n{text_table(cells)}" if looked else line, *rest])


def nodes_html(nodes: Nodes, looked: Sequence[PlannedNode]) -> str:
    """Return nodes as HTML with inline styles only, because untrusted notebooks strip others."""
    cells = [["target", "state", "why"], *_node_rows(looked)]
    more = len(looked) - MAX_ROWS
    rest = f"<p>… and {more} more: <code>nodes.to_frame()</code> has them all</p>" if more > 0 else ""
    headline = html.escape(nodes_line(nodes) + _states(looked))
    return f"<p><b>Nodes</b>: {headline}</p>{html_table(cells) if looked else ''}{rest}"


def _node_rows(looked):
    """Return the targets, states and reasons of the first nodes; a label stands before the target."""
    rows = []
    for node in looked[:MAX_ROWS]:
        recipe = node.recipe
        names = [recipe.label, ", ".join(recipe.paths)] if recipe.paths else [recipe.title]
        story = "; ".join(headlines(node.reasons))
        rows.append([": ".join(filter(None, names)), node.state, story])
    return rows


def _states(looked):
    counts = Counter(node.state for node in looked)
    found = [f"{counts[state]} {state}" for state in STATES if counts[state]]
    return f"; {', '.join(found)}" if found else ""


def _function_cells(plan):
    actions = [action for action in ACTIONS if action != "blocked" or plan.counts[action]]
    cells = [["function", "nodes", *actions, "time left", "size"]]
    for row in function_rows(plan):
        counts = [str(row["nodes"]), *[str(row[action] or "·") for action in actions]]
        cells.append([row["function"], *counts, as_time(row["seconds"]), as_size(row["bytes"])])
    return cells
