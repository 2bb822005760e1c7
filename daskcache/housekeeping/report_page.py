"""The page of a report: its sections and tables, each cut to a length that it tells.

`report` asks for it.  `report_results` finds the results, `report_pictures` looks at them, and the
template ``templates/files/report.html`` puts elements around texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from dask.utils import format_bytes

from .. import __version__, pages
from ..hashing.changes import Part
from ..pages import Badge
from ..planning.display.cells import MAX_ROWS, as_size, as_time, both_ends, short
from ..planning.display.reports import by_error, correction_cells
from ..planning.states import STATES
from ..storage import code_store
from ..storage.record import utc_now
from ..storage.roots import Root
from .listing import signature
from .redaction import USER, Redact, redacted_svg, unchanged
from .report_pictures import Budget, Looks, looks_at
from .report_results import Content, Result

#: Pictures of a report, and bytes of all of them, at most.  A picture costs about 10 ms.
_PICTURES, _BYTES = 1_000, 4 * 2**20
#: Functions with a section of their own, and results that are listed, at most.
_FUNCTIONS, _RESULTS = 50, 1_000
#: Rows of other tables, values of a parameter that are named, and characters of a text.
_ROWS, _VALUES, _LONGEST = 200, 6, 300
#: Nodes that are named for each error.
_NODES = 20
#: Versions of a function's code that are shown, and lines of each.
_CODES, _LINES = 3, 400


class Table(NamedTuple):
    """A table whose first row is the head, and the number of rows that are left out."""

    cells: list[list[str]]
    more: int = 0


class Row(NamedTuple):
    """A result in the table of its function."""

    target: str
    state: str
    made: str
    seconds: str
    size: str
    #: Names and texts of what else is known.
    facts: list[tuple[str, str]]


class Code(NamedTuple):
    """One version of a function's code."""

    title: str
    #: For each part its label and its text.
    parts: list[tuple[str, str]]


class Failure(NamedTuple):
    """Nodes that failed with one error."""

    error: str
    #: Names of the nodes, and when they failed.
    nodes: list[str]
    #: Number of nodes that are not named.
    more: int
    #: Of the node that failed last.
    traceback: str
    log: str


class Section(NamedTuple):
    """What is known about the results of a function."""

    title: str
    headline: str
    looks: Looks
    rows: list[Row]
    #: Number of results that are not listed.
    more: int
    codes: list[Code]


