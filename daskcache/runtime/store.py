"""Write a node's results to its targets, commit them with a record, and return the entry.

`node` and `housekeeping.audit` use this module.  The system calls of the commit protocol are in
`storage.files`, the claims of rival writers in `storage.claims`, and the content of records in `facts`.
"""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

from .. import config
from ..errors import DaskcacheWarning, ForeignTarget, FormatLimit, ResultError, StorageError
from ..storage import files, records, trash
from ..storage.claims import Claim
from ..storage.files import Part
from ..storage.manifests import forget_manifest, keep_manifest
from ..storage.paths import DATA_HASH, located
from ..storage.record import RecordName, record_content, target_id
from ..storage.records import RecordStore
from ..storage.roots import Root
from ..targets.base import UNKNOWN, BytesTarget, Target
from ..targets.forms import form_of
from . import hot_cache
from .entry import Entry
from .facts import facts_of_call
from .finished import entry_of, keep_adopted
from .work import Elsewhere, FileData, Work


class Written(NamedTuple):
    """A result that is written but not committed."""

    part: Part
    data_hash: str
    #: Content of the file, if it is in memory.
    content: bytes | None = None
    #: The value as the target reads it back, if known.
    value: Any = UNKNOWN
    #: True if `value` is not the object that the function returned.
    is_fresh: bool = False
    #: Facts for its record: its form (see `daskcache.targets.forms`), and how it was adopted.
    facts: dict[str, Any] = {}  # noqa: RUF012 (nobody changes it)


def store_results(work, inputs, trace, result, own_paths, seconds, is_alone=False):
    """Write and commit each result, and return the entry.

    `is_alone` is True if nothing else refers to the result.
    """
    root = Root(work.root)
    try:
        root.check(work.root_id)
        files.check_folders(root, work.paths)
        results = write_results(root, work, inputs, result, own_paths)
    except BaseException:
        sweep_parts(root, own_paths or ())
        raise
    took = [int(seconds * 1e6)] * len(results)
    names, committed = _commit_all(root, work, inputs, trace, results, took)
    if work.failed_before:
        records.clear_failure(root, work.key)
    if committed != names:  # another writer's result stands, and the values at hand are not it
        return entry_of(work, committed)
    contents = [written.content for written in results]
    if None not in contents and (len(contents) == 1 or _is_small(contents)):
        return entry_of(work, names, tuple(contents))
    entry = entry_of(work, names)
    for written, stored in zip(results, entry.stored, strict=True):
        if written.value is not UNKNOWN:
            alone = written.is_fresh or (is_alone and written.value is result)
            hot_cache.keep(stored.target, stored.file_hash, written.value, alone)
    return entry


def store_copies(work: Work, inputs: list, trace: str, found: Elsewhere) -> Entry | None:
    """Copy and commit results that equal code made of equal data.

    Return None, and remove the copies, if a result is not as recorded.
    """
    root = Root(work.root)
    store, copies = RecordStore(root), []
    try:
        for name, source, path in zip(found.names, found.paths, work.paths, strict=True):
            part = files.copied_part(root.absolute(source), own_part_path(root, path))
            record = store.read(name)
            carried = record.facts("form", "edited", "kept") if record else {}
            copies.append(Written(part, name.data_hash, facts=carried))
            if part.file_hash != name.file_hash or record is None:
                sweep_parts(root, [copy.part.path for copy in copies])
                return None
    except BaseException:
        sweep_parts(root, [copy.part.path for copy in copies])
        raise
    took = [name.microseconds for name in found.names]
    return entry_of(work, _commit_all(root, work, inputs, trace, copies, took)[1])


def _commit_all(root, work, inputs, trace, results, microseconds):
    """Commit written results; return the intended records, and those that hold in the end."""
    places = [located(path, r.data_hash) for path, r in zip(work.paths, results, strict=True)]
    names, committed = [], []
    try:
        for position, written in enumerate(results):
            part = written.part
            if DATA_HASH in work.paths[position]:
                part = _existing(root, places[position], part)
            name = RecordName(
                work.key,
                target_id(work.paths[position]),
                trace,
                written.data_hash,
                part.file_hash,
                *part.stamp,
                microseconds[position],
                adopted="edited" in written.facts,
            )
            names.append(name)
            facts = facts_of_call(work, inputs, places, position, work.previous[position])
            facts |= written.facts
            committed.append(_commit(work, root, places[position], position, part, name, facts))
    except BaseException:
        sweep_parts(root, [written.part.path for written in results])
        raise
    return names, committed


def write_results(root: Root, work: Work, inputs, result, own_paths) -> list[Written]:
    """Write each result beside its destination, or take what the function wrote itself."""
    if own_paths is not None:
        return list(map(partial(_written_itself, work), work.spec.formats, own_paths))
    written: list[Written] = []
    try:
        placed = zip(heirs(work, inputs), work.paths, _results(work, result), strict=True)
        for target, path, value in placed:
            written.append(_part_of_value(root, work, target, path, value))
    except BaseException:
        sweep_parts(root, [each.part.path for each in written])
        raise
    return written


