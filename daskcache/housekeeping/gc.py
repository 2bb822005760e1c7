"""How much room a root takes, and how to get some of it back.

What `gc` drops is a target's file, never its record.  A finished graph stays finished when its
intermediates are gone, because the record says what they held; so they go first, those that are cheapest
to make again first.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import StorageError
from ..storage import files as storage
from ..storage import trash
from ..storage.atomic import entered
from ..storage.paths import check_path
from ..storage.records import RecordName
from ..storage.roots import METADATA, Root
from .lineage import Lineage
from .listing import Listed, listed

HOUR = 3600.0


class Holding(NamedTuple):
    """One target and what speaks for keeping it."""

    #: Path from the root.
    path: str
    name: RecordName
    #: Bytes on disk.
    size: int
    #: Whether nothing that is still there was made from it.
    final: bool
    #: When it was last written or read, in seconds since the epoch.
    used: float
    #: Whether it is as recorded: what was edited is never dropped.
    intact: bool = True

    @property
    def seconds_per_byte(self) -> float:
        """What it costs to make again, for what it takes."""
        return self.name.microseconds / 1e6 / self.size if self.size else float("inf")


class Choice(NamedTuple):
    """What to drop, decided and not yet done."""

    #: In the order in which they go.
    drop: list[Holding]
    #: Bytes that the targets of the root take now, and afterwards.
    before: int
    after: int


def holdings(root: Root) -> list[Holding]:
    """The recorded targets of a root that are there, by path."""
    lineage = Lineage(listed(root))
    intermediates = lineage.intermediates()
    found = []
    for item in lineage.by_path.values():
        with contextlib.suppress(FileNotFoundError):  # it is not there, or went while we looked
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
    """Decide which targets to drop; touches nothing.

    Intermediates go before final targets, and among each what takes the fewest seconds per byte to make
    again goes first.

    Parameters
    ----------
    found : list of Holding
    max_size : int, optional
        Bytes that the targets may take together.
    max_age : float, optional
        Seconds; what was made longer ago is dropped whatever its size.
    keep_final : bool
        Keep what nothing else was made from.
    min_age : float
        Seconds; what was written or read since then may be in use by a running graph, and is kept.
    now : float, optional
        Seconds since the epoch.
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

    Returns
    -------
    bool
        False if it is not there any more as it was when it was chosen; then it stays.

    Raises
    ------
    StorageError
        If the file system refuses.
    UnsafePath
        If its record names a place outside of the root, or a folder on the way is a symbolic link.
    """
    check_path(item.path, item.path)
    location = root.absolute(item.path)
    try:
        unused = _last_use(location) <= item.used
        if os.path.islink(location) or storage.stamp(location) != item.name.stamp or not unused:
            return False
        folder, _, name = item.path.rpartition("/")
        aside = storage.part_path(root, name) + storage.DISPLACED
        with entered(root.path, folder, make=False) as opened:
            opened.take(name, aside)
        # A writer may have replaced it since the look before: what is aside can't be replaced.
        if storage.stamp(aside) == item.name.stamp:
            storage.discard(aside)
            return True
        _put_back(root, aside, item.path)
    except FileNotFoundError:
        return False
    except StorageError:
        raise
    except OSError as error:
        raise storage.storage_error(error, location) from error
    return False


def old_trash(root: Root, age: float, now: float | None = None) -> list[tuple[str, int]]:
    """Path and bytes of what has been in the root's trash for longer than `age` seconds."""
    before = (time.time() if now is None else now) - age
    found = []
    for name in sorted(storage.names_in(root.trash)):
        path = f"{root.trash}/{name}"
        status = os.lstat(path)
        # a file keeps its mtime when it is moved; its ctime tells when that was
        if max(status.st_mtime, status.st_ctime) <= before:
            found.append((path, sum(size for _, size in _sizes(path))))
    return found


def empty(path: str) -> None:
    """Delete one thing in the trash, for good."""
    try:
        storage.discard(path)
    except OSError as error:
        raise storage.storage_error(error, path) from error


class Usage(NamedTuple):
    """What takes how much room in a root, in bytes."""

    #: Per function or folder: number of targets and their bytes.
    groups: dict[str, tuple[int, int]]
    trash: int
    #: Results that are being written, or whose writers died.
    parts: int
    #: Records, manifests, code and intents.
    metadata: int
    #: Files that no record knows of.
    other: int

    @property
    def total(self) -> int:
        targets = sum(size for _, size in self.groups.values())
        return targets + self.trash + self.parts + self.metadata + self.other


def usage(root: Root, by: str = "function") -> Usage:
    """What takes how much room in a root.

    Parameters
    ----------
    root : Root
    by : {"function", "folder"}
        What the targets are grouped by.
    """
    groups = {item.path: _group(item, by) for item in listed(root) if item.state != "missing"}
    counts = dict.fromkeys(sorted(set(groups.values())), 0)
    for group in groups.values():
        counts[group] += 1
    sizes = dict.fromkeys(counts, 0)
    rest = {"trash": 0, "parts": 0, "metadata": 0, "other": 0}
    for path, size in _sizes(root.path):
        target = next((p for p in (path, *_folders_of(path)) if p in groups), None)
        if target is not None:
            sizes[groups[target]] += size
        else:
            rest[_kind(path)] += size
    return Usage({group: (counts[group], sizes[group]) for group in counts}, **rest)


# ---- helpers ------------------------------------------------------------------------------------


def _holding(root: Root, item: Listed, final: bool) -> Holding:
    location = root.absolute(item.path)
    intact = item.state == "complete" and not os.path.islink(location)
    size = item.name.size if intact else sum(size for _, size in _sizes(location))
    return Holding(item.path, item.name, size, final, _last_use(location), intact)


def _last_use(location):
    """When a file, or one in a folder, was last written or read.

    That a folder was listed says nothing: to look at a target is no use of it.
    """
    folders = os.walk(location)
    files = [location] if not os.path.isdir(location) else []
    files += [os.path.join(folder, name) for folder, _, names in folders for name in names]
    found = [os.stat(path) for path in files]
    return max((max(each.st_mtime, each.st_atime) for each in found), default=0.0)


def _put_back(root, aside, path):
    try:
        storage.put_new(root, aside, path)
    except FileExistsError:
        trash.keep(root, aside, path, "replaced while it was removed")


def _sizes(location: str) -> Iterator[tuple[str, int]]:
    """Path from `location`, and bytes, of each file below it; of a file, its own."""
    if not os.path.isdir(location) or os.path.islink(location):
        yield "", os.lstat(location).st_size
        return
    for folder, _, names in os.walk(location):
        place = os.path.relpath(folder, location).replace(os.sep, "/")
        for name in names:
            try:
                size = os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:  # it went while we looked
                continue
            yield (name if place == "." else f"{place}/{name}"), size


def _folders_of(path):
    return (str(folder) for folder in Path(path).parents)


def _group(item, by):
    if by == "function":
        return item.record["function"]
    return item.path.rpartition("/")[0] or "."


def _kind(path):
    """What a file is that belongs to no target."""
    top, *below = path.split("/")
    if top != METADATA:
        return "other"
    return below[0] if below[0] in ("trash", "parts") else "metadata"
