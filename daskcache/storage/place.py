"""Places of targets: the operations on files and folders, as `tables.tables` has them for tables.

`files.place_of` chooses the kind of a place from its path; nothing else in the package tells the two
apart.  Both kinds are looked at, hashed, filled, replaced, set aside and removed by methods of the same
names.  `FilePlace` has a file system below it (`atomic`), `TablePlace` the transactions of a database.
`files` gives the operations by path, `commit` and `trash` take them in order.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

from ..errors import StorageError, UnsafePath
from ..hashing import encoder as hashing
from .atomic import Overtaken, entered, refused, say_it_remains, storage_error
from .roots import Root, must_outlast_power

#: Suffix of a part that may be a displaced target, which must not be deleted unchecked.
DISPLACED = ".displaced"


#: Nanoseconds between ticks of the coarsest clock of a file system: FAT ticks every two seconds.
TICK_NS = 2 * 10**9

#: Nanoseconds within which two changes of a folder can have the same time, on a local file system.
FOLDER_TICK_NS = 50_000_000


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


#: Tells from the current stamp if a target may still be replaced.
Check = Callable[[Stamp | None], bool]


class FilePlace:
    """Files and folders as the places of targets."""

    #: True if a target consists of files, which have times, can be copied and go into archives.
    has_files = True

    def stamp(self, path: str) -> Stamp | None:
        """Return the stamp of what is there, or None."""
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise storage_error(error, path) from error
        if stat.S_ISDIR(found.st_mode):
            return self._folder_stamp(path, found)
        return _stamp_of(found)

    def _folder_stamp(self, path, folder):
        """Return the stamp of a folder; start again if another folder replaces it meanwhile."""
        try:
            stamps = [_stamp_of(os.stat(f"{path}/{name}")) for name in files_below(path)]
        except OSError as error:
            if _is_still(path, folder):
                raise storage_error(error, path) from error
            return self.stamp(path)
        return _joint_stamp(stamps) if _is_still(path, folder) else self.stamp(path)

    def exists(self, path: str) -> bool:
        """Return True if something is there, even a broken link."""
        return os.path.lexists(path)

    def file_hash(self, path: str) -> str:
        """Return the hash of the content: of a file's bytes, a folder's manifest, a table's rows."""
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            return _folder_part(path, {}).file_hash
        if not stat.S_ISREG(mode):  # opening a pipe would block for ever
            raise StorageError(
                "what is there is neither a file nor a folder",
                target=path,
                got=stat.filemode(mode),
                hint="move it away",
            )
        with open(path, "rb") as file:
            return digest_of(file)

    def part(self, path: str, written: Mapping[str, Part]) -> Part:
        """Hash what other code wrote, and return it as a part.

        `written` has the parts of files that are known already, by their names from a folder.
        """
        with refused(path):
            if not os.path.lexists(path):
                raise FileNotFoundError(errno.ENOENT, "nothing was written", path)
            if must_outlast_power():
                _sync_all(path)
            found = os.stat(path)
            if stat.S_ISDIR(found.st_mode):
                return _folder_part(path, written)
            return Part(path, self.file_hash(path), _stamp_of(found))

    def put_new(self, root: Root, part: str, target_path: str) -> None:
        """Put a part in place; raise FileExistsError if something is there."""
        folder, _, name = target_path.rpartition("/")
        with entered(root.path, folder, root.outlasts_power) as opened:
            opened.put_new(part, name)

    def replace(
        self, root: Root, part: str, target_path: str, recorded: Stamp | None, check: Check | None = None
    ) -> str | None:
        """Put a part in place of a target; return the path of that one unless it was as recorded.

        `check` is called where other writers can be locked out (of tables), see `files.replace`.
        """
        folder, _, name = target_path.rpartition("/")
        # From here on the part may be a user's only copy of the displaced file; its name says so.
        swapped = f"{part}{DISPLACED}"
        own = identity(part)
        try:
            os.rename(part, swapped)
            with entered(root.path, folder, root.outlasts_power) as opened:
                try:
                    opened.exchange(swapped, name)
                except FileNotFoundError:  # the target is gone by now
                    opened.put_new(swapped, name)
                    return None
        except OSError as error:
            if not (os.path.lexists(part) or os.path.lexists(swapped)):
                raise Overtaken(errno.ENOENT, "another writer moved the part away", part) from error
            self.sweep(part)
            # A network file system may report failure of an exchange that took place.
            if own is not None and identity(swapped) == own:
                self.sweep(swapped)
            raise
        except UnsafePath:
            self.sweep(swapped)
            raise
        with contextlib.suppress(StorageError):  # what can't be examined is kept
            if recorded is not None and self.stamp(swapped) == recorded:
                self.sweep(swapped)
                return None
        return swapped

    def keep(self, root: Root, path: str, aside: AbstractContextManager[str]) -> str:
        """Set a target aside, and return its path there; `aside` makes a path in the trash for files."""
        folder, name = within(root, path)
        with aside as kept, entered(root.path, folder, make=False) as opened:
            opened.take(name, kept)
        return kept

    def discard(self, path: str) -> None:
        """Remove a part, or another file or folder of daskcache, if it exists."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError):
            if not os.path.isdir(path):
                raise
            shutil.rmtree(path)

    def sweep(self, path: str) -> None:
        """Discard a path that is not needed any more; warn if it can't be removed."""
        try:
            self.discard(path)
        except OSError as error:
            say_it_remains(path, error)

    def relative(self, path: str, start: str) -> str:
        """Return `path` relative to a folder, or as it is if it can't be moved together with that."""
        try:
            return os.path.relpath(path, start).replace(os.sep, "/")
        except ValueError:  # another drive
            return path


