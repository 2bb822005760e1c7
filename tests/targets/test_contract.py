"""The contract finds what is wrong with a target class."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

import daskcache as dc
from daskcache.errors import DaskcacheError
from daskcache.targets.base import BytesTarget
from daskcache.testing import TargetContract


class Sound(dc.Target):
    """An array of int64, as text; each class below spoils one thing."""

    def write(self, value, path):
        if type(value) is not np.ndarray or value.ndim != 1 or value.dtype != "i8":
            raise self.limit(value, "it is no list of integers", "use .npy")
        with open(path, "x") as file:
            file.write(" ".join(map(str, value)))

    def read(self, path):
        return np.array(Path(path).read_text().split(), "i8")


class Folder(Sound):
    """The same in a folder, with a file for each number."""

    def write(self, value, path):
        self.refuse(value)
        os.mkdir(path)
        for i, number in enumerate(value):
            Path(path, f"{i:03d}").write_text(str(number))

    def refuse(self, value):
        if type(value) is not np.ndarray or value.dtype != "i8":
            raise self.limit(value, "it is no list of integers", "use .npy")

    def read(self, path):
        return np.array([p.read_text() for p in sorted(Path(path).iterdir())], "i8")


class SoundContract(TargetContract):
    target = Sound("a.txt")
    values = [np.arange(3), np.arange(4), np.zeros(0, "i8")]
    refused = [np.arange(3.0), np.zeros(3, "?"), [1, 2], "text"]


class TestSound(SoundContract):
    """The sound one passes."""


class TestFolder(SoundContract):
    """So does the one of folders."""

    target = Folder("a.folder")


class DropsDtype(Sound):
    def read(self, path):
        return super().read(path).astype("f8")


class AnotherType(Sound):
    def read(self, path):
        return super().read(path).tolist()


class Overwrites(Sound):
    def write(self, value, path):
        Path(path).unlink(missing_ok=True)
        super().write(value, path)


class Appends(Sound):
    def write(self, value, path):
        with open(path, "a") as file:
            file.write(" ".join(map(str, value)))


class TellsTheTime(Sound):
    def write(self, value, path):
        super().write(value, path)
        with open(path, "a") as file:
            file.write(" " * (time.monotonic_ns() % 1000))


class ChangesTheValue(Sound):
    def write(self, value, path):
        super().write(value, path)
        value += 1


class Remembers(Sound):
    kept = None

    def write(self, value, path):
        super().write(value, path)
        self.kept = value

    def read(self, path):
        return np.zeros(1, "i8") if self.kept is None else self.kept


class OpensAnother(Sound):
    def open(self, path):
        return super().read(path)[:2]


class TakesFloats(Sound):
    def write(self, value, path):
        super().write(value.astype("i8"), path)


class RaisesAnything(Sound):
    def write(self, value, path):
        if value is not None and type(value) is not np.ndarray:
            raise ValueError("no")
        super().write(value, path)


class GivesNoHint(Sound):
    def limit(self, value, reason, hint):
        return super().limit(value, reason, None)


class TakesNone(Sound):
    def write(self, value, path):
        super().write(np.zeros(0, "i8") if value is None else value, path)


class AsksNothing(Sound):
    def limit(self, value, reason, hint):
        return dc.errors.FormatLimit(reason, hint=hint)


class HashesByAddress(Sound):
    def hash(self, value):
        return f"{id(value):032x}"


class HashesByProcess(Sound):
    def hash(self, value):
        return f"{abs(hash(str(value.tolist()))):032x}"


class HashesToNumbers(Sound):
    def hash(self, value):
        return value.sum()


class HashesAllAlike(Sound):
    def hash(self, value):
        return "0" * 32


class LosesOptions(Sound):
    def __init__(self, path, separator=" "):
        super().__init__(path)
        self.separator = separator

    def at(self, path):
        return type(self)(path)


class MovesItself(Sound):
    def at(self, path):
        self.path = path
        return self


class KeepsAnOpenFile(Sound):
    def __init__(self, path):
        super().__init__(path)
        self.lock = object()


class ShowsNothing(Sound):
    def __repr__(self):
        return "<target>"


class SkipsTheCheck(BytesTarget):
    """Says that it is exact, and is not."""

    exact = True

    def encode(self, value):
        if value is None:
            raise self.limit(value, "", "")
        return [np.asarray(value, "i4").tobytes()]

    def decode(self, data):
        return np.frombuffer(data, "i4").astype("i8")


@pytest.mark.parametrize(
    ("target", "test", "story"),
    [
        (DropsDtype("a"), "what_is_written_is_read", r"read\(\) gives array\(\[0., 1., 2.\]\)"),
        (DropsDtype("a"), "a_node_returns_what_its_target_reads", "a node gives"),
        (AnotherType("a"), "what_is_written_is_read", r"read\(\) gives \[0, 1, 2\]"),
        (Overwrites("a"), "nothing_is_replaced", "raises nothing"),
        (Appends("a"), "nothing_is_replaced", "raises nothing"),
        (TellsTheTime("a"), "equal_values_are_stored_alike", "two files of"),
        (ChangesTheValue("a"), "what_is_written_is_read", "changed the value itself"),
        (Remembers("a"), "what_is_read_is_nobody_elses", "another instance reads"),
        (OpensAnother("a"), "open_gives_what_read_gives", r"open\(\) gives"),
        (OpensAnother("a"), "a_node_returns_what_its_target_reads", r"dc.open\(\) gives"),
        (TakesFloats("a"), "what_it_can_not_hold_is_refused", "raises nothing"),
        (RaisesAnything("a"), "what_it_can_not_hold_is_refused", "raises ValueError"),
        (GivesNoHint("a"), "what_it_can_not_hold_is_refused", "has no hint"),
        (TakesNone("a"), "none_is_asked_about", "raises nothing"),
        (AsksNothing("a"), "none_is_asked_about", "which asks"),
        (HashesByAddress("a"), "hashes_tell_values_apart", "has another hash"),
        (HashesByProcess("a"), "hashes_are_the_same_in_another_process", "other hashes"),
        (HashesToNumbers("a"), "hashes_tell_values_apart", "is not 32 hex digits"),
        (HashesAllAlike("a"), "hashes_tell_values_apart", "two different values"),
        (LosesOptions("a", ","), "the_same_format_at_another_path", "loses options"),
        (MovesItself("a"), "the_same_format_at_another_path", "confuses paths"),
        (KeepsAnOpenFile("a"), "targets_are_values", "a copy is not equal"),
        (ShowsNothing("a"), "targets_are_values", "repr"),
        (SkipsTheCheck("a"), "what_it_can_not_hold_is_refused", "raises nothing"),
    ],
    ids=lambda part: type(part).__name__ if isinstance(part, dc.Target) else "",
)
def test_a_bad_target_is_found(target, test, story, tmp_path):
    """Each fault fails the test that is made for it, with a message that says what is wrong."""
    contract = type("Bad", (SoundContract,), {"target": target})()
    check = getattr(contract, f"test_{test}")
    with pytest.raises(AssertionError, match=story):
        check(*[tmp_path] * ("hash" not in test and "targets_are" not in test and "_at_" not in test))


def test_damage_that_goes_unseen_is_found(tmp_path):
    """A node that gives a value in spite of a damage fails the contract."""

    class Blind(SoundContract):
        def damages(self, path):
            yield "nothing at all"

    with pytest.raises(AssertionError, match=r"nothing at all.*raises nothing"):
        Blind().test_damage_is_never_a_value(tmp_path)


@pytest.mark.parametrize("target", [Sound("a"), Folder("a")])
def test_damages_are_done_and_undone(target, tmp_path):
    """Each damage changes what is stored, and the next one starts from what was there."""
    path = f"{tmp_path}/a"
    target.write(np.arange(3), path)
    contract = SoundContract()
    before = contract.content(path)
    seen = [(what, contract.content(path)) for what in contract.damages(path)]
    assert len(seen) > 6
    assert [what for what, content in seen if content == before] == []
    assert contract.content(path) == before
    with pytest.raises(DaskcacheError):
        target.write(None, path)
