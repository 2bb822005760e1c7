"""Tables of plans and nodes: text, HTML and data frames.

`graph.plan.Plan` and `graph.nodes.Nodes` use these functions.  `cells` has their building blocks,
`groups` their lines, and `reports` the tables of audits, failures and prunings.  `svg` takes its
headline from here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dask.utils import format_time

from ... import pages
from ...dataframes import frame_of
from ...pages import Badge
from ...printable import printable
from ..reasons import headlines
from ..states import STATES, PlannedNode
from .cells import (
    MAX_ROWS,
    MOST_ROWS,
    as_size,
    as_time,
    both_ends,
    count_nodes,
    html_page,
    short,
    text_table,
)
from .groups import grouped, name_of

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


def plan_text(plan: Plan, width: int | None = None) -> str:
    """Return the plan as plain text: the nodes left to do in groups, then a summary by function.

    It fits into `width` columns, if given.
    """
    left, _ = _left_and_rest(plan)
    blocks = [f"Plan: {headline(plan)}"]
    if left:
        blocks.append(text_table(_group_cells(plan, left[:MAX_ROWS]), width))
    if len(left) > MAX_ROWS:
        blocks.append(f"… and {len(left) - MAX_ROWS} more lines; plan.to_frame() has them all")
    return "\n\n".join([*blocks, text_table(_function_cells(plan), width)])


def plan_html(plan: Plan) -> str:
    """Return the plan as HTML: the nodes left to do in groups, and the rest folded."""
    left, rest = _left_and_rest(plan)
    return pages.render(
        "plan",
        headline=headline(plan),
        left=_group_cells(plan, left[:MAX_ROWS], is_page=True),
        more=_group_cells(plan, left[MAX_ROWS:MOST_ROWS]),
        beyond=len(left) - MOST_ROWS,
        rest=_group_cells(plan, rest[:MAX_ROWS]),
        rest_beyond=len(rest) - MAX_ROWS,
        rest_count=sum(len(group.nodes) for group in rest),
        functions=_function_cells(plan),
    )


def left_cells(plan: Plan) -> tuple[list[list[Any]], int]:
    """Return a table of the nodes that are left to do or blocked, for pages, and the lines left out."""
    left, _ = _left_and_rest(plan)
    return _group_cells(plan, left[:MAX_ROWS], is_page=True), max(0, len(left) - MAX_ROWS)


def _left_and_rest(plan):
    """Return the groups of nodes that are left to do or blocked, and those of the others."""
    groups = grouped(plan)
    left = [group for group in groups if group.action in ("run", "decide", "blocked")]
    return left, groups[len(left) :]


def _group_cells(plan, groups, is_page=False):
    heads = ["action", "function", "nodes", "state", "why", "which", "time", "size"]
    rows = []
    for group in groups:
        why = group.story_for_page if is_page else both_ends(group.reason)
        seconds = sum(plan.estimate(node) or 0 for node in group.nodes)
        nbytes = sum(node.nbytes or 0 for node in group.nodes)
        story = Badge(group.action), group.function, f"{len(group.nodes):,}", group.state, why
        rows.append([*story, short(group.names), as_time(seconds), as_size(nbytes)])
    return [heads, *rows]


def plan_frame(plan: Plan) -> Any:
    """Return the plan as a `pandas.DataFrame` with one row for each node."""
    columns = ["node", "function", "action", "state", "seconds", "bytes", "target", "why", "key"]
    return frame_of(plan_rows(plan), columns)


# ---- nodes ---------------------------------------------------------------------------------------


def nodes_line(nodes: Nodes) -> str:
    """Return the number of nodes, their functions, and the number of values of each field."""
    functions = list(dict.fromkeys(node._recipe.name for node in nodes))
    made_by = f" of {', '.join(functions[:3])}{' …' if len(functions) > 3 else ''}" if functions else ""
    counts = [f"{name}: {len(set(values))}" for name, values in nodes.fields.items()]
    return printable(", ".join([count_nodes(len(nodes)) + made_by, *counts]))


def nodes_text(nodes: Nodes, looked: Sequence[PlannedNode]) -> str:
    """Return nodes as plain text: how many are in each state, and a line for each of the first.

    Of more nodes than a table shows, groups of those that are not complete come first.

    Parameters
    ----------
    nodes : Nodes
    looked : sequence of PlannedNode
        What was found of them, in the same order.
    """
    blocks = [f"{nodes_line(nodes)}{_states(looked)}"]
    unfinished = _unfinished(looked)
    if unfinished:
        blocks.append(text_table(_unfinished_cells(unfinished[:MAX_ROWS])))
    if looked:
        heads = ["target", "state", "why"]
        blocks.append(
            text_table([heads, *[[short(cell) for cell in row] for row in _node_rows(looked)]])
        )
    more = len(looked) - MAX_ROWS
    rest = [f"… and {more} more; nodes.to_frame() has them all"] if more > 0 else []
    return "\n".join(["\n\n".join(blocks), *rest])


def nodes_html(nodes: Nodes, looked: Sequence[PlannedNode]) -> str:
    """Return nodes as HTML: as `nodes_text` does, with a long table folded."""
    unfinished = _unfinished(looked)
    return pages.render(
        "nodes",
        headline=nodes_line(nodes) + _states(looked),
        unfinished=_unfinished_cells(unfinished[:MAX_ROWS]),
        beyond=len(unfinished) - MAX_ROWS,
        nodes=[["target", "state", "why"], *_node_rows(looked)],
        more=len(looked) - MAX_ROWS,
    )


class States(list):
    """The states of many nodes: a plain list, which notebooks show as the number of nodes in each."""

    def _repr_html_(self):
        counts = Counter(self)
        cells = [["state", "nodes"]]
        cells += [[Badge(state), f"{counts[state]:,}"] for state in STATES if counts[state]]
        return html_page("States", count_nodes(len(self)), [cells], MAX_ROWS)


def _unfinished(looked):
    """Return groups of the nodes that are not complete, if there are more nodes than a table shows."""
    groups = grouped(looked) if len(looked) > MAX_ROWS else []
    return [group for group in groups if group.state not in ("complete", "adopted")]


def _unfinished_cells(groups):
    heads = ["state", "function", "nodes", "why", "which"]
    return [
        heads,
        *[
            [
                Badge(group.state),
                group.function,
                f"{len(group.nodes):,}",
                both_ends(group.reason),
                short(group.names),
            ]
            for group in groups
        ],
    ]


def _node_rows(looked):
    """Return the targets, states and reasons of the first nodes; a label stands before the target."""
    return [
        [name_of(node), Badge(node.state), "; ".join(headlines(node.reasons))]
        for node in looked[:MAX_ROWS]
    ]


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
