"""Damaged targets: never served, whichever way they are read."""

from __future__ import annotations

import os
from random import Random

import pytest
from formats import FORMATS, value_of, which_value

import daskcache as dc
from daskcache.errors import TargetCorrupt, TargetError, TargetMissing, TargetModified

WAYS = "load", "compute", "open", "next node", "planned"


class Victim:
    """A finished node whose file is damaged and mended again."""

    def __init__(self, name, **options):
        target = FORMATS[name].target("result")
        self.node = dc.delayed(value_of, target=target, version=1, **options)(name, "new")
        self.after = dc.delayed(which_value, version=1)(name, self.node)
        self.name = name
        self.node.compute()
        self.path = self.node.dc.path
        self.stat = os.stat(self.path)
        with open(self.path, "rb") as file:
            self.whole = file.read()

    def write(self, content, keep_time=True):
        """Put other bytes into the file, which stays the same one."""
        with open(self.path, "r+b", buffering=0) as file:
            file.write(content)
            file.truncate()
        if keep_time:
            os.utime(self.path, ns=(self.stat.st_atime_ns, self.stat.st_mtime_ns))

    def read(self, way):
        """Get the value; "new" if it is right."""
        if way == "next node":
            return self.after.compute()
        return which_value(self.name, self._read(way))

    def _read(self, way):
        if way == "load":
            return self.node.dc.load()
        if way == "open":
            opened = self.node.dc.open()
            return opened.compute() if hasattr(opened, "compute") else opened
        return self.node.compute()

    def refused(self, way, content, errors, **how):
        """What is wrong with how such a content is refused; None if nothing is."""
        plan = dc.plan(self.node) if way == "planned" else None
        self.write(content, **how)
        try:
            value = self.read(way) if plan is None else which_value(self.name, plan.compute()[0])
        except errors:
            return None
        except Exception as error:  # noqa: BLE001 (whatever it is, it is reported)
            return f"{way}: {error!r}"
        return f"{way}: served {value}"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", FORMATS)
def test_a_flipped_bit(root, full, name):
    """A bit that flips while size and mtime stay is a TargetCorrupt, whichever way it is read."""
    victim, random = Victim(name), Random(name)
    wrong = []
    for number in range(10_000 if full else 1_000):
        bit = random.randrange(8 * len(victim.whole))
        damaged = bytearray(victim.whole)
        damaged[bit // 8] ^= 1 << bit % 8
        found = victim.refused(WAYS[number % len(WAYS)], damaged, TargetCorrupt)
        wrong += [f"bit {bit}: {found}"] if found else []
    assert wrong == []
    victim.write(victim.whole)
    assert [victim.read(way) for way in WAYS] == ["new"] * len(WAYS)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", FORMATS)
def test_cut_short(root, full, name):
    """A file cut short anywhere, the empty one included, is an error, be its time kept or not."""
    victim, wrong = Victim(name), []
    lengths = range(0, len(victim.whole), 1 if full else 1 + len(victim.whole) // 300)
    for number, length in enumerate(lengths):
        for keep_time in (True, False):
            way = WAYS[(number + keep_time) % len(WAYS)]
            errors = TargetCorrupt, TargetModified, *_incomplete(way)
            found = victim.refused(way, victim.whole[:length], errors, keep_time=keep_time)
            wrong += [f"{length} bytes: {found}"] if found else []
            victim.write(victim.whole)
    assert wrong == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FORMATS)
def test_trailing_bytes(root, name, way):
    """A file that something was appended to is an error, be it one byte or another whole file."""
    victim, wrong = Victim(name), []
    for more in (b"\0", b"\n", b" ", victim.whole):
        errors = TargetCorrupt, TargetModified, *_incomplete(way)
        found = victim.refused(way, victim.whole + more, errors)
        wrong += [f"{more[:9]!r} more: {found}"] if found else []
        victim.write(victim.whole)
    assert wrong == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FORMATS)
def test_another_result_of_the_format(root, name, way):
    """A valid file of another result is not taken for this one."""
    victim = Victim(name)
    other = dc.delayed(value_of, target=FORMATS[name].target("other"), version=1)(name, "old")
    other.compute()
    with open(other.dc.path, "rb") as file:
        content = file.read()
    errors = TargetCorrupt, TargetModified, *_incomplete(way)
    assert victim.refused(way, content, errors) is None


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_never_recorded(root, name):
    """Nothing that a damaged result was refused to is recorded; nothing is deleted or overwritten."""
    victim = Victim(name)
    damaged = bytes([victim.whole[0] ^ 1]) + victim.whole[1:]
    after = dc.delayed(which_value, target="after.json", version=1)(name, victim.node)
    victim.write(damaged)
    with pytest.raises(TargetError):
        after.compute()
    assert after.dc.state == "missing"
    with open(victim.path, "rb") as file:
        assert file.read() == damaged


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_found_by_a_plan_that_reads(root, name):
    """With check="content" a plan finds a flipped bit, and the node is made again."""
    victim = Victim(name, check="content")
    assert victim.node.dc.state == "complete"
    victim.write(bytes([victim.whole[0] ^ 1]) + victim.whole[1:])
    assert victim.node.dc.state == "corrupt"
    with pytest.warns(dc.errors.DaskcacheWarning, match="kept as"):
        assert victim.read("compute") == "new"
    assert victim.node.dc.state == "complete"


def _incomplete(way):
    """What `load` and `open` of a node raise when a look at the file's size and time tells enough."""
    return (TargetMissing,) if way in ("load", "open") else ()
