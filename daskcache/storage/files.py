"""Files of a root: looks at targets, and the parts and intents of commits.

Results are written as *parts*, in ``.daskcache/parts/``, and vouched for by *intents*, in
``.daskcache/intents/``, before they are put in place.  `commit` describes the protocol and takes its
steps in order; `trash` and housekeeping take some of them.  Functions about a target take
the path of a file, a folder or a table; `place` and `tables` have what each kind does.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import random
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..hashing import encoder as hashing
from .atomic import Overtaken, clone, entered, refused, say_it_remains, storage_error
from .paths import SEPARATOR, is_table
from .place import DISPLACED, FILES, Check, FilePlace, Part, Stamp, sync
from .place import digest_of as digest_of
from .place import files_below as files_below
from .place import manifest_of as manifest_of
from .roots import METADATA, Root, must_outlast_power

if TYPE_CHECKING:
    from .tables.tables import TablePlace

#: Bytes to hash and write at a time: a block that was just hashed is still in the CPU's cache.
_BLOCK = 2**19
_O_BINARY = getattr(os, "O_BINARY", 0)
#: Number of hex digits in a part's number.
_DIGITS = 16

# ---- targets ------------------------------------------------------------------------------------


def place_of(path: str) -> FilePlace | TablePlace:
    """Return the kind of place that a path names: a target's, or a part's."""
    return _tables() if SEPARATOR in path and is_table(path) else FILES


@functools.cache
def _tables():
    from .tables.tables import TablePlace  # most results are files

    return TablePlace()


def stamp(path: str) -> Stamp | None:
    """Return the stamp of a file, folder or table, or None if nothing is there."""
    return place_of(path).stamp(path)


def exists(path: str) -> bool:
    """Return True if a file, folder, table or symbolic link (even a broken one) is at a path."""
    return place_of(path).exists(path)


def file_hash(path: str) -> str:
    """Return the hash of a file's bytes, a folder's manifest, or a table's rows."""
    return place_of(path).file_hash(path)


def hash_if_there(path: str) -> str | None:
    """Return the hash of what is at a path, or None if nothing is: another process may remove it."""
    try:
        return file_hash(path)
    except FileNotFoundError:
        return None


def relative(path: str, start: str) -> str:
    """Return `path` relative to the folder `start`, so that both can be moved together.

    Tables of databases known by name, and paths on another drive, stay as they are.
    """
    return place_of(path).relative(path, start)


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
    with refused(root.absolute(target_path), FileExistsError):
        place_of(target_path).put_new(root, part, target_path)


def replace(
    root: Root, part: str, target_path: str, recorded: Stamp | None, check: Check | None = None
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
    check : callable, optional
        Used for tables only.  It is called with the existing table's stamp (None without a table) once
        other writers are locked out; if it returns False, nothing is replaced.

    Returns
    -------
    str or None
        Path of the displaced target if it was not as recorded, else None.

    Raises
    ------
    Overtaken
        If another writer took the claim over, see `daskcache.storage.commit`, or replaced the table
        first.
    UnsafePath, StorageError
        If nothing was replaced; the part is removed.
    """
    with refused(root.absolute(target_path), Overtaken):
        return place_of(target_path).replace(root, part, target_path, recorded, check)


def check_folders(root: Root, paths: Iterable[str]) -> None:
    """Raise `StorageError` if the nearest existing folder above one of the targets is read-only."""
    for path in paths:
        destination = root.absolute(path)
        folder = destination.rpartition("/")[0]
        while not os.access(f"{folder}/.", os.W_OK):
            if not os.path.isdir(folder):
                folder = folder.rpartition("/")[0]
            elif not os.access(folder, os.W_OK):  # nor did another writer make it just now
                error = PermissionError(errno.EACCES, f"{folder} is read-only")
                raise storage_error(error, destination)


# ---- parts --------------------------------------------------------------------------------------


def part_path(root: Root, name: str) -> str:
    """Return a new path for a part that will become a file named `name`."""
    return f"{root.parts}/{_new_number()}-{name}"


def part_folder(root: Root) -> str:
    """Make a folder for a part that other code writes; the part in it can have its target's name."""
    path = f"{root.parts}/{_new_number()}"
    with refused(path):
        os.makedirs(path)
    return path


def _new_number():
    return f"{_numbers.getrandbits(4 * _DIGITS):0{_DIGITS}x}"


#: Seeded by the system, again after a fork: no two processes draw the same numbers.
_numbers = random.Random()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_numbers.seed)


def number_of(root: Root, part: str) -> str:
    """Return the number that identifies a part, or the folder made for it."""
    return part.removeprefix(f"{root.parts}/")[:_DIGITS]


