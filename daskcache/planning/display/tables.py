"""Tables of plans, nodes, audits, failures and prunings: text, HTML with inline styles, and data frames.

`graph.plan.Plan`, `graph.nodes.Nodes`, and `audit`, `failures` and `prune` of `housekeeping` use these
functions.  `svg` takes its colours and headline from here.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes, format_time

from ...errors import require
from ...printable import printable
from ..reasons import headlines
from ..states import STATES, PlannedNode

if TYPE_CHECKING:
    from ...graph.nodes import Nodes
    from ...graph.plan import Plan
    from ...housekeeping.audit import Audit
    from ...housekeeping.prune import Pruning
    from ...storage.failures import FailureNote

#: Number of nodes listed one by one; the others are only in the summary by function.
MAX_ROWS = 30

ACTIONS = ("run", "decide", "blocked", "load", "skip")

#: Colours of actions, which are readable on white and in print without colour.
COLORS = {
    "run": "#d95f02",
    "decide": "#b58900",
    "blocked": "#c2185b",
    "load": "#1f78b4",
    "skip": "#7f8c8d",
}
_BADGES = COLORS | {"differs": "#d95f02", "failed": "#d95f02", "skipped": "#7f8c8d"}


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
        return f"nothing to run: all {_nodes(len(plan))} are up to date or not needed"
    parts = [f"{_nodes(counts['run'])} to run"]
    if counts["decide"]:
        parts.append(f"{counts['decide']} decided on the way")
    if counts["blocked"]:
        parts.append(f"{counts['blocked']} blocked")
    parts.append(f"{len(plan) - left} finished or not needed")
    estimate = f", about {format_time(plan.seconds)} of work" if plan.seconds else ""
    return ", ".join(parts) + estimate


def text_table(cells: list[list[str]]) -> str:
    """Return rows of cells as text with aligned columns; the first row is the head."""
    cells = [list(map(printable, row)) for row in cells]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)) for r in cells]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def plan_text(plan: Plan) -> str:
    """Return the plan as plain text: a summary by function, then the nodes left to do."""
    left = [row for row in plan_rows(plan) if row["action"] in ("run", "decide", "blocked")]
    blocks = [f"Plan: {headline(plan)}", text_table(_function_cells(plan))]
    if left:
        cells = [["node", "action", "state", "why"]]
        cells += [[_short(row[name]) for name in cells[0]] for row in left[:MAX_ROWS]]
        blocks.append(text_table(cells))
    if len(left) > MAX_ROWS:
        blocks.append(f"… and {len(left) - MAX_ROWS} more; plan.to_frame() has them all")
    return "\n\n".join(blocks)


def plan_html(plan: Plan) -> str:
    """Return the plan as HTML with inline styles only, because untrusted notebooks strip others."""
    rows = plan_rows(plan)
    cells = [["", "node", "state", "time", "size", "why"]]
    for row in rows[:MAX_ROWS]:
        cost = _time(row["seconds"]), _size(row["bytes"])
        cells.append([_Badge(row["action"]), row["node"], row["state"], *cost, row["why"]])
    more = len(rows) - MAX_ROWS
    note = f"<p>… and {more} more: <code>plan.to_frame()</code> has them all</p>" if more > 0 else ""
    return (
        f"<p><b>Plan</b>: {html.escape(headline(plan))}</p>"
        f"{_html_table(_function_cells(plan))}"
        f"<details><summary>{_nodes(len(rows))}</summary>{_html_table(cells)}{note}</details>"
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
    return printable(", ".join([_nodes(len(nodes)) + made_by, *counts]))


def nodes_text(nodes: Nodes, looked: Sequence[PlannedNode]) -> str:
    """Return nodes as plain text: how many are in each state, and a line for each of the first.

    Parameters
    ----------
    nodes : Nodes
    looked : sequence of PlannedNode
        What was found of them, in the same order.
    """
    cells = [["target", "state", "why"], *[[_short(cell) for cell in row] for row in _node_rows(looked)]]
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
    return f"<p><b>Nodes</b>: {headline}</p>{_html_table(cells) if looked else ''}{rest}"


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


# ---- audits --------------------------------------------------------------------------------------


def audit_headline(audit: Audit) -> str:
    """Return the audit in one line."""
    counts = audit.counts
    skipped = counts.pop("skipped")
    verbs = {"same": "same", "differs": "differs" if counts["differs"] == 1 else "differ"}
    parts = [f"{n} {verbs.get(outcome, outcome)}" for outcome, n in counts.items() if n]
    computed = f"{sum(counts.values())} recomputed" + (f": {', '.join(parts)}" if parts else "")
    return f"{computed}; {skipped} skipped" if skipped else computed


def audit_text(audit: Audit) -> str:
    """Return the audit as plain text: counts by function, problems, and a summary line."""
    blocks = [text_table(_outcome_cells(audit))] if audit.findings else []
    groups = _problem_groups(audit)
    for function, outcome, targets, reason in groups[:MAX_ROWS]:
        story = printable(f"{function}: {outcome}, {targets}"), printable(reason)
        blocks.append("\n    ".join(story))
    if len(groups) > MAX_ROWS:
        blocks.append(f"… and {len(groups) - MAX_ROWS} more; audit.findings has them all")
    return "\n\n".join([*blocks, audit_headline(audit)])


def audit_html(audit: Audit) -> str:
    """Return the audit as HTML with inline styles only, because untrusted notebooks strip others."""
    cells = [["function", "", "target", "why"]]
    for function, outcome, targets, reason in _problem_groups(audit)[:MAX_ROWS]:
        cells.append([function, _Badge(outcome), targets, reason])
    problems = _html_table(cells) if len(cells) > 1 else ""
    return (
        f"<p><b>Audit</b>: {html.escape(audit_headline(audit))}</p>"
        f"{_html_table(_outcome_cells(audit))}{problems}"
    )


def failures_text(failures: Sequence[FailureNote]) -> str:
    """Return failures as plain text: a line for each error, with its nodes and when they failed."""
    if not failures:
        return "no failures"
    blocks = []
    for error, notes in _by_error(failures)[:MAX_ROWS]:
        lines = [printable(error), *[_short(_failed_node(note)) for note in notes[:_MAX_NODES]]]
        if len(notes) > _MAX_NODES:
            lines.append(f"and {len(notes) - _MAX_NODES} more nodes")
        blocks.append("\n    ".join(lines))
    return "\n".join([*blocks, f"{_nodes(len(failures))} failed"])


def failures_html(failures: Sequence[FailureNote]) -> str:
    """Return failures as HTML with inline styles only, because untrusted notebooks strip others."""
    cells = [["error", "node", "when", "worker"]]
    for note in failures[:MAX_ROWS]:
        cells.append([_short(note.error), note.node, note.when, note.worker or note.host])
    more = len(failures) - MAX_ROWS
    rest = f"<p>… and {more} more: <code>to_frame()</code> has them all</p>" if more > 0 else ""
    table = _html_table(cells) if failures else ""
    return f"<p><b>Failures</b>: {_nodes(len(failures)) if failures else 'none'}</p>{table}{rest}"


#: Nodes that are listed for each error.
_MAX_NODES = 5


def _by_error(failures):
    """Return the failures grouped by their errors, the most frequent first."""
    groups: dict[str, list] = {}
    for note in failures:
        groups.setdefault(note.error or "unknown error", []).append(note)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def _failed_node(note):
    return f"{printable(note.node or note.key)}, {note.when}"


def _outcome_cells(audit):
    """Return a table with the number of nodes for each function and outcome."""
    outcomes = list(audit.counts)
    rows: dict[str, Counter] = {}
    for finding in audit.findings:
        rows.setdefault(finding.function, Counter())[finding.outcome] += 1
    cells = [["function", *outcomes]]
    for function, row in sorted(rows.items()):
        cells.append([function, *[str(row[outcome] or "·") for outcome in outcomes]])
    return cells


def _problem_groups(audit):
    """Return the findings other than "same", the worst first, grouped by function and reason."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for outcome in ("differs", "failed", "skipped"):
        for finding in audit.findings:
            if finding.outcome == outcome:
                story = finding.function, outcome, finding.reason
                groups.setdefault(story, []).append(finding.target)
    return [
        (function, outcome, _several(targets), reason)
        for (function, outcome, reason), targets in groups.items()
    ]


