"""Files on disk: what they look like, and the commit protocol.

A visible target is a whole target.  A commit goes

1. write the result to a part (below ``.daskcache/parts/``) and hash it,
2. write the record as this writer's *intent* (a file under ``.daskcache/intents/``),
3. put the part in place: linked if the target is new, exchanged if it replaces one,
4. rename the intent to be the record.

A crash before 3 leaves what was there; a crash after 3 leaves a target that an intent vouches for.
Nothing that daskcache did not write is overwritten: `link` fails if a file is there, and what an
exchange displaced is thrown away only if it is what its record says, else it goes to the trash.
Folders between the root and a target are entered without following links (`daskcache.storage.atomic`).

A target may be a table of a database instead: `daskcache.storage.tables.tables` has what differs then.

That is enough for the death of any process.  With ``daskcache.durability: power`` each step is also on
the disk before the next one begins.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from .. import config
from ..errors import StorageError, UnsafePath
from ..hashing import encoder as hashing
from .atomic import Overtaken, clone, entered, say_it_remains
from .roots import METADATA, Root
from .tables import tables
from .tables.databases import is_table

#: Ends the name of a part that may be what was in the place of a target: not ours to delete.
DISPLACED = ".displaced"

#: Bytes that are hashed and written at a time: what was just hashed is still in a processor's cache.
_BLOCK = 2**19
_O_BINARY = getattr(os, "O_BINARY", 0)
#: Of the number of a part.
_DIGITS = 16


class Stamp(NamedTuple):
    """What a file or folder looks like from outside."""

    #: Bytes; of a folder, of all its files.
    size: int
    #: Time of the last change in nanoseconds; of a folder, of its newest file; of a table, which has no
    #: such time, a number that stands for its content.
    mtime_ns: int


class Part(NamedTuple):
    """A result that is written but not yet in place."""

    path: str
    file_hash: str
    stamp: Stamp
    #: Of a folder: what is in it, see `manifest_of`.
    manifest: list[tuple[str, int, str]] | None = None


# ---- looking ------------------------------------------------------------------------------------


def stamp(path: str) -> Stamp | None:
    """Size and mtime of a file or folder, or None if there is nothing."""
    if is_table(path):
        known = tables.stamp(path)
        return known and Stamp(*known)
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(
            f"can't look at a target: {error.strerror}",
            target=path,
            got=errno.errorcode.get(error.errno or 0),
            hint="mend its permissions, or mount its disk, then rerun",
        ) from error
    if stat.S_ISDIR(found.st_mode):
        return _folder_stamp(path, found)
    return _stamp_of(found)


def exists(path: str) -> bool:
    """Whether something is there: a file, a folder, a link that leads nowhere, or a table."""
    return tables.exists(path) if is_table(path) else os.path.lexists(path)


def file_hash(path: str) -> str:
    """Hash of a file's bytes, of the manifest of a folder, or of a table's rows."""
    if is_table(path):
        return tables.file_hash(path)
    if os.path.isdir(path):
        return hashing.hash_value(manifest_of(path))
    with open(path, "rb") as file:
        return digest_of(file)


def manifest_of(path: str) -> list[tuple[str, int, str]]:
    """Name (from the folder, with ``/``), size in bytes and hash of each file below a folder, sorted."""
    return [(name, found.size, digest) for name, found, digest in _hashed_below(path, {})]


def _hashed_below(path, written):
    """Name, stamp and hash of each file below a folder; what is `written`, and looks so, is not read."""
    for name in files_below(path):
        found = _stamp_of(os.stat(f"{path}/{name}"))
        known = written.get(name)
        is_known = known is not None and known.stamp == found
        yield name, found, known.file_hash if is_known else file_hash(f"{path}/{name}")


def digest_of(file) -> str:
    """Hash of what is left to read in an open binary file."""
    state = hashing.hasher()
    view = memoryview(bytearray(1 << 18))  # one buffer that stays in the processor's cache
    while count := file.readinto(view):
        state.update(view[:count])
    return state.hexdigest()


def _folder_stamp(path, folder):
    """Of one and the same folder, even if another takes its place while its files are looked at."""
    try:
        stamps = [_stamp_of(os.stat(f"{path}/{name}")) for name in files_below(path)]
    except OSError as error:
        if _is_still(path, folder):
            raise storage_error(error, path) from error
        return stamp(path)
    if not _is_still(path, folder):
        return stamp(path)
    return _joint_stamp(stamps)


def _joint_stamp(stamps):
    """Of a folder with files that look so."""
    return Stamp(sum(s.size for s in stamps), max((s.mtime_ns for s in stamps), default=0))


def _stamp_of(found):
    return Stamp(found.st_size, found.st_mtime_ns)


def _is_still(path, folder):
    try:
        return os.path.samestat(os.stat(path), folder)
    except OSError:
        return False


def files_below(path: str) -> list[str]:
    """Names (from the folder, with ``/``) of the files below a folder, sorted."""
    return sorted(_names_below(path, ""))


def _names_below(path, before):
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _names_below(entry.path, f"{before}{entry.name}/")
            elif not entry.is_dir():  # a link to a folder is not followed
                yield before + entry.name


# ---- committing ---------------------------------------------------------------------------------


def part_path(root: Root, name: str) -> str:
    """A path for a part that is to become a file of this name."""
    return f"{root.parts}/{uuid.uuid4().hex[:_DIGITS]}-{name}"


def part_folder(root: Root) -> str:
    """A new folder for a part that somebody else writes, so that it can have its own name."""
    path = f"{root.parts}/{uuid.uuid4().hex[:_DIGITS]}"
    _wrap(os.makedirs, path)
    return path


def number_of(root: Root, part: str) -> str:
    """What tells a part, or the folder made for it, from others."""
    return part.removeprefix(f"{root.parts}/")[:_DIGITS]


def parts_with(root: Root, number: str) -> list[str]:
    """The part, or folder for one, with a number, whatever became of it."""
    return [f"{root.parts}/{name}" for name in names_in(root.parts) if name.startswith(number)]


def write_part(path: str, pieces: Iterable) -> Part:
    """Write bytes-like `pieces` to the new file `path`, hashing on the way."""
    try:
        descriptor = _created(path)
        try:
            state = hashing.hasher()
            for block in _blocks(pieces):
                state.update(block)
                _write_all(descriptor, block)
            if _must_outlast_power():
                os.fsync(descriptor)
            written = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        sweep(path)
        raise storage_error(error, path) from error
    return Part(path, state.hexdigest(), _stamp_of(written))


def copied_part(source: str, path: str) -> Part:
    """The part that is a copy of a file or folder, made at `path`."""
    try:
        if os.path.isdir(source):
            shutil.copytree(source, path, copy_function=clone)
        else:
            clone(source, path)
    except OSError as error:
        sweep(path)
        raise storage_error(error, source) from error
    return part_of(path)


def part_of(path: str, written: Mapping[str, Part] = MappingProxyType({})) -> Part:
    """The part that somebody else wrote to `path`, a file or a folder.

    Parameters
    ----------
    path : str
    written : mapping, optional
        Of a folder, the files that `write_part` wrote, by their name from it: they are read again only
        if they look different now.
    """
    if is_table(path):
        rows = tables.held_or_read(path)
        return Part(path, rows.hash, Stamp(*rows.stamp))
    try:
        if not os.path.lexists(path):
            raise FileNotFoundError(errno.ENOENT, "nothing was written", path)
        if _must_outlast_power():
            _sync_all(path)
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            return _folder_part(path, written)
        return Part(path, file_hash(path), _stamp_of(found))
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(error, path) from error


def _folder_part(path, written):
    hashed = list(_hashed_below(path, written))
    manifest = [(name, found.size, digest) for name, found, digest in hashed]
    stamps = [found for _, found, _ in hashed]
    return Part(path, hashing.hash_value(manifest), _joint_stamp(stamps), manifest)


def check_place(root: Root, destination: str, root_id: str = "") -> None:
    """Raise `StorageError` if `destination` can't be written to, as far as a look can tell.

    And `ReachError` if `root_id` is given, and is not the id of the root.
    """
    root.check(root_id)
    check_folder(destination)


def check_folder(destination: str) -> None:
    """The part of `check_place` that is not about the root."""
    folder = destination.rpartition("/")[0]
    while not os.path.isdir(folder):
        folder = folder.rpartition("/")[0]
    if not os.access(folder, os.W_OK):
        raise storage_error(PermissionError(errno.EACCES, f"{folder} is read-only"), destination)


def write_intent(root: Root, name: str, content: bytes) -> str:
    """Write the record-to-be `name`; return the path of this writer's intent, a file of its own."""
    path = f"{root.intents}/{name}.{uuid.uuid4().hex[:16]}"
    write_part(path, [content])
    if _must_outlast_power():
        _wrap(_sync, root.intents)
    return path


