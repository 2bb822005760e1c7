"""Folders with known content: stored results and inputs, verified file by file as they are read.

The hash of a folder vouches for name, size and hash of every file in it.  A file that is missing,
changed, exchanged with another one, or not in that list is never served.  `manifests` keeps the lists of
results.  `runtime.entry` opens stored folders, `targets.zarr.source` opens input folders.
"""

from __future__ import annotations

import abc
import functools
import os

from ..errors import SourceChanged, SourceMissing, TargetCorrupt, TargetModified, UnsafePath
from ..hashing.encoder import digest, hash_value, tag
from . import files as storage
from . import source_hashes as memo
from .manifests import kept_files


class VerifiedFolder(abc.ABC):
    """A folder whose content is known by its hash.

    Parameters
    ----------
    path : str
        Path of the folder.
    expected : str
        Joint hash of its files (32 hex digits).

    Attributes
    ----------
    files : dict
        Size in bytes (None if unknown) and hash of each file, by its name from the folder.
    """

    def __init__(self, path: str, expected: str):
        self.path = path
        self.expected = expected
        self._blocks: dict[str, _Blocks] = {}

    @property
    @abc.abstractmethod
    def files(self) -> dict[str, tuple[int | None, str]]:
        """Size in bytes (None if unknown) and hash of each file, by its name from the folder."""

    def names_there(self) -> list[str]:
        """Return the names of the files that are in the folder now."""
        return storage.files_below(self.path)

    @abc.abstractmethod
    def refusal(self, name: str, story: str, expected, got) -> Exception:
        """Return the error to raise for a file that is not as expected."""

    def check_names(self) -> None:
        """Raise `refusal` if a file is missing or does not belong to the folder, without reading any."""
        there = set(self.names_there())
        for name in self.files:
            if name not in there:
                raise self._missing(name)
        for name in sorted(there):
            if name not in self.files:
                raise self._extra(name)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, or None for a name that is neither expected nor there.

        Raises
        ------
        TargetCorrupt or SourceChanged
            If the file is not as recorded.
        TargetModified
            If the whole folder was replaced or deleted.
        UnsafePath
            If the name leads out of the folder.
        StorageError
            If the file can't be read.
        """
        expected = self._expected(name)
        if expected is None:
            return None
        with self._open(name) as file:
            # One byte more than expected is enough to notice that the file has grown.
            data = file.read() if expected[0] is None else file.read(expected[0] + 1)
        self._compare(name, expected, len(data), digest(data))
        return data

    def read_range(self, name: str, start: int, stop: int | None) -> bytes | None:
        """Return the bytes of a file from `start` (counted from the end if negative) to before `stop`.

        The first such call for a file verifies all of it; later calls verify the blocks that they read.
        None and errors are as in `read`.
        """
        expected = self._expected(name)
        if expected is None:
            return None
        with self._open(name) as file:
            size = os.fstat(file.fileno()).st_size
            start = max(size + start, 0) if start < 0 else start
            stop = size if stop is None else max(stop, start)
            known = self._blocks.get(name)
            data = known.part(file, start, stop) if known is not None else None
            if data is None:  # read for the first time, or a block changed, for which `_compare` raises
                passing = _Passing(file, start, stop)
                self._compare(name, expected, size, storage.digest_of(passing))
                self._blocks[name] = passing.blocks
                data = bytes(passing.kept)
        return data

    def _expected(self, name):
        """Return size and hash of a file, or None for a name that is neither expected nor there."""
        check_inside(self.path, name)
        expected = self.files.get(name)
        if expected is None and os.path.isfile(f"{self.path}/{name}"):
            raise self._extra(name)
        return expected

    def _open(self, name):
        path = f"{self.path}/{name}"
        try:
            return open(path, "rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise self._missing(name) from None
        except OSError as error:
            raise storage.storage_error(error, path) from error

    def _compare(self, name, expected, size, got):
        if got != expected[1]:
            story = "is damaged: its bytes are not those that were recorded"
            if size != expected[0] and expected[0] is not None:
                story = "is damaged: it has not the size that was recorded"
            raise self.refusal(name, story, tag(expected[1]), tag(got))

    def _missing(self, name):
        return self.refusal(name, "is missing", tag(self.files[name][1]), "no file")

    def _extra(self, name):
        return self.refusal(name, "does not belong there", "no such file", "a file")

    def __reduce__(self):
        return type(self), (self.path, self.expected)

    def __eq__(self, other):
        return type(self) is type(other) and self.__reduce__() == other.__reduce__()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self):
        return f"{type(self).__name__}({self.path!r})"


class _Blocks:
    """Hashes of the blocks of a verified file."""

    def __init__(self):
        self.width = 0
        self.hashes: list[str] = []

    def add(self, block):
        """Hash the next block; all blocks but the last have the same length."""
        self.width = self.width or len(block)
        self.hashes.append(digest(block))

    def part(self, file, start, stop):
        """Return the bytes of a file from `start` to `stop`, or None if a block of them changed."""
        if not self.width or stop <= start:
            return b""
        first = start // self.width
        file.seek(first * self.width)
        found = []
        for expected in self.hashes[first : -(-stop // self.width)]:
            block = file.read(self.width)
            if digest(block) != expected:
                return None
            found.append(block)
        return b"".join(found)[start - first * self.width : stop - first * self.width]


class _Passing:
    """An open file that hashes its blocks and keeps one range of bytes while it is read."""

    def __init__(self, file, start, stop):
        self.kept = bytearray()
        self.blocks = _Blocks()
        self._file, self._start, self._stop, self._position = file, start, stop, 0

    def readinto(self, view):
        count = 0
        while count < len(view) and (more := self._file.readinto(view[count:])):
            count += more
        if count:
            self.blocks.add(view[:count])
        first, last = self._start - self._position, self._stop - self._position
        self.kept += view[max(first, 0) : min(max(last, 0), count)]
        self._position += count
        return count


class TargetFolder(VerifiedFolder):
    """A stored result that is a folder.

    Parameters
    ----------
    path, expected : str
        See `VerifiedFolder`; the hash is the file hash in the target's record.
    manifests : str
        Path of the folder with the root's manifests.
    node : str
        Display name of the node, for errors.
    """

    def __init__(self, path: str, expected: str, manifests: str = "", node: str = ""):
        super().__init__(path, expected)
        self.manifests = manifests
        self.node = node
        self._folder = _identity(path)

    @functools.cached_property
    def files(self):
        known = kept_files(self.manifests, self.expected)
        return self._hashed() if known is None else known

    def _hashed(self):
        manifest = storage.manifest_of(self.path)
        got = hash_value(manifest)
        if got != self.expected:
            raise TargetCorrupt(
                "a result is not what was stored: a file in it is damaged, missing or too many",
                node=self.node,
                target=self.path,
                expected=tag(self.expected),
                got=tag(got),
                hint=_compute_again(self.path),
            )
        return {name: (size, digest) for name, size, digest in manifest}

    def refusal(self, name, story, expected, got):
        if _identity(self.path) != self._folder:
            return TargetModified(
                "a result was replaced or deleted after it was opened",
                node=self.node,
                target=self.path,
                expected="the folder that was opened",
                got="another one, or nothing",
                hint="open it again",
            )
        return TargetCorrupt(
            f"a file of a result {story}",
            node=self.node,
            target=f"{self.path}/{name}",
            expected=expected,
            got=got,
            hint=_compute_again(self.path),
        )

    def __reduce__(self):
        return TargetFolder, (self.path, self.expected, self.manifests, self.node)


class SourceFolder(VerifiedFolder):
    """An input folder.  Its files are verified; `source_hashes` remembers their hashes."""

    @functools.cached_property
    def files(self):
        hashes = source_hashes(self.path)
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


def source_hashes(path: str, fresh: bool = False) -> list[tuple[str, str]]:
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
    hash_file = memo.fresh_hash if fresh else memo.content_hash
    return [(name, hash_file(f"{path}/{name}")) for name in source_files(path)]


def source_files(path: str) -> list[str]:
    """Return the names of all files below an input folder, sorted; links are followed."""
    try:
        return sorted(_walk(path, ""))
    except OSError as error:
        if isinstance(error, NotADirectoryError):
            raise SourceMissing(
                f"the source {path} is no folder", expected="an existing folder", got="a file"
            ) from error
        raise memo.source_error(error, error.filename or path, "an existing folder") from error


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


def check_inside(folder: str, name: str) -> None:
    """Raise `UnsafePath` unless `name`, with ``/`` between its parts, stays inside the folder."""
    if any(part in ("", ".", "..") for part in name.split("/")) or "\\" in name or "\0" in name:
        raise UnsafePath(
            f"{folder} refers to the file {name!r}, which is not in it",
            hint="delete the folder: it was not written by a well-meaning program",
        )


def _identity(path):
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _compute_again(path):
    return f"'dask cache rm {path}' and compute again"
