"""The results that a report is about: recorded ones of a root, or those of a plan.

`report` asks for them, `report_pictures` looks at them, and `report_page` puts them into tables.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple, cast

from ..calls.describe import texts_of, with_places
from ..calls.recipe import Recipe, SourceInput
from ..graph.plan import Plan
from ..hashing.changes import Part
from ..planning.display.node import inputs_of, places
from ..planning.display.svg import nodes_svg, plan_svg
from ..planning.display.tables import headline, left_cells
from ..planning.states import FAILED, STATES, PlannedNode
from ..runtime.named import target_of
from ..storage import files
from ..storage.failures import FailureNote
from ..storage.record import Record
from ..storage.records import RecordStore
from ..storage.roots import Root
from ..targets.base import Target
from ..targets.fields import Fields
from ..targets.overview import in_order
from .correction_sets import Correction
from .correction_sets import corrections as corrections_of
from .failures import failures_of
from .lineage import Lineage
from .listing import WHY, Listed, listed, meant, resolved
from .outlines import AS_RECORDED


class Argument(NamedTuple):
    """An argument of a call."""

    name: str
    text: str
    #: True if it is, or holds, an input: a file, or the result of another call.
    is_input: bool


class Input(NamedTuple):
    """A file that calls read."""

    path: str
    data_hash: str


@dataclass(frozen=True)
class Result:
    """One target, and what is known about it."""

    #: Module and qualified name of the function.
    function: str
    #: Name or number of the result among several of one call; empty for a single one.
    part: str
    #: Path of the target from the root.
    target: str
    #: A state of a node.
    state: str
    reasons: tuple[str, ...]
    #: Absolute path of the file or folder; empty if it is a table of a database, or not as recorded.
    place: str
    #: The format; None if it is not known here.
    format: Target | None
    record: Record | None
    key: str
    code: str
    arguments: tuple[Argument, ...]
    inputs: tuple[Input, ...]
    fields: Fields = field(default_factory=dict)


@dataclass(frozen=True)
class Content:
    """All that a report is about."""

    #: Names of the roots' folders.
    names: list[str]
    roots: list[Root]
    #: Upstream results first, those of one function in the order of their paths.
    results: list[Result]
    headline: str
    #: The graph as SVG text.
    picture: str
    #: What is left to do in one line; empty for records.
    to_do: str
    #: A table of the nodes of a plan that are left to do, and the number of lines left out.
    left: tuple[list[list[Any]], int]
    failures: list[FailureNote]
    corrections: list[Correction]
    #: Parts of code that no root has stored yet, by fingerprint.
    parts: dict[str, list[Part]]


# ---- from records -------------------------------------------------------------------------------


def recorded(root: Root, targets: Sequence[str], upstream: bool) -> Content:
    """Return the recorded results of a root, and the nodes that failed.

    Parameters
    ----------
    root : Root
    targets : sequence of str
        Paths of targets or folders, or shell patterns; all results if there are none.
    upstream : bool
        Also take all results upstream of them.

    Raises
    ------
    TargetMissing
        If a path or pattern means no result and no failure.
    """
    lineage = Lineage(listed(root))
    notes = list(failures_of(root))
    known = {*lineage.by_path, *(path for note in notes for path in note.targets)}
    paths = {path for given in targets for path in meant(root, given, known)} if targets else set(known)
    items = [lineage.by_path[path] for path in lineage.by_path if path in paths]
    if upstream:
        items = list({item.path: item for item in [*items, *lineage.ancestors(items)]}.values())
        paths |= {item.path for item in items}
    failures = [note for note in notes if not note.targets or paths.intersection(note.targets)]
    results = {item.path: _of_listed(root, item) for item in items}
    for note in failures:
        results |= {path: _of_note(note, path) for path in note.targets if path not in results}
    nodes = _nodes(lineage, items, list(results.values()))
    place = {node.recipe.name: at for at, node in reversed(list(enumerate(nodes)))}
    ordered = sorted(results.values(), key=lambda each: (place[_name(each.function)], *_order(each)))
    title = _counted(ordered)
    return Content(
        names=[posixpath.basename(root.path)],
        roots=[root],
        results=ordered,
        headline=title,
        picture=nodes_svg(nodes, title, {}),
        to_do="",
        left=([], 0),
        failures=failures,
        corrections=corrections_of(root, paths.__contains__),
        parts={},
    )


def _of_listed(root: Root, item: Listed) -> Result:
    record = item.record
    has_file = item.state in AS_RECORDED and files.place_of(item.path).has_files
    return Result(
        function=record.function,
        part=_part(record),
        target=item.path,
        state=item.state,
        reasons=(WHY[item.state],) if item.state in WHY else (),
        place=root.absolute(item.path) if has_file else "",
        format=target_of(record),
        record=record,
        key=record.key,
        code=record.code,
        arguments=_recorded_arguments(record),
        inputs=_inputs(record),
    )


def _of_note(note: FailureNote, path: str) -> Result:
    part = str(note.targets.index(path)) if len(note.targets) > 1 else ""
    reasons = (f"failed: {note.error}",)
    return Result(note.function, part, path, FAILED, reasons, "", None, None, note.key, "", (), ())


def _recorded_arguments(record: Record) -> tuple[Argument, ...]:
    texts = [(name, brief, resolved(brief, record)) for name, (brief, *_) in record.arguments.items()]
    return tuple(Argument(name, text, text != brief) for name, brief, text in texts)


def _inputs(record: Record) -> tuple[Input, ...]:
    return tuple(
        Input(each["source"], each["data_hash"]) for each in record.upstream if "source" in each
    )


def _part(record):
    """Return the name or number of a result among those of its call."""
    found = record.results or []
    named = found.items() if isinstance(found, dict) else enumerate(found)
    return next((str(name) for name, path in named if path == record.target), "")


# ---- the graph of records -----------------------------------------------------------------------


class _Call(NamedTuple):
    """Stands for the recipe of a recorded call in pictures."""

    identity: str
    name: str
    title: str
    label: str
    paths: tuple[str, ...]
    upstream: tuple[()] = ()


def _nodes(lineage: Lineage, items: list[Listed], results: list[Result]) -> list[PlannedNode]:
    """Return a node for each call, upstream nodes first."""
    calls: dict[str, list[Result]] = {}
    for each in results:
        calls.setdefault(each.key, []).append(each)
    parents: dict[str, set[str]] = {key: set() for key in calls}
    for item in items:
        keys = {parent.name.key for parent in lineage.parents(item)}
        parents[item.name.key] |= {key for key in keys if key in calls and key != item.name.key}
    made: dict[str, PlannedNode] = {}
    for key in _upstream_first(parents):
        first = calls[key][0]
        name, paths = _name(first.function), tuple(each.target for each in calls[key])
        state = max((each.state for each in calls[key]), key=STATES.index)
        recipe = _Call(key, name, f"{name}({', '.join(paths)})", "", paths)
        above: list[PlannedNode | None] = [made[each] for each in sorted(parents[key])]
        made[key] = PlannedNode(cast(Recipe, recipe), above, state, reasons=list(first.reasons))
    return list(made.values())


def _upstream_first(parents: dict[str, set[str]]) -> list[str]:
    """Sort calls.  Forged or replaced records may be in a circle, of which one step is left out."""
    while True:
        try:
            ordered = {key: sorted(above) for key, above in parents.items()}
            return list(TopologicalSorter(ordered).static_order())
        except CycleError as error:
            above, below = error.args[1][:2]
            parents[below].discard(above)


def _order(result):
    return in_order(result.part), in_order(result.target)


def _name(function):
    return function.rpartition(".")[2]


def _counted(results: Iterable[Result]) -> str:
    """Return the number of results, of functions, and of the results in each state."""
    results = list(results)
    states = [each.state for each in results]
    functions = len({each.function for each in results})
    counts = [f"{states.count(state):,} {state}" for state in STATES if state in states]
    of = f" of {functions} function{'' if functions == 1 else 's'}" if results else ""
    plural = "" if len(results) == 1 else "s"
    return "".join([f"{len(results):,} result{plural}{of}", *(f"; {', '.join(counts)}" * bool(counts))])


# ---- from nodes ---------------------------------------------------------------------------------


def planned(plan: Plan) -> Content:
    """Return the results of a plan's nodes, upstream nodes included."""
    roots = {path: Root(path) for path in dict.fromkeys(node.recipe.root for node in plan)}
    stores = {path: RecordStore(root) for path, root in roots.items()}
    results = [each for node in plan for each in _of_node(stores[node.recipe.root], node)]
    place = {each.function: at for at, each in reversed(list(enumerate(results)))}
    wanted: dict[str, set[str]] = {path: set() for path in roots}
    keys: dict[str, set[str]] = {path: set() for path in roots}
    for node in plan:
        wanted[node.recipe.root].update(node.recipe.paths)
        keys[node.recipe.root].add(node.recipe.key)
    notes = [n for path, root in roots.items() for n in failures_of(root, keys[path].__contains__)]
    fixed = [
        correction
        for path, root in roots.items()
        for correction in corrections_of(root, wanted[path].__contains__)
    ]
    return Content(
        names=[posixpath.basename(path) for path in roots],
        roots=list(roots.values()),
        results=sorted(results, key=lambda each: (place[each.function], *_order(each))),
        headline=_counted(results),
        picture=plan_svg(plan),
        to_do=headline(plan),
        left=left_cells(plan),
        failures=notes,
        corrections=fixed,
        parts={node.recipe.code: node.recipe.parts for node in plan if node.recipe.parts},
    )