def _several(targets):
    return targets[0] if len(targets) == 1 else f"{targets[0]} and {len(targets) - 1} more"


# ---- prunings ------------------------------------------------------------------------------------


def pruning_rows(pruning: Pruning) -> list[dict[str, Any]]:
    """Return one row for each leftover, those that go first."""
    return [
        {
            "target": each.target,
            "function": each.function,
            "bytes": each.nbytes,
            "why": each.reason,
            "kept": each.kept,
            "root": each.root,
        }
        for each in (*pruning.going, *pruning.staying)
    ]


def pruning_headline(pruning: Pruning) -> str:
    """Return the pruning in one line."""
    going, staying = len(pruning.going), len(pruning.staying)
    if not pruning.leftovers:
        return "nothing to prune"
    verb = "moved to the trash" if pruning.done else "to move to the trash"
    size = f", {format_bytes(pruning.nbytes)}" if going else ""
    rest = f"; {staying} {'stays' if staying == 1 else 'stay'}" if staying else ""
    return f"{going} result{'' if going == 1 else 's'} {verb}{size}{rest}"


def pruning_text(pruning: Pruning, max_rows: int = MAX_ROWS) -> str:
    """Return a pruning as plain text: what goes, then what stays and why."""
    blocks = [f"Prune: {pruning_headline(pruning)}"]
    for cells in _pruning_cells(pruning):
        if len(cells) > 1:
            blocks.append(text_table(cells[: max_rows + 1]))
        if len(cells) > max_rows + 1:
            blocks.append(f"… and {len(cells) - 1 - max_rows} more; to_frame() has them all")
    return "\n\n".join(blocks)