def put_new(root: Root, part: str, target_path: str) -> None:
    """Put a file or folder where nothing is.

    Parameters
    ----------
    root : Root
    part : str
        Path of what to put.
    target_path : str
        Where to, from the root; folders are made.

    Raises
    ------
    FileExistsError
        If something is there, an empty folder included.
    UnsafePath
        If a folder on the way is a link.
    StorageError
        If the system refuses.
    """
    folder, _, name = target_path.rpartition("/")
    try:
        with entered(root.path, folder, _must_outlast_power()) as opened:
            if is_table(name):
                tables.put_new(part, root.absolute(target_path))
                return
            opened.put_new(part, name)
    except FileExistsError:
        raise
    except OSError as error:
        raise storage_error(error, root.absolute(target_path)) from error
    if not os.path.isdir(part):
        sweep(part)


def replace(
    root: Root,
    part: str,
    target_path: str,
    recorded: Stamp | None,
    is_still_so: Callable[[tuple[int, int] | None], bool] | None = None,
) -> str | None:
    """Put a file or folder in the place of what is there.

    Parameters
    ----------
    root : Root
    part : str
        Path of what to put.
    target_path : str
        Where to, from the root.
    recorded : Stamp or None
        What the record says of the file that is there.  If the displaced file is anything else, it
        is not thrown away.
    is_still_so : callable, optional
        Asked whether a table is to be replaced, once nobody else can write: takes what is there.

    Returns
    -------
    str or None
        Where a displaced file is that was not as recorded.

    Raises
    ------
    Overtaken
        If another writer has taken over, see `daskcache.storage.claims`; or was faster with a table.
    UnsafePath, StorageError
        If nothing was put; the part is removed.
    """
    folder, _, name = target_path.rpartition("/")
    if is_table(target_path):
        return _replace_table(root, part, target_path, recorded, is_still_so)
    # From here on the part's name says that it may be somebody's only copy.
    swapped = f"{part}{DISPLACED}"
    own = _identity(part)
    try:
        os.rename(part, swapped)
        with entered(root.path, folder, _must_outlast_power()) as opened:
            if not _exchanged(opened, swapped, name):
                return None
    except OSError as error:
        if not (os.path.lexists(part) or os.path.lexists(swapped)):
            raise Overtaken(errno.ENOENT, "another writer moved the part away", part) from error
        sweep(part)
        _sweep_own(swapped, own)
        raise storage_error(error, root.absolute(target_path)) from error
    except UnsafePath:
        sweep(swapped)
        raise
    if recorded is not None and _is_as_recorded(swapped, recorded):
        sweep(swapped)
        return None
    return swapped


