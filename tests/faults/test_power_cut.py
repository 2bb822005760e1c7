"""Power cuts: a commit is recorded, then replayed with what had not reached the disk dropped.

A disk may lose, or keep, each change of a folder (a new name, a link, a rename, a removal) until that
folder is synced, and the bytes of a file until that file is.  A rename between two folders is one
change, which is sure once either is synced: file systems with a journal keep it so.  For each point of a
commit, and for each choice of what was lost, a root is made as it would be found, and computed again.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dask
import pytest

import daskcache as dc
from daskcache.errors import DaskcacheError
from daskcache.storage import system_calls
from daskcache.storage.roots import Root

pytestmark = pytest.mark.filterwarnings("ignore::daskcache.errors.DaskcacheWarning")


@dataclass(eq=False)
class Inode:
    """A file: what was written to it, and what of that is surely on the disk."""

    data: bytes = b""
    safe: bool = False
    mtime_ns: int = 0


@dataclass
class Change:
    """A change of folders' lists: names that went and names that came."""

    gone: list[str]
    came: dict[str, Inode]

    def folders(self):
        return {os.path.dirname(path) for path in (*self.gone, *self.came)}


@dataclass
class Disk:
    """What is in a folder, and everything that happened to it since."""

    files: dict[str, Inode]
    #: `Change`, or the name of a folder or the `Inode` that was synced.
    journal: list = field(default_factory=list)

    @classmethod
    def of(cls, top):
        found = (p for p in Path(top).rglob("*") if p.is_file())
        return cls({str(p): Inode(p.read_bytes(), True, p.stat().st_mtime_ns) for p in found})

    def change(self, gone, came):
        self.journal.append(Change(gone, came))
        self._apply(self.files, self.journal[-1])

    @staticmethod
    def _apply(files, change):
        for path in change.gone:
            files.pop(path, None)
        files.update(change.came)


def _full(path, dir_fd=None):
    path = os.fspath(path)
    if dir_fd is not None and not path.startswith("/"):
        return f"{os.readlink(f'/proc/self/fd/{dir_fd}')}/{path}"
    return path


