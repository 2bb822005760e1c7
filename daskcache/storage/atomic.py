"""Atomic placement of files and folders, through folders entered without following links.

`files` commits with it; `trash`, `leases`, `roots` and housekeeping use it too.  A `Folder` is entered
at once, where the system refuses links, or name by name from an open root.  So a folder swapped for a
symbolic link meanwhile can't lead a write out of the root.  Names such as ``..`` are refused here,
wherever the path came from.  A new file replaces nothing, and a replacement is exchanged with the
existing file (`system_calls`).
"""

from __future__ import annotations

import copy
import errno
import functools
import os
import shutil
import stat
import sys
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import DaskcacheWarning, StorageError, UnsafePath
from . import system_calls
from .system_calls import EXCHANGE, NO_REPLACE, UNSUPPORTED

_BY_DESCRIPTOR = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")


class Overtaken(FileNotFoundError):
    """Another writer has taken over or was faster: the caller has to look at the target again."""


class Folder:
    """An open folder below a root.

    Attributes
    ----------
    descriptor : int or None
        Descriptor of the folder.  None on systems that can't work relative to open folders: the path
        is used there.
    path : str
        Path of the folder when it was entered.
    """

    def __init__(self, descriptor: int | None, path: str):
        self.descriptor = descriptor
        self.path = path

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *raised: object) -> None:
        if self.descriptor is not None:
            _close(self.descriptor)

    def put_new(self, part: str, name: str) -> None:
        """Move the file, folder or link `part` to the free place `name`.

        Raises
        ------
        FileExistsError
            If the place is taken, even by an empty folder.
        """
        try:
            self._rename(part, name, NO_REPLACE)
        except OSError as error:
            if error.errno != errno.EXDEV or not _is_file(part):
                raise
            with self._brought_near(part) as near:
                self._rename(near, name, NO_REPLACE)
            os.unlink(part)

    def exchange(self, part: str, name: str) -> None:
        """Exchange the file or folder `part` with the one at `name`, which is then at `part`."""
        try:
            self._rename(part, name, EXCHANGE)
        except OSError as error:
            if error.errno != errno.EXDEV or os.path.isdir(part):
                raise
            self._exchange_from_afar(part, name)

    def replace(self, part: str, name: str) -> None:
        """Move the file `part` to `name`, replacing a file of that name."""
        os.replace(part, self._place(name), dst_dir_fd=self.descriptor)

    def take(self, name: str, destination: str) -> None:
        """Move the entry `name` to `destination`; a symbolic link is moved, not followed."""
        os.rename(self._place(name), destination, src_dir_fd=self.descriptor)

    def sync(self) -> None:
        """Wait until the entries of the folder would survive a power cut."""
        if self.descriptor is not None:
            os.fsync(self.descriptor)

    def _place(self, name):
        _check_names([name], f"{self.path}/{name}")
        return name if self.descriptor is not None else f"{self.path}/{name}"

    def _exchange_from_afar(self, part, name):
        with self._brought_near(part) as near:
            self._rename(near, name, EXCHANGE)
        try:  # the displaced file has to be at `part`, as after any exchange
            shutil.copy2(near, part)
        except BaseException:  # put the displaced file back where it was
            self._rename(near, name, EXCHANGE)
            os.unlink(near)
            raise
        os.unlink(near)

    @contextmanager
    def _brought_near(self, part):
        """Copy a part into the folder from another file system, which no link or rename can cross."""
        near = f"{self.path}/.{uuid.uuid4().hex[:16]}.part"
        try:
            shutil.copy2(part, near)
            yield near
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(near)
            raise

    def _rename(self, part, name, how):
        number = system_calls.rename(part, self._place(name), self.descriptor, how)
        if number == 0:
            return
        if number not in UNSUPPORTED:
            raise OSError(number, os.strerror(number), f"{self.path}/{name}")
        if not (how is NO_REPLACE and self._linked(part, name)):
            self._rename_weakly(part, name, how)

    def _linked(self, part, name):
        """Move a file by a hard link, which replaces nothing either; return False without such links."""
        if not _is_file(part):  # os.link would follow a link
            return False
        try:
            os.link(part, self._place(name), dst_dir_fd=self.descriptor)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return False
        _unlink(part)
        return True

    def _rename_weakly(self, part, name, how):
        """Rename in several steps where the system has no such call; another writer can come between."""
        _say_once_that_it_is_weak()
        place, descriptor = self._place(name), self.descriptor
        if how is NO_REPLACE:
            with suppress(FileNotFoundError):
                os.stat(place, dir_fd=descriptor, follow_symlinks=False)
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), f"{self.path}/{name}")
            os.rename(part, place, dst_dir_fd=descriptor)
        else:
            # The name keeps the number and the suffix by which parts are recognized.
            aside = "{}.aside{}".format(*os.path.splitext(part))
            os.rename(place, aside, src_dir_fd=descriptor)
            try:
                os.rename(part, place, dst_dir_fd=descriptor)
            except OSError:
                os.rename(aside, place, dst_dir_fd=descriptor)
                raise
            os.rename(aside, part)


def entered(root: str, folder: str, durable: bool = False, make: bool = True) -> Folder:
    """Enter a folder below a root, making missing folders on the way.

    Parameters
    ----------
    root : str
        Absolute path; it may itself be a link.
    folder : str
        Path from the root; empty for the root itself.
    durable : bool
        Make new folders survive a power cut.
    make : bool
        Make missing folders; if False, a missing folder raises FileNotFoundError.

    Returns
    -------
    Folder
        The folder.  As a context it is open until the context ends.

    Raises
    ------
    UnsafePath
        If a folder on the way is a symbolic link, or a component is not a plain name (such as ``..``).
    OSError
        If a folder can't be made or entered.
    """
    names = folder.split("/") if folder else []
    path = f"{root}/{folder}" if folder else root
    _check_names(names, path)
    if not _BY_DESCRIPTOR:
        return Folder(None, _entered_by_path(root, names, make))
    descriptor = system_calls.open_folder(path)
    if descriptor is None:  # a folder is missing, say, or the root is a link
        descriptor = _entered_by_name(root, names, folder, durable, make)
    return Folder(descriptor, path)