def _replace_table(root, part, target_path, recorded, is_still_so):
    place = root.absolute(target_path)
    try:
        with entered(root.path, target_path.rpartition("/")[0]):
            return tables.replace(part, place, recorded, is_still_so)
    except Overtaken:
        raise
    except OSError as error:
        raise storage_error(error, place) from error


def _identity(path):
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sweep_own(swapped, own):
    """Remove a part after an exchange failed; a network may say so of one that took place."""
    if own is not None and _identity(swapped) == own:
        sweep(swapped)


def _exchanged(folder, part, name):
    """Exchange a part with what is there; False if that is cleared away at this moment."""
    try:
        folder.exchange(part, name)
    except FileNotFoundError:
        folder.put_new(part, name)
        sweep(part)
        return False
    return True


def _is_as_recorded(path, recorded):
    try:
        return stamp(path) == recorded
    except StorageError:  # what can't be looked at is kept
        return False


def settle(root: Root, target_path: str) -> None:
    """With ``daskcache.durability: power``, wait until a target that was put is on the disk.

    Raises
    ------
    StorageError
        If the system can't say so.
    """
    if not _must_outlast_power():
        return
    try:
        with entered(root.path, target_path.rpartition("/")[0]) as opened:
            opened.sync()
    except OSError as error:
        raise storage_error(error, root.absolute(target_path)) from error