@contextmanager
def recording(disk, below):
    """Record what a commit does with files into a `Disk`, while it does it."""
    open_folder = system_calls.open_folder
    real = {name: getattr(os, name) for name in ("open", "write", "fsync", "link", "rename")}
    real |= {name: getattr(os, name) for name in ("replace", "unlink", "close")}
    descriptors = {}

    def open_(path, flags, mode=0o777, *, dir_fd=None):
        descriptor = real["open"](path, flags, mode, dir_fd=dir_fd)
        full = _full(path, dir_fd)
        if full.startswith(below):
            if flags & os.O_CREAT and full not in disk.files:
                disk.change([], {full: Inode()})
            descriptors[descriptor] = disk.files.get(full, full)
        return descriptor

    def system_open(path):
        descriptor = open_folder(path)
        if descriptor is not None and path.startswith(below):
            descriptors[descriptor] = path
        return descriptor

    def write(descriptor, data):
        written = real["write"](descriptor, data)
        inode = descriptors.get(descriptor)
        if isinstance(inode, Inode):
            inode.data += bytes(data)[:written]
            inode.mtime_ns = os.fstat(descriptor).st_mtime_ns
        return written

    def close(descriptor):
        descriptors.pop(descriptor, None)
        real["close"](descriptor)

    def fsync(descriptor):
        if descriptor in descriptors:
            disk.journal.append(descriptors[descriptor])
        real["fsync"](descriptor)

    def link(src, dst, *, src_dir_fd=None, dst_dir_fd=None):
        real["link"](src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        inode = disk.files.get(_full(src, src_dir_fd))
        if inode is not None:
            disk.change([], {_full(dst, dst_dir_fd): inode})

    def rename(src, dst, *, src_dir_fd=None, dst_dir_fd=None, how="rename"):
        real[how](src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        source = _full(src, src_dir_fd)
        if source in disk.files:
            disk.change([source], {_full(dst, dst_dir_fd): disk.files[source]})

    def unlink(path, *, dir_fd=None):
        real["unlink"](path, dir_fd=dir_fd)
        if _full(path, dir_fd) in disk.files:
            disk.change([_full(path, dir_fd)], {})

    system = system_calls.rename

    def system_rename(source, destination, folder, how):
        number = system(source, destination, folder, how)
        if number == 0:
            there = _full(destination, folder)
            came = {there: disk.files[source]}
            if how == system_calls.EXCHANGE:
                came[source] = disk.files[there]
            disk.change([source], came)
        return number

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(system_calls, "rename", system_rename)
        patch.setattr(system_calls, "open_folder", system_open)
        for name, function in (
            *(("open", open_), ("write", write), ("fsync", fsync), ("link", link), ("close", close)),
            *(("rename", rename), ("unlink", unlink)),
            ("replace", functools.partial(rename, how="replace")),
        ):
            patch.setattr(os, name, function)
        yield


def after_each_cut(before, disk, most):
    """Every list of files that may be found after a power cut: at each point, each choice of losses."""
    chance = random.Random(1)
    for end in range(len(disk.journal) + 1):
        past = disk.journal[:end]
        files = {inode for inode in past if isinstance(inode, Inode)}
        unsure = []
        for position, change in enumerate(past):
            if isinstance(change, Change):
                synced = {x for x in past[position:] if isinstance(x, str)}
                if not change.folders() & synced:
                    unsure.append(position)
        every = [set(), set(unsure)]
        every += [{p for p in unsure if chance.random() < 0.5} for _ in range(most)]
        for lost in every if len(unsure) > 1 else every[: 1 + len(unsure)]:
            found = dict(before)
            for position, change in enumerate(past):
                if isinstance(change, Change) and position not in lost:
                    Disk._apply(found, change)
            yield {
                path: (inode.data if inode.safe or inode in files else b"", inode.mtime_ns)
                for path, inode in found.items()
            }


def lay_out(found, root):
    """Make a root as it was found."""
    shutil.rmtree(root)
    for path, (data, mtime_ns) in found.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)
        os.utime(path, ns=(mtime_ns, mtime_ns))


def make(n):
    @dc.delayed(target="sub/x.json", version=n)
    def x():
        return [n] * 3

    return x()


def cut(root, durability, replacing, full):
    """What goes wrong after power cuts in a commit: messages of errors, and wrong values."""
    wrong = []
    with dask.config.set({"daskcache.durability": durability, "scheduler": "sync"}):
        if replacing:
            make(1).compute()
        else:
            Root(str(root)).create()
        before = Disk.of(root)
        disk = Disk(dict(before.files))
        with recording(disk, str(root)):
            make(2).compute()
    cuts = 0
    with dask.config.set({"scheduler": "sync"}):
        for found in after_each_cut(before.files, disk, 1000 if full else 12):
            cuts += 1
            lay_out(found, root)
            for n in (2, 1):
                try:
                    value = make(n).compute()
                except DaskcacheError as error:
                    wrong.append(type(error).__name__)
                else:
                    wrong += [f"gave {value}"] if value != [n] * 3 else []
    return wrong, cuts


@pytest.mark.parametrize("replacing", [False, True], ids=["fresh", "replacing"])
def test_power_cuts_leave_the_old_the_new_or_a_miss(root, replacing, full):
    """With durability "power", whatever the disk lost, the next run gives right values, without help."""
    wrong, cuts = cut(root, "power", replacing, full)
    assert wrong == []
    assert cuts > 10


@pytest.mark.parametrize("replacing", [False, True], ids=["fresh", "replacing"])
def test_without_syncs_power_cuts_do_harm(root, replacing, full):
    """The control: with durability "process" some cut leaves what needs a person's help."""
    wrong, _ = cut(root, "process", replacing, full)
    assert wrong
