"""Records: what made each target, as files that anyone can read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daskcache as dc
from daskcache.errors import DaskcacheWarning, ForeignTarget
from daskcache.storage import failures, records
from daskcache.storage.files import Stamp, file_hash, stamp, write_intent
from daskcache.storage.record import RecordName, collision_form, record_content, target_id
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root

NAME = RecordName("ab" * 16, target_id("x/y.json"), "t" * 32, "d" * 32, "f" * 32, 12, 34, 56)

_hex = st.text("0123456789abcdef", min_size=32, max_size=32)
_size = st.integers(0, 2**63)
_names = st.builds(RecordName, _hex, _hex.map(lambda h: h[:16]), _hex, _hex, _hex, _size, _size, _size)


@pytest.fixture
def place(root):
    place = Root(str(root))
    place.create()
    return place


def store_record(place, name, content=None):
    folder = Path(place.records, name.shard)
    folder.mkdir(exist_ok=True)
    path = folder / name.file_name()
    path.write_bytes(record_content(name) if content is None else content)
    return path


def only_record(root):
    (path,) = (root / ".daskcache" / "records").rglob("*.json")
    return path


# ---- names ---------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(_names)
def test_names_round_trip(name):
    """The name of a record's file says all that planning needs, and is a valid file name."""
    assert RecordName.parse(name.file_name()) == name
    assert len(name.file_name()) <= 255
    assert "/" not in name.file_name()
    assert name.stamp == Stamp(name.size, name.mtime_ns)
    assert name.shard == name.key[:2]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "README",
        ".json",
        "a.json",
        NAME.file_name() + ".part",
        NAME.file_name()[:-5],
        NAME.file_name().replace(".12.", ".x."),
        "x." + NAME.file_name(),
        NAME.file_name().replace(".json", ".txt"),
        ".nfs000001.json",
    ],
)
def test_other_files_are_no_records(name):
    """Files that are no records are passed over."""
    assert RecordName.parse(name) is None


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("a/B.tif", "A/b.TIF", True),
        ("straße", "STRASSE", True),
        ("caf\u00e9", "cafe\u0301", True),
        ("CAF\u00c9", "cafe\u0301", True),
        ("a/b", "a_b", False),
        ("a", "b", False),
    ],
)
def test_the_form_in_which_paths_collide(one, two, same):
    """Case and Unicode composition don't tell paths apart on every file system."""
    assert (collision_form(one) == collision_form(two)) is same


def test_target_ids_tell_paths_apart():
    """A target's id is that of its exact path, surrogates included."""
    paths = ["a", "A", "a/b", "b", "é", "e\u0301", "\udcff"]
    assert len({target_id(path) for path in paths}) == len(paths)
    assert all(len(target_id(path)) == 16 for path in paths)


# ---- the store -----------------------------------------------------------------------------------


def test_look_ups(place):
    """Records are found by key and by target; intents by target only, until they are records."""
    other_target = NAME._replace(target_id=target_id("z.json"))
    other_key = NAME._replace(key="cd" * 16)
    intent = NAME._replace(key="ef" * 16)
    for name in (NAME, other_target, other_key):
        store_record(place, name)
    write_intent(place, intent.file_name(), record_content(intent))
    store = RecordStore(place)
    assert set(store.with_key(NAME.key)) == {NAME, other_target}
    assert store.with_key("00" * 16) == []
    assert set(store.with_target(NAME.target_id)) == {NAME, other_key, intent}
    assert store.with_target("0" * 16) == []
    assert set(store.all()) == {NAME, other_target, other_key, intent}
    assert store.intents() == [intent]


def test_a_root_without_records(tmp_path):
    """A root in which nothing was stored has no records, and stays as it is."""
    store = RecordStore(Root(str(tmp_path / "nothing")))
    assert store.all() == store.with_key(NAME.key) == store.with_target(NAME.target_id) == []
    assert failures.failed_keys(store.root) == set()
    assert not (tmp_path / "nothing").exists()


def test_a_store_sees_one_moment(place):
    """A store answers as of its first look; a new one sees what is new."""
    store = RecordStore(place)
    assert store.with_key(NAME.key) == []
    store_record(place, NAME)
    assert store.with_key(NAME.key) == []
    assert RecordStore(place).with_key(NAME.key) == [NAME]


def test_remove_and_refresh(place):
    """A record can be forgotten, and its target's time noted anew."""
    store_record(place, NAME)
    store = RecordStore(place)
    touched = store.foresee(NAME._replace(mtime_ns=99), NAME)
    assert store.path_of(touched) == store.path_of(NAME)
    store.refresh(touched)
    (found,) = RecordStore(place).all()
    assert found == touched
    assert store.path_of(touched) != store.path_of(NAME)
    RecordStore(place).remove(found)
    RecordStore(place).remove(found)
    assert RecordStore(place).all() == []