def sweep_parts(root: Root, paths: Iterable[str]) -> None:
    """Remove results that are written but not in place yet; paths of targets stay."""
    for path in paths:
        if path.startswith(f"{root.parts}/"):
            files.sweep(path)
            _remove_own_folder(root, path)


def heirs(work, inputs) -> tuple[Target, ...]:
    """Return the node's targets, each with the heritage of the direct inputs."""
    formats = work.spec.formats
    if all(type(target).inherit is Target.inherit for target in formats):
        return formats
    heritage = [
        each for item in inputs if isinstance(item, (Entry, FileData)) for each in item.heritage()
    ]
    placed = zip(formats, work.paths, strict=True)
    return tuple(target.at(path).inherit(heritage) for target, path in placed)


def _existing(root, place, part):
    """Return the part, or the equal file that another node already put at its destination.

    Nodes with equal data share a file if the path contains the data hash.
    """
    destination = root.absolute(place)
    found = files.stamp(destination)
    try:
        if found is None or files.file_hash(destination) != part.file_hash:
            return part
    except OSError as error:
        raise files.storage_error(error, destination) from error
    files.sweep(part.path)
    _remove_own_folder(root, part.path)
    return Part(destination, part.file_hash, found)


def _is_small(contents):
    return sum(map(len, contents)) <= config.get_bytes("inline")


def _results(work, result):
    """Return the results of a call, one for each target."""
    layout = work.spec.layout
    if layout is None:
        return [result]
    if isinstance(layout, int):
        fits = isinstance(result, (tuple, list)) and len(result) == layout
        targets, expected = f"{layout} targets", f"a tuple of {layout} results"
    else:
        fits = isinstance(result, dict) and set(result) == set(layout)
        targets, expected = "targets by name", f"a dict with the keys {', '.join(map(repr, layout))}"
    if not fits:
        raise ResultError(
            f"{work.spec.name}() has {targets}",
            node=work.title,
            expected=expected,
            got=reprlib.repr(result),
        )
    return list(result) if isinstance(layout, int) else [result[name] for name in layout]


def _part_of_value(root, work, target, path, value):
    """Write a value beside its destination."""
    try:
        if isinstance(target, BytesTarget):
            pieces, back = target.encode_and_read_back(value)
            own = files.part_path(root, path.rpartition("/")[2])
            part = files.write_part(own, pieces)
            content = b"".join(pieces) if _is_small(pieces) else None
            fresh = back is not value
            return Written(part, target.hash(value), content, back, fresh, _form(value))
        own = own_part_path(root, path)
        try:
            known = target.write(value, own)
            part = known if isinstance(known, Part) else files.part_of(own)
            data_hash = target.hash_result(value, own)
            back = target.read_back(value, own)
            return Written(part, data_hash, value=back, facts=_form(value))
        except BaseException:
            sweep_parts(root, [own])
            raise
    except (FormatLimit, StorageError) as error:
        error.node, error.target = work.title, f"{work.root}/{path}"
        raise


def _form(value):
    form = form_of(value)
    return {} if form is None else {"form": form}


def _written_itself(work, target, path):
    """Return a result that the function wrote itself, see `daskcache.runtime.call.call`."""
    if work.spec.signature.takes_target_path:
        is_there = target.in_database or files.stamp(path) is not None
        story, expected, got, hint = "takes a target_path", f"a file, or folder, at {path}", "none", None
    else:
        is_there = files.stamp(path) is not None
        story, expected, got = "has save=False", path, "no file"
        hint = "write to the parameter target_path"
    if not is_there:
        raise ResultError(
            f"{work.spec.name}() {story}, so it writes its target itself, but did not",
            node=work.title,
            expected=expected,
            got=got,
            hint=hint,
        )
    return Written(files.part_of(path), target.hash_file(path))


def own_part_path(root: Root, path: str) -> str:
    """Make a folder for one part, and return the part's path in it.

    A part that a function, a format or a copy writes there keeps the target's file name.
    """
    return f"{files.part_folder(root)}/{path.rpartition('/')[2]}"


def _commit(
    work, root: Root, place: str, position: int, part: Part, name: RecordName, facts: dict
) -> RecordName:
    """Put one part in place with its record, and return the record that holds in the end.

    The intent is written before the part is put in place, and becomes the record afterwards.  So a crash
    leaves the old result, or a new one that an intent vouches for.  If another result stands, the part
    is removed and that result's record is returned.
    """
    previous = work.previous[position]
    destination = root.absolute(place)
    file_name = name.file_name()
    intent, winner = "", None
    claim = Claim(root, part.path, place)
    displaced = None
    try:
        keep_manifest(root, part.file_hash, part.manifest)
        intent = files.write_intent(root, file_name, record_content(name, **facts))
        if part.path != destination:
            winner, displaced = _place(work, root, part, place, name, facts, previous, intent, claim)
    except BaseException:
        if _may_be_in_place(destination, part):
            intent = ""  # stays, because it vouches for the part
        else:
            claim.release()
        _sweep(root, intent, part, destination)
        raise
    if winner is not None:
        claim.release()
        _sweep(root, intent, part, destination)
        return winner
    try:
        files.settle(root, place)
        files.promote_intent(root, intent, file_name, name.shard)
        claim.settle()
        if previous is not None and previous != name:
            RecordStore(root).remove(previous)
            if previous.file_hash != name.file_hash:
                forget_manifest(root, previous.file_hash)
    finally:  # last, because a warning may be configured to raise an error
        if displaced:
            _keep_displaced(work, root, place, displaced)
        _remove_own_folder(root, part.path)
    return name


