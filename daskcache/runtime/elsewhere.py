"""Results that equal code made of equal data, at other targets: an equal trace, an equal result."""

from __future__ import annotations

from collections.abc import Iterable

from ..calls.spec import Spec
from ..storage import files
from ..storage.records import RecordName, RecordStore
from ..storage.tables.databases import is_table
from .work import Elsewhere, describe_format


def find_elsewhere(
    store: RecordStore, spec: Spec, trace: str, names: Iterable[RecordName]
) -> Elsewhere | None:
    """The results with a trace among some records; None if there are none that are of use.

    Of several, those that a person corrected, and of these the newest.

    Parameters
    ----------
    store : RecordStore
    spec : Spec
        The function of the node.
    trace : str
        Of the node.
    names : iterable of RecordName
    """
    found: dict[tuple[str, tuple[str, ...]], dict[int, tuple[RecordName, dict]]] = {}
    for name in sorted(names, key=lambda name: (not name.adopted, -name.mtime_ns)):
        record = store.read(name) if name.trace == trace else None
        if record is not None and not is_table(record["target"]):
            places = _places(record, spec)
            if record["target"] in places:
                members = found.setdefault((name.key, places), {})
                members.setdefault(places.index(record["target"]), (name, record))
    candidates = [_candidate(store, spec, places, members) for (_, places), members in found.items()]
    return max(filter(None, candidates), key=lambda e: (e.is_there, e.is_alike), default=None)


def _places(record, spec):
    """The paths of all results of the call that a record is about; none if it has another form."""
    results = record.get("results")
    if spec.layout is None:
        return (record["target"],) if results is None else ()
    if isinstance(spec.layout, int):
        return tuple(results) if isinstance(results, list) and len(results) == spec.layout else ()
    return tuple(results.values()) if isinstance(results, dict) and tuple(results) == spec.layout else ()


def _candidate(store, spec, places, members):
    if len(members) < len(places):
        return None
    names, records = zip(*[members[position] for position in range(len(places))], strict=True)
    placed = zip(places, names, strict=True)
    there = all(_is_there(store.root.absolute(path), name) for path, name in placed)
    if not there and any(map(store.is_adopted, names)):
        return None  # what the function would make is something else
    alike = all(map(_has_format, records, spec.formats))
    if not alike and not (there and len(places) == 1):
        return None  # it is of use only if it can be read, and written in the other format
    return Elsewhere(names, places, there, alike)


def _is_there(location, name):
    """Tell if a file is as recorded, be it touched or copied since."""
    found = files.stamp(location)
    if found is None or found.size != name.size:
        return False
    return found == name.stamp or files.file_hash(location) == name.file_hash


def _has_format(record, target):
    described = describe_format(target)
    return all(record.get(name) == described.get(name) for name in ("format", "options"))