def test_other_files_in_the_folders_do_no_harm(place):
    """Stray files and folders among the records are passed over."""
    store_record(place, NAME)
    Path(place.records, NAME.shard, "README").write_text("x")
    Path(place.records, NAME.shard, "sub").mkdir()
    Path(place.records, ".DS_Store").write_text("x")
    assert RecordStore(place).all() == [NAME]


@pytest.mark.parametrize("content", [b"", b"{", b'{"key": ', b"\xff\xfe", b"[1", b"[]", b'"x"'])
def test_unreadable_records_warn(place, content):
    """A record that is cut or damaged gives a warning that names it, and counts as unreadable."""
    path = store_record(place, NAME, content)
    with pytest.warns(DaskcacheWarning, match=path.name):
        assert RecordStore(place).read(NAME) is None


FACTS = {"code": "c", "target": "x.json", "format": "m:F", "arguments": {}, "upstream": []}


def test_reading_finds_records_and_intents(place):
    """The content of a record is found wherever it is; of one that is nowhere, it is None."""
    assert RecordStore(place).read(NAME) is None
    write_intent(place, NAME.file_name(), record_content(NAME, function="f", **FACTS))
    assert RecordStore(place).read(NAME).function == "f"
    store_record(place, NAME, record_content(NAME, function="g", **FACTS))
    assert RecordStore(place).read(NAME).function == "g"


def test_reading_a_record_in_its_place_lists_no_folder(place, monkeypatch):
    """A record that is where it belongs costs one request; only a missing one is searched for."""
    store_record(place, NAME, record_content(NAME, function="f", **FACTS))
    listed = []
    monkeypatch.setattr(records.storage, "names_in", lambda folder: listed.append(folder) or [])
    assert RecordStore(place).read(NAME).function == "f"
    assert listed == []
    assert RecordStore(place).read(NAME._replace(size=0)) is None
    assert listed == [place.intents]


def test_a_touched_target_is_as_recorded_and_a_changed_one_is_not(tmp_path):
    """The size must be the recorded one, and then either the time or the bytes."""
    path = tmp_path / "x"
    path.write_text("content")
    looks = stamp(str(path))
    name = NAME._replace(file_hash=file_hash(str(path)), size=looks.size, mtime_ns=looks.mtime_ns)
    touched, edited = name._replace(mtime_ns=1), name._replace(file_hash="0" * 32)
    assert name.describes("not read", looks)
    assert touched.describes(str(path), looks)
    assert not edited._replace(mtime_ns=1).describes(str(path), looks)
    assert not touched.describes("not read", looks._replace(size=1))
    assert not touched.describes("removed meanwhile", looks)
    assert not name.describes("not read", None)


# ---- what is in a record -------------------------------------------------------------------------


def test_a_record_is_plain_json(root, tmp_path):
    """A record tells function, code, arguments, upstream, hashes, size, time, host and packages."""
    np.save(tmp_path / "raw.npy", np.arange(4))

    @dc.delayed(target="clean/{image.stem}.npy")
    def clean(image, sigma=2, mode="reflect"):
        return image * sigma

    @dc.delayed(target="total.json")
    def total(cleaned):
        return int(cleaned.sum())

    cleaned = clean(dc.NumpySource(tmp_path / "raw.npy"))
    node = total(cleaned)
    node.compute()
    first, second = cleaned.dc.record, node.dc.record
    assert first["function"] == clean._spec.qualified_name
    assert first["target"] == "clean/raw.npy"
    assert first["key"] == cleaned.dc.key
    assert set(first["arguments"]) == {"image", "sigma", "mode"}
    assert first["arguments"]["sigma"][0] == "2"
    assert first["arguments"]["mode"][0] == "'reflect'"
    for name in ("trace", "data_hash", "file_hash"):
        algorithm, _, digits = first[name].partition(":")
        assert (algorithm, len(digits)) == ("xxh3_128", 32)
    assert first["size"] == (root / "clean" / "raw.npy").stat().st_size
    assert 0 <= first["seconds"] < 60
    assert first["created"].endswith("Z")
    assert first["host"]
    assert first["packages"]["python"].startswith("3.")
    assert {"dask", "numpy"} <= set(first["packages"])
    (upstream,) = second["upstream"]
    assert upstream["key"] == cleaned.dc.key
    assert upstream["target"] == "clean/raw.npy"
    assert upstream["data_hash"] == first["data_hash"]
    assert second["data_hash"] == dc.hashing.tag(dc.hashing.hash_value(12))


def test_records_have_no_absolute_paths_of_targets(root):
    """Targets in records are relative to the root, so that a root can be moved."""
    f = dc.delayed(lambda x: x, target="a/{x}.json")
    g = dc.delayed(lambda x: x, target="b/{x.stem}.json")
    g(f(1)).compute()
    for path in (root / ".daskcache").rglob("*.json"):
        assert str(root) not in path.read_text()


