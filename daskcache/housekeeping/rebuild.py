"""Recorded calls, rebuilt for audits and differences: from records alone, or from nodes of a plan.

A record may not suffice to rebuild the function, an argument or an input as it was.  Then a
`CannotRecompute` is raised, whose message says why.  `listing` uses `source_changes` from here.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from ..calls.describe import value_of
from ..calls.recipe import SourceInput, combine
from ..calls.spec import Spec
from ..errors import DaskcacheError
from ..hashing.encoder import hash_value, tag, untagged
from ..planning.reasons import headlines
from ..planning.states import PlannedNode
from ..runtime.entry import Entry, Stored
from ..runtime.named import Unknown, function_named, has_format, source_class_named, target_of
from ..runtime.work import FileData, Work
from ..storage import files
from ..storage.record import ANY_TRACE, Record, RecordName, target_id
from ..storage.records import RecordStore
from ..storage.roots import Root, parsed
from ..targets.forms import as_recorded

_OTHER_TARGETS = "it has other targets now"
ACCEPTED = "it is taken as it is, though its code or inputs changed"


class CannotRecompute(Exception):
    """A call can't be made again as it was; the message gives the reason."""


class NotThere(CannotRecompute):
    """A target is missing or differs from its record."""


class SourceChanged(CannotRecompute):
    """The content of a source differs from the record."""


class Call(NamedTuple):
    """A recorded call, ready to be made again."""

    work: Work
    #: Upstream results and source files that the references in the arguments stand for.
    inputs: list[Entry | FileData]
    #: Versions of Python and of packages when the call was recorded.
    packages: dict[str, str]


def call_of(store: RecordStore, record: Record, entry: Entry) -> Call:
    """Rebuild the call that made a recorded result.

    Parameters
    ----------
    store : RecordStore
    record : Record
        The record of one of the call's targets.
    entry : Entry
        The call's results, see `recorded_entry`.

    Returns
    -------
    Call

    Raises
    ------
    CannotRecompute
        If the function, an argument or an input can't be rebuilt as it was.
    """
    _check_its_own(record)
    spec = _current(record)
    formats = [type(result.target) for result in entry.stored]
    if (spec.layout, [*map(type, spec.formats)]) != (entry.layout, formats):
        raise CannotRecompute(_OTHER_TARGETS)
    return _rebuilt(store, record, spec, tuple(result.target.path for result in entry.stored))


def call_behind(store: RecordStore, record: Record, spec: Spec | None = None) -> Call:
    """Rebuild the call whose result a user edited or adopted; what is at its targets is not looked at.

    Parameters
    ----------
    store : RecordStore
    record : Record
        The record of the result before the edit, or of the adopted result.
    spec : Spec, optional
        The function.  Default: the one that the record names.

    Raises
    ------
    CannotRecompute
        As `call_of` does.
    """
    spec = _current(record, spec)
    paths, layout = _results(record)
    if spec.layout != layout or not has_format(record, spec.formats[paths.index(record.target)]):
        raise CannotRecompute(_OTHER_TARGETS)
    return _rebuilt(store, record, spec, tuple(paths))


def _rebuilt(store, record, spec, paths):
    values = tuple(_value(spec, position, record) for position in range(len(spec.signature.names)))
    inputs = [_input(store, described) for described in record.upstream]
    # the trace covers all that counts: equal traces mean that this is the recorded call
    static = spec.static_hash(values, record.code)
    trace = tag(combine(static, [item.data_hash for item in inputs]))
    if untagged(record.trace) not in (untagged(trace), ANY_TRACE):
        raise CannotRecompute("it counts other arguments now")
    work = Work(spec, values, (), record.key, static, record.code, {}, store.root.path, paths)
    return Call(work, inputs, record.packages)


def planned_call(store: RecordStore, planned: PlannedNode) -> Call:
    """Rebuild the call of a complete node from its recipe; raise `CannotRecompute` as `call_of` does."""
    it = planned.recipe
    _, record = _record_at(store, planned.entry.stored[0].target.path, it.key)
    _check_its_own(record)
    return planned_call_behind(planned, record, ACCEPTED)


def planned_call_behind(planned: PlannedNode, record: Record, differs: str) -> Call:
    """Rebuild the call behind a record of a node's own recipe, as `call_behind` does from the record.

    The `CannotRecompute` says what `differs` says if the inputs hold other data than the record tells.
    """
    it = planned.recipe
    inputs = list(map(_planned_input, it.upstream, planned.parents))
    if untagged(record.trace) not in (it.trace([item.data_hash for item in inputs]), ANY_TRACE):
        raise CannotRecompute(differs)
    work = Work(it.spec, it.values, (), it.key, it.static, it.code, {}, it.root, it.paths)
    return Call(work, inputs, record.packages)


def recorded_entry(store: RecordStore, path: str, key: str) -> Entry:
    """Return the recorded entry of a target, with the other results of the same call.

    Parameters
    ----------
    store : RecordStore
    path : str
        Path from the root of the call's only target, or of one of several.
    key : str
        Records with this key are preferred.

    Returns
    -------
    Entry

    Raises
    ------
    NotThere
        If no record matches the file at a target, or a target is missing.
    CannotRecompute
        If only the record names the format to read it with, and that is not trusted.
    """
    name, record = _record_at(store, path, key)
    paths, layout = _results(record)
    stored = tuple(_stored(store, each, name.key) for each in paths)
    entry = Entry(name.key, store.root.path, stored, layout, None, path)
    entry.read_only = True
    return entry


def _check_its_own(record: Record) -> None:
    """Raise `CannotRecompute` if a target was adopted or accepted, not made by its recorded call."""
    if record.is_adopted:
        raise CannotRecompute("it was edited by hand, and adopted")
    if record.accepted is not None:
        raise CannotRecompute(ACCEPTED)


