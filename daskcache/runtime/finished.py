"""Results that exist already: a node's own, adopted ones at its targets, and equal ones elsewhere.

`node` looks for them before it runs a function, and `store` when one is in the way of a commit.  The
trace of a node is a hash of its code and its data, so equal traces mean equal results.
`planning.examiner` judges the same on the client, for all nodes of a graph.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..calls.spec import Spec
from ..hashing.encoder import untagged
from ..storage import files, records
from ..storage.paths import DATA_HASH, located
from ..storage.record import ANY_TRACE, Record, RecordName, target_id
from ..storage.roots import Root
from ..targets.registry import suffix_of
from .data_hashes import corrections_in
from .entry import Entry, Stored
from .facts import (
    describe_input,
    facts_of_call,
    is_other_input,
    record_kept,
    record_under_new_key,
)
from .obstacles import Obstacle, corrected
from .work import Elsewhere, Work


def find_finished(work: Work, trace: str) -> list[RecordName] | None:
    """Return the records of a finished node, one for each target, or None.

    A node is finished if its targets are complete, or hold what the same code made of equal data.  In
    the second case a key upstream changed but its data did not: the records move to the new key.
    """
    if any(DATA_HASH not in path and files.stamp(f"{work.root}/{path}") is None for path in work.paths):
        return None  # the quick way out: no records are listed
    store = records.RecordStore(Root(work.root))
    names = []
    for path, previous in zip(work.paths, work.previous, strict=True):
        candidates = [*store.with_key(work.key), *([previous] if previous else [])]
        name = _matching(work, candidates, path, trace)
        if name is None:
            return None
        names.append(name)
    return [
        name if name.key == work.key else record_under_new_key(store, name, work.key) for name in names
    ]


def _matching(work, names, path, trace):
    identifier = target_id(path)
    for name in names:
        if (
            name.target_id == identifier
            and name.trace == trace
            and name.stamp == files.stamp(f"{work.root}/{located(path, name.data_hash)}")
        ):
            return name
    return None


def adopted_there(work: Work, inputs: list) -> list[RecordName]:
    """Return the records of adopted results that are at the node's targets.

    They take precedence over results that equal code made of equal data elsewhere.  With
    ``on_modified="recompute"`` they may be replaced, and the list is empty.

    Raises
    ------
    TargetModified
        If an adopted result is there and a person has to decide about it.
    """
    if work.spec.options.on_modified == "recompute":
        return []
    there = [
        name
        for path, name in zip(work.paths, work.previous, strict=True)
        if name is not None
        and name.adopted
        and files.stamp(f"{work.root}/{located(path, name.data_hash)}") == name.stamp
    ]
    for name in there:
        check_kept(work, name, [describe_input(work.root, item) for item in inputs])
    return there


def keep_all(work: Work, inputs: list, trace: str, adopted: list[RecordName]) -> Entry:
    """Record adopted results for the node as it is now, and return its entry.

    A person has adopted every result of the node.
    """
    places = list(work.paths)
    return entry_of(
        work,
        [
            keep_adopted(work, name, trace, facts_of_call(work, inputs, places, position))
            for position, name in enumerate(adopted)
        ],
    )


def keep_adopted(work: Work, name: RecordName, trace: str, facts: dict[str, Any]) -> RecordName:
    """Record an adopted result as the result of a node that would replace it.

    Parameters
    ----------
    work : Work
    name : RecordName
        Record of the adopted result.
    trace : str
        Trace of the node.
    facts : dict
        Facts for the record, see `daskcache.runtime.facts.facts_of_call`.

    Returns
    -------
    RecordName
        The adopted result's record for this node.

    Raises
    ------
    TargetModified
        If a person has to decide about the result, see `check_kept`.
    """
    check_kept(work, name, facts["upstream"])
    kept = name._replace(key=work.key, trace=trace, adopted=True)
    counted = ("code", "arguments", "upstream", "correction")
    of_recipe = {fact: facts[fact] for fact in counted if fact in facts}
    root = Root(work.root)
    note = (records.Acceptances(root).get(name.target_id) if work.keeps else None) or {}
    decided = note if note.get("keep") == name.file_hash else {}
    record_kept(records.RecordStore(root), name, kept, of_recipe, decided)
    if work.keeps:
        records.clear_acceptance(root, name.target_id)  # it was about this recipe, not about others
    return kept


def check_kept(work: Work, name: RecordName, upstream: list[dict[str, Any]]) -> None:
    """Raise `TargetModified` if a person has to decide about an adopted result.

    It stands without a question if it was adopted for this node, if a person decided to keep it, or with
    ``on_modified="adopt"``.  The inputs `upstream` are described as in a record.
    """
    if not (work.keeps or work.spec.options.on_modified == "adopt" or _is_for(work, name, upstream)):
        reason = "its inputs hold other data than those it was made for"
        raise corrected([Obstacle(work.title, work.root, work.paths, [reason])])


def _is_for(work, name, upstream):
    """Return True if a result was adopted for this node before the data of its inputs were known."""
    if name.key != work.key or name.trace != ANY_TRACE:
        return False
    record = records.RecordStore(Root(work.root)).read(name)
    described = record.upstream if record is not None else ()
    return not any(
        is_other_input(before, untagged(now["data_hash"]), now.get("corrections", ""))
        for before, now in zip(described, upstream, strict=False)
    )


# ---- equal results at other targets ----------------------------------------------------------------


def find_elsewhere(
    store: records.RecordStore,
    spec: Spec,
    trace: str,
    verb: str,
    known: Iterable[RecordName] = (),
    in_variant: bool = False,
) -> Elsewhere | None:
    """Find the results with a node's trace.

    Results that are there and in the node's formats are preferred.  Among equals, those that a person
    corrected come first, then the newest.

    Parameters
    ----------
    store : RecordStore
    spec : Spec
        The node's function.
    trace : str
        The node's trace.
    verb : str
        Id of the verb that searches the whole root; "" to search only the `known` records.
    known : iterable of RecordName
        Records to search besides.
    in_variant : bool
        True for a node of a variant.  A correction that a user kept for another recipe than its own
        stands for the place where it is, not for a variant.

    Returns
    -------
    Elsewhere or None
        None if no results are of use.
    """
    if spec.max_age is not None:
        return None  # a copy would count as new
    names = [*known, *(records.with_trace(store.root, trace, verb) if verb else ())]
    found: dict[tuple[str, tuple[str, ...]], dict[int, tuple[RecordName, Record]]] = {}
    for name in sorted(names, key=lambda name: (not name.adopted, -name.mtime_ns)):
        record = store.read(name) if name.trace == trace else None
        if record is not None and in_variant and record.kept is not None:
            continue
        if record is not None and files.place_of(record.target).has_files:
            places = _places(record, spec)
            if record.target in places:
                members = found.setdefault((name.key, places), {})
                members.setdefault(places.index(record.target), (name, record))
    candidates = [_candidate(store, spec, places, members) for (_, places), members in found.items()]
    return max(filter(None, candidates), key=lambda e: (e.is_there, e.is_alike), default=None)


def _places(record, spec):
    """Return the paths of all results of a record's call; () if they are laid out differently now."""
    results = record.results
    if spec.layout is None:
        return (record.target,) if results is None else ()
    if isinstance(spec.layout, int):
        return tuple(results) if isinstance(results, list) and len(results) == spec.layout else ()
    return tuple(results.values()) if isinstance(results, dict) and tuple(results) == spec.layout else ()


