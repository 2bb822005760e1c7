"""Archives: results and their records in a tar file that can be taken into another root.

::

    daskcache.json         {"daskcache": 1, "records": {name of a record: number of its files}}
    records/<name>.json    the records, as they are stored in a root
    code/…                 the code behind the records, as it is stored in a root
    targets/<path>         the files, by their paths from the root

`exporting` writes archives, and `importing` takes them in; this module reads and checks them.  The
format is POSIX tar (pax) without compression, so the content can't be larger than the file.  An archive
may come from an untrusted writer.  Everything in it is checked here before it is used: only plain files
are accepted, and no member may name a place outside of its folder.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, NamedTuple

from ..errors import StorageError, TargetCorrupt, UnknownFormat, UnsafePath
from ..hashing.encoder import tag
from ..runtime.named import class_of, is_plain
from ..storage.documents import COUNT, Form, Misfit, dict_of, known_fields
from ..storage.files import place_of
from ..storage.paths import DATA_HASH, why_unsafe
from ..storage.record import ANY_TRACE, Record, RecordName, collision_form, target_id
from ..storage.roots import FORMAT, parsed
from ..targets.registry import target_class
from .verify import other_algorithm

MANIFEST = "daskcache.json"
RECORDS, CODE, TARGETS = "records/", "code/", "targets/"

#: Largest size of a record or manifest, in bytes.
_LARGEST_TEXT = 64 * 2**20
_HEX = re.compile(r"[0-9a-f]+\Z")
#: Errors that `tarfile` raises for files that it can't read or can't hold in memory.
_NO_ARCHIVE = OSError, tarfile.TarError, ValueError, OverflowError, MemoryError, RecursionError
_CODE_FILE = re.compile(r"code/(?:[0-9a-f]{32}\.json|sources/[0-9a-f]{32}\.txt)\Z")


_VERSION = Form(str(FORMAT), lambda value: value == FORMAT)


@dataclass(frozen=True)
class _Manifest:
    """The content of an archive's `MANIFEST`."""

    #: Version of the form of archives.
    daskcache: Annotated[int, _VERSION]
    #: Number of the target's files, by the name of its record.
    records: Annotated[dict[str, int], dict_of(COUNT)]


class Packed(NamedTuple):
    """One target in an archive, checked as far as possible without reading its files."""

    #: Path from the root.
    path: str
    name: RecordName
    #: The record as it was written.
    content: bytes
    #: The target's files by their paths from the target, a single file under "".  Empty if the archive
    #: holds only the record.
    files: dict[str, tarfile.TarInfo]
    is_folder: bool
    #: True if reading the target back runs no code of the archive's writer.
    harmless: bool

    @property
    def size(self) -> int:
        return sum(member.size for member in self.files.values())


