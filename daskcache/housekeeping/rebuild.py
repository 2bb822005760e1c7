"""Recorded calls, made again from their records alone: for audits from the command line.

Whatever of a call a record can't bring back as it was raises `CannotRecompute`, which says what and why.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from ..calls.describe import value_of
from ..calls.recipe import SourceInput, combine
from ..calls.spec import Spec
from ..errors import DaskcacheError
from ..hashing.encoder import hash_value, tag
from ..runtime.entry import Entry, Stored
from ..runtime.named import Unknown, function_named, source_class_named, target_of
from ..runtime.work import FileData, Work
from ..storage import files
from ..storage.records import RecordName, RecordStore, target_id
from ..storage.roots import Root

ACCEPTED = "it is taken as it is, though its code or inputs changed"


class CannotRecompute(Exception):
    """A call can't be made again as it was; the message says why."""


class NotThere(CannotRecompute):
    """A target is gone, or holds something else than its record says."""


class SourceChanged(CannotRecompute):
    """A source does not hold what its record says."""


class Call(NamedTuple):
    """A call as it was recorded, ready to be made again."""

    work: Work
    #: What the references in the arguments stand for.
    inputs: list[Entry | FileData]
    #: Versions of Python and of packages when it was recorded.
    packages: dict[str, str]


def call_of(store: RecordStore, record: dict[str, Any], entry: Entry) -> Call:
    """The call behind a record of a store, and behind the entry of what it made.

    Raises
    ------
    CannotRecompute
        If the function, an argument or an input can't be had as it was.
    """
    check_its_own(record)
    spec = _spec_of(record)
    formats = [type(result.target) for result in entry.stored]
    if (spec.layout, [*map(type, spec.formats)]) != (entry.layout, formats):
        raise CannotRecompute("it has other targets now")
    values = tuple(_value(spec, position, record) for position in range(len(spec.signature.names)))
    inputs = [_input(store, described) for described in record["upstream"]]
    static = spec.static_hash(values, record["code"])
    if tag(combine(static, [item.data_hash for item in inputs])) != record["trace"]:
        raise CannotRecompute("it counts other arguments now")
    paths = tuple(result.target.path for result in entry.stored)
    work = Work(spec, values, (), entry.key, static, record["code"], {}, entry.root, paths)
    return Call(work, inputs, record["packages"])


def check_its_own(record: dict[str, Any]) -> None:
    """Raise `CannotRecompute` if the function did not make the target that it is recorded for."""
    if "edited" in record:
        raise CannotRecompute("it was edited by hand, and adopted")
    if "accepted" in record:
        raise CannotRecompute(ACCEPTED)


def recorded_entry(store: RecordStore, path: str, key: str) -> Entry:
    """Handle of what is at a target, as recorded, with the other results of the same call.

    Parameters
    ----------
    store : RecordStore
    path : str
        Path from the root of the only target, or of one of several.
    key : str
        Records of this recipe come first.

    Raises
    ------
    NotThere
        If there is no such record, or something else is at a target.
    CannotRecompute
        If nothing but the record says how to read it.
    """
    name, record = record_at(store, path, key)
    paths, layout = _results(record)
    stored = tuple(_stored(store, each, name.key) for each in paths)
    entry = Entry(name.key, store.root.path, stored, layout, None, path)
    entry.read_only = True
    return entry


def _results(record) -> tuple[list[str], int | tuple[str, ...] | None]:
    """Paths of all results of a call, and the form in which the function returned them."""
    results = record.get("results")
    if results is None:
        return [record["target"]], None
    if isinstance(results, dict):
        return list(results.values()), tuple(results)
    return results, len(results)


def _stored(store, path, key):
    name, record = record_at(store, path, key)
    if name.key != key:
        raise NotThere(f"{path} holds the result of another call")
    target = target_of(record, _function_of(record))
    if target is None:
        what = record["format"]
        raise CannotRecompute(f"{path} can't be read: nothing but its record says that it is a {what}")
    return Stored(target, name.data_hash, name.file_hash, name.stamp)


def record_at(store: RecordStore, path: str, key: str) -> tuple[RecordName, dict[str, Any]]:
    """The record of what is at a target now, a touched or copied one included; see `recorded_entry`."""
    location = store.root.absolute(path)
    stamp = files.stamp(location)
    if stamp is None:
        raise NotThere(f"{path} is gone")
    for look_up, identifier in ((store.with_key, key), (store.with_target, target_id(path))):
        for name in look_up(identifier):
            if name.stamp == stamp or _is_touched(name, stamp, location):
                record = store.read(name)
                if record is not None and record["target"] == path:
                    return name, record
    raise NotThere(f"{path} is not as recorded")


def _is_touched(name, stamp, location):
    return name.size == stamp.size and name.file_hash == files.file_hash(location)


# ---- the function -------------------------------------------------------------------------------


def _function_of(record) -> Spec | None:
    try:
        return function_named(record["function"])
    except Unknown:
        return None


def _spec_of(record) -> Spec:
    try:
        spec = function_named(record["function"])
    except Unknown as reason:
        raise CannotRecompute(str(reason)) from reason
    try:
        fingerprint = spec.code().fingerprint
    except DaskcacheError as error:
        raise CannotRecompute(error.message) from error
    if fingerprint != record["code"]:
        raise CannotRecompute("its code changed since")
    return spec


# ---- its arguments ------------------------------------------------------------------------------


def _value(spec, position, record):
    """The value of a parameter, as its record tells it; of one that doesn't count, the default."""
    name = spec.signature.names[position]
    try:
        if position not in spec.counted:
            return spec.signature.defaults[name]
        text, expected, *everything = record["arguments"][name]
        value = value_of(everything[0] if everything else text)
        if hash_value(value) == expected:
            return value
    except (KeyError, ValueError):  # it is not there, or stands for no plain value
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


def _check_readable(entry):
    """Check that an input reads back as it was: options of a target are not in its record."""
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
    """Whether the content of a source is other than its record says; False if that can't be told."""
    try:
        _source_input(root, described)
    except SourceChanged:
        return True
    except CannotRecompute:
        return False
    return False


def _source_input(root, described):
    path = os.path.normpath(os.path.join(root, described.get("folder", described["source"])))
    try:
        source = _source_class(described)(path, **value_of(described.get("options", "{}")))
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
    """An error as one line."""
    lines = str(getattr(error, "message", error)).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
