"""Tables of audits, failures and prunings: text, and HTML with inline styles.

`housekeeping.audit.Audit`, `housekeeping.failures` and `housekeeping.prune` use these functions.
`cells` has their building blocks.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes

from ...printable import printable
from .cells import (
    MAX_ROWS,
    Badge,
    as_size,
    count_nodes,
    html_table,
    short,
    text_table,
)

if TYPE_CHECKING:
    from ...housekeeping.audit import Audit
    from ...housekeeping.prune import Pruning
    from ...storage.failures import FailureNote

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
        cells.append([function, Badge(outcome), targets, reason])
    problems = html_table(cells) if len(cells) > 1 else ""
    return (
        f"<p><b>Audit</b>: {html.escape(audit_headline(audit))}</p>"
        f"{html_table(_outcome_cells(audit))}{problems}"
    )


def failures_text(failures: Sequence[FailureNote]) -> str:
    """Return failures as plain text: a line for each error, with its nodes and when they failed."""
    if not failures:
        return "no failures"
    blocks = []
    for error, notes in _by_error(failures)[:MAX_ROWS]:
        lines = [printable(error), *[short(_failed_node(note)) for note in notes[:_MAX_NODES]]]
        if len(notes) > _MAX_NODES:
            lines.append(f"and {len(notes) - _MAX_NODES} more nodes")
        blocks.append("\n    ".join(lines))
    return "\n".join([*blocks, f"{count_nodes(len(failures))} failed"])


def failures_html(failures: Sequence[FailureNote]) -> str:
    """Return failures as HTML with inline styles only, because untrusted notebooks strip others."""
    cells = [["error", "node", "when", "worker"]]
    for note in failures[:MAX_ROWS]:
        cells.append([short(note.error), note.node, note.when, note.worker or note.host])
    more = len(failures) - MAX_ROWS
    rest = f"<p>… and {more} more: <code>to_frame()</code> has them all</p>" if more > 0 else ""
    table = html_table(cells) if failures else ""
    return f"<p><b>Failures</b>: {count_nodes(len(failures)) if failures else 'none'}</p>{table}{rest}"


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
            blocks.append(html_table(cells[: MAX_ROWS + 1]))
        if len(cells) > MAX_ROWS + 1:
            more = len(cells) - 1 - MAX_ROWS
            blocks.append(f"<p>… and {more} more: <code>to_frame()</code> has them all</p>")
    return "".join(blocks)


def _pruning_cells(pruning):
    """Return a table of the leftovers that go, and one of those that stay."""
    several = len({each.root for each in pruning.leftovers}) > 1

    def row(each):
        target = f"{each.root}/{each.target}" if several else each.target
        return [target, each.function, as_size(each.nbytes)]

    going = [["moved" if pruning.done else "would move", "function", "size"]]
    staying = [["stays", "function", "size", "why"]]
    going += map(row, pruning.going)
    staying += [[*row(each), each.reason] for each in pruning.staying]
    return going, staying
