"""Results of a function at its targets: in each form, as it returned or wrote them, or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import dask
import numpy as np
import pytest

import daskcache as dc
from daskcache.errors import FormatLimit, ReachError, ResultError, StorageError
from daskcache.hashing.encoder import digest, hash_value
from daskcache.runtime import hot_cache, store
from daskcache.runtime.store import own_part_path, store_results, sweep_parts, write_results
from daskcache.runtime.work import Elsewhere
from daskcache.storage import files
from daskcache.storage.record import target_id
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root

TRACE = 32 * "e"


def function():
    pass


def writing(target_path):
    pass


def stored(it, result, own_paths=None):
    return store_results(it, [], TRACE, result, own_paths, 0.25)


def records_of(it):
    return RecordStore(Root(it.root)).all()


def parts(root):
    return list((root / ".daskcache" / "parts").iterdir())


# ---- forms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "result"),
    [
        ("a.json", 7),
        (("a.json", "b.npy"), (7, "x")),
        ({"one": "a.json", "two": "b.json"}, {"two": 2, "one": 1}),
    ],
    ids=["single", "tuple", "dict"],
)
def test_results_come_back_as_they_were_returned(work, root, target, result):
    """One file, one record and one hash for each; the entry arranges them."""
    if isinstance(target, tuple):
        result = (7, np.arange(3))
    it = work(function, target=target, version=1)
    entry = stored(it, result)
    loaded = entry.load()
    values = [result] if not isinstance(target, (tuple, dict)) else list(result)
    if isinstance(target, dict):
        assert loaded == result
        assert list(loaded) == list(target)
        values = [result[name] for name in target]
    elif isinstance(target, tuple):
        assert loaded[0] == 7
        np.testing.assert_array_equal(loaded[1], np.arange(3))
    else:
        assert loaded == result
    assert [each.data_hash for each in entry.stored] == list(map(hash_value, values))
    names = {name.target_id: name for name in records_of(it)}
    for each, path in zip(entry.stored, it.paths, strict=True):
        assert each.file_hash == digest((root / path).read_bytes())
        name = next(name for name in names.values() if name.file_hash == each.file_hash)
        assert (name.key, name.trace, name.microseconds) == (it.key, TRACE, 250_000)
    assert len(names) == len(it.paths)
    assert parts(root) == []


@pytest.mark.parametrize(
    ("target", "result", "expected"),
    [
        (("a.json", "b.json"), (1, 2, 3), "a tuple of 2 results"),
        (("a.json", "b.json"), 1, "a tuple of 2 results"),
        ({"one": "a.json"}, {"two": 1}, "a dict with the keys 'one'"),
        ({"one": "a.json"}, 1, "a dict with the keys 'one'"),
    ],
)
def test_results_in_another_form_are_refused(work, root, target, result, expected):
    with pytest.raises(ResultError) as caught:
        stored(work(function, target=target, version=1), result)
    assert (caught.value.expected, caught.value.got) == (expected, repr(result))
    assert not list(root.glob("*.json"))


def test_small_contents_travel_in_the_entry(work):
    """Together they count as one: several small files are perhaps too large."""
    it = work(function, target=("a.txt", "b.txt"), version=1)
    with dask.config.set({"daskcache.inline": "10 B"}):
        assert stored(it, ("12345", "12345")).inline == (b"12345", b"12345")
        larger = work(function, target=("c.txt", "d.txt"), version=1)
        assert stored(larger, ("12345", "123456")).inline is None


def test_the_hash_is_made_as_the_bytes_are_written(work, monkeypatch):
    """No file is read again."""
    monkeypatch.setattr(files, "file_hash", None)
    monkeypatch.setattr(files, "digest_of", None)
    entry = stored(work(function, target="a.json", version=1), 7)
    assert entry.stored[0].file_hash == digest(b"7\n")


def test_the_record_has_the_form_of_the_value(work):
    """For a correction that comes back in another dtype."""
    it = work(function, target="a.npy", version=1)
    stored(it, np.zeros((2, 3), bool))
    (name,) = records_of(it)
    assert RecordStore(Root(it.root)).read(name).form == {"dtype": "bool", "shape": [2, 3]}


@pytest.mark.parametrize(
    ("path", "small", "kept", "large"),
    [("a.npy", np.arange(3), 1, np.arange(20_000)), ("a.txt", "text", 0, "text" * 50_000)],
)
def test_what_takes_time_to_decode_is_kept_in_the_hot_cache(work, monkeypatch, path, small, kept, large):
    """As the format reads it back; a small text travels in the entry, and is not kept twice."""
    monkeypatch.setattr(hot_cache, "cache", hot_cache.HotCache())
    with dask.config.set({"daskcache.hot-cache": "8 MiB"}):
        stored(work(function, target=path, version=1), small)
        assert len(hot_cache.cache) == kept
        stored(work(function, target=f"large/{path}", version=1), large)
        assert len(hot_cache.cache) == kept + 1


# ---- refused --------------------------------------------------------------------------------------


def test_a_value_that_does_not_fit_its_target(work, root):
    """The error names node and target; results that were written before are removed."""
    it = work(function, target=("a.json", "b.json"), version=1)
    with pytest.raises(FormatLimit) as caught:
        stored(it, (1, object()))
    assert (caught.value.node, caught.value.target) == (it.title, f"{root}/b.json")
    assert not list(root.glob("*.json"))
    assert parts(root) == []
    assert records_of(it) == []


def test_a_write_that_the_system_refuses(work, root, monkeypatch):
    """A full disk: no target, no record, no part."""

    def full(descriptor, view):
        raise OSError(28, "No space left on device")

    it = work(function, target="a.json", version=1)
    monkeypatch.setattr(files, "_write_all", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        stored(it, 7)
    assert caught.value.target == f"{root}/a.json"
    assert not (root / "a.json").exists()
    assert parts(root) == []


def test_a_root_that_is_another_one(work, root):
    """Nothing is written, and what the function wrote itself is removed."""
    it = work(writing, target="a.json", version=1)._replace(root_id="another")
    own = own_part_path(Root(it.root), "a.json")
    Path(own).write_text("7")
    with pytest.raises(ReachError, match="another root"):
        stored(it, None, [own])
    assert not (root / "a.json").exists()
    assert parts(root) == []


# ---- written by the function ------------------------------------------------------------------------


def test_a_part_that_the_function_wrote(work, root):
    """It is hashed, put in place, and read as any result."""
    it = work(writing, target="a.json", version=1)
    own = own_part_path(Root(it.root), it.paths[0])
    Path(own).write_text("[7]")
    entry = stored(it, "ignored", [own])
    assert entry.load() == [7]
    assert entry.stored[0].data_hash == hash_value([7])
    assert parts(root) == []


def test_a_file_that_the_function_wrote_in_its_place(work, root):
    """With ``save=False`` it stays where it is, and gets a record."""
    it = work(function, target="a.json", version=1, save=False)
    (root / "a.json").write_text("[7]")
    found = os.stat(root / "a.json").st_ino
    entry = stored(it, None, [f"{root}/a.json"])
    assert entry.load() == [7]
    assert os.stat(root / "a.json").st_ino == found
    assert len(records_of(it)) == 1


@pytest.mark.parametrize(
    ("func", "options", "story"),
    [(writing, {}, "takes a target_path"), (function, {"save": False}, "has save=False")],
)
def test_a_file_that_the_function_did_not_write(work, root, func, options, story):
    it = work(func, target="a.json", version=1, **options)
    own = own_part_path(Root(it.root), "a.json") if func is writing else f"{root}/a.json"
    with pytest.raises(ResultError, match=story):
        stored(it, None, [own])
    assert parts(root) == []


def test_files_in_place_are_not_swept(work, root):
    """Only parts are removed when something fails, whoever wrote them."""
    it = work(function, target="a.json", version=1, save=False)
    (root / "a.json").write_text("[7]")
    (part,) = write_results(Root(it.root), it, [], None, [f"{root}/a.json"])
    sweep_parts(Root(it.root), [part.part.path])
    assert (root / "a.json").exists()


def test_a_result_in_another_format_is_written_for_a_function_that_writes_itself(root, tmp_path):
    """Its result is known, so it isn't called, and isn't asked for a file that it did not write."""

    def write(n, places):
        for name, text in places.items():
            Path(name).write_text(text)

    places = {f"{root}/a.json": json.dumps("text"), f"{root}/a.txt": "text"}
    root.mkdir()

    def node(target):
        return dc.delayed(write, target=target, save=False, version=1, ignore="places")(1, places)

    assert dask.compute(node("a.json")) == ("text",)
    (root / "a.txt").unlink()
    (root / "a.json").touch()
    assert dask.compute(node("a.txt")) == ("text",)
    assert (root / "a.txt").read_text() == "text"


# ---- copies ---------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(work):
    """A result at another target, and the work that may take it over."""
    first = work(function, target="a.npy", version=1)
    stored(first, np.zeros(3, bool))
    (name,) = records_of(first)
    found = Elsewhere((name,), first.paths, is_there=True, is_alike=True)
    return work(function, target="b.npy", version=1), found


def test_a_copy_has_a_record_of_its_own(elsewhere, root):
    """With the form and the run time of the first."""
    it, found = elsewhere
    entry = store.store_copies(it, [], TRACE, found)
    assert (root / "b.npy").read_bytes() == (root / "a.npy").read_bytes()
    np.testing.assert_array_equal(entry.load(), np.zeros(3, bool))
    (name,) = [name for name in records_of(it) if name.target_id == target_id("b.npy")]
    assert name.microseconds == found.names[0].microseconds
    record = RecordStore(Root(it.root)).read(name)
    assert (record.target, record.form) == ("b.npy", {"dtype": "bool", "shape": [3]})


@pytest.mark.parametrize("change", ["content", "record"])
def test_a_copy_that_is_not_as_recorded_is_dropped(elsewhere, root, change):
    """The node runs instead."""
    it, found = elsewhere
    if change == "content":
        (root / "a.npy").write_bytes(b"0")
    else:
        RecordStore(Root(it.root)).remove(found.names[0])
    assert store.store_copies(it, [], TRACE, found) is None
    assert not (root / "b.npy").exists()
    assert parts(root) == []
