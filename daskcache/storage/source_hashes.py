"""Content hashes of input files and folders, remembered across Python sessions, for `targets`.

A hash is valid for a path with the file's size, mtime, ctime and inode.  Programs can't set a ctime, so
an edit is noticed even if size and mtime stay the same.  A copied or renamed file is read again.  The
device is left out, because a network mount gets another number each time.  A recently changed file, or
one on a file system in memory, is not remembered: another edit could leave no trace (`is_settled`).

The memo is a file below ``daskcache.cache-folder``.  It can also hold facts about a content.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from .. import config
from ..errors import DaskcacheError, SourceChanged, SourceMissing, StorageError
from ..hashing.encoder import algorithm, digest, hash_value, short_digest, tag
from . import files as storage
from .place import TICK_NS
from .verified_folders import VerifiedFolder

_NAME = "sources-1.txt"
#: Size in bytes above which only the newest lines of the memo are kept, half of this size.
_LARGEST = 64 * 2**20
_KEY, _HASH, _SEAL = 32, 32, 8


def content_hash(path: str) -> str:
    """Return the hash of a file's bytes (32 hex digits); read it only if its stamp changed.

    Raises
    ------
    SourceMissing
        If the file does not exist.
    StorageError
        If the file can't be read.
    """
    memo = _memo(config.get("cache-folder"))
    try:
        known = memo.get(_key(path, os.stat(path)))
    except OSError as error:
        raise source_error(error, path) from error
    return _read(path, memo) if known is None else known


def is_noted(fact: str, content: str) -> bool:
    """Return True if a fact was noted for the content with this hash, see `note`."""
    return _memo(config.get("cache-folder")).get(_key_of_fact(fact, content)) is not None


def note(fact: str, content: str) -> None:
    """Note a fact about the content with this hash; the memo keeps it as long as content hashes."""
    _memo(config.get("cache-folder")).put(_key_of_fact(fact, content), content)


def _key_of_fact(fact, content):
    return digest(f"{algorithm()}|{fact}|{content}".encode()).encode()


def fresh_hash(path: str) -> str:
    """Read a file and return the hash of its bytes; raise as `content_hash` does."""
    return _read(path)


def opened(path: str) -> BinaryIO:
    """Open an input file for reading; raise as `content_hash` does."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise source_error(error, path) from error