def _results(record) -> tuple[list[str], int | tuple[str, ...] | None]:
    """Return the paths of a call's results, and the layout in which the function returned them."""
    results = record.results
    if results is None:
        return [record.target], None
    if isinstance(results, dict):
        return list(results.values()), tuple(results)
    return results, len(results)


def _stored(store, path, key):
    name, record = _record_at(store, path, key)
    if name.key != key:
        raise NotThere(f"{path} holds the result of another call")
    try:
        spec: Spec | None = function_named(record.function)
    except Unknown:
        spec = None
    target = target_of(record, spec)
    if target is None:
        what = record.format
        raise CannotRecompute(f"{path} can't be read: only its record says that it is a {what}")
    return Stored(as_recorded(target, record.form), name.data_hash, name.file_hash, name.stamp)


def _record_at(store: RecordStore, path: str, key: str) -> tuple[RecordName, Record]:
    """Return name and content of the record that matches the file at a target; see `recorded_entry`.

    A touched or copied file matches if its bytes are the recorded ones.
    """
    location = store.root.absolute(path)
    stamp = files.stamp(location)
    if stamp is None:
        raise NotThere(f"{path} is gone")
    for look_up, identifier in ((store.with_key, key), (store.with_target, target_id(path))):
        for name in look_up(identifier):
            if name.describes(location, stamp):
                record = store.read(name)
                if record is not None and record.target == path:
                    return name, record
    raise NotThere(f"{path} is not as recorded")


# ---- the function -------------------------------------------------------------------------------


def _current(record, spec: Spec | None = None) -> Spec:
    """Return the function that a record names, or the given one, if its code is the recorded code."""
    try:
        spec = spec or function_named(record.function)
    except Unknown as reason:
        raise CannotRecompute(str(reason)) from reason
    try:
        fingerprint = spec.code().fingerprint
    except DaskcacheError as error:
        raise CannotRecompute(error.message) from error
    if fingerprint != record.code:
        raise CannotRecompute("its code changed since")
    return spec


# ---- its arguments ------------------------------------------------------------------------------


def _value(spec, position, record):
    """Rebuild a parameter's value from the record, and compare its hash with the recorded one.

    A parameter that doesn't count has no value in the record; its default is used.
    """
    name = spec.signature.names[position]
    try:
        if position not in spec.counted:
            return spec.signature.defaults[name]
        text, expected, *everything = record.arguments[name]
        value = value_of(everything[0] if everything else text)
        if hash_value(value) == expected:
            return value
    except (KeyError, ValueError):  # not in the record, or not the text of a plain value
        pass
    raise CannotRecompute(f"the argument {name!r} can't be rebuilt from its record")


# ---- its inputs ---------------------------------------------------------------------------------


def _input(store, described):
    if "source" in described:
        return _source_input(store.root.path, described)
    if "target" not in described:
        raise CannotRecompute(
            "an input of it is not stored: a plain Dask value, or a node without target"
        )
    path = described["target"]
    if "root" in described:
        store = RecordStore(Root(described["root"]))
    try:
        entry = recorded_entry(store, path, described["key"])
    except CannotRecompute as reason:
        raise CannotRecompute(f"its input {reason}") from reason
    if tag(entry.data_hash) != described["data_hash"]:
        raise CannotRecompute(f"its input {path} holds other data now")
    _check_readable(entry)
    return entry


def _planned_input(item, parent):
    if isinstance(item, SourceInput):
        return FileData(item)
    if parent is None:
        raise CannotRecompute("an input of it is a plain Dask value, which is not stored")
    if not parent.is_complete:
        raise CannotRecompute(f"its input {parent.recipe.title}: {'; '.join(headlines(parent.reasons))}")
    return parent.entry


def _check_readable(entry):
    """Check that an input reads back as it was.

    A record holds only those options of a target that count.  Without the others, the target may read
    different data.
    """
    try:
        entry.load()
        paths = [(result, f"{entry.root}/{result.target.path}") for result in entry.stored]
        changed = [r for r, path in paths if r.target.hash_file(path) != r.data_hash]
    except Exception as error:
        raise CannotRecompute(f"its input {entry.label} can't be read: {in_a_line(error)}") from error
    if changed:
        raise CannotRecompute(
            f"its input {changed[0].target.path} can't be read back from its record alone"
        )


def source_changes(root: str, described: dict[str, Any]) -> bool:
    """Return True if a source's content differs from its record; False if that is unknown."""
    try:
        _source_input(root, described)
    except CannotRecompute as reason:
        return isinstance(reason, SourceChanged)
    return False


def _source_input(root, described):
    path = os.path.normpath(os.path.join(root, described.get("folder", described["source"])))
    try:
        options, members = (
            value_of(described.get("options", "{}")),
            parsed(described.get("members", "{}")),
        )
        source = _source_class(described).__daskcache_restore__(path, options, members)
        content_hash = source.content_hash()
        identity = source.identify(content_hash)
    except DaskcacheError as error:
        raise CannotRecompute(error.message) from error
    except (TypeError, ValueError) as error:
        raise CannotRecompute(f"the source {path} can't be rebuilt from its record") from error
    if identity != described["data_hash"]:
        raise SourceChanged(f"the source {path} changed since, or can't be rebuilt from its record")
    return FileData(SourceInput(source, identity, content_hash))


def _source_class(described):
    name = described.get("class", "")
    try:
        return source_class_named(name)
    except Unknown as reason:
        raise CannotRecompute(f"{name}, the class of {described['source']}, {reason}") from reason


def in_a_line(error: BaseException) -> str:
    """Format an error as one line: its class and the first line of its message."""
    lines = str(getattr(error, "message", error)).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
