"""Files and folders: stamps, hashes, and the steps of a commit, which `runtime.store` takes in order.

A visible target is always complete.  A commit has four steps:

1. write the result to a part (below ``.daskcache/parts/``) and hash it,
2. write the record as this writer's *intent* (a file under ``.daskcache/intents/``),
3. put the part in place: link it if the target is new, exchange it with an existing target,
4. rename the intent to the record.

A crash before step 3 changes no target; after step 3, the intent vouches for the new target.
Files that daskcache did not write are never overwritten: a link fails if a file is there.  A displaced
file is deleted only if it is as its record says; otherwise it goes to the trash (`trash`).  Folders
between the root and a target are entered without following links (`atomic`).

This survives the death of any process.  With ``daskcache.durability: power`` each step is also on the
disk before the next one begins.  `tables.tables` holds the same steps for tables of databases.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from .. import config
from ..errors import StorageError, UnsafePath
from ..hashing import encoder as hashing
from .atomic import Overtaken, clone, entered, say_it_remains
from .roots import METADATA, Root
from .tables import tables
from .tables.databases import is_table

#: Suffix of a part that may be a displaced target, which must not be deleted unchecked.
DISPLACED = ".displaced"

#: Bytes to hash and write at a time: a block that was just hashed is still in the CPU's cache.
_BLOCK = 2**19
_O_BINARY = getattr(os, "O_BINARY", 0)
#: Number of hex digits in a part's number.
_DIGITS = 16


class Stamp(NamedTuple):
    """Size and time of a file, folder or table, to notice changes without reading it."""

    #: Size in bytes; for a folder, the sum over its files.
    size: int
    #: Time of the last change in nanoseconds; for a folder, that of its newest file.  A table has no
    #: such time: a number derived from its content takes its place.
    mtime_ns: int


class Part(NamedTuple):
    """A result that is written but not yet in place."""

    path: str
    file_hash: str
    stamp: Stamp
    #: For a folder, its files, see `manifest_of`.
    manifest: list[tuple[str, int, str]] | None = None


# ---- looking ------------------------------------------------------------------------------------


def stamp(path: str) -> Stamp | None:
    """Return the stamp of a file, folder or table, or None if nothing is there."""
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
    """Return True if a file, folder, table or symbolic link (even a broken one) is at a path."""
    return tables.exists(path) if is_table(path) else os.path.lexists(path)


def file_hash(path: str) -> str:
    """Return the hash of a file's bytes, a folder's manifest, or a table's rows."""
    if is_table(path):
        return tables.file_hash(path)
    if os.path.isdir(path):
        return hashing.hash_value(manifest_of(path))
    with open(path, "rb") as file:
        return digest_of(file)


def manifest_of(path: str) -> list[tuple[str, int, str]]:
    """Return name (from the folder, with ``/``), size in bytes and hash of its files, sorted by name."""
    return [(name, found.size, digest) for name, found, digest in _hashed_below(path, {})]


def _hashed_below(path, written):
    """Yield name, stamp and hash of each file below a folder.

    A file in `written` is read again only if its stamp changed.
    """
    for name in files_below(path):
        found = _stamp_of(os.stat(f"{path}/{name}"))
        known = written.get(name)
        is_known = known is not None and known.stamp == found
        yield name, found, known.file_hash if is_known else file_hash(f"{path}/{name}")


def digest_of(file) -> str:
    """Return the hash of the unread rest of an open binary file."""
    state = hashing.hasher()
    view = memoryview(bytearray(1 << 18))  # one buffer, which stays in the CPU's cache
    while count := file.readinto(view):
        state.update(view[:count])
    return state.hexdigest()


def _folder_stamp(path, folder):
    """Return the stamp of a folder; start again if another folder replaces it meanwhile."""
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
    """Return the stamp of a folder from those of its files."""
    return Stamp(sum(s.size for s in stamps), max((s.mtime_ns for s in stamps), default=0))


def _stamp_of(found):
    return Stamp(found.st_size, found.st_mtime_ns)


def _is_still(path, folder):
    try:
        return os.path.samestat(os.stat(path), folder)
    except OSError:
        return False


def files_below(path: str) -> list[str]:
    """Return the names (from the folder, with ``/``) of all files below a folder, sorted."""
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
    """Return a new path for a part that will become a file named `name`."""
    return f"{root.parts}/{uuid.uuid4().hex[:_DIGITS]}-{name}"


def part_folder(root: Root) -> str:
    """Make a folder for a part that other code writes; the part in it can have its target's name."""
    path = f"{root.parts}/{uuid.uuid4().hex[:_DIGITS]}"
    _wrap(os.makedirs, path)
    return path


def number_of(root: Root, part: str) -> str:
    """Return the number that identifies a part, or the folder made for it."""
    return part.removeprefix(f"{root.parts}/")[:_DIGITS]


def parts_with(root: Root, number: str) -> list[str]:
    """Return the paths of parts, or of folders for parts, with a number, even after a rename."""
    return [f"{root.parts}/{name}" for name in names_in(root.parts) if name.startswith(number)]


