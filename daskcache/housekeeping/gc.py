"""Disk usage of a root, and the choice of targets to delete; for ``dask cache gc`` and ``du``.

Garbage collection deletes a target's file or folder, never its record.  The record says what the target
held, so a finished graph stays finished without its intermediates.  Intermediates are therefore deleted
before final targets, the cheapest to remake first.
"""

from __future__ import annotations

import contextlib
import functools
import os
import posixpath
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from ..planning.states import COMPLETE
from ..storage import files as storage
from ..storage import trash
from ..storage.atomic import entered
from ..storage.paths import check_path
from ..storage.record import RecordName
from ..storage.roots import METADATA, Root
from .lineage import Lineage
from .listing import Listed, listed
from .outlines import outlined

HOUR = 3600.0


class Holding(NamedTuple):
    """A target on disk, with the facts that decide whether it is kept."""

    #: Path from the root.
    path: str
    #: Name of its record; of an intact target, with the present mtime.
    name: RecordName
    #: Bytes on disk.
    size: int
    #: True if no existing target was made from it.
    final: bool
    #: Time of the last write or read, in seconds since the epoch.
    used: float
    #: True if the target is as recorded.  Edited targets are never deleted.
    intact: bool = True

    @property
    def seconds_per_byte(self) -> float:
        """Run time in seconds to remake the target, divided by its size in bytes."""
        return self.name.microseconds / 1e6 / self.size if self.size else float("inf")


class Choice(NamedTuple):
    """Targets to delete, chosen but not yet deleted."""

    #: The targets in the order of their deletion.
    drop: list[Holding]
    #: Bytes that the root's targets take now.
    before: int
    #: Bytes that they take after the deletion.
    after: int


def holdings(root: Root) -> list[Holding]:
    """Return the recorded targets of a root that exist, by path."""
    lineage = Lineage(listed(root))
    intermediates = lineage.intermediates()
    found = []
    for item in lineage.by_path.values():
        with contextlib.suppress(FileNotFoundError):  # missing, or deleted by another process just now
            found.append(_holding(root, item, final=item.path not in intermediates))
    return found


def choose(
    found: list[Holding],
    *,
    max_size: int | None = None,
    max_age: float | None = None,
    keep_final: bool = False,
    min_age: float = HOUR,
    now: float | None = None,
) -> Choice:
    """Choose the targets to delete; nothing is touched.

    Intermediates go before final targets.  Within each group, the target that takes the fewest seconds
    per byte to remake goes first.

    Parameters
    ----------
    found : list of Holding
    max_size : int, optional
        Bytes that the targets may take together.
    max_age : float, optional
        Seconds.  Targets that were made longer ago are chosen whatever their size.
    keep_final : bool
        Keep targets that no other target was made from.
    min_age : float
        Seconds.  Targets that were written or read since may be in use by a running graph, and are kept.
    now : float, optional
        Seconds since the epoch; by default, the current time.

    Returns
    -------
    Choice
    """
    now = time.time() if now is None else now
    before = after = sum(item.size for item in found)
    old: list[Holding] = []
    others: list[Holding] = []
    for item in sorted(found, key=lambda item: (item.final, item.seconds_per_byte, item.path)):
        if item.intact and now - item.used >= min_age and not (keep_final and item.final):
            too_old = max_age is not None and now - item.name.mtime_ns / 1e9 > max_age
            (old if too_old else others).append(item)
    after -= sum(item.size for item in old)
    chosen = old
    for item in others:
        if max_size is not None and after > max_size and item.size > 0:
            chosen.append(item)
            after -= item.size
    return Choice(chosen, before, after)


def drop(root: Root, item: Holding) -> bool:
    """Delete a target's file or folder and keep its record.

    Parameters
    ----------
    root : Root
    item : Holding

    Returns
    -------
    bool
        True if the target was deleted.  False if it is gone, or has changed or been used since it was
        chosen; then it stays.

    Raises
    ------
    StorageError
        If the file system refuses.
    UnsafePath
        If the record names a place outside of the root, or a folder on the way is a symbolic link.
    """
    check_path(item.path, item.path)
    location = root.absolute(item.path)
    with storage.refused(location), contextlib.suppress(FileNotFoundError):
        unused = last_use(location) <= item.used
        if os.path.islink(location) or storage.stamp(location) != item.name.stamp or not unused:
            return False
        folder, _, name = item.path.rpartition("/")
        aside = storage.part_path(root, name) + storage.DISPLACED
        with entered(root.path, folder, make=False) as opened:
            opened.take(name, aside)
        # A writer may have replaced the target after the check above.  Once it is moved aside, no writer
        # can, so it is compared again here.
        if storage.stamp(aside) == item.name.stamp:
            storage.discard(aside)
            return True
        try:
            storage.put_new(root, aside, item.path)
        except FileExistsError:
            trash.keep(root, aside, item.path, "replaced while it was removed")
    return False