def _of_node(store: RecordStore, node: PlannedNode) -> Iterator[Result]:
    recipe, count = node.recipe, len(node.recipe.paths)
    names = node.records if node.is_complete else (None,) * count
    layout = recipe.spec.layout
    labels = layout if isinstance(layout, tuple) else range(count)
    for name, label, path, target, place in zip(
        names, labels, recipe.paths, recipe.targets, places(node), strict=True
    ):
        record = store.read(name) if name is not None else None
        sources = [each for each in recipe.upstream if isinstance(each, SourceInput)]
        yield Result(
            function=recipe.spec.qualified_name,
            part=str(label) if count > 1 else "",
            target=record.target if record is not None else path,
            state=node.state,
            reasons=tuple(node.reasons),
            place=place if node.is_complete and not target.in_database else "",
            format=target,
            record=record,
            key=recipe.key,
            code=recipe.code,
            arguments=_arguments(recipe) if record is None else _recorded_arguments(record),
            inputs=_inputs(record)
            if record is not None
            else tuple(Input(str(each.source.path), "") for each in sources),
            fields=recipe.fields,
        )


def _arguments(recipe: Recipe) -> tuple[Argument, ...]:
    inputs = inputs_of(recipe)
    briefs = [texts_of(value)[0] for value in recipe.values]
    texts = [(brief, with_places(brief, inputs)) for brief in briefs]
    pairs = zip(recipe.spec.signature.names, texts, strict=True)
    return tuple(Argument(name, text, text != brief) for name, (brief, text) in pairs)
