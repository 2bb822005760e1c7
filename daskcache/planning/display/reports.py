"""Tables of audits, failures, corrections and prunings, as text and HTML.

`housekeeping.audit.Audit`, `housekeeping.failures`, `housekeeping.corrected` and `housekeeping.prune`
use these functions.
`cells` has their building blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes

from ...pages import Badge
from ...printable import printable
from .cells import MAX_ROWS, as_size, count_nodes, html_page, short, text_table

if TYPE_CHECKING:
    from ...housekeeping.audit import Audit
    from ...housekeeping.correction_sets import Correction
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
    """Return the audit as HTML."""
    problems: list[list[str]] = [["function", "outcome", "target", "why"]]
    for function, outcome, targets, reason in _problem_groups(audit):
        problems.append([function, Badge(outcome), targets, reason])
    tables = [problems, _outcome_cells(audit)]
    return html_page("Audit", audit_headline(audit), tables, MAX_ROWS, "audit.findings")


def failures_text(failures: Sequence[FailureNote]) -> str:
    """Return failures as plain text: a line for each error, with its nodes and when they failed."""
    if not failures:
        return "no failures"
    blocks = []
    for error, notes in by_error(failures)[:MAX_ROWS]:
        lines = [printable(error), *[short(_failed_node(note)) for note in notes[:_MAX_NODES]]]
        if len(notes) > _MAX_NODES:
            lines.append(f"and {len(notes) - _MAX_NODES} more nodes")
        blocks.append("\n    ".join(lines))
    return "\n".join([*blocks, f"{count_nodes(len(failures))} failed"])


def failures_html(failures: Sequence[FailureNote]) -> str:
    """Return failures as HTML."""
    cells = [["error", "node", "when", "worker"]]
    for note in failures:
        cells.append([short(note.error), note.node, note.when, note.worker or note.host])
    count = count_nodes(len(failures)) if failures else "none"
    return html_page("Failures", count, [cells], MAX_ROWS)


#: Nodes that are listed for each error.
_MAX_NODES = 5


def by_error(failures):
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


# ---- corrections ---------------------------------------------------------------------------------


def correction_cells(corrections: Sequence[Correction]) -> list[list[str | Badge]]:
    """Return a table of corrections; it has the files in folders of corrections if there are any."""
    has_files = any(each.file for each in corrections)
    heads = ["target", *(["corrected in"] if has_files else []), "state", "by", "when", "made for"]
    cells: list[list[str | Badge]] = [[*heads]]
    for each in corrections:
        call = ", ".join(f"{name}={text}" for name, text in each.arguments.items())
        kept = f", kept for {len(each.kept_for)} more" if each.kept_for else ""
        made_for = f"{each.function}({call[:60]}{'…' if len(call) > 60 else ''}){kept}"
        place = [each.target, *([each.file or "·"] if has_files else [])]
        cells.append([*place, Badge(each.state), each.by or "on_modified", each.when or "·", made_for])
    return cells


def corrections_text(corrections: Sequence[Correction]) -> str:
    """Return corrections as plain text: a table, and their number."""
    if not corrections:
        return "no corrections"
    lines = [text_table(correction_cells(corrections[:MAX_ROWS])), _corrections_line(corrections)]
    more = len(corrections) - MAX_ROWS
    return "\n".join([*lines, *([f"… and {more} more; to_frame() has them all"] if more > 0 else [])])


def corrections_html(corrections: Sequence[Correction]) -> str:
    """Return corrections as HTML."""
    cells = correction_cells(corrections)
    return html_page("Corrections", _corrections_line(corrections), [cells], MAX_ROWS)


def _corrections_line(corrections):
    count = len(corrections)
    return f"{count} result{' is' if count == 1 else 's are'} corrected" if count else "none"


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


def pruning_text(pruning: Pruning, max_rows: int = MAX_ROWS, width: int | None = None) -> str:
    """Return a pruning as plain text: what goes, then what stays and why.

    It fits into `width` columns, if given.
    """
    blocks = [f"Prune: {pruning_headline(pruning)}"]
    for cells in _pruning_cells(pruning):
        if len(cells) > 1:
            blocks.append(text_table(cells[: max_rows + 1], width))
        if len(cells) > max_rows + 1:
            blocks.append(f"… and {len(cells) - 1 - max_rows} more; to_frame() has them all")
    return "\n\n".join(blocks)


def pruning_html(pruning: Pruning) -> str:
    """Return a pruning as HTML."""
    return html_page("Prune", pruning_headline(pruning), _pruning_cells(pruning), MAX_ROWS)


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