class Archive:
    """An archive opened for reading.

    Raises
    ------
    StorageError
        If the file can't be read or is not an archive of daskcache.
    UnsafePath
        If a member is not a plain file, or has a name that an export does not give.
    TargetCorrupt
        If a record contradicts itself, or a target does not have its recorded size.
    """

    def __init__(self, path: str):
        self.path = path
        try:
            self._tar = tarfile.open(path, mode="r:")  # noqa: SIM115 (closed by `close`)
        except _NO_ARCHIVE as error:
            raise self._unreadable(str(error)) from error
        try:
            self._members = self._checked_members()
            self.packed = self._packed()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self) -> None:
        self._tar.close()

    def pieces(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        """Yield the content of a member in pieces of at most 1 MiB."""
        file = self._tar.extractfile(member)
        left = member.size
        while left and file is not None:
            try:
                piece = file.read(min(left, 1 << 20))
            except _NO_ARCHIVE as error:
                raise self._unreadable(str(error)) from error
            if not piece:
                break
            left -= len(piece)
            yield piece
        if left:
            raise self._unreadable(f"{member.name} is cut short")

    def code(self) -> Iterator[tuple[str, bytes]]:
        """Yield the path below ``code/`` and the content of each file that describes code."""
        for name, member in self._members.items():
            if name.startswith(CODE):
                yield name.removeprefix(CODE), self._text(member)

    def _checked_members(self):
        members: dict[str, tarfile.TarInfo] = {}
        try:
            found = self._tar.getmembers()
        except _NO_ARCHIVE as error:
            raise self._unreadable(str(error)) from error
        for member in found:
            problem = _why_unsafe(member)
            if problem is None and member.name in members:
                problem = "is there twice"
            if problem is not None:
                raise self._unsafe(member.name, problem)
            members[member.name] = member
        return members

    def _packed(self):
        if MANIFEST not in self._members:
            raise self._unreadable(f"it has no {MANIFEST}")
        _, manifest = self._json(MANIFEST)
        try:
            names = _Manifest(**known_fields(_Manifest, manifest)).records
        except Misfit as error:
            raise self._unreadable(f"{MANIFEST}: {error}") from error
        if {f"{RECORDS}{name}" for name in names} != {
            name for name in self._members if name.startswith(RECORDS)
        }:
            raise self._unreadable("its records are not those that its manifest names")
        records = [self._record(name) for name in names]
        paths = [record.target for _, _, record in records]
        around = {folder for path in paths for folder in _folders_of(path)}
        if len(set(paths)) < len(paths) or around & set(paths):
            raise self._unreadable("one of its targets is there twice, or lies inside another")
        files = self._files_of(set(paths))
        packed = [self._pack(*record, files[path]) for record, path in zip(records, paths, strict=True)]
        if [len(item.files) for item in packed] != list(names.values()):
            raise self._unreadable("a file that its manifest counts is not there")
        return packed

    def _files_of(self, targets):
        """Return each target's files by their paths from it; a single file has the path ``""``."""
        files: dict[str, dict[str, tarfile.TarInfo]] = {path: {} for path in targets}
        owners: dict[str, str] = {}
        for name, member in self._members.items():
            if not name.startswith(TARGETS):
                continue
            path = name.removeprefix(TARGETS)
            own = next((p for p in (path, *_folders_of(path)) if p in targets), path)
            # two paths that differ here may be one file where the archive is unpacked (case, Unicode)
            if owners.setdefault(collision_form(own), own) != own:
                raise self._unsafe(name, "is there twice on some file systems")
            if own not in targets or not place_of(own).has_files:
                raise self._unreadable(f"{name} has no record, or is a table")
            files[own][path[len(own) + 1 :]] = member
            if "" in files[own] and len(files[own]) > 1:
                raise self._unreadable(f"{own} is both a file and a folder")
        return files

    def _record(self, file_name):
        """Return a record's name, bytes and content; raise if they contradict each other."""
        name = RecordName.parse(file_name)
        content, document = self._json(f"{RECORDS}{file_name}")
        try:
            if name is None or name.unsealed() != file_name:
                raise ValueError("its name is not that of a record")
            record = _consistent(name, document)
        except ValueError as problem:
            raise TargetCorrupt(
                f"a record in the archive is not valid: {problem}",
                target=f"{self.path}: {file_name}",
                hint="nothing was imported; export it again",
            ) from problem
        return name, content, record

    def _pack(self, name, content, record, files):
        path = record.target
        if files and sum(member.size for member in files.values()) != name.size:
            raise TargetCorrupt(
                "a target in the archive does not have its recorded size",
                target=f"{self.path}: {path}",
                expected=f"{name.size} bytes",
                hint="nothing was imported; export it again",
            )
        is_folder = bool(files) and "" not in files
        return Packed(path, name, content, files, is_folder, is_harmless(record))

    def _json(self, member_name):
        """Return the bytes of a member, and the value of the JSON in it."""
        text = self._text(self._members[member_name])
        try:
            return text, parsed(text)
        except ValueError as error:
            raise self._unreadable(f"{member_name}: {error}") from error

    def _text(self, member):
        if member.size > _LARGEST_TEXT:
            raise self._unreadable(f"{member.name} has {member.size} bytes")
        return b"".join(self.pieces(member))

    def _unsafe(self, member_name, problem):
        return UnsafePath(
            f"a member of the archive {problem}",
            target=f"{self.path}: {member_name!r}",
            expected="plain files at the places that 'dask cache export' gives them",
            hint="nothing was imported; get the archive from a source that you trust",
        )

    def _unreadable(self, reason):
        return StorageError(
            "this is not an archive that can be read",
            target=self.path,
            expected="an uncompressed tar file, made by 'dask cache export'",
            got=reason,
            hint="copy or export it again",
        )


def is_harmless(record: Record) -> bool:
    """Return True if nothing that a record names runs code of its writer.

    Only daskcache's own formats and sources are known to be harmless.  The format must also match the
    suffix of the target's path: a program reads a target by its path, whatever the record claims.
    """
    try:
        by_suffix = target_class(record.target)
    except UnknownFormat:
        return False
    names = [described["class"] for described in record.upstream if "class" in described]
    return class_of(record.format) is by_suffix and all(map(is_plain, [record.format, *names]))


def _folders_of(path):
    """Return the folders that contain a path, innermost first."""
    return map(str, PurePosixPath(path).parents)


def _why_unsafe(member):
    name = member.name
    if not member.isreg() or member.issparse():
        return "is a link, a device, a folder or a sparse file"
    if member.size < 0:
        return "has a negative size"
    if name == MANIFEST or _CODE_FILE.match(name):
        return None
    if name.startswith(RECORDS) and RecordName.parse(name.removeprefix(RECORDS)) is not None:
        return None if "/" not in name.removeprefix(RECORDS) else "lies in no place of its own"
    if not name.startswith(TARGETS):
        return "lies in no place of its own"
    if why_unsafe(name.removeprefix(TARGETS)) is not None:
        return "would not lie where it should"
    return None


def _consistent(name: RecordName, document: Any) -> Record:
    """Return the content of a record; raise ValueError if it is malformed or contradicts its name."""
    hashes = [name.key, name.target_id, name.data_hash, name.file_hash]
    if name.trace != ANY_TRACE:  # of a result that a user accepted or kept
        hashes.append(name.trace)
    if not all(map(_HEX.match, hashes)) or len(name.key) != 32:
        raise ValueError("its name has parts that are not hashes")
    if not all(0 <= number < 2**63 for number in (name.size, name.mtime_ns, name.microseconds)):
        raise ValueError("its name has an impossible number")
    record = Record.of(document, name)
    if other := other_algorithm(record):
        raise ValueError(f"it was hashed with {other!r}: import it with daskcache.hash set to that")
    # the id of a content-addressed target is made from its path without the data hash
    paths = record.target, record.target.replace(name.data_hash, DATA_HASH)
    if name.target_id not in map(target_id, paths):
        raise ValueError("its name is that of another target's record")
    said = [record.data_hash, record.file_hash, record.size]
    if said != [tag(name.data_hash), tag(name.file_hash), name.size]:
        raise ValueError("its content and its name contradict each other")
    return record
