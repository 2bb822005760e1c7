"""Content hashes of input files, remembered from one start of Python to the next.

A hash holds for a path with the file's size, mtime, ctime and inode.  Nobody can set a ctime, so an
edit of the same size is noticed even if the mtime is put back; a copy, or a file that was renamed, is
read once more.  The device is left out: a network mount has another number each time.

A fact about a content that takes long to find out can be noted with the content's hash.

A file that changed shortly before it was read is not remembered, nor is one on a file system in memory:
a second edit could leave no trace (`daskcache.storage.file_times`).

The memo is one file of lines below ``daskcache.cache-folder``, to which any number of processes append
without locks.  A line has a seal; one that is torn or damaged is as if it were not there.  Nor does it
matter if the file can't be read or written, or is deleted: sources are read again, that is all.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .. import config
from ..errors import DaskcacheError, SourceMissing, StorageError
from ..hashing.encoder import algorithm, digest, short_digest
from . import files as storage
from .file_times import is_settled

_NAME = "sources-1.txt"
#: Bytes; of a longer memo, only the newest half is kept.
_LARGEST = 64 * 2**20
_KEY, _HASH, _SEAL = 32, 32, 8


def content_hash(path: str) -> str:
    """Hash of a file's bytes (32 hex digits), read only if the file was touched since the last time.

    Raises
    ------
    SourceMissing
        If there is no such file.
    StorageError
        If it can't be read.
    """
    memo = _memo(config.get("cache-folder"))
    try:
        known = memo.get(_key(path, os.stat(path)))
    except OSError as error:
        raise source_error(error, path) from error
    return known or _read_and_remember(path, memo)


def is_noted(fact: str, content: str) -> bool:
    """Tell if it was noted that a fact holds of all files whose content has this hash."""
    return _memo(config.get("cache-folder")).get(_key_of_fact(fact, content)) is not None


def note(fact: str, content: str) -> None:
    """Remember a fact, for as long as content hashes are; see `is_noted`."""
    _memo(config.get("cache-folder")).put(_key_of_fact(fact, content), content)


def _key_of_fact(fact, content):
    return digest(f"{algorithm()}|{fact}|{content}".encode()).encode()


def fresh_hash(path: str) -> str:
    """`content_hash`, by reading the file whatever is remembered."""
    return _read(path).content


def opened(path: str) -> BinaryIO:
    """An input file, open to be read; raises as `content_hash` does."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise source_error(error, path) from error


def read_whole(path: str) -> bytes:
    """Content of an input file; raises as `content_hash` does."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise source_error(error, path) from error


def source_error(error: OSError, path: str, expected: str = "an existing file") -> DaskcacheError:
    """The typed error for what the operating system says of an input file or folder."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return SourceMissing(f"the source {path} does not exist", expected=expected, got="nothing")
    return StorageError(
        f"can't read the source {path}: {error.strerror or error}",
        expected=expected,
        got=errno.errorcode.get(error.errno or 0, type(error).__name__),
        hint="mend its permissions, or the link that leads to it",
    )


def _read_and_remember(path, memo):
    read = _read(path)
    if read.is_settled:
        memo.put(_key(path, read.found), read.content)
    return read.content


class _Read(NamedTuple):
    """A file that was read."""

    content: str
    #: What it looked like before.
    found: os.stat_result
    #: Whether it has this content as long as it looks so.
    is_settled: bool


def _read(path):
    began = time.time_ns()
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _no_file(path)
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            changed = max(found.st_mtime_ns, found.st_ctime_ns)
            settled = is_settled(file.fileno(), changed, began)
            return _Read(storage.digest_of(file), found, settled)
    except DaskcacheError:
        raise
    except OSError as error:
        raise source_error(error, path) from error


def _no_file(path):
    is_folder = os.path.isdir(path)
    return SourceMissing(
        f"the source {path} is no file",
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
    """Hashes by key: in memory, and in the lines (key, hash, seal) of a file if there is a path."""

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
        storage.write_part(part, [data])
        os.replace(part, path)
    lines = data.split(b"\n")
    return {line[:_KEY]: line[_KEY:] for line in lines if len(line) == _KEY + _HASH + _SEAL}


def _append(path, line):
    """Add a line in one write; the newline before it ends what another process may have left torn."""
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(path, "ab", buffering=0) as file:
        file.write(b"\n%b\n" % line)
