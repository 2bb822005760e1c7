"""Handles of results: what they read, what they refuse, and what becomes of what they refuse."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import daskcache as dc
from daskcache.errors import TargetCorrupt, TargetError, TargetMissing, TargetModified
from daskcache.hashing.encoder import digest, hash_value
from daskcache.runtime.data_hashes import joint_hash
from daskcache.runtime.entry import Entry, Stored
from daskcache.runtime.held import Deferred, Failure, Held
from daskcache.storage.files import stamp
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root

KEY = 32 * "a"


@pytest.fixture
def stored(root):
    """Stores values as files of the root; returns them as results of an entry."""
    Root(str(root)).create()

    def stored(value, name="x.json", target=dc.JSONTarget):
        path = root / name
        target(str(path)).write(value, str(path))
        return Stored(target(name), hash_value(value), digest(path.read_bytes()), stamp(str(path)))

    return stored


@pytest.fixture
def entry(root, stored):
    """Makes an entry of one stored value."""

    def entry(value=7, name="x.json", target=dc.JSONTarget):
        return Entry(KEY, str(root), (stored(value, name, target),), label="node(x)")

    return entry


def damage(path):
    """Change a byte, and leave size and times as they are."""
    found = os.stat(path)
    Path(path).write_bytes(b"8" + Path(path).read_bytes()[1:])
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_a_value_is_read_and_verified(entry):
    assert entry({"a": [1, 2]}).load() == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("layout", "expected"), [(2, (1, "b")), (("one", "two"), {"one": 1, "two": "b"})]
)
def test_several_results_come_back_as_they_were_returned(root, stored, layout, expected):
    results = (stored(1, "1.json"), stored("b", "2.json"))
    entry = Entry(KEY, str(root), results, layout)
    assert entry.load() == entry.open() == expected
    assert entry.data_hash == joint_hash([result.data_hash for result in results])
    assert entry.place == "1.json"


def test_small_contents_travel_with_the_handle(root, entry):
    """The file isn't needed any more."""
    handle = entry(7)
    handle.inline = (b"7",)
    os.remove(root / "x.json")
    assert pickle.loads(pickle.dumps(handle)).load() == 7


def test_a_file_that_is_gone(root, entry):
    handle = entry()
    os.remove(root / "x.json")
    with pytest.raises(TargetMissing, match="no longer there") as caught:
        handle.load()
    assert (caught.value.node, caught.value.target) == ("node(x)", f"{root}/x.json")


@pytest.mark.parametrize("access", [Entry.load, Entry.lend, Entry.open])
def test_an_edited_file_is_refused_and_stays(root, entry, access):
    handle = entry()
    (root / "x.json").write_text("10")
    with pytest.raises(TargetModified, match="edited after it was stored"):
        access(handle)
    assert (root / "x.json").read_text() == "10"


@pytest.mark.parametrize("access", [Entry.load, Entry.lend, Entry.open])
def test_a_damaged_file_is_refused_and_kept_aside(root, entry, access):
    """Its size and times are as recorded, so it wasn't edited; the node can rerun."""
    handle = entry()
    damage(root / "x.json")
    with pytest.raises(TargetCorrupt, match="is kept as") as caught:
        access(handle)
    assert not (root / "x.json").exists()
    kept = caught.value.hint.partition("is kept as ")[2].rstrip(")")
    assert Path(kept).read_text() == "8\n"


def test_a_damaged_file_stays_for_a_reader_that_may_not_write(root, entry):
    handle = entry()
    handle.read_only = True
    damage(root / "x.json")
    with pytest.raises(TargetCorrupt):
        handle.load()
    assert (root / "x.json").read_text() == "8\n"


def test_bytes_that_the_format_cannot_read(root, entry):
    """They are as recorded, and still no value: the error names format and remedy."""
    handle = entry()
    (root / "x.json").write_text("{")
    whole = handle.stored[0]._replace(file_hash=digest(b"{"), stamp=stamp(str(root / "x.json")))
    handle.stored = (whole,)
    with pytest.raises(TargetError, match="can't be read as what it is recorded to be") as caught:
        handle.load()
    assert "JSONTarget" in caught.value.expected


def test_a_loaded_array_is_the_callers_own(entry):
    """Changes to it change neither the file nor what is loaded next."""
    handle = entry(np.arange(3), "x.npy", dc.NumpyTarget)
    handle.load()[0] = 5
    assert handle.load()[0] == 0


def test_the_algorithm_of_its_maker_travels(entry):
    """A worker that hashes otherwise follows it."""
    handle = entry()
    handle.algorithm = "sha256"
    again = pickle.loads(pickle.dumps(handle))
    assert (again.algorithm, again.key, again.label) == ("sha256", KEY, "node(x)")


def test_other_handles():
    """A value that isn't stored, one that is made on request, and an error: all are loaded alike."""
    made = []
    deferred = Deferred(KEY, "/root", "x.json", "hash", lambda: made.append(1) or Held(3, "hash"))
    error = ValueError("no cells")
    assert Held(3, "hash").load() == 3
    assert made == []
    assert (deferred.load(), made) == (3, [1])
    assert Failure(error).load() is error


def test_a_table_is_read_without_listing_the_root(root, monkeypatch):
    """Its record has its dtypes, and is among those of its key, however many results there are."""
    table = dc.delayed(
        lambda: pd.DataFrame({"n": np.array([1, 2], "int8")}), target="table.csv", version=1
    )
    node = table()
    node.compute()
    (name,) = RecordStore(Root(str(root))).with_key(node.dc.key)
    here = stamp(str(root / "table.csv"))
    result = Stored(dc.CSVTarget("table.csv"), name.data_hash, name.file_hash, here)
    monkeypatch.setattr(RecordStore, "all", lambda store: pytest.fail("all records were listed"))
    assert Entry(node.dc.key, str(root), (result,)).load().n.dtype == "int8"
