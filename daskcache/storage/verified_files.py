"""Files that are checked as they are read.

A format that decodes a large file in parts needs no copy of the whole file in memory.  Nothing may
change between the check of the file and its use, so each part is checked, too.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO

from ..hashing.algorithms import digest, hasher
from .atomic import refused

#: Stands for the hash of a content that changed after it was hashed.
CHANGED = "other content"
#: Bytes that are hashed and compared at a time; such a block stays in the CPU's cache.
_BLOCK = 2**18


class VerifiedFile(io.RawIOBase):
    """A binary file that returns no byte before the whole content has the expected hash.

    A file that is read at once is hashed on the way.  A file that is read in parts is hashed before, and
    so is each of its blocks.  Each block is compared with its hash whenever it is read.

    Parameters
    ----------
    file : binary file
        The file, open at its start.  It is closed with this one.
    verify : callable
        Takes the hash of the content, and raises if it is not the expected one.  It gets `CHANGED`, and
        must raise, if the file changes while it is read.

    Notes
    -----
    Some decoders swallow errors.  So a refused content raises again when the context ends.
    """

    def __init__(self, file: BinaryIO, verify: Callable[[str], None]):
        self._file, self._verify = file, verify
        #: Hash of each block, or None before the file was hashed.
        self._hashes: list[str] | None = None
        self._buffer = memoryview(b"")
        #: Number of the block in the buffer.
        self._held = -1
        self._at = self._size = 0
        self._refusal: BaseException | None = None

    def read(self, size: int | None = -1) -> bytes:
        if self._hashes is None and (size is None or size < 0):
            with self._refused():
                content = self._file.read()
            self._check(digest(content))
            return content
        return super().read(-1 if size is None else size)

    def readinto(self, buffer) -> int:
        self._hash_blocks()
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._at < self._size:
            count = self._read_some(view[done:])
            done, self._at = done + count, self._at + count
        return done

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._hash_blocks()
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def __exit__(self, *error):
        self.close()
        if self._refusal:
            raise self._refusal

    def _hash_blocks(self):
        if self._hashes is not None:
            return
        self._buffer = memoryview(bytearray(_BLOCK))
        whole, hashes = hasher(), []
        while count := self._fill(self._buffer):
            block = self._buffer[:count]
            whole.update(block)
            hashes.append(digest(block))
            self._size += count
        self._check(whole.hexdigest())
        self._hashes = hashes
        self._held = len(hashes) - 1

    def _read_some(self, view):
        """Fill the start of a view from one block; return the number of bytes."""
        number, start = divmod(self._at, _BLOCK)
        length = min(_BLOCK, self._size - number * _BLOCK)
        if start == 0 and len(view) >= length and number != self._held:  # needs no copy
            self._read_block(number, view[:length])
            return length
        if number != self._held:
            self._held = -1
            self._read_block(number, self._buffer[:length])
            self._held = number
        count = min(length - start, len(view))
        view[:count] = self._buffer[start : start + count]
        return count

    def _read_block(self, number, view):
        with self._refused():
            self._file.seek(number * _BLOCK)
        count = self._fill(view)
        if count != len(view) or digest(view) != self._hashes[number]:
            self._check(CHANGED)

    def _fill(self, view):
        with self._refused():
            return self._file.readinto(view)

    def _refused(self):
        return refused(self._file.name)

    def _check(self, found):
        try:
            self._verify(found)
        except BaseException as error:
            self._refusal = error
            raise
