"""Export of results with their records: an archive that another root can take in.

`archive` defines the format, and `importing` takes archives in.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import uuid
from pathlib import Path
from typing import NamedTuple

from ..errors import StorageError, TargetCorrupt, UnsafePath
from ..hashing import algorithms
from ..planning.states import MISSING
from ..storage import files as storage
from ..storage.atomic import entered, refused_below
from ..storage.code_store import files_behind
from ..storage.paths import check_path
from ..storage.record import Record, RecordName
from ..storage.records import RecordStore
from ..storage.roots import FORMAT, Root
from .archive import CODE, MANIFEST, RECORDS, TARGETS
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
    """Pack targets with their records into a tar file.

    `importing.import_archive` takes it into another root.  Only the record of a table in a database is
    packed: the table shares a file with others, or lies on a server.

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