def test_large_arguments_are_brief_in_records(root):
    """A record holds a short text of each argument, whatever its size, and its hash."""
    node = dc.delayed(lambda a, s: 1, target="x.json")(np.arange(100_000), "text " * 50_000)
    node.compute()
    assert only_record(root).stat().st_size < 5000
    assert all(len(text) < 500 for text, _ in node.dc.record["arguments"].values())


def test_arguments_that_have_an_odd_repr(root):
    """An argument whose repr fails, or isn't valid text, doesn't stop a commit."""

    class Odd:
        def __repr__(self):
            raise RuntimeError("no repr")

    node = dc.delayed(lambda *a: 1, target="x.json", version=1)(Odd(), "\udcff", "é\n")
    assert node.compute() == 1
    assert json.loads(only_record(root).read_bytes().decode("utf-8", "surrogatepass"))
    assert node.dc.state == "complete"


def test_each_target_has_one_record(root):
    """A replaced target leaves one record: that of what is there."""
    f = dc.delayed(lambda n: n, target="x.json")
    for n in (1, 2, 3):
        f(n).compute()
    assert RecordName.parse(only_record(root).name).key == f(3).dc.key


# ---- faults --------------------------------------------------------------------------------------


def test_a_deleted_record_makes_the_target_foreign(root):
    """A target without its record is foreign: nothing says that daskcache wrote it."""
    node = dc.delayed(lambda: 1, target="x.json")()
    node.compute()
    only_record(root).unlink()
    assert node.dc.state == "foreign"
    with pytest.raises(ForeignTarget):
        node.compute()
    assert (root / "x.json").read_text() == "1\n"


def test_a_damaged_record_does_not_stop_its_node(root, runs):
    """Planning reads names only: a damaged content leaves its target complete, and data right."""

    @dc.delayed(target="x.json")
    def make(n):
        runs.note("make")
        return n

    make(1).compute()
    only_record(root).write_bytes(b"{")
    assert make(1).compute() == 1
    assert runs.take() == ["make"]
    with pytest.warns(DaskcacheWarning, match="can't read the record"):
        assert make(2).dc.state == "stale"


def test_a_damaged_record_is_recomputed_over(root):
    """A target whose record can't be read is stale for another recipe, which takes it over."""
    f = dc.delayed(lambda n: n, target="x.json")
    f(1).compute()
    only_record(root).write_bytes(b"")
    with pytest.warns(DaskcacheWarning, match="can't read the record"):
        assert f(2).compute() == 2
    assert f(2).dc.state == "complete"


def test_a_record_without_its_target_is_a_miss(root, runs):
    """A record whose target is gone is a miss: the node runs again."""

    @dc.delayed(target="x.json")
    def make():
        runs.note("make")
        return 1

    make().compute()
    (root / "x.json").unlink()
    assert make().dc.state == "missing"
    assert make().compute() == 1
    assert runs.take() == ["make", "make"]
    assert len(list((root / ".daskcache" / "records").rglob("*.json"))) == 1


def test_a_record_of_a_newer_version_is_a_clear_error(root):
    """A root of a newer daskcache raises StorageError; nothing in it is changed."""
    node = dc.delayed(lambda n: n, target="{n}.json")(1)
    node.compute()
    path = root / ".daskcache" / "root.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "daskcache": 999}))
    before = sorted(root.rglob("*"))
    other = dc.delayed(lambda n: n, target="{n}.json")(2)
    with pytest.raises(dc.errors.StorageError, match="newer daskcache"):
        other.compute()
    assert sorted(root.rglob("*")) == before


def test_clocks_do_not_matter(root, runs):
    """A target whose mtime lies in the future is complete."""

    @dc.delayed(target="x.json")
    def make():
        runs.note("make")
        return 1

    make().compute()
    day = 86400 * 10**9
    stamp = (root / "x.json").stat().st_mtime_ns + day
    os.utime(root / "x.json", ns=(stamp, stamp))
    assert make().compute() == 1
    assert runs.take() == ["make"]


# ---- traces --------------------------------------------------------------------------------------


def test_records_with_a_trace_lie_in_any_folders(place):
    """They are found wherever they lie, and the next verb finds those that came or went meanwhile."""
    same = [NAME._replace(key=shard + "b" * 30) for shard in ("00", "7f", "ff")]
    for name in (*same, NAME._replace(key="00" + "c" * 30, trace="u" * 32)):
        store_record(place, name)
    found = records.with_trace(place, NAME.trace, "one")
    assert sorted(found) == same
    assert records.with_trace(place, "v" * 32, "one") == []
    late = NAME._replace(key="7f" + "d" * 30, trace="v" * 32)
    path = store_record(place, late)
    assert records.with_trace(place, late.trace, "two") == [late]
    assert sorted(records.with_trace(place, NAME.trace, "two")) == same
    path.unlink()
    for name in same:
        Path(place.records, name.shard, name.file_name()).unlink()
    assert records.with_trace(place, late.trace, "three") == []
    assert records.with_trace(place, NAME.trace, "three") == []