def parts_with(root: Root, number: str) -> list[str]:
    """Return the paths of parts, or of folders for parts, with a number, even after a rename."""
    return [f"{root.parts}/{name}" for name in names_in(root.parts) if name.startswith(number)]


def write_part(path: str, pieces: Iterable) -> Part:
    """Write bytes-like `pieces` to the new file `path`, hashing them on the way."""
    state = hashing.hasher()
    written = _write(path, pieces, state.update)
    return Part(path, state.hexdigest(), Stamp(written.st_size, written.st_mtime_ns))


def write_new(path: str, content: bytes) -> str:
    """Write the new file `path` of the metadata; return the path."""
    _write(path, [content])
    return path


def _write(path, pieces, each=None):
    """Write a new file, and hand on each block that was written; return the status of the file."""
    try:
        descriptor = _created(path)
        try:
            for block in _blocks(pieces):
                if each is not None:
                    each(block)
                _write_all(descriptor, block)
            if must_outlast_power():
                os.fsync(descriptor)
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        sweep(path)
        raise storage_error(error, path) from error


def copied_part(source: str, path: str) -> Part:
    """Copy a file or folder to `path`; return the copy as a part."""
    try:
        if os.path.isdir(source):
            _copy_folder(source, path)
        else:
            clone(source, path)
    except OSError as error:
        sweep(path)
        raise storage_error(error, source) from error
    return part_of(path)


def _copy_folder(source, path):
    """Copy the files that a manifest lists; the first error of the system is raised as it is."""
    os.mkdir(path)
    for name in files_below(source):
        os.makedirs(os.path.dirname(f"{path}/{name}"), exist_ok=True)
        clone(f"{source}/{name}", f"{path}/{name}")


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
    return place_of(path).part(path, written)


def discard(path: str) -> None:
    """Remove a file or folder of daskcache if it exists; for a table's part, forget its rows."""
    place_of(path).discard(path)


def sweep(path: str) -> None:
    """Discard a path that is not needed any more; warn if it can't be removed."""
    place_of(path).sweep(path)


def sweep_part(root: Root, part: str) -> None:
    """Sweep a part that is not needed any more, and the folder that was made for it."""
    sweep(part)
    sweep_part_folder(root, part)


def sweep_part_folder(root: Root, part: str) -> None:
    """Sweep the folder that `part_folder` made for a part, unless a displaced target is still in it."""
    folder = part.rpartition("/")[0]
    if not folder.startswith(f"{root.parts}/"):
        return
    with contextlib.suppress(OSError):
        os.rmdir(folder)
        return
    try:
        if not any(name.endswith(DISPLACED) for name in os.listdir(folder)):
            discard(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        say_it_remains(folder, error)


# ---- intents ------------------------------------------------------------------------------------


def write_intent(root: Root, name: str, content: bytes) -> str:
    """Write the intent of a record `name`; return its path, which is unique to this writer."""
    path = f"{root.intents}/{name}.{_new_number()}"
    write_new(path, content)
    if root.outlasts_power:
        with refused(root.intents):
            sync(root.intents)
    return path


def intended_name(intent: str) -> str:
    """Return the name of the record that an intent will become."""
    return intent.rpartition(".")[0]


def settle(root: Root, target_path: str) -> None:
    """Wait until a placed target is on the disk; needed only with ``daskcache.durability: power``.

    Raises
    ------
    StorageError
        If the system can't confirm it.
    """
    if root.outlasts_power:
        folder = target_path.rpartition("/")[0]
        with refused(root.absolute(target_path)), entered(root.path, folder) as opened:
            opened.sync()


def promote_intent(root: Root, intent: str, name: str, shard: str) -> None:
    """Rename an intent to the record `name`."""
    records = f"{METADATA}/records/{shard}"
    with refused(intent), entered(root.path, records, root.outlasts_power) as folder:
        folder.replace(intent, name)
        if root.outlasts_power:
            folder.sync()


# ---- helpers ------------------------------------------------------------------------------------


def names_in(folder: str) -> list[str]:
    """Return the names of a folder's entries, or an empty list if the folder is missing."""
    with refused(folder), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return os.listdir(folder)
    return []


def _created(path):
    """Create a new file, with its folder if needed; return the descriptor."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | _O_BINARY
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o666)


def _blocks(pieces):
    for piece in pieces:
        view = memoryview(piece).cast("B")
        for start in range(0, view.nbytes, _BLOCK):
            yield view[start : start + _BLOCK]


def _write_all(descriptor, view):
    while view.nbytes:
        written = os.write(descriptor, view)
        view = view[written:]
