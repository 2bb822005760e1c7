"""Transfer of results with their records from one root to another, by an archive.

`archive` defines the format and checks it; `export` writes an archive, `import_archive` takes one in.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..errors import ForeignTarget, StorageError, TargetCorrupt, UnsafePath
from ..hashing import algorithms
from ..planning.states import MISSING
from ..storage import files as storage
from ..storage.atomic import entered, refused_below
from ..storage.code_store import files_behind, write_once
from ..storage.paths import check_path
from ..storage.record import Record, RecordName, collision_form, sealed_content
from ..storage.records import RecordStore
from ..storage.roots import FORMAT, Root
from ..storage.verified_folders import keep_manifest, mend_manifest
from .archive import CODE, MANIFEST, RECORDS, TARGETS, Archive, Packed
from .lineage import Lineage
from .listing import listed, meant
from .verify import check, other_algorithm


class Exported(NamedTuple):
    """A target that was packed into an archive."""

    path: str
    #: Bytes; 0 if only its record was packed.
    size: int


def export(
    root: Root,
    archive: str,
    targets: list[str],
    upstream: bool = False,
    alone: dict[str, RecordName] | None = None,
) -> list[Exported]:
    """Pack targets with their records into a tar file that `import_archive` takes into another root.

    Only the record of a table in a database is packed: the table shares a file with others, or lies on a
    server.

    Parameters
    ----------
    root : Root
    archive : str
        Path of the new file.
    targets : list of str
        Paths of targets or folders, or shell patterns, from the root or from the current folder.  All
        results of a call are packed together.
    upstream : bool
        Also pack all targets upstream.  Of a missing upstream target only the record is packed.
    alone : dict, optional
        The records of `targets`, by path, if several recipes have the same result.  The other results of
        the same calls are left out.

    Returns
    -------
    list of Exported

    Raises
    ------
    StorageError
        If the file exists already, `targets` names a table, or the file system refuses.
    TargetMissing
        If a path or pattern matches no recorded target.
    TargetCorrupt
        If a target is not as recorded.
    """
    lineage = Lineage(listed(root))
    chosen = {item.path: item for item in _chosen(root, lineage, targets, alone)}
    above = lineage.ancestors(chosen.values()) if upstream else []
    optional = {item.path: item for item in above if item.path not in chosen}
    for path in targets:
        if path in chosen and not storage.place_of(path).has_files:
            raise StorageError(
                "a table in a database can't go into an archive",
                target=path,
                expected="results in files or folders",
                hint="leave it out: it is made again when it is needed; or store it as .parquet",
            )
    store = RecordStore(root)
    packed = [
        _checked(store, item, item.path in optional, (alone or {}).get(item.path))
        for item in (chosen | optional).values()
    ]
    destination = os.path.abspath(archive)
    if os.path.lexists(destination):
        raise _there_already(destination)
    folder, name = os.path.split(destination)
    part = f"{folder}/.{name}.{uuid.uuid4().hex[:16]}.part"
    try:
        with refused_below(destination):
            with tarfile.open(part, "x", format=tarfile.PAX_FORMAT) as tar:
                _write(tar, root, packed)
            _put_new(part, folder, name)
    finally:
        storage.discard(part)
    return [Exported(item.path, item.name.size if item.files else 0) for item in packed]


def _put_new(part, folder, name):
    try:
        with entered(folder, "") as opened:
            opened.put_new(part, name)
    except FileExistsError as error:
        raise _there_already(f"{folder}/{name}") from error


class _Outgoing(NamedTuple):
    path: str
    name: RecordName
    record: Record
    #: Paths of files below the target; [""] for a single file, empty if only the record is packed.
    files: list[str]


def _there_already(destination):
    return StorageError(
        "there is a file of this name already",
        target=destination,
        hint="give the archive another name, or remove that file",
    )


def _chosen(root, lineage, targets, alone):
    """Yield the requested targets, with the other results of the same calls unless they go alone."""
    for given in targets:
        for path in meant(root, given, lineage.by_path):
            item = lineage.by_path[path]
            yield from [item] if alone else lineage.siblings(item)


def _checked(store, item, may_be_missing, name=None):
    """Return a target that is as recorded; for a missing target or a table, its record alone.

    Of several records of the content, `name` chooses one.
    """
    if not storage.place_of(item.path).has_files:
        return _Outgoing(item.path, item.name, item.record, [])
    root = store.root
    if other := other_algorithm(item.record):
        raise StorageError(
            "a target was hashed with another algorithm, and can't be compared with its record",
            target=root.absolute(item.path),
            expected=algorithms.configured(),
            got=other,
            hint=f"export it with daskcache.hash: {other} (DASK_DASKCACHE__HASH={other})",
        )
    found = check(store, item.path, [name] if name else store.with_target(item.name.target_id))
    if found.state == MISSING and may_be_missing:
        return _Outgoing(item.path, item.name, item.record, [])
    if found.name is None:
        raise TargetCorrupt(
            f"a target is {found.state}: only what is as recorded can be exported",
            target=root.absolute(item.path),
            hint="compute it again, or leave it out; 'dask cache verify' says more",
        )
    record = item.record if found.name == item.name else store.read(found.name)
    if record is None or record.target != item.path:
        raise TargetCorrupt("its record can't be read", target=root.absolute(item.path))
    location = root.absolute(item.path)
    files = storage.files_below(location) if os.path.isdir(location) else [""]
    return _Outgoing(item.path, found.name, record, files)


def _write(tar, root, packed):
    records = {item.name.unsealed(): len(item.files) for item in packed}
    manifest = {"daskcache": FORMAT, "records": records}
    _add_text(tar, MANIFEST, json.dumps(manifest, indent=1).encode())
    for item in packed:
        # a file in a folder of corrections stays here, and the target stands without it elsewhere
        facts = {name: fact for name, fact in item.record.document.items() if name != "correction"}
        content = json.dumps(facts, ensure_ascii=False).encode("utf-8", "surrogatepass")
        _add_text(tar, RECORDS + item.name.unsealed(), content)
    fingerprints = {item.record.code for item in packed}
    for name in sorted({name for each in fingerprints for name in files_behind(root, each)}):
        _add_text(tar, CODE + name, Path(root.code, name).read_bytes())
    for item in packed:
        location = root.absolute(item.path)
        before = storage.stamp(location) if item.files else None
        for inner in item.files:
            _add_file(
                tar, f"{location}/{inner}".rstrip("/"), f"{TARGETS}{item.path}/{inner}".rstrip("/")
            )
        # a program may have replaced the target after `_checked`
        if item.files and (storage.stamp(location) != before or before.size != item.name.size):
            raise TargetCorrupt(
                "a target changed while it was exported", target=location, hint="export it again"
            )


def _add_text(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _add_file(tar, location, name):
    try:
        check_path(name, name)
    except UnsafePath as error:
        raise UnsafePath(
            "a file in a folder has a name that can't be exported", target=location, got=error.message
        ) from error
    with open(location, "rb") as file:
        status = os.fstat(file.fileno())
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = status.st_size, status.st_mtime, 0o644
        tar.addfile(member, file)


# ---- import -------------------------------------------------------------------------------------


class Imported(NamedTuple):
    """Outcome of an import for one target."""

    path: str
    #: "imported", "record only" (its file is not in the archive), "there already", or "left out" (a
    #: pickle, or another format that may run code when it is read).  `correction_sets` has more.
    outcome: str


IMPORTED, RECORD_ONLY, THERE, LEFT_OUT = "imported", "record only", "there already", "left out"


def import_archive(root: Root, archive: str, trust_pickles: bool = False) -> list[Imported]:
    """Import the results in an archive into a root.

    The program that makes these results finds them complete afterwards.  Nothing is imported if anything
    in the archive is invalid or conflicts with other files.  Existing files are never replaced.  A
    target that exists with the same bytes stays.

    Parameters
    ----------
    root : Root
        Made if it does not exist.
    archive : str
        Path of a file that `export` wrote.
    trust_pickles : bool
        Also import formats that can run code when they are read.  Imported files belong to the current
        user, so daskcache will trust them like the user's own results.

    Returns
    -------
    list of Imported

    Raises
    ------
    StorageError
        If the file is not an archive, the disk is too small for it, or the file system refuses.
    UnsafePath
        If a member would be unpacked outside of its place.
    TargetCorrupt
        If a target or record in the archive contradicts its record.
    ForeignTarget
        If other files are in the places of the archive's targets.
    """
    return import_chosen(root, archive, lambda packed: _outcomes(root, packed, trust_pickles))


def import_chosen(
    root: Root,
    archive: str,
    decide: Callable[[list[Packed]], dict[str, str]],
    put_in_place: Callable[[Packed, Callable[[], None]], str] | None = None,
) -> list[Imported]:
    """Import results as `import_archive` does, with other decisions.

    Parameters
    ----------
    root, archive
        See `import_archive`.
    decide : callable
        Returns the outcome for each target, by path.  Files are put in place for "imported" alone.
    put_in_place : callable, optional
        Gets each target whose file is to be put in place, and a function that does so.  Returns the
        outcome.

    Returns
    -------
    list of Imported

    Raises
    ------
    StorageError, UnsafePath, TargetCorrupt, ForeignTarget
        As `import_archive` does.
    """
    with Archive(os.path.abspath(archive)) as opened:
        root.create()
        outcomes = decide(opened.packed)
        coming = [item for item in opened.packed if outcomes[item.path] == IMPORTED]
        _check_room(root, sum(item.size for item in coming), opened.path)
        parts: dict[str, storage.Part] = {}
        try:
            with refused_below(root.path):
                for item in coming:
                    _unpack(root, opened, item, parts)
                _keep_code(root, opened)
                store = RecordStore(root)
                for item in opened.packed:
                    take_in = partial(_take_in, store, item, outcomes[item.path], parts.get(item.path))
                    if item.path in parts and put_in_place is not None:
                        outcomes[item.path] = put_in_place(item, take_in)
                    else:
                        take_in()
        finally:
            for part in parts.values():
                storage.discard(part.path)
    return [Imported(path, outcome) for path, outcome in outcomes.items()]


def _outcomes(root, packed, trust_pickles):
    """Decide the outcome for each target, by path; raise if other files are in the way."""
    store = RecordStore(root)
    recorded = {collision_form(item.path): item for item in listed(root)}
    outcomes, conflicts = {}, []
    for item in packed:
        outcomes[item.path] = IMPORTED if item.files else RECORD_ONLY
        if not (item.harmless or trust_pickles):
            outcomes[item.path] = LEFT_OUT
        elif is_in_the_way(root, item, recorded):
            conflicts.append(item.path)
        elif os.path.lexists(root.absolute(item.path)):
            outcomes[item.path] = THERE
            if item.files and check(store, item.path, [item.name]).name is None:
                conflicts.append(item.path)
    if conflicts:
        raise ForeignTarget(
            f"other files are where {len(conflicts)} target(s) of the archive belong",
            target=", ".join(conflicts[:5]) + (", …" if len(conflicts) > 5 else ""),
            expected="nothing there, or the same bytes",
            got=f"other content in {root.path}",
            hint="nothing was imported; 'dask cache rm' moves results away, or import elsewhere: --root",
        )
    return outcomes


def is_in_the_way(root, item, recorded):
    """Return True if a target's path conflicts with an existing one.

    It conflicts if it leads through a file or a target, or differs from a recorded path only in case or
    Unicode form.
    """
    known = recorded.get(collision_form(item.path))
    if known is not None and known.path != item.path:
        return True
    for folder in list(Path(item.path).parents)[:-1]:
        location = root.absolute(folder.as_posix())
        if collision_form(folder.as_posix()) in recorded:
            return True
        if os.path.lexists(location) and not os.path.isdir(location):
            return True
    return False


def _check_room(root, size, archive):
    free = shutil.disk_usage(root.path).free
    if size > free:
        raise StorageError(
            "the disk is too full for the archive's targets",
            target=archive,
            expected=f"at most {free} bytes",
            got=f"{size} bytes",
            hint="free space, for example with 'dask cache gc', or import elsewhere: --root",
        )


def _unpack(root, archive: Archive, item: Packed, parts):
    """Write one target as a part, and check it against its record."""
    part = storage.part_path(root, item.path.rpartition("/")[2])
    parts[item.path] = storage.Part(part, "", item.name.stamp)
    for inner, member in item.files.items():
        path = f"{part}/{inner}" if item.is_folder else part
        if item.is_folder:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        storage.write_part(path, archive.pieces(member))
        # keep the time at which it was stored: results may expire
        os.utime(path, ns=(os.stat(path).st_atime_ns, item.name.mtime_ns))
    parts[item.path] = written = storage.part_of(part)
    if written.file_hash != item.name.file_hash:
        raise TargetCorrupt(
            "a target in the archive is not what its record says",
            target=f"{archive.path}: {item.path}",
            expected=item.name.file_hash,
            got=written.file_hash,
            hint="nothing was imported; copy or export the archive again",
        )
    keep_manifest(root, written.file_hash, written.manifest)


def _keep_code(root, archive):
    for name, content in archive.code():
        write_once(f"{root.code}/{name}", content)


def _take_in(store, item: Packed, outcome, part: storage.Part | None):
    """Write a target's record and put its file in place.

    The steps are those of every commit: first the intent, then the file, then the record.
    """
    if outcome not in (IMPORTED, RECORD_ONLY, THERE):
        return
    root, name = store.root, item.name
    # a record vouches for a file by its time, too: the name gets the time of the file here
    if part is not None:
        name = name._replace(mtime_ns=part.stamp.mtime_ns)
    elif outcome == THERE:
        found = check(store, item.path, [name])
        if not item.files or found.name is None or found.stamp is None:
            return
        name = name._replace(mtime_ns=found.stamp.mtime_ns)
    if part is None and _is_recorded(store, name, outcome):
        return
    if outcome == THERE:
        mend_manifest(root, root.absolute(item.path), name.file_hash)
    intent = storage.write_intent(root, name.file_name(), sealed_content(item.content))
    if part is not None:
        try:
            storage.put_new(root, part.path, item.path)
        except FileExistsError as error:
            storage.discard(intent)
            raise ForeignTarget(
                "another program has just put a file in the place of a target of the archive",
                target=root.absolute(item.path),
                hint="import again: what was imported before it stays",
            ) from error
    storage.promote_intent(root, intent, name.file_name(), name.shard)


def _is_recorded(store, name, outcome):
    """Return True if the store has a record of the file in place or, without a file, of the recipe."""
    known = store.with_target(name.target_id)
    if outcome == THERE:
        return any(each.stamp == name.stamp for each in known)
    return any(each.key == name.key for each in known)