def pruning_html(pruning: Pruning) -> str:
    """Return a pruning as HTML with inline styles only, because untrusted notebooks strip others."""
    blocks = [f"<p><b>Prune</b>: {html.escape(pruning_headline(pruning))}</p>"]
    for cells in _pruning_cells(pruning):
        if len(cells) > 1:
            blocks.append(_html_table(cells[: MAX_ROWS + 1]))
        if len(cells) > MAX_ROWS + 1:
            more = len(cells) - 1 - MAX_ROWS
            blocks.append(f"<p>… and {more} more: <code>to_frame()</code> has them all</p>")
    return "".join(blocks)


def _pruning_cells(pruning):
    """Return a table of the leftovers that go, and one of those that stay."""
    several = len({each.root for each in pruning.leftovers}) > 1

    def row(each):
        target = f"{each.root}/{each.target}" if several else each.target
        return [target, each.function, _size(each.nbytes)]

    going = [["moved" if pruning.done else "would move", "function", "size"]]
    staying = [["stays", "function", "size", "why"]]
    going += map(row, pruning.going)
    staying += [[*row(each), each.reason] for each in pruning.staying]
    return going, staying


# ---- helpers ------------------------------------------------------------------------------------


class _Badge(str):
    """An action or outcome that HTML tables show in its colour."""


def _function_cells(plan):
    actions = [action for action in ACTIONS if action != "blocked" or plan.counts[action]]
    cells = [["function", "nodes", *actions, "time left", "size"]]
    for row in function_rows(plan):
        counts = [str(row["nodes"]), *[str(row[action] or "·") for action in actions]]
        cells.append([row["function"], *counts, _time(row["seconds"]), _size(row["bytes"])])
    return cells


def _html_table(cells):
    style = 'style="text-align: left; padding: 2px 10px"'
    head = "".join(f"<th {style}>{_html_cell(cell)}</th>" for cell in cells[0])
    body = "".join(
        "<tr>" + "".join(f"<td {style}>{_html_cell(cell)}</td>" for cell in row) + "</tr>"
        for row in cells[1:]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_cell(cell):
    text = html.escape(printable(cell))
    if isinstance(cell, _Badge):
        return f'<span style="color: {_BADGES[cell]}; font-weight: bold">{text}</span>'
    return text


def _short(text, length=90):
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _nodes(count):
    return f"{count} node{'' if count == 1 else 's'}"


def _time(seconds):
    return format_time(seconds) if seconds else "·"


def _size(nbytes):
    return format_bytes(nbytes) if nbytes else "·"
