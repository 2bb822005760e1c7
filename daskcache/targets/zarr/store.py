"""Zarr stores: one hashes each object as it is written, the other guards each read.

`target` writes through `HashingStore`, and `values` reads through `GuardedStore`.  The verified folders
below it are in `storage.verified_folders`.  Pickle must find the classes by name, so they are at the top
level of this module, which is imported only where Zarr is installed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from ...errors import UntrustedPickle
from ...storage import files as storage
from ...storage.files import Part
from ...storage.roots import parsed
from ...storage.verified_folders import VerifiedFolder, check_inside

#: Names of files that may describe an array, or the arrays within a group.
_METADATA = frozenset({"zarr.json", ".zarray", ".zgroup", ".zmetadata"})


class HashingStore(LocalStore):
    """A store in a new folder, which hashes each object as it is written.

    No other process writes to the folder.

    Parameters
    ----------
    root, read_only
        As for `LocalStore`.

    Raises
    ------
    StorageError
        When an object can't be written.
    """

    def __init__(self, root: Path | str, *, read_only: bool = False):
        super().__init__(root, read_only=read_only)
        self._path = str(root)
        self._written: dict[str, Part] = {}

    def part(self) -> Part:
        """Return the written folder as a `Part`.

        Objects that were not written by `set` are read to hash them.
        """
        return storage.part_of(self._path, self._written)

    async def set(self, key: str, value: Buffer) -> None:
        await asyncio.to_thread(self._write, key, value)

    # that of `LocalStore` writes past `set`
    set_if_not_exists = Store.set_if_not_exists

    def _write(self, key, value):
        path = f"{self._path}/{key}"
        if key in self._written:  # `write_part` writes new files only
            storage.discard(path)
        self._written[key] = storage.write_part(path, [value.as_buffer_like()])


class GuardedStore(Store):
    """A read-only store, which refuses metadata that name a codec that runs code.

    All reads go through the folder.  A store can be pickled.  It then takes along a verified folder's
    hash, not its list of files.

    Parameters
    ----------
    folder : VerifiedFolder or PlainFolder
        The folder to read from; a `VerifiedFolder` verifies each read.

    Raises
    ------
    TargetCorrupt, SourceChanged, TargetModified, UnsafePath, StorageError
        When an object is read; see `VerifiedFolder.read`.
    UntrustedPickle
        When the metadata of an array with pickled data is read.
    """

    supports_writes = False
    supports_deletes = False
    supports_partial_writes = False
    supports_listing = True

    def __init__(self, folder: VerifiedFolder | PlainFolder):
        super().__init__(read_only=True)
        self.folder = folder

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        data = await asyncio.to_thread(self._read, key, byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        wanted = [self.get(key, prototype, byte_range) for key, byte_range in key_ranges]
        return list(await asyncio.gather(*wanted))

    def _read(self, key, byte_range):
        if byte_range is None:
            data = self.folder.read(key)
            if data is not None and key.rpartition("/")[2] in _METADATA:
                refuse_pickles(data, f"{self.folder.path}/{key}")
            return data
        if isinstance(byte_range, RangeByteRequest):
            return self.folder.read_range(key, byte_range.start, byte_range.end)
        if isinstance(byte_range, OffsetByteRequest):
            return self.folder.read_range(key, byte_range.offset, None)
        if isinstance(byte_range, SuffixByteRequest):
            return self.folder.read_range(key, -byte_range.suffix, None)
        raise TypeError(f"Zarr asked for an unknown kind of byte range: {byte_range!r}")

    async def exists(self, key: str) -> bool:
        return key in self.folder.files

    async def list(self) -> AsyncIterator[str]:
        for name in self.folder.files:
            yield name

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for name in self.folder.files:
            if name.startswith(prefix):
                yield name

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        for name in self._children.get(prefix.strip("/"), ()):
            yield name

    @functools.cached_property
    def _children(self) -> dict[str, dict[str, None]]:
        """Names of the files and folders in each folder."""
        found: dict[str, dict[str, None]] = {}
        for name in self.folder.files:
            while name:
                name, _, child = name.rpartition("/")
                found.setdefault(name, {})[child] = None
        return found

    async def set(self, key: str, value: Buffer) -> None:
        self._check_writable()

    async def delete(self, key: str) -> None:
        self._check_writable()

    async def delete_dir(self, prefix: str) -> None:
        self._check_writable()

    async def set_partial_values(self, key_start_values: Iterable[tuple[str, int, bytes]]) -> None:
        self._check_writable()  # part of the interface until Zarr 3.1

    def with_read_only(self, read_only: bool = False) -> GuardedStore:
        if not read_only:
            raise ValueError("what daskcache verifies is read-only")
        return GuardedStore(self.folder)

    def __reduce__(self):
        return GuardedStore, (self.folder,)

    def __eq__(self, other):
        return isinstance(other, GuardedStore) and self.folder == other.folder

    def __repr__(self):
        return f"GuardedStore({self.folder.path!r})"

    __str__ = __repr__


@dataclasses.dataclass(frozen=True)
class PlainFolder:
    """A folder without a recorded content, with the reading methods of a `VerifiedFolder`."""

    #: The folder.
    path: str

    @functools.cached_property
    def files(self) -> dict[str, None]:
        """Names of the files in the folder, listed at the first access."""
        return dict.fromkeys(storage.files_below(self.path))

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, or None if it is not there."""
        return self.read_range(name, 0, None)

    def read_range(self, name: str, start: int, stop: int | None) -> bytes | None:
        """Return part of a file, or None if it is not there; see `VerifiedFolder.read_range`.

        Raises
        ------
        UnsafePath
            If the name leads out of the folder.
        """
        check_inside(self.path, name)
        try:
            with open(f"{self.path}/{name}", "rb") as file:
                file.seek(start, os.SEEK_END if start < 0 else os.SEEK_SET)
                return file.read(-1 if stop is None else max(stop - start, 0))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def __reduce__(self):
        return PlainFolder, (self.path,)  # without the list of its files


def refuse_pickles(metadata: bytes, path: str) -> None:
    """Raise `UntrustedPickle` if the metadata of one or more arrays name a pickle codec.

    Some versions of numcodecs have one, under a name of Zarr 2 or Zarr 3.  It runs the code in a chunk.
    """
    try:
        content = parsed(metadata)
    except ValueError:  # Zarr will report the error
        return
    if _names_pickle(content, is_codec=False):
        raise UntrustedPickle(
            "this Zarr array holds pickled objects, which are not loaded",
            target=path,
            hint="write it again with a plain dtype",
        )


#: Keys under which metadata name codecs.  Other text, such as the user's attributes, does not count.
_OF_CODECS = frozenset({"codecs", "compressor", "filters", "index_codecs"})


def _names_pickle(content: Any, is_codec: bool) -> bool:
    """Test if metadata name a pickle codec, at any depth."""
    if isinstance(content, str):
        return is_codec and any(word in content.lower() for word in ("pickle", "dill"))
    if isinstance(content, list):
        return any(_names_pickle(each, is_codec) for each in content)
    if isinstance(content, dict):
        return any(_names_pickle(v, is_codec or k in _OF_CODECS) for k, v in content.items())
    return False
