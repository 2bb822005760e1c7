"""Write a node's results to its targets, commit them with a record, and return the entry.

`node` and `housekeeping.audit` use this module.  `storage.commit` has the commit protocol, and `facts`
the content of records.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

from .. import config
from ..calls.containers import values_in
from ..calls.recipe import Ref
from ..errors import FormatLimit, ResultError, StorageError
from ..storage import files, records
from ..storage.commit import Commit
from ..storage.paths import DATA_HASH, located
from ..storage.record import RecordName, target_id
from ..storage.roots import Root
from ..targets.base import UNKNOWN, BytesTarget, Target, may_be_image
from . import hot_cache
from .entry import Entry
from .facts import facts_of_call
from .failing import forget_failure
from .finished import entry_of, keep_adopted
from .work import Elsewhere, Work


class Written(NamedTuple):
    """A result that is written but not committed."""

    part: files.Part
    data_hash: str
    #: Content of the file, if it is in memory.
    content: bytes | None = None
    #: The value as the target reads it back, if known.
    value: Any = UNKNOWN
    #: True if `value` is not the object that the function returned.
    is_fresh: bool = False
    #: Facts for its record: its form (see `daskcache.targets.forms`), and how it was adopted.
    facts: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    #: What `Target.heritage` reads in the file, or None if only the file tells.
    heritage: Any = None


def store_results(work, inputs, trace, result, own_paths, seconds, is_alone=False, facts=None):
    """Write and commit each result, and return the entry.

    `is_alone` is True if nothing else refers to the result.  The `facts` are for the records, see
    `Written`.
    """
    root = Root(work.root)
    with sweeping(root.path, own_paths or ()):
        root.check(work.root_id)
        results = write_results(root, work, inputs, result, own_paths)
    if facts:
        results = [written._replace(facts=written.facts | facts) for written in results]
    took = [int(seconds * 1e6)] * len(results)
    names, committed = _commit_all(root, work, inputs, trace, results, took)
    forget_failure(work)
    if committed != names:  # another writer's result stands, and the values at hand are not it
        return entry_of(work, committed)
    contents = [written.content for written in results]
    is_inline = None not in contents and (len(contents) == 1 or _is_small(contents))
    known = list(map(_known, work.spec.formats, results))
    entry = entry_of(work, names, tuple(contents) if is_inline else None, known)
    if is_inline and all(written.is_fresh for written in results):
        entry.unread.append([written.value for written in results])
        return entry
    for written, stored in zip(results, entry.stored, strict=True):
        # a small text is decoded as soon as it is found
        if written.value is not UNKNOWN and (not is_inline or hot_cache.is_array(written.value)):
            alone = written.is_fresh or (is_alone and written.value is result)
            hot_cache.keep(stored.target, stored.content, written.value, alone, entry)
    return entry


def _known(target, written):
    """Return the fields of `Stored` that are known without reading what was written."""
    if target.keeps_metadata_beside:
        return {"own_form": written.facts.get("form", {})}
    return {} if written.heritage is None else {"heritage": written.heritage}


def store_copies(work: Work, inputs: list, trace: str, found: Elsewhere) -> Entry | None:
    """Copy and commit results that equal code made of equal data.

    Return None, and remove the copies, if a result is not as recorded.
    """
    root = Root(work.root)
    store = records.RecordStore(root)
    copies: list[Written] = []
    with sweeping(root.path, (copy.part.path for copy in copies)):
        for name, source, path in zip(found.names, found.paths, work.paths, strict=True):
            part = files.copied_part(root.absolute(source), own_part_path(root, path))
            record = store.read(name)
            carried = record.facts("form", "edited", "kept") if record else {}
            copies.append(Written(part, name.data_hash, facts=carried))
            if part.file_hash != name.file_hash or record is None:
                sweep_parts(root, [copy.part.path for copy in copies])
                return None
    took = [name.microseconds for name in found.names]
    return entry_of(work, _commit_all(root, work, inputs, trace, copies, took)[1])


def _commit_all(root, work, inputs, trace, results, microseconds):
    """Commit written results; return the intended records, and those that hold in the end."""
    places = [located(path, r.data_hash) for path, r in zip(work.paths, results, strict=True)]
    names, committed = [], []
    with sweeping(root.path, (written.part.path for written in results)):
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
            facts = facts_of_call(work, inputs, places, position)
            facts |= written.facts
            commit = Commit(
                root,
                places[position],
                part,
                name,
                facts,
                node=work.title,
                keep_adopted=partial(keep_adopted, work, trace=trace, facts=facts),
                previous=work.previous[position],
                damaged=work.damaged,
                may_displace=work.spec.options.on_modified == "recompute",
            )
            committed.append(commit.run())
    return names, committed


def write_results(root: Root, work: Work, inputs, result, own_paths) -> list[Written]:
    """Write each result beside its destination, or take what the function wrote itself."""
    if own_paths is not None:
        return list(map(partial(_written_itself, work), work.spec.formats, work.paths, own_paths))
    written: list[Written] = []
    with sweeping(root.path, (each.part.path for each in written)):
        values = _results(work, result)
        for target, path, value in zip(heirs(work, inputs, values), work.paths, values, strict=True):
            written.append(_part_of_value(root, work, target, path, value))
    return written


class sweeping:
    """Within this context, an error removes the parts that are written; see `sweep_parts`.

    `root` is the root's path.  The paths may come from a generator, which is asked after the error.
    """

    __slots__ = "paths", "root"

    def __init__(self, root: str, paths: Iterable[str]):
        self.root = root
        self.paths = paths

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if error is not None:
            sweep_parts(Root(self.root), self.paths)


def sweep_parts(root: Root, paths: Iterable[str]) -> None:
    """Remove results that are written but not in place yet; paths of targets stay."""
    for path in paths:
        if path.startswith(f"{root.parts}/"):
            files.sweep_part(root, path)


def heirs(work: Work, inputs: list, values: list) -> tuple[Target, ...]:
    """Return the targets for a node's values at their paths, each with the heritage of the inputs.

    The suffix of a path may decide what is written, and a field of the template may bring it.
    """
    formats = work.spec.formats
    if all(type(target).inherit is Target.inherit for target in formats):
        return tuple(target.at(path) for target, path in zip(formats, work.paths, strict=True))
    ordinals = [
        _ordinals_of_heritage(work, target, value, len(inputs))
        for target, value in zip(formats, values, strict=True)
    ]
    heritage = {
        ordinal: item.heritage()
        for ordinal, item in enumerate(inputs)
        if any(ordinal in each for each in ordinals)
    }
    return tuple(
        target.at(path).inherit([each for o in sorted(wanted & heritage.keys()) for each in heritage[o]])
        for target, path, wanted in zip(formats, work.paths, ordinals, strict=True)
    )


def _ordinals_of_heritage(work, target, value, count):
    """Return the ordinals of those of `count` inputs whose heritage the target of a value inherits."""
    if target.keeps_metadata_beside and not may_be_image(value):
        return set()
    if target.like is None:
        return set(range(count))
    argument = work.named_values().get(target.like)
    return {part.ordinal for part in values_in(argument) if type(part) is Ref}


def _existing(root, place, part):
    """Return the part, or the equal file that another node already put at its destination.

    Nodes with equal data share a file if the path contains the data hash.
    """
    destination = root.absolute(place)
    found = files.stamp(destination)
    try:
        if found is None or files.hash_if_there(destination) != part.file_hash:
            return part
    except OSError as error:
        raise files.storage_error(error, destination) from error
    files.sweep_part(root, part.path)
    return files.Part(destination, part.file_hash, found)


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
    form = target.form_of(value)
    facts = {} if form is None else {"form": form}
    try:
        if isinstance(target, BytesTarget) and not target.is_large(value):
            pieces, back, data_hash = target.encode_and_read_back(value, form)
            own = files.part_path(root, path.rpartition("/")[2])
            content = b"".join(pieces) if _is_small(pieces) else None
            part = files.write_part(own, pieces if content is None else [content])
            is_fresh = back is not value and back is not UNKNOWN
            return Written(part, data_hash, content, back, is_fresh, facts, target.heritage_of(value))
        own = own_part_path(root, path)
        with sweeping(root.path, [own]):
            known = target.write(value, own)
            part = known if isinstance(known, files.Part) else files.part_of(own)
            data_hash = target.hash_result(value, own)
            back = target.read_back(value, own)
            return Written(part, data_hash, value=back, facts=facts, heritage=target.heritage_of(value))
    except (FormatLimit, StorageError) as error:
        error.node, error.target = work.title, f"{work.root}/{path}"
        raise


def _written_itself(work, target, place, path):
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
    try:
        _check_kind(work, target, path)
        part = files.part_of(path)
        return Written(part, target.hash_part(part))
    except FormatLimit as error:
        error.node, error.target = work.title, f"{work.root}/{place}"
        raise


def _check_kind(work, target, path):
    """Refuse a folder in place of a file, a file in place of a folder, and a link in place of either."""
    from ..targets.files import FileTarget  # needed for what functions write themselves

    is_folder = os.path.isdir(path)
    story, hint = "", ""
    if os.path.islink(path) and work.spec.signature.takes_target_path:
        story, hint = "a link to", "copy what the link leads to"
    elif is_folder and isinstance(target, (BytesTarget, FileTarget)):
        story, hint = "a folder, not", f"name the format: target=daskcache.FolderTarget({target.path!r})"
    elif target.is_folder and not is_folder:
        story, hint = "a file, not", "let it make a folder, or give the target the suffix of the file"
    if story:
        kind = "a folder" if target.is_folder else "a file"
        raise FormatLimit(
            f"{type(target).__name__} can't hold this result: {work.spec.name}() left {story} {kind}",
            hint=hint,
        )


def own_part_path(root: Root, path: str) -> str:
    """Make a folder for one part, and return the part's path in it.

    A part that a function, a format or a copy writes there keeps the target's file name.
    """
    return f"{files.part_folder(root)}/{path.rpartition('/')[2]}"