def intended_name(intent: str) -> str:
    """Name of the record that an intent is to become."""
    return intent.rpartition(".")[0]


def promote_intent(root: Root, intent: str, name: str, shard: str) -> None:
    """Make an intent the record `name`."""
    durable = _must_outlast_power()
    try:
        with entered(root.path, f"{METADATA}/records/{shard}", durable) as folder:
            folder.replace(intent, name)
            if durable:
                folder.sync()
    except OSError as error:
        raise storage_error(error, intent) from error


def discard(path: str) -> None:
    """Remove a file or folder of our own, if it is there; forget the rows of a part."""
    if is_table(path):
        tables.release(path)
        return
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        if not os.path.isdir(path):
            raise
        shutil.rmtree(path)


def sweep(path: str) -> None:
    """`discard` what has served its purpose: if it can't be removed, say so, and go on."""
    try:
        discard(path)
    except OSError as error:
        say_it_remains(path, error)


def sweep_part_folder(folder: str) -> None:
    """`sweep` what `part_folder` made, unless something displaced is in it still."""
    with contextlib.suppress(OSError):
        os.rmdir(folder)
        return
    try:
        displaced = any(name.endswith(DISPLACED) for name in os.listdir(folder))
    except FileNotFoundError:
        return
    except OSError as error:
        say_it_remains(folder, error)
        return
    if not displaced:
        sweep(folder)


def names_in(folder: str) -> list[str]:
    """Names of what is in a folder; none if there is no such folder."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise storage_error(error, folder) from error


def _created(path):
    """Descriptor of a new file; the folder for it is made if need be."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | _O_BINARY
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o666)


def _must_outlast_power():
    return config.get("durability") == "power"


def _sync(path):
    """Wait until a file, or the list of a folder's files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_all(path):
    if not os.path.isdir(path):
        _sync(path)
        return
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            _sync(os.path.join(folder, name))
        _sync(folder)


def _blocks(pieces):
    for piece in pieces:
        view = memoryview(piece).cast("B")
        for start in range(0, view.nbytes, _BLOCK):
            yield view[start : start + _BLOCK]


def _write_all(descriptor, view):
    while view.nbytes:
        written = os.write(descriptor, view)
        view = view[written:]


def _wrap(function, path, *args, **kwargs):
    try:
        return function(path, *args, **kwargs)
    except OSError as error:
        raise storage_error(error, path) from error


def storage_error(error, path):
    """The typed error for what the system refused; to be raised from that."""
    if isinstance(error, StorageError):
        return copy.copy(error)  # one that is its own cause can't be pickled
    return StorageError(
        f"the file system refused: {error.strerror or error}",
        target=path,
        got=errno.errorcode.get(error.errno or 0, type(error).__name__),
        hint="free space, mend permissions or set daskcache.root to another folder, then rerun",
    )
