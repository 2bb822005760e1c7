"""Checks if the look of a file (size, mtime, ctime, inode) vouches for its content.

`daskcache.storage.source_hashes` reads a file once, and takes it for unchanged while it looks the same.
Some writes leave no trace in how it looks:

- a second write within one tick of the file system's clock (git's "racy" rule);
- a write through a memory map to a page that was written to before: Linux sets the times when a page is
  written to for the first time, and not again until it has stored the page;
- a write through a memory map to a file system in memory, which never stores a page.

So how a file looks counts only if the file had been left alone for some while when reading began.  All
its pages have been stored by then: the next write to any of them sets the times.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

#: Nanoseconds.  The coarsest clock of a file system is that of FAT, which ticks every two seconds.
TICK_NS = 2 * 10**9

#: Where Linux says, in hundredths of a second, how old a page gets before it is stored, and how often it
#: looks for such pages.
_STORING = "/proc/sys/vm/dirty_expire_centisecs", "/proc/sys/vm/dirty_writeback_centisecs"
#: Storing takes time, too.  By default Linux needs 35 s at most, which 7 GiB of other data waiting to be
#: stored did not change (measured on ext4).
_MARGIN = 4
#: Where the system doesn't say how long it takes.
_UNKNOWN_NS = 300 * 10**9

#: What fstatfs(2) calls tmpfs, ramfs and hugetlbfs.
_IN_MEMORY = frozenset({0x01021994, 0x858458F6, 0x958458F6})


def is_settled(descriptor: int, changed_ns: int, began_ns: int) -> bool:
    """Tell if a file that was read can't change from now on without looking different.

    Parameters
    ----------
    descriptor : int
        Of the open file.
    changed_ns : int
        The later of its mtime and ctime, when it was opened; nanoseconds.
    began_ns : int
        Time just before it was opened; nanoseconds.
    """
    return changed_ns + _storing_ns() < began_ns and not _is_in_memory(descriptor)


@functools.cache
def _storing_ns():
    """Nanoseconds after which a page that was written to is surely stored."""
    try:
        age, interval = (int(Path(path).read_text()) for path in _STORING)
    except (OSError, ValueError):
        return _UNKNOWN_NS
    # With an interval of 0, pages are stored when memory is short: that may be never.
    return max(_MARGIN * (age + interval) * 10**7, TICK_NS) if interval else float("inf")


def _is_in_memory(descriptor):
    """Tell if the file lies in memory only, as far as Linux says."""
    if sys.platform != "linux":
        return False
    described = _buffer()
    failed = _fstatfs()(descriptor, described)
    return bool(failed) or int.from_bytes(described.raw[:4], sys.byteorder) in _IN_MEMORY


def _buffer():
    import ctypes

    return ctypes.create_string_buffer(256)  # more than a struct statfs, whose first field is the type


@functools.cache
def _fstatfs():
    import ctypes

    return ctypes.CDLL(None).fstatfs
