"""Folders with known content, verified file by file as they are read, and manifests of stored ones.

The hash of a folder vouches for name, size and hash of every file in it.  A file that is missing,
changed, exchanged with another one, or not in that list is never served.  `runtime.entry` opens stored
folders; `source_hashes` has input folders.

A record holds the hash of a folder's manifest, which is that list.  The manifest itself is stored beside
the records under that hash, so that any change to it is noticed.  If it is gone, the whole folder is
hashed, which gives it back.  `commit` keeps manifests.
"""

from __future__ import annotations

import abc
import functools
import json
import os
from pathlib import Path

from ..aliases import names_of
from ..errors import TargetCorrupt, TargetModified, UnsafePath
from ..hashing.encoder import digest, hash_value, hasher, tag
from . import files as storage
from .atomic import refuse_link
from .place import identity
from .roots import FORMAT, METADATA, Root, parsed

__getattr__ = names_of(__name__, "storage.source_hashes")

#: Bytes that are read and hashed at a time.
_BLOCK = 1 << 18


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
        #: Hashes of the blocks of files that were verified.
        self._blocks: dict[str, list[str]] = {}

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

    def check_content(self) -> None:
        """Raise `refusal` if a file is missing, changed or does not belong to the folder."""
        self.check_names()
        for name in self.files:
            self.read_range(name, 0, 0)  # which verifies the whole file

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
            data = _part(file, known, start, stop) if known is not None else None
            # read for the first time, or a block changed, for which `_compare` raises
            return self._read_all(name, expected, file, start, stop) if data is None else data

    def _read_all(self, name, expected, file, start, stop):
        """Verify a whole file, note the hashes of its blocks, and return the bytes of a range."""
        file.seek(0)
        state, blocks, kept, position = hasher(), [], bytearray(), 0
        while block := file.read(_BLOCK):
            state.update(block)
            blocks.append(digest(block))
            kept += block[max(start - position, 0) : max(stop - position, 0)]
            position += len(block)
        self._compare(name, expected, position, state.hexdigest())
        self._blocks[name] = blocks
        return bytes(kept)

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
                story = "is damaged: it does not have the size that was recorded"
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


def _part(file, hashes, start, stop):
    """Return the bytes of a file from `start` to `stop`, or None if a block of them changed."""
    first = start // _BLOCK
    file.seek(first * _BLOCK)
    found = []
    for expected in hashes[first : -(-stop // _BLOCK)]:
        block = file.read(_BLOCK)
        if digest(block) != expected:
            return None
        found.append(block)
    return b"".join(found)[start - first * _BLOCK : stop - first * _BLOCK]


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
        self._folder = identity(path)

    @functools.cached_property
    def files(self):
        known = kept_files(self.manifests, self.expected)
        return self._hashed() if known is None else known

    def _hashed(self):
        manifest = storage.manifest_of(self.path)
        got = hash_value(manifest)
        if got != self.expected:
            story = "a result is not what was stored: a file in it is damaged, missing or too many"
            raise self._corrupt(story, self.path, tag(self.expected), tag(got))
        return {name: (size, digest) for name, size, digest in manifest}

    def refusal(self, name, story, expected, got):
        if identity(self.path) != self._folder:
            return TargetModified(
                "a result was replaced or deleted after it was opened",
                node=self.node,
                target=self.path,
                expected="the folder that was opened",
                got="another one, or nothing",
                hint="open it again",
            )
        return self._corrupt(f"a file of a result {story}", f"{self.path}/{name}", expected, got)

    def _corrupt(self, story, path, expected, got):
        return TargetCorrupt(
            story,
            node=self.node,
            target=path,
            expected=expected,
            got=got,
            hint=f"'dask cache rm {self.path}' and compute again",
        )

    def __reduce__(self):
        return TargetFolder, (self.path, self.expected, self.manifests, self.node)


def check_inside(folder: str, name: str) -> None:
    """Raise `UnsafePath` unless `name`, with ``/`` between its parts, stays inside the folder."""
    if any(part in ("", ".", "..") for part in name.split("/")) or "\\" in name or "\0" in name:
        raise UnsafePath(
            f"{folder} refers to the file {name!r}, which is not in it",
            hint="delete the folder: it was not written by a well-meaning program",
        )


# ---- manifests ----------------------------------------------------------------------------------


def keep_manifest(root: Root, file_hash: str, manifest: list[tuple[str, int, str]] | None) -> None:
    """Store the manifest of a folder, so that single files of it can be verified.

    Parameters
    ----------
    root : Root
    file_hash : str
        Hash of the folder.
    manifest : list or None
        See `daskcache.storage.files.manifest_of`; None for a file, and then nothing is stored.

    Raises
    ------
    StorageError
        If the manifest can't be written.
    """
    if manifest is None:
        return
    path = _manifest_path(root.manifests, file_hash)
    if _is_kept(path, file_hash):
        return
    refuse_link(root.path, f"{METADATA}/manifests/{file_hash[:2]}")
    part = storage.part_path(root, f"{file_hash}.json")
    storage.write_new(part, json.dumps({"daskcache": FORMAT, "files": manifest}).encode())
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.replace(part, path)  # an existing manifest is damaged
    except OSError as error:
        storage.sweep(part)
        raise storage.storage_error(error, path) from error


def mend_manifest(root: Root, location: str, file_hash: str) -> bool:
    """Store the manifest of a folder again if it is gone or damaged.

    Parameters
    ----------
    root : Root
    location : str
        Absolute path of the target; a file has no manifest.
    file_hash : str
        Hash of the manifest, as the record has it.

    Returns
    -------
    bool
        True if the manifest was stored; False if it was intact, or the folder's content has changed.

    Raises
    ------
    StorageError
        If the folder can't be read, or the manifest can't be written.
    """
    if not os.path.isdir(location) or _is_kept(_manifest_path(root.manifests, file_hash), file_hash):
        return False
    part = storage.part_of(location)
    if part.file_hash != file_hash:
        return False
    keep_manifest(root, file_hash, part.manifest)
    return True


def forget_manifest(root: Root, file_hash: str) -> None:
    """Remove the manifest of a folder that was removed or replaced."""
    storage.sweep(_manifest_path(root.manifests, file_hash))


def kept_files(manifests: str, file_hash: str) -> dict[str, tuple[int, str]] | None:
    """Return size in bytes and hash of a stored folder's files by name, or None without a manifest."""
    try:
        return _read_manifest(_manifest_path(manifests, file_hash), file_hash)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _manifest_path(manifests, file_hash):
    return f"{manifests}/{file_hash[:2]}/{file_hash}.json"


def _is_kept(path, file_hash):
    """Return True if a manifest is stored and intact; the read is never served from memory."""
    try:
        _read_manifest.__wrapped__(path, file_hash)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


@functools.lru_cache(maxsize=16)
def _read_manifest(path, expected):
    """Return the files in a manifest; raise ValueError if its hash is not the expected one."""
    files = [tuple(file) for file in parsed(Path(path).read_bytes())["files"]]
    if hash_value(files) != expected:
        raise ValueError(f"{path} is damaged")
    return {name: (size, digest) for name, size, digest in files}
