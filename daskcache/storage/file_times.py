"""Test if a file's stamp (size, mtime, ctime, inode) vouches for its content.

`source_hashes` reads a file once and treats it as unchanged while its stamp is the same.  Some writes
leave the stamp as it was: a second write within one tick of the file system's clock (git's "racy" rule),
and writes through a memory map.  Linux sets the times at the first write to a mapped page, and not again
until the page is stored; a file system in memory never stores it.  So a stamp counts only if the file
was left alone for some time before the read.  All its pages are stored then: the next write sets the
times.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

#: Nanoseconds between ticks of the coarsest clock of a file system: FAT ticks every two seconds.
TICK_NS = 2 * 10**9

#: Nanoseconds within which two changes of a folder can have the same time, on a local file system.
FOLDER_TICK_NS = 50_000_000

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
