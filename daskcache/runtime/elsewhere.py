"""A search for results at other targets that equal code made of equal data.

The trace of a node is a hash of its code and its data, so equal traces mean equal results.  `node` and
`planning.examiner` search; `store` copies what they find.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..calls.spec import Spec
from ..storage import files
from ..storage.record import Record, RecordName
from ..storage.records import RecordStore
from .named import has_format
from .work import Elsewhere


def find_elsewhere(
    store: RecordStore, spec: Spec, trace: str, names: Iterable[RecordName]
) -> Elsewhere | None:
    """Find the results with a node's trace among some records.

    Results that are there and in the node's formats are preferred.  Among equals, those that a person
    corrected come first, then the newest.

    Parameters
    ----------
    store : RecordStore
    spec : Spec
        The node's function.
    trace : str
        The node's trace.
    names : iterable of RecordName
        Records to search.

    Returns
    -------
    Elsewhere or None
        None if no results are of use.
    """
    found: dict[tuple[str, tuple[str, ...]], dict[int, tuple[RecordName, Record]]] = {}
    for name in sorted(names, key=lambda name: (not name.adopted, -name.mtime_ns)):
        record = store.read(name) if name.trace == trace else None
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
    names, records = zip(*[members[position] for position in range(len(places))], strict=True)
    placed = [(store.root.absolute(path), name) for path, name in zip(places, names, strict=True)]
    there = all(name.describes(location, files.stamp(location)) for location, name in placed)
    if not there and any(map(store.is_adopted, names)):
        return None  # a person's correction is gone, and the function would make other data
    alike = all(map(has_format, records, spec.formats))
    if not alike and not (there and len(places) == 1):
        return None  # another format is of use only if it can be read and written anew
    return Elsewhere(names, places, there, alike)