def _may_be_in_place(destination, part):
    """Return True if a part may have reached its place although its commit failed.

    Then its intent must stay, because nothing else vouches for the file.
    """
    if part.path == destination:
        return False
    try:
        return files.stamp(destination) == part.stamp
    except StorageError:
        return True


def _sweep(root, intent, part, destination):
    """Remove the intent and the part of a commit that did not take place."""
    if intent:
        files.sweep(intent)
    if part.path != destination:
        files.sweep(part.path)
        _remove_own_folder(root, part.path)


def _place(work, root, part, path, name, facts, previous, intent, claim):
    """Put a part in place: link it if nothing is there, else exchange it with what is there.

    A file may be exchanged if a record or an intent vouches for it, or if the node may displace it.  An
    exchange can't check that, so the writer first claims the record; see `daskcache.storage.claims`.
    Each change by another writer starts another round.

    Returns
    -------
    winner : RecordName or None
        Record of the result that stands instead of this one: another writer's, or an adopted one.
    displaced : str or None
        Path of a displaced file that must be kept.

    Raises
    ------
    ForeignTarget
        If something is there that no record vouches for, and the node may not displace it.
    TargetModified
        If an adopted result is there and a person has to decide about it.
    """
    destination = root.absolute(path)
    while True:
        current = files.stamp(destination)
        if current is None:
            try:
                files.put_new(root, part.path, path)
                return None, None
            except FileExistsError:
                current = files.stamp(destination)
        store = RecordStore(root)
        # the record that the plan found holds only if neither file nor record changed since
        vouching = previous
        if previous is None or previous.stamp != current or not store.has(previous):
            vouching = store.vouching(name.target_id, destination, current, name.key, besides=intent)
            if vouching is None and files.stamp(destination) != current:
                continue  # the file changed while its record was looked for
        if vouching is not None and vouching.key == name.key and vouching != previous:
            # another writer of the same node was first, and its result counts
            return _yield_to(work, vouching, name), None
        if vouching is not None and not _may_displace(work) and store.is_adopted(vouching):
            return keep_adopted(work, vouching, name.trace, facts), None
        if vouching is None and not (previous is not None and _may_displace(work)):
            raise _foreign(work, destination)
        if claim.attempt(vouching or previous):
            check = partial(_is_still_so, root, name, previous, intent, claim, current)
            try:
                is_persons = vouching is None or store.is_adopted(vouching)
                # without a stamp to compare, whatever is displaced is kept
                ours = None if work.damaged or is_persons else vouching.stamp
                return None, files.replace(root, part.path, path, ours, check)
            except files.Overtaken:
                continue  # another writer took over the claim, or was faster


def _foreign(work, destination):
    current = files.stamp(destination)
    return ForeignTarget(
        "a file that daskcache did not write is where a result belongs",
        node=work.title,
        target=destination,
        expected="nothing there, or a recorded target",
        got=f"a file of {current.size} bytes" if current else "an unreadable file",
        hint="move the file away, or give the node another target",
    )


def _is_still_so(root, name, previous, intent, claim, seen, stamp):
    """Return True if no rival has overtaken a writer that now keeps others out of a database.

    The stamp alone does not tell: it stands for a table's rows, and a rival may have written equal ones.
    """
    store = RecordStore(root)
    rivals = [
        other
        for other in [*store.intents(intent), *store.with_key(name.key)]
        if other[:2] == name[:2] and other.stamp == stamp and other != previous
    ]
    return stamp == seen and claim.is_held() and not rivals


def _keep_displaced(work, root, path, displaced):
    reason = "damaged" if work.damaged else "edited"
    try:
        kept = trash.keep(root, displaced, path, reason)
    except StorageError:  # the file stays where it is
        kept = displaced
    warnings.warn(
        f"{root.absolute(path)} was {reason}; what was there is kept as {kept}",
        DaskcacheWarning,
        stacklevel=2,
    )


def _may_displace(work):
    return work.damaged or work.spec.options.on_modified == "recompute"


def _yield_to(work, winner, name):
    if winner.data_hash != name.data_hash:
        warnings.warn(
            f"{work.title} was computed twice at the same time with different results; the first "
            "one counts. Is it random?",
            DaskcacheWarning,
            stacklevel=2,
        )
    return winner


def _remove_own_folder(root, path):
    """Remove the folder that `own_part_path` made for a part."""
    folder = path.rpartition("/")[0]
    if folder.startswith(f"{root.parts}/"):
        files.sweep_part_folder(folder)