def source_error(error: OSError, path: str, expected: str = "an existing file") -> DaskcacheError:
    """Return the typed error for an error of the system about an input file or folder."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return SourceMissing(
            f"the source {path} does not exist",
            expected=expected,
            got="nothing",
            hint="correct the path, which is taken from the current folder, or put the file there",
        )
    return StorageError(
        f"can't read the source {path}: {error.strerror or error}",
        expected=expected,
        got=errno.errorcode.get(error.errno or 0, type(error).__name__),
        hint="mend its permissions, or the link that leads to it",
    )


class SourceFolder(VerifiedFolder):
    """An input folder.  Its files are verified; their hashes are remembered."""

    @functools.cached_property
    def files(self):
        hashes = folder_hashes(self.path)
        got = hash_value(hashes)
        if got != self.expected:
            raise self.refusal("", "changed", tag(self.expected), tag(got))
        return {name: (None, digest) for name, digest in hashes}

    def names_there(self):
        return source_files(self.path)

    def refusal(self, name, story, expected, got):
        path = f"{self.path}/{name}" if name else self.path
        return SourceChanged(
            f"the source {path} {story}; it changed while the graph was running",
            expected=expected,
            got=got,
            hint="make the nodes again and compute them",
        )


def folder_hashes(path: str, fresh: bool = False) -> list[tuple[str, str]]:
    """Return name and hash of each file below an input folder, sorted by name.

    Parameters
    ----------
    path : str
    fresh : bool
        Read every file, ignoring remembered hashes.

    Raises
    ------
    SourceMissing
        If the folder does not exist, or is a file.
    StorageError
        If a file can't be read.
    """
    hash_file = fresh_hash if fresh else content_hash
    return [(name, hash_file(f"{path}/{name}")) for name in source_files(path)]


def source_files(path: str) -> list[str]:
    """Return the names of all files below an input folder, sorted; links are followed."""
    try:
        return sorted(_walk(path, ""))
    except OSError as error:
        if isinstance(error, NotADirectoryError):
            raise SourceMissing(
                f"the source {path} is not a folder", expected="an existing folder", got="a file"
            ) from error
        raise source_error(error, error.filename or path, "an existing folder") from error


def _walk(path, before):
    """Yield the names of all files below a folder.

    The system ends a circle of links after a few dozen.
    """
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_symlink():
                os.stat(entry.path)  # a broken link is an error, not a file less
            if entry.is_dir():
                yield from _walk(entry.path, f"{before}{entry.name}/")
            elif entry.is_file():
                yield before + entry.name


def _read(path, memo=None):
    """Return the hash of a file, for the memo to keep if any later change shows in the stamp."""
    began = time.time_ns()
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _no_file(path)
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            changed = max(found.st_mtime_ns, found.st_ctime_ns)
            settled = memo is not None and is_settled(file.fileno(), changed, began)
            content = storage.digest_of(file)
    except DaskcacheError:
        raise
    except OSError as error:
        raise source_error(error, path) from error
    if settled:
        memo.put(_key(path, found), content)
    return content


def _no_file(path):
    is_folder = os.path.isdir(path)
    return SourceMissing(
        f"the source {path} is not a file",
        expected="an existing file",
        got="a folder" if is_folder else "a device, a pipe or a socket",
        hint=f"daskcache.FolderSource({path!r}) stands for the files in it" if is_folder else None,
    )


def _key(path, found):
    state = (
        f"{algorithm()}|{found.st_size}|{found.st_mtime_ns}|{found.st_ctime_ns}|{found.st_ino}|{path}"
    )
    return digest(os.fsencode(state)).encode()


@functools.cache
def _memo(_configured):
    folder = config.cache_folder()
    return _Memo(folder and f"{folder}/{_NAME}")


class _Memo:
    """Hashes by key, in memory and, given a path, in a file of lines (key, hash, seal).

    Any number of processes append lines without locks.  A torn or damaged line does not match its seal
    and is ignored.  If the file is deleted, unreadable or read-only, sources are read again.
    """

    def __init__(self, path):
        self.path = path
        self.known = {}
        if path:
            with suppress(OSError):
                self.known = _load(path)

    def get(self, key):
        rest = self.known.get(key)
        if rest is None or rest[_HASH:] != _seal(key + rest[:_HASH]):
            return None
        return rest[:_HASH].decode()

    def put(self, key, content):
        line = key + content.encode()
        line += _seal(line)
        self.known[key] = line[_KEY:]
        if self.path:
            with suppress(OSError):
                _append(self.path, line)


def _seal(line):
    return short_digest(line)[:_SEAL].encode()


def _load(path):
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > _LARGEST:
            file.seek(size - _LARGEST // 2)
        data = file.read(_LARGEST)
    if size > _LARGEST:
        part = f"{path}.{uuid.uuid4().hex[:16]}.part"
        storage.write_new(part, data)
        os.replace(part, path)
    lines = data.split(b"\n")
    return {line[:_KEY]: line[_KEY:] for line in lines if len(line) == _KEY + _HASH + _SEAL}


def _append(path, line):
    """Append a line in one write.

    The newline before it ends a torn line that another process may have left.
    """
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(path, "ab", buffering=0) as file:
        file.write(b"\n%b\n" % line)


# ---- settled files ------------------------------------------------------------------------------

#: Files with Linux's settings, in hundredths of a second: the age at which a written page is stored, and
#: the interval between two searches for such pages.
_STORING = "/proc/sys/vm/dirty_expire_centisecs", "/proc/sys/vm/dirty_writeback_centisecs"
#: Factor for the time that storing itself takes.  By default Linux needs 35 s at most; 7 GiB of other
#: data waiting to be stored did not change that (measured on ext4).
_MARGIN = 4
#: Nanoseconds to assume on systems without these settings.
_UNKNOWN_NS = 300 * 10**9

#: Types of tmpfs, ramfs and hugetlbfs in fstatfs(2).
_IN_MEMORY = frozenset({0x01021994, 0x858458F6, 0x958458F6})


def is_settled(descriptor: int, changed_ns: int, began_ns: int) -> bool:
    """Return True if every later change of a file that was read shows in its stamp.

    Some writes leave the stamp (size, mtime, ctime, inode) as it was: a second write within one tick of
    the file system's clock (git's "racy" rule), and writes through a memory map.  Linux sets the times
    at the first write to a mapped page, and not again until the page is stored; a file system in memory
    never stores it.  So a stamp counts only if the file was left alone for some time before the read.
    All its pages are stored then: the next write sets the times.

    Parameters
    ----------
    descriptor : int
        Descriptor of the open file.
    changed_ns : int
        The later of its mtime and ctime when it was opened, in nanoseconds.
    began_ns : int
        Time just before it was opened, in nanoseconds.
    """
    return changed_ns + _storing_ns() < began_ns and not _is_in_memory(descriptor)


@functools.cache
def _storing_ns():
    """Return the nanoseconds after which a written page is stored for certain."""
    try:
        age, interval = (int(Path(path).read_text()) for path in _STORING)
    except (OSError, ValueError):
        return _UNKNOWN_NS
    # With an interval of 0, pages are stored only when memory is short, which may be never.
    return max(_MARGIN * (age + interval) * 10**7, TICK_NS) if interval else float("inf")


def _is_in_memory(descriptor):
    """Return True if Linux reports a file system in memory, or reports nothing."""
    if sys.platform != "linux":
        return False
    import ctypes

    described = ctypes.create_string_buffer(256)  # larger than a struct statfs; the type comes first
    failed = _fstatfs()(descriptor, described)
    return bool(failed) or int.from_bytes(described.raw[:4], sys.byteorder) in _IN_MEMORY


@functools.cache
def _fstatfs():
    import ctypes

    return ctypes.CDLL(None).fstatfs