#: Stateless, so one is enough.
FILES = FilePlace()


# ---- files and folders --------------------------------------------------------------------------


def manifest_of(path: str) -> list[tuple[str, int, str]]:
    """Return name (from the folder, with ``/``), size in bytes and hash of its files, sorted by name."""
    return _folder_part(path, {}).manifest or []


def _folder_part(path, written):
    """Hash a folder; a file in `written` is read again only if its stamp changed."""
    stamps, manifest = [], []
    for name in files_below(path):
        found = _stamp_of(os.stat(f"{path}/{name}"))
        known = written.get(name)
        is_known = known is not None and known.stamp == found
        digest = known.file_hash if is_known else FILES.file_hash(f"{path}/{name}")
        stamps.append(found)
        manifest.append((name, found.size, digest))
    return Part(path, hashing.hash_value(manifest), _joint_stamp(stamps), manifest)


def digest_of(file) -> str:
    """Return the hash of the unread rest of an open binary file."""
    state = hashing.hasher()
    view = memoryview(bytearray(1 << 18))  # one buffer, which stays in the CPU's cache
    while count := file.readinto(view):
        state.update(view[:count])
    return state.hexdigest()


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


def _stamp_of(found):
    return Stamp(found.st_size, found.st_mtime_ns)


def _joint_stamp(stamps):
    """Return the stamp of a folder from those of its files."""
    return Stamp(sum(s.size for s in stamps), max((s.mtime_ns for s in stamps), default=0))


def _is_still(path, folder):
    try:
        return os.path.samestat(os.stat(path), folder)
    except OSError:
        return False


def identity(path: str) -> tuple[int, int] | None:
    """Return device and inode of what is at a path, or None if nothing can be seen there."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def within(root, path):
    """Return the folder (from the root) and the name of what is at a path."""
    folder, _, name = os.path.relpath(path, root.path).replace(os.sep, "/").rpartition("/")
    return folder, name


def sync(path: str) -> None:
    """Wait until a file, or the list of a folder's entries, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_all(path):
    if not os.path.isdir(path):
        sync(path)
        return
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            sync(os.path.join(folder, name))
        sync(folder)
