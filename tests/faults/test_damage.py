"""Damaged targets: never served, whichever way they are read."""

from __future__ import annotations

import itertools
import os
import shutil
import warnings
from pathlib import Path
from random import Random

import dask
import h5py
import pytest
from formats import FOLDERS, IN_FILES, files_of, value_of, which_value

import daskcache as dc
from daskcache.errors import DaskcacheWarning, TargetCorrupt, TargetError
from daskcache.housekeeping.verify import verify
from daskcache.planning.planner import Planner
from daskcache.storage import trash
from daskcache.storage.roots import Root

#: Ways to get at a value that make a damaged result again, and those that refuse it.
MENDING = {
    "compute": lambda victim: victim.node.compute(),
    "dc.compute": lambda victim: dc.compute(victim.node)[0],
    "next node": lambda victim: victim.after.compute(),
}
REFUSING = {
    "load": lambda victim: victim.node.dc.load(),
    "open": lambda victim: whole(victim.node.dc.open()),
    "dask.compute": lambda victim: dask.compute(victim.node)[0],
    "Dask's next node": lambda victim: dask.compute(victim.after)[0],
    "planned": lambda victim: victim.plan.compute()[0],
}


class Victim:
    """A finished node whose target is damaged and mended again, and one that it is passed to."""

    def __init__(self, root, name, **options):
        target = IN_FILES[name].target("result")
        self.root, self.name = str(root), name
        self.node = dc.delayed(value_of, target=target, version=1, **options)(name, "new")
        self.after = dc.delayed(which_value, target="after.json", version=1)(name, self.node)
        self.node.compute()
        self.path = self.node.dc.path
        self.plan = dc.plan(self.node)
        self.entry = Planner().look(self.node._recipe).entry
        self.entry.read_only = True  # what is damaged is to stay where it is
        self.whole = files_of(self.path)
        self.times = {file: os.stat(self._file(file)).st_mtime_ns for file in self.whole}

    def _file(self, name):
        return f"{self.path}/{name}" if name else self.path

    def write(self, name, content, keep_time=True):
        """Put other bytes into a file, which stays the same one."""
        with open(self._file(name), "r+b", buffering=0) as file:
            file.write(content)
            file.truncate()
        if keep_time:
            self._set_time(name)

    def _set_time(self, name):
        os.utime(self._file(name), ns=(self.times[name], self.times[name]))

    def mend(self, name):
        self.write(name, self.whole[name])

    def flipped(self, random):
        """Name of a file, and its content with one bit flipped."""
        name = random.choices(list(self.whole), [len(data) for data in self.whole.values()])[0]
        damaged = bytearray(self.whole[name])
        bit = random.randrange(8 * len(damaged))
        damaged[bit // 8] ^= 1 << bit % 8
        return name, bytes(damaged)

    def flip(self, random):
        """Flip a bit for good; the damaged content."""
        name, damaged = self.flipped(random)
        self.write(name, damaged)
        return damaged

    def served(self, errors=TargetError):
        """What is wrong with how the damaged target is refused; empty if nothing is."""
        return [story for way in ("load", "open") if (story := self._served(way, errors))]

    def _served(self, way, errors):
        try:
            value = self.entry.load() if way == "load" else whole(self.entry.open())
        except errors:
            return None
        except Exception as error:  # noqa: BLE001 (whatever it is, it is reported)
            return f"{way}: {error!r}"
        return f"{way}: served {which_value(self.name, value)}"

    def value_of(self, way):
        """Which value a way gives, and what is warned of."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = way(self)
        said = [str(w.message) for w in caught if issubclass(w.category, DaskcacheWarning)]
        return value if type(value) is str and value == "new" else which_value(self.name, value), said

    def is_kept(self, damaged):
        """Whether such bytes are in the trash."""
        kept = [files_of(thing.kept) for thing in trash.listed(Root(self.root))]
        return any(damaged in files.values() for files in kept)


def whole(opened):
    """The value behind what `open` gives."""
    if isinstance(opened, h5py.File):
        with opened:
            return {name: opened[name][()] for name in opened}
    for load in ("compute", "collect"):  # Dask's and polars' lazy frames
        if hasattr(opened, load):
            return getattr(opened, load)()
    return opened[...] if hasattr(opened, "chunks") else opened


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", IN_FILES)
def test_a_flipped_bit(root, full, name):
    """A bit that flips while size and mtime stay is a TargetCorrupt, loaded or opened."""
    victim, random = Victim(root, name), Random(name)
    wrong = []
    for _ in range(10_000 if full else 1_000):
        file, damaged = victim.flipped(random)
        victim.write(file, damaged)
        wrong += [f"{file}: {story}" for story in victim.served(TargetCorrupt)]
        victim.mend(file)
    assert wrong == []
    assert victim.served() == ["load: served new", "open: served new"]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", IN_FILES)
def test_cut_short(root, full, name):
    """A file cut short anywhere, the empty one included, is an error, be its time kept or not."""
    victim, wrong = Victim(root, name), []
    for file, content in victim.whole.items():
        for length in range(0, len(content), 1 if full else 1 + len(content) // 50):
            for keep_time in (True, False):
                victim.write(file, content[:length], keep_time)
                wrong += [f"{file}, {length} bytes: {story}" for story in victim.served()]
                if victim.node.dc.state == "complete":
                    wrong.append(f"{file}, {length} bytes: complete")
                victim.mend(file)
    assert wrong == []


@pytest.mark.parametrize("name", IN_FILES)
def test_trailing_bytes(root, name):
    """A file that something was appended to is an error, be it one byte or another whole file."""
    victim, wrong = Victim(root, name), []
    for file, content in victim.whole.items():
        for more in (b"\0", b"\n", b" ", content):
            victim.write(file, content + more)
            wrong += [f"{file}, {more[:9]!r} more: {story}" for story in victim.served()]
            victim.mend(file)
    assert wrong == []


@pytest.mark.parametrize("name", IN_FILES)
def test_another_result_of_the_format(root, name):
    """A valid target of another result is not taken for this one."""
    victim = Victim(root, name)
    other = dc.delayed(value_of, target=IN_FILES[name].target("other"), version=1)(name, "old")
    other.compute()
    for file, content in files_of(other.dc.path).items():
        victim.write(file, content)
    assert victim.served() == []


@pytest.mark.parametrize("name", FOLDERS)
def test_files_of_a_folder(root, name):
    """A file of a folder that is missing, one too many, or in the place of another: an error."""
    victim, wrong = Victim(root, name), []
    for file, content in victim.whole.items():
        Path(victim.path, file).unlink()
        wrong += [f"{file} missing: {story}" for story in victim.served()]
        Path(victim.path, file).write_bytes(content)
        victim.mend(file)
        extra = Path(victim.path, f"{file}9")
        extra.write_bytes(content)
        wrong += [f"{file} twice: {story}" for story in victim.served()]
        extra.unlink()
    for one, two in itertools.combinations(victim.whole, 2):
        victim.write(one, victim.whole[two])
        victim.write(two, victim.whole[one])
        wrong += [f"{one} and {two} swapped: {story}" for story in victim.served()]
        victim.mend(one)
        victim.mend(two)
    assert wrong == []
    assert victim.served() == ["load: served new", "open: served new"]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("way", MENDING)
@pytest.mark.parametrize("name", IN_FILES)
def test_what_is_damaged_is_made_again(root, full, name, way):
    """daskcache's own verbs make a damaged result again, say so, and keep what was there."""
    victim, random = Victim(root, name), Random(name)
    for _ in range(300 if full else 3):
        damaged = victim.flip(random)
        value, said = victim.value_of(MENDING[way])
        assert value == "new"
        assert any("made again, because" in text for text in said)
        assert victim.is_kept(damaged)
        assert victim.node.dc.state == "complete"
        victim = _again(root, name)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("way", REFUSING)
@pytest.mark.parametrize("name", IN_FILES)
def test_what_is_damaged_is_refused(root, full, name, way):
    """Whoever reads a damaged result gets an error, and nothing is recorded; then it is made again."""
    victim, random = Victim(root, name), Random(name)
    for _ in range(300 if full else 3):
        damaged = victim.flip(random)
        with pytest.raises(TargetCorrupt):
            REFUSING[way](victim)
        assert victim.after.dc.state == ("failed" if way == "Dask's next node" else "missing")
        if way != "open" or name not in FOLDERS:  # whose files are read later, by Zarr or Dask
            assert victim.node.dc.state == "missing"
        assert victim.value_of(MENDING["next node"])[0] == "new"
        assert victim.is_kept(damaged)
        victim = _again(root, name)


def _again(root, name):
    """A victim in an empty root."""
    shutil.rmtree(root)
    return Victim(root, name)


@pytest.mark.parametrize("name", IN_FILES)
def test_damage_is_found_by_a_plan_that_reads(root, name):
    """With check="content" a plan finds a flipped bit, and the node is made again."""
    victim = Victim(root, name, check="content")
    assert victim.node.dc.state == "complete"
    damaged = victim.flip(Random(name))
    assert victim.node.dc.state == "corrupt"
    value, said = victim.value_of(MENDING["compute"])
    assert value == "new"
    assert any("kept as" in text for text in said)
    assert victim.is_kept(damaged)
    assert victim.node.dc.state == "complete"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", IN_FILES)
def test_verify_finds_all_damage(root, full, name):
    """`dask cache verify` finds every flipped bit, though size and mtime stay."""
    victim, random = Victim(root, name), Random(name)
    states = []
    for _ in range(1_000 if full else 20):
        file, damaged = victim.flipped(random)
        victim.write(file, damaged)
        states += [item.state for item in verify(Root(victim.root))]
        victim.mend(file)
    assert set(states) == {"corrupt"}
    assert [item.state for item in verify(Root(victim.root))] == ["complete"]