def write_part(path: str, pieces: Iterable) -> Part:
    """Write bytes-like `pieces` to the new file `path`, hashing them on the way."""
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
    """Copy a file or folder to `path`; return the copy as a part."""
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
    """Hash a file, folder or table that other code wrote; return it as a part.

    Parameters
    ----------
    path : str
        Path of the part.
    written : mapping, optional
        Files of a folder that `write_part` wrote, by their name from the folder.  They are read again
        only if their stamp changed.

    Raises
    ------
    StorageError
        If nothing was written, or it can't be read.
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


def check_folders(root: Root, paths: Iterable[str]) -> None:
    """Raise `StorageError` if the nearest existing folder above one of the targets is read-only."""
    for path in paths:
        destination = root.absolute(path)
        folder = destination.rpartition("/")[0]
        while not os.path.isdir(folder):
            folder = folder.rpartition("/")[0]
        if not os.access(folder, os.W_OK):
            raise storage_error(PermissionError(errno.EACCES, f"{folder} is read-only"), destination)


def write_intent(root: Root, name: str, content: bytes) -> str:
    """Write the intent of a record `name`; return its path, which is unique to this writer."""
    path = f"{root.intents}/{name}.{uuid.uuid4().hex[:16]}"
    write_part(path, [content])
    if _must_outlast_power():
        _wrap(_sync, root.intents)
    return path


def put_new(root: Root, part: str, target_path: str) -> None:
    """Put a part in place as a new target.

    Parameters
    ----------
    root : Root
    part : str
        Path of the part: a file, a folder or a table.
    target_path : str
        Path of the target from the root; missing folders are made.

    Raises
    ------
    FileExistsError
        If the place is taken, even by an empty folder.
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
    """Put a part in place of an existing target.

    Parameters
    ----------
    root : Root
    part : str
        Path of the part: a file, a folder or a table.
    target_path : str
        Path of the target from the root.
    recorded : Stamp or None
        Stamp of the existing target in its record.  If the displaced target has another one, it is not
        deleted.
    is_still_so : callable, optional
        Used for tables only.  It is called with the existing table's stamp (None without a table) once
        other writers are locked out; if it returns False, nothing is replaced.

    Returns
    -------
    str or None
        Path of the displaced target if it was not as recorded, else None.

    Raises
    ------
    Overtaken
        If another writer took the claim over, see `daskcache.storage.claims`, or replaced the table
        first.
    UnsafePath, StorageError
        If nothing was replaced; the part is removed.
    """
    folder, _, name = target_path.rpartition("/")
    if is_table(target_path):
        return _replace_table(root, part, target_path, recorded, is_still_so)
    # From here on the part may be a user's only copy of the displaced file; its name says so.
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
    """Remove a part after a failed exchange, unless the displaced file is there.

    A network file system may report failure of an exchange that took place.
    """
    if own is not None and _identity(swapped) == own:
        sweep(swapped)


def _exchanged(folder, part, name):
    """Exchange a part with the target; return False if that vanished and the part was put as new."""
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
    except StorageError:  # it can't be examined, so it is kept
        return False


def settle(root: Root, target_path: str) -> None:
    """Wait until a placed target is on the disk; needed only with ``daskcache.durability: power``.

    Raises
    ------
    StorageError
        If the system can't confirm it.
    """
    if not _must_outlast_power():
        return
    try:
        with entered(root.path, target_path.rpartition("/")[0]) as opened:
            opened.sync()
    except OSError as error:
        raise storage_error(error, root.absolute(target_path)) from error


def intended_name(intent: str) -> str:
    """Return the name of the record that an intent will become."""
    return intent.rpartition(".")[0]


def promote_intent(root: Root, intent: str, name: str, shard: str) -> None:
    """Rename an intent to the record `name`."""
    durable = _must_outlast_power()
    try:
        with entered(root.path, f"{METADATA}/records/{shard}", durable) as folder:
            folder.replace(intent, name)
            if durable:
                folder.sync()
    except OSError as error:
        raise storage_error(error, intent) from error


def discard(path: str) -> None:
    """Remove a file or folder of daskcache if it exists; for a table's part, forget its rows."""
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
    """Discard a path that is not needed any more; warn if it can't be removed."""
    try:
        discard(path)
    except OSError as error:
        say_it_remains(path, error)


def sweep_part_folder(folder: str) -> None:
    """Sweep a folder made by `part_folder`, unless a displaced target is still in it."""
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
    """Return the names of a folder's entries, or an empty list if the folder is missing."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise storage_error(error, folder) from error


def _created(path):
    """Create a new file, with its folder if needed; return the descriptor."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | _O_BINARY
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o666)


def _must_outlast_power():
    return config.get("durability") == "power"


def _sync(path):
    """Wait until a file, or the list of a folder's entries, is on the disk."""
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


@contextlib.contextmanager
def refused(path: str, *passed: type[Exception]) -> Iterator[None]:
    """Turn errors of the system, besides the kinds `passed`, into a `StorageError` about a path."""
    try:
        yield
    except OSError as error:
        if isinstance(error, (StorageError, *passed)):
            raise
        raise storage_error(error, path) from error


def storage_error(error, path):
    """Return the `StorageError` for an error of the system, to be raised from it."""
    if isinstance(error, StorageError):
        return copy.copy(error)  # an error that is its own cause can't be pickled
    return StorageError(
        f"the file system refused: {error.strerror or error}",
        target=path,
        got=errno.errorcode.get(error.errno or 0, type(error).__name__),
        hint="free space, mend permissions or set daskcache.root to another folder, then rerun",
    )