def _entered_by_name(root, names, folder, durable, make):
    """Open a folder, and before it each folder on the way."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in names:
            inner = _entered_one(descriptor, name, root, folder, durable, make)
            _close(descriptor)
            descriptor = inner
    except BaseException:
        _close(descriptor)
        raise
    return descriptor


_SEPARATORS = frozenset(filter(None, ("/", "\0", os.sep, os.altsep)))


def _check_names(names, path):
    """Raise `UnsafePath` unless each name is the plain name of an entry in a folder."""
    for name in names:
        if name in ("", ".", "..") or not _SEPARATORS.isdisjoint(name):
            raise UnsafePath(
                "a path leads out of its folder, or to none",
                target=repr(path),
                expected="a relative path below the root, of plain names",
                got=repr(name),
                hint="an untrusted program wrote this path, or the file that holds it is damaged",
            )


def _close(descriptor):
    """Close a folder, ignoring errors: nothing was written through the descriptor that could be lost."""
    with suppress(OSError):
        os.close(descriptor)


def refuse_link(root: str, folder: str) -> None:
    """Raise `UnsafePath` if a folder below a root is currently a symbolic link."""
    if os.path.islink(f"{root}/{folder}"):
        raise _leads_away(root, folder, folder.rpartition("/")[2])


def _entered_one(descriptor, name, root, folder, durable, make):
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=descriptor)
    except FileNotFoundError:
        if not make:
            raise
        with suppress(FileExistsError):  # another process made it just now
            os.mkdir(name, dir_fd=descriptor)
            if durable:
                os.fsync(descriptor)
        return os.open(name, flags, dir_fd=descriptor)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            raise
        raise _leads_away(root, folder, name) from error


def _entered_by_path(root, names, make):
    """Enter a folder by its path, where folders can't be held open.

    A folder swapped for a link between the check and its use goes unnoticed.
    """
    path = root
    for name in names:
        path = f"{path}/{name}"
        refuse_link(root, os.path.relpath(path, root).replace(os.sep, "/"))
        if make:
            os.makedirs(path, exist_ok=True)
    return path


def _leads_away(root, folder, name):
    return UnsafePath(
        f"the folder {name!r} on the way to a target is a symbolic link",
        target=f"{root}/{folder}",
        expected="folders below the root",
        got="a link, which could lead anywhere",
        hint="replace the link by a folder, or set daskcache.root to where it leads",
    )


def put_first(part: str, destination: str) -> None:
    """Put the file `part` at `destination` unless a file is there already; the first one stays."""
    try:
        os.link(part, destination)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(part, destination)  # no hard links on this file system: the last writer wins
        return
    _unlink(part)


#: Errors of a file system without hard links, or of a file that has too many.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK)


def _unlink(part):
    """Remove a file that is in its place now; warn if that is not possible."""
    try:
        os.unlink(part)
    except FileNotFoundError:
        pass
    except OSError as error:
        say_it_remains(part, error)


def _is_file(path):
    return stat.S_ISREG(os.lstat(path).st_mode)


def clone(source: str, path: str) -> None:
    """Copy a file to a new one, sharing its data on file systems that support this (Btrfs, XFS)."""
    with open(source, "rb") as original, open(path, "xb") as copied:
        if sys.platform == "linux":
            import fcntl

            with suppress(OSError):  # the copy is on another file system, or sharing is not supported
                fcntl.ioctl(copied.fileno(), _FICLONE, original.fileno())
                return
        shutil.copyfileobj(original, copied, 2**20)


#: Request code, see ioctl_ficlone(2).
_FICLONE = 0x40049409


class refused:
    """Turn errors of the system, besides the kinds `passed`, into a `StorageError` about a path."""

    __slots__ = "passed", "path"

    def __init__(self, path: str, *passed: type[Exception]):
        self.path = path
        self.passed = passed

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, (StorageError, *self.passed)):
            raise storage_error(error, self.path) from error


@contextmanager
def refused_below(folder: str) -> Iterator[None]:
    """Turn errors of the system into a `StorageError` about the file that they name, or the folder."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise storage_error(error, error.filename or folder) from error


def storage_error(error: OSError, path: str) -> StorageError:
    """Return the `StorageError` for an error of the system, to be raised from it."""
    if isinstance(error, StorageError):
        return copy.copy(error)  # an error that is its own cause can't be pickled
    return StorageError(
        f"the file system refused: {error.strerror or error}",
        target=path,
        got=errno.errorcode.get(error.errno or 0, type(error).__name__),
        hint="free space, mend permissions or set daskcache.root to another folder, then rerun",
    )


def say_it_remains(path: str, error: OSError) -> None:
    """Warn that a file or folder of daskcache can't be removed."""
    warnings.warn(
        f"can't remove {path}, which is of no use any more: {error.strerror or error}",
        DaskcacheWarning,
        stacklevel=3,
    )


@functools.cache
def _say_once_that_it_is_weak():
    warnings.warn(
        "this file system can't exchange files in one step: a result that another program writes to "
        "the same path at the same moment could be replaced",
        DaskcacheWarning,
        stacklevel=2,
    )