def old_trash(root: Root, age: float, now: float | None = None) -> list[tuple[str, int]]:
    """Return path and bytes of each item that has been in the trash for at least `age` seconds."""
    before = (time.time() if now is None else now) - age
    found = []
    for name in sorted(storage.names_in(root.trash)):
        path = f"{root.trash}/{name}"
        try:
            status = os.lstat(path)
        except FileNotFoundError:  # another process is emptying the trash
            continue
        # a moved file keeps its mtime; its ctime is the time of the move
        if max(status.st_mtime, status.st_ctime) <= before:
            found.append((path, sum(size for _, size in _sizes(path))))
    return found


def empty(path: str) -> None:
    """Delete one item in the trash permanently."""
    with storage.refused(path):
        storage.discard(path)


class Usage(NamedTuple):
    """Disk usage of a root by kind, in bytes."""

    #: Number of targets and their bytes, by function or folder.
    groups: dict[str, tuple[int, int]]
    trash: int
    #: Results that are being written or that dead writers left.
    parts: int
    #: Records, manifests, code and intents.
    metadata: int
    #: Files without a record.
    other: int

    @property
    def total(self) -> int:
        targets = sum(size for _, size in self.groups.values())
        return targets + self.trash + self.parts + self.metadata + self.other


def usage(root: Root, by: str = "function") -> Usage:
    """Measure the disk usage of a root.

    Parameters
    ----------
    root : Root
    by : {"function", "folder"}
        How the targets are grouped.

    Returns
    -------
    Usage
    """
    items = {item.path: item for item in outlined(root)}
    sizes = dict.fromkeys(items, 0)
    found: set[str] = set()
    rest = {"trash": 0, "parts": 0, "metadata": 0, "other": 0}

    @functools.cache
    def target_around(folder):
        return folder if not folder or folder in items else target_around(folder.rpartition("/")[0])

    for path, size in _sizes(root.path):
        target = path if path in items else target_around(path.rpartition("/")[0])
        if target:
            sizes[target] += size
            found.add(target)
        else:
            rest[_kind(path)] += size
    counts: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    for path, item in items.items():
        if path in found or item.stamp is not None:  # tables and empty folders have no file
            group = item.brief.function if by == "function" else posixpath.dirname(path) or "."
            counts[group] += 1
            totals[group] += sizes[path]
    return Usage({group: (counts[group], totals[group]) for group in sorted(counts)}, **rest)


# ---- helpers ------------------------------------------------------------------------------------


def _holding(root: Root, item: Listed, final: bool) -> Holding:
    location = root.absolute(item.path)
    intact = item.state == COMPLETE and not os.path.islink(location)
    size = item.name.size if intact else sum(size for _, size in _sizes(location))
    name = item.name
    if intact and item.stamp is not None:
        name = name._replace(mtime_ns=item.stamp.mtime_ns)
    return Holding(item.path, name, size, final, last_use(location), intact)


def last_use(location):
    """Return the time when a file, or any file in a folder, was last written or read.

    The times of folders don't count: listing a folder only looks at a target and does not use it.
    """
    folders = os.walk(location)
    files = [location] if not os.path.isdir(location) else []
    files += [os.path.join(folder, name) for folder, _, names in folders for name in names]
    found = [os.stat(path) for path in files]
    return max((max(each.st_mtime, each.st_atime) for each in found), default=0.0)


def _sizes(location: str) -> Iterator[tuple[str, int]]:
    """Yield path from `location` and bytes of each file below it; a file itself has the path ``""``."""
    if not os.path.isdir(location) or os.path.islink(location):
        yield "", os.lstat(location).st_size
        return
    for folder, _, names in os.walk(location):
        place = os.path.relpath(folder, location).replace(os.sep, "/")
        before = "" if place == "." else f"{place}/"
        for name in names:
            try:
                yield before + name, os.lstat(f"{folder}/{name}").st_size
            except FileNotFoundError:  # deleted by another process just now
                continue


def _kind(path):
    """Return the field of `Usage` that counts a file that belongs to no target."""
    top, *below = path.split("/")
    if top != METADATA:
        return "other"
    return below[0] if below[0] in ("trash", "parts") else "metadata"