def page_of(content: Content, redact: Redact, title: str | None) -> str:
    """Return the page of a report.

    Parameters
    ----------
    content : Content
    redact : Redact
        Takes names and paths out of texts.
    title : str, optional
        Default: the names of the folders.
    """
    groups = _by_function(content.results)
    codes = _numbered(content.results, lambda each: each.code)
    versions = _numbered(content.results, _versions_of)
    budget = Budget(_PICTURES, _BYTES)
    names = list(groups)[:_FUNCTIONS]
    rows = max(10, _RESULTS // max(len(names), 1))
    failures = _failures(content)
    sections = []
    for at, name in enumerate(names):
        share = budget.pictures // (len(names) - at)
        looks = looks_at(groups[name], budget, share, redact)
        sections.append(_section(content, name, groups[name], looks, rows, codes, versions, redact))
    return pages.render(
        "files/report",
        title=title or redact(f"Report: {', '.join(content.names)}"),
        headline=content.headline,
        made=f"{utc_now()} by daskcache {__version__}",
        is_redacted=redact is not unchanged,
        graph=pages.picture_data(redacted_svg(content.picture, redact), "image/svg+xml"),
        functions=_cut(redact(_function_cells(groups))),
        to_do=content.to_do,
        left=Table(redact(content.left[0]), content.left[1]),
        parameters=_cut(redact(_parameter_cells(groups))),
        failures=redact(failures[:_ROWS]),
        failures_more=max(0, len(failures) - _ROWS),
        corrections=_cut(redact(_correction_cells(content, redact is unchanged))),
        sections=sections,
        sections_more=len(groups) - len(names),
        inputs=_cut(redact(_input_cells(content.results))),
        versions=_cut(redact(_version_cells(content.results, versions, redact))),
    )


def summary_of(content: Content) -> list[tuple[list[list[str]], int, str]]:
    """Return the tables that a notebook shows of a report."""
    functions = _function_cells(_by_function(content.results))
    told = [["to look at", "count"], ["failures", str(len(content.failures))]]
    told.append(["corrections", str(len(content.corrections))])
    return [(functions[: MAX_ROWS + 1], len(functions) - 1 - MAX_ROWS, "the page"), (told, 0, "")]


def _by_function(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Return results by function, and by name or number if a call has several."""
    groups: dict[str, list[Result]] = {}
    for each in results:
        name = f"{each.function.removeprefix('__main__.')}()"
        groups.setdefault(f"{name} · {each.part}" if each.part else name, []).append(each)
    return groups


def _numbered(results, what) -> dict[Any, int]:
    """Return the numbers, from 1 on, of the different values that results have, in their order."""
    values = dict.fromkeys(what(each) for each in results)
    return {value: number for number, value in enumerate(filter(None, values), 1)}


def _versions_of(result):
    return tuple(sorted(result.record.packages.items())) if result.record is not None else ()


def _cut(cells: list[list[str]]) -> Table:
    return Table(cells[: _ROWS + 1], max(0, len(cells) - 1 - _ROWS))


# ---- tables of all results ------------------------------------------------------------------------


def _function_cells(groups: dict[str, list[Result]]) -> list[list[str]]:
    states = [state for state in STATES if any(r.state == state for rs in groups.values() for r in rs)]
    cells = [["function", "results", *states, "run time", "size"]]
    for name, results in groups.items():
        counts = Counter(each.state for each in results)
        records = [each.record for each in results if each.record is not None]
        sums = as_time(sum(r.seconds for r in records)), as_size(sum(r.size for r in records))
        numbers = [f"{counts[state]:,}" if counts[state] else "·" for state in states]
        cells.append([name, f"{len(results):,}", *numbers, *sums])
    return cells


def _parameter_cells(groups: dict[str, list[Result]]) -> list[list[str]]:
    """Return the values of each parameter that is not an input."""
    cells = [["function", "parameter", "values", "most frequent"]]
    for name, results in groups.items():
        found: dict[str, Counter[str]] = {}
        for each in results:
            for argument in each.arguments:
                if not argument.is_input:
                    found.setdefault(argument.name, Counter())[argument.text] += 1
        for parameter, values in found.items():
            first = [both_ends(text, _LONGEST) for text, _ in values.most_common(_VALUES)]
            more = f" and {len(values) - _VALUES:,} more" if len(values) > _VALUES else ""
            cells.append([name, parameter, f"{len(values):,}", ", ".join(first) + more])
    return cells


def _correction_cells(content: Content, has_names: bool) -> list[list[str]]:
    """Return a table of corrections; accounts such as ``root`` are no names elsewhere, but here."""
    found = content.corrections
    if not has_names:
        found = [replace(each, by=USER if each.by else None) for each in found]
    return correction_cells(found)


def _failures(content: Content) -> list[Failure]:
    found = []
    for error, notes in by_error(content.failures):
        nodes = [f"{note.node or note.key}, {note.when}" for note in notes[:_NODES]]
        newest = notes[0]
        more = max(0, len(notes) - _NODES)
        found.append(Failure(error, nodes, more, newest.traceback.rstrip(), "\n".join(newest.log)))
    return found


def _input_cells(results: Iterable[Result]) -> list[list[str]]:
    found = {each: None for result in results for each in result.inputs}
    return [["file", "hash of its content"], *[[each.path, each.data_hash] for each in found]]


def _version_cells(results, versions, redact: Redact) -> list[list[str]]:
    made = Counter(_versions_of(each) for each in results)
    hosts: dict[Any, set[str]] = {}
    for each in results:
        if each.record is not None:
            hosts.setdefault(_versions_of(each), set()).add(each.record.host)
    head = ["set", "results", "versions", *(["made on"] if redact is unchanged else [])]
    cells = [head]
    for packages, number in versions.items():
        texts = ", ".join(f"{name} {version}" for name, version in packages)
        where = [", ".join(sorted(hosts[packages]))] if redact is unchanged else []
        cells.append([f"versions {number}", f"{made[packages]:,}", texts, *where])
    return cells


# ---- one function -------------------------------------------------------------------------------


def _section(
    content: Content,
    name: str,
    results: Sequence[Result],
    looks: Looks,
    most: int,
    codes: dict[str, int],
    versions: dict[Any, int],
    redact: Redact,
) -> Section:
    ordered = sorted(results, key=lambda each: each.state in ("complete", "adopted"))
    counts = Counter(each.state for each in results)
    states = ", ".join(f"{counts[state]:,} {state}" for state in STATES if counts[state])
    used = Counter(each.code for each in results if each.code).most_common()
    shown = [
        Code(f"code {codes[code]}, for {count:,} result{'' if count == 1 else 's'}", parts)
        for code, count in used[:_CODES]
        for parts in [redact(_parts(content, code))]
    ]
    left_out = [f"shown: {_CODES} of {len(used)} versions of the code"] if len(used) > _CODES else []
    looks.notes += left_out
    return Section(
        title=redact(name),
        headline=states,
        looks=looks,
        rows=redact([_row(each, codes, versions, redact is unchanged) for each in ordered[:most]]),
        more=max(0, len(ordered) - most),
        codes=shown,
    )


def _row(result: Result, codes, versions, has_names: bool) -> Row:
    record = result.record
    facts = [("why", each) for each in result.reasons]
    for argument in result.arguments:
        name = "input" if argument.is_input else "argument"
        facts.append((f"{name} {argument.name}", both_ends(argument.text, _LONGEST)))
    facts += [("reads", f"{each.path}  {each.data_hash}".strip()) for each in result.inputs[:_VALUES]]
    more = len(result.inputs) - _VALUES
    facts += [("reads", f"and {more:,} more files")] if more > 0 else []
    facts.append(("key", result.key))
    if result.code:
        facts.append(("code", f"code {codes[result.code]}, {result.code}"))
    if record is None:
        return Row(result.target, Badge(result.state), "·", "·", "·", facts)
    number = versions.get(_versions_of(result))
    facts += [
        ("data", record.data_hash),
        ("file", f"{record.file_hash}, {record.format}"),
        ("versions", f"versions {number}" if number else "not recorded"),
        *((what, _signature(told, has_names)) for what, told in _decisions(record) if told is not None),
    ]
    if record.taken_from:
        facts.append(("corrected in", record.taken_from))
    if has_names:
        facts.append(("made on", record.host))
    seconds, size = as_time(record.seconds), format_bytes(record.size)
    return Row(result.target, Badge(result.state), record.created, seconds, size, facts)


def _signature(told, has_names):
    return signature(told if has_names or not told.get("by") else {**told, "by": USER})


def _decisions(record):
    return ("accepted", record.accepted), ("adopted", record.edited), ("kept", record.kept)


def _parts(content: Content, code: str) -> list[tuple[str, str]]:
    """Return the labels and texts of a function's code, of as many lines as a report shows."""
    found = content.parts.get(code) or _recalled(content.roots, code)
    if found is None:
        return [("not stored", "the folder of results does not have this code")]
    shown, left = [], _LINES
    for part in found:
        lines = part.text.splitlines()
        if not left:
            break
        text = "\n".join(short(line, _LONGEST) for line in lines[:left])
        cut = f"\n… and {len(lines) - left:,} more lines" if len(lines) > left else ""
        kind = "" if part.kind == "function" else f"{part.kind} "
        shown.append((f"{kind}{part.module}.{part.label}", text + cut or "its source is not known"))
        left = max(0, left - len(lines))
    more = len(found) - len(shown)
    return [*shown, *([("…", f"and {more:,} more functions and values")] if more else [])]


def _recalled(roots: Sequence[Root], code: str) -> list[Part] | None:
    return next((parts for root in roots if (parts := code_store.recall(root, code)) is not None), None)