def _candidate(store, spec, places, members):
    if len(members) < len(places):
        return None
    from .named import has_format  # most results are nowhere else

    names, contents = zip(*[members[position] for position in range(len(places))], strict=True)
    placed = [(store.root.absolute(path), name) for path, name in zip(places, names, strict=True)]
    there = all(name.describes(location, files.stamp(location)) for location, name in placed)
    if not there and any(map(store.is_adopted, names)):
        return None  # a person's correction is gone, and the function would make other data
    # The suffix decides how one class writes: .csv and .tsv, .tif and .ome.tif.
    same_suffix = not any(map(_differ_in_suffix, places, spec.formats))
    alike = same_suffix and all(map(has_format, contents, spec.formats))
    if any(target.gives_path for target in spec.formats):
        # The path of the copy is another value: it is made by `write`, and hashed anew.
        alike = False
        if not same_suffix:
            return None
    if not alike and not (there and len(places) == 1):
        return None  # another format is of use only if it can be read and written anew
    return Elsewhere(names, places, there, alike)


#: A field of a template.
_FIELD = re.compile(r"\{[^{}]*\}")


def _differ_in_suffix(place, target):
    return _suffixes(place) != _suffixes(target.path)


def _suffixes(path):
    """Return what decides how a class writes: the suffix of a path or template, and if it is of OME."""
    name = _FIELD.sub("x", path.rpartition("/")[2]).lower()
    return suffix_of(name), ".ome." in name


# ---- entries ---------------------------------------------------------------------------------------


def entry_of(
    work: Work,
    names: list[RecordName],
    inline: tuple[bytes, ...] | None = None,
    known: list[dict[str, Any]] | None = None,
) -> Entry:
    """Return the entry of a node from the records of its results.

    Small contents are given if they are known, and so are the fields of each `Stored` about the
    function's own result.
    """
    placed = zip(work.spec.formats, work.paths, names, strict=True)
    stored = [Stored.recorded(*each, _form_of_adopted(work, each[-1])) for each in placed]
    if known is not None:
        stored = [each._replace(**fields) for each, fields in zip(stored, known, strict=True)]
    corrections = corrections_in(work.key, names)
    return Entry(work.key, work.root, tuple(stored), work.spec.layout, inline, work.title, corrections)


def _form_of_adopted(work, name):
    """Return the form in which an adopted file is read, or None."""
    if not name.adopted:
        return None
    record = records.RecordStore(Root(work.root)).read(name)
    return record.form if record else None
