"""Zarr targets and sources: what comes back, what is refused, and that nothing damaged is served."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import daskcache as dc
from daskcache import errors
from daskcache.hashing.encoder import hash_value
from daskcache.storage import files as storage
from daskcache.storage import trash
from daskcache.storage.place import FilePlace
from daskcache.storage.roots import Root
from daskcache.targets.zarr.values import CHUNK_BYTES, _regions, default_chunks

IMAGE = np.random.default_rng(0).integers(0, 2**16, (40, 60), "u2")


@pytest.fixture
def make(root):
    """A node that returns a value to ``result.zarr``, stored."""

    def make(value=IMAGE, **options):
        @dc.delayed(target=dc.ZarrTarget("result.zarr", **options), version=hash_value(options))
        def made():
            return value

        node = made()
        dc.compute(node)
        return node

    return make


def same(got, value):
    """Equal in type, dtype, shape and bits."""
    return type(got) is type(value) and hash_value(got) == hash_value(value)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- round trips ---------------------------------------------------------------------------------

DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="="),
    hnp.unsigned_integer_dtypes(endianness="="),
    hnp.floating_dtypes(endianness="=", sizes=(16, 32, 64)),
    hnp.complex_number_dtypes(endianness="=", sizes=(64, 128)),
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))


@given(ARRAYS, st.booleans())
@example(np.array(-0.0), False)
@example(np.full((4, 4), -0.0), True)
@example(np.full(3, complex(0, -0.0)), False)
@example(np.array([np.nan, -np.nan]), False)
@example(np.array([1, 2], "u4").view("f4"), False)
@example(np.zeros((0, 3)), True)
@settings(max_examples=80, deadline=None)
def test_arrays_come_back_as_they_were(tmp_path_factory, value, sharded):
    """Dtype, shape and every bit, with and without shards; equal values give equal files."""
    path = tmp_path_factory.mktemp("zarr") / "a.zarr"
    target = dc.ZarrTarget("a.zarr")
    if sharded:
        target = dc.ZarrTarget("a.zarr", chunks=(2,) * value.ndim, shards=(4,) * value.ndim)
    target.write(value, str(path))
    target.write(value, str(path.with_name("b.zarr")))
    assert same(target.read(str(path)), value)
    assert target.hash_file(str(path)) == target.hash(value) == hash_value(value)
    assert contents(path) == contents(path.with_name("b.zarr"))


@pytest.mark.parametrize(
    "value",
    [
        np.array([1, 2], ">u2"),
        np.array(["a", "b"]),
        np.array([b"a"]),
        np.array(["2020-01-01"], "M8[ns]"),
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
        np.array([object()]),
        np.ones(2, "g"),
        np.ma.masked_array([1, 2], [True, False]),
        [1, 2],
        {1: IMAGE},
        {"a/b": IMAGE},
        {"..": IMAGE},
        {"zarr.json": IMAGE},
        {"__a": IMAGE},
        {"": IMAGE},
        {"a": "text"},
        np.float64(1),
        da.from_array(np.ma.masked_array([1, 2], [True, False])),
        da.ones(4)[da.ones(4) > 0],
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', '')}",
)
def test_what_would_change_is_refused(tmp_path, value):
    """Dtypes without a specification, other byte orders, other types, names that are no names."""
    with pytest.raises(errors.FormatLimit) as caught:
        dc.ZarrTarget("a.zarr").write(value, str(tmp_path / "a.zarr"))
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_none_asks_whether_the_return_was_forgotten(make):
    """As all formats do."""
    with pytest.raises(errors.FormatLimit, match="forgot to return"):
        make(None)


def test_a_zarr_array_with_attributes_is_refused(tmp_path):
    """They would be lost, for the value is an array."""
    array = zarr.create_array(tmp_path / "given.zarr", shape=3, dtype="i4", attributes={"unit": "nm"})
    with pytest.raises(errors.FormatLimit, match="attributes"):
        dc.ZarrTarget("a.zarr").write(array, str(tmp_path / "a.zarr"))


@pytest.mark.parametrize(
    "options",
    [{"chunks": (2,)}, {"chunks": (4, 4), "shards": (6, 6)}, {"compressors": "no such codec"}],
    ids=repr,
)
def test_options_that_do_not_fit_are_refused(tmp_path, options):
    """With what Zarr has to say about it."""
    with pytest.raises(errors.FormatLimit):
        dc.ZarrTarget("a.zarr", **options).write(IMAGE, str(tmp_path / "a.zarr"))


@pytest.mark.parametrize(
    "value",
    [
        np.arange(1000).reshape(10, 100),
        {"a": np.arange(3), "b": {"c": np.eye(4)}},
        da.arange(1000, chunks=300),
    ],
    ids=["array", "group", "dask"],
)
@pytest.mark.parametrize("options", [{}, {"chunks": (7, 9), "shards": (14, 18)}], ids=["", "shards"])
def test_chunks_are_hashed_as_they_are_written(tmp_path, monkeypatch, value, options):
    """No file of a result is read again to hash it; the hash is that of what is there."""
    if options and getattr(value, "ndim", 0) != 2:
        options = {"attributes": {"by": "us"}}
    path = str(tmp_path / "x.zarr")
    with monkeypatch.context() as patched:
        patched.setattr(FilePlace, "file_hash", pytest.fail)
        part = dc.ZarrTarget("x.zarr", **options).write(value, path)
    assert part == storage.part_of(path)


def test_options_are_used(tmp_path):
    """Chunks, shards, codecs and attributes."""
    target = dc.ZarrTarget(
        "a.zarr", chunks=(10, -1), shards=(20, -1), compressors=None, attributes={"unit": "nm"}
    )
    target.write(IMAGE, str(tmp_path / "a.zarr"))
    array = zarr.open_array(tmp_path / "a.zarr", mode="r")
    assert (array.chunks, array.shards) == ((10, 60), (20, 60))
    assert dict(array.attrs) == {"unit": "nm"}
    assert array.compressors == ()


@given(
    st.lists(st.integers(0, 10**6), max_size=5).map(tuple),
    st.sampled_from([1, 2, 8, 16]),
)
def test_default_chunks_are_small_planes(shape, itemsize):
    """At most 4 MiB, never empty, never larger than the array; leading axes are cut before planes."""
    chunks = default_chunks(shape, itemsize)
    assert math.prod(chunks) * itemsize <= CHUNK_BYTES
    assert all(1 <= c <= max(n, 1) for c, n in zip(chunks, shape, strict=True))
    if any(c < n for c, n in zip(chunks[-2:], shape[-2:], strict=True)):
        assert set(chunks[:-2]) <= {1}


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 20)), max_size=4),
    st.sampled_from([1, 8, 2**14, 2**20]),
)
def test_what_is_written_at_a_time_is_whole_chunks(axes, itemsize):
    """Each element is in one region, and no two regions share a chunk."""
    shape, unit = [n for n, _ in axes], [length for _, length in axes]
    times = np.zeros(shape, "u1")
    for region in _regions(shape, unit, itemsize):
        times[region] += 1
        for cut, n, length in zip(region, shape, unit, strict=True):
            assert cut.start % length == 0
            assert cut.stop % length == 0 or cut.stop >= n
    assert (times == 1).all()


def test_groups(make):
    """A dict of arrays, nested, is a group; it comes back sorted, and may be empty."""
    value = {"b": IMAGE, "a": {"deep": np.array(3.5), "lazy": da.arange(10, chunks=3)}, "none": {}}
    node = make(value, attributes={"kind": "labels"})
    got = node.dc.load()
    assert list(got) == ["a", "b", "none"]
    assert got["none"] == {}
    assert same(got["b"], IMAGE)
    assert same(got["a"]["deep"], np.array(3.5))
    assert same(got["a"]["lazy"], np.arange(10))
    assert node.dc.open().attrs["kind"] == "labels"
    assert node.dc.record["data_hash"].endswith(node.dc.target.hash(value))
    assert node.dc.target.hash(value) == node.dc.target.hash(got)


def test_groups_that_are_in_zarr_already(make, tmp_path):
    """They are copied, chunk by chunk."""
    group = zarr.create_group(tmp_path / "given.zarr")
    zarr.create_array(group.store, name="a", data=IMAGE, chunks=(8, 8))
    group.create_group("b")
    node = make(group)
    assert node.dc.open()["a"].chunks == (8, 8)
    assert same(node.dc.load()["a"], IMAGE)
    assert node.dc.record["data_hash"].endswith(hash_value({"a": IMAGE, "b": {}}))


@pytest.mark.parametrize(
    "chunks", [(7, 11), (16, 16), ((1, 39), (30, 30)), ((3, 30, 7), (59, 1))], ids=repr
)
@pytest.mark.parametrize(
    "options", [{}, {"chunks": (8, 8)}, {"chunks": (8, 8), "shards": (16, 16)}], ids=repr
)
def test_dask_arrays_are_stored_block_by_block(make, chunks, options):
    """Whatever their blocks and the chunks; what comes back is NumPy's, as is the data hash."""
    node = make(da.from_array(IMAGE, chunks=chunks), **options)
    assert same(node.dc.load(), IMAGE)
    assert node.dc.record["data_hash"].endswith(hash_value(IMAGE))


def test_zarr_arrays_are_stored_chunk_by_chunk(make, tmp_path):
    """With the chunks that they have."""
    layout = {"chunks": (8, 8), "shards": (16, 16)}
    given = zarr.create_array(tmp_path / "given.zarr", shape=IMAGE.shape, dtype="u2", **layout)
    given[...] = IMAGE
    node = make(given)
    opened = node.dc.open()
    assert (opened.chunks, opened.shards) == ((8, 8), (16, 16))
    assert same(node.dc.load(), IMAGE)
    assert node.dc.record["data_hash"].endswith(hash_value(IMAGE))


@pytest.mark.parametrize(
    "wrong", [lambda b: b.astype("f4") + 0.5, lambda b: b[:1]], ids=["dtype", "shape"]
)
def test_a_block_that_is_not_as_announced_is_refused(make, wrong):
    """A Dask array can be mistaken about its blocks; Zarr would convert or repeat them."""
    array = da.from_array(IMAGE, chunks=20).map_blocks(wrong, dtype="u2", meta=np.empty((0, 0), "u2"))
    with pytest.raises(errors.ResultError, match="block"):
        make(array)


def test_an_error_in_a_dask_array_is_the_users_own(make, files):
    """It isn't blamed on the target's file system, and nothing stays behind."""

    def fail(block):
        raise FileNotFoundError(2, "gone", "/data/raw.tif")

    array = da.from_array(IMAGE).map_blocks(fail, dtype="u2", meta=np.empty((0, 0), "u2"))
    with pytest.raises(FileNotFoundError, match="raw") as caught:
        make(array)
    assert not isinstance(caught.value, errors.StorageError)
    assert files() == []


@pytest.mark.parametrize(
    "step",
    [
        "daskcache.storage.files._write_all",
        "zarr.storage.LocalStore._open",
        "daskcache.storage.place.files_below",
    ],
)
def test_a_refusing_disk_is_a_storage_error(tmp_path, monkeypatch, step):
    """Our own errors, and Zarr's, are typed ones."""

    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(step, refuse)
        with pytest.raises(errors.StorageError, match="No space"):
            dc.ZarrTarget("a.zarr").write(IMAGE, str(tmp_path / "a.zarr"))


def test_attributes_count_in_the_key(root):
    """They are part of what is stored; the form of the file is not."""

    def key(**options):
        return dc.delayed(abs, target=dc.ZarrTarget("a.zarr", **options))(1).dc.key

    assert key() == key(chunks=(3, 3)) == key(attributes={})
    assert len({key(), key(attributes={"unit": "nm"}), key(attributes={"unit": "um"})}) == 3
    assert key(attributes={"a": 1, "b": 2}) == key(attributes={"b": 2, "a": 1})


def test_attributes_count_as_data(root, runs):
    """Who has the array open sees them, and so runs again when they change."""

    def total(**attributes):
        @dc.delayed(target=dc.ZarrTarget("array.zarr", attributes=attributes))
        def array():
            return da.from_array(IMAGE)

        @dc.delayed(target="size.json")
        def size(array: zarr.Array):
            runs.note("size")
            return array.attrs["size"]

        return dc.compute(size(array()))[0]

    assert [total(size=2), total(size=2), total(size=3)] == [2, 2, 3]
    assert runs.take() == ["size", "size"]


@pytest.mark.parametrize("suffix", ["zarr", "npy"])
def test_another_target_of_the_same_recipe_is_a_copy(root, runs, suffix):
    """From folder to folder it is not loaded; attributes are kept."""

    def array(target):
        @dc.delayed(target=target)
        def array():
            runs.note("array")
            return np.asarray(IMAGE)

        return array()

    first = array(dc.ZarrTarget("one.zarr", chunks=(8, 8)))
    dc.compute(first)
    second = array(f"two.{suffix}")
    dc.compute(second)
    assert runs.take() == ["array"]
    assert same(second.dc.load(), IMAGE)


def test_a_copy_is_not_loaded(root, runs):
    """Chunk by chunk, whatever would fit in memory; what was opened for it keeps its attributes."""

    @dc.delayed(save=False)
    def unread(array: dc.ZarrTarget):
        return array.path

    def array(path):
        @dc.delayed(target=dc.ZarrTarget(path, attributes={"unit": "nm"}))
        def array():
            runs.note("array")
            return IMAGE

        return array()

    with dask.config.set({"daskcache.max-decoded": "1 kB"}):
        for path in ("one.zarr", "two.zarr"):
            unread(array(path)).compute()
    assert runs.take() == ["array"]
    assert dict(array("two.zarr").dc.open().attrs) == {"unit": "nm"}


def test_attributes_are_json():
    """Others are refused when the target is made."""
    with pytest.raises(errors.GraphError, match="attributes"):
        dc.ZarrTarget("a.zarr", attributes={"unit": {1, 2}})


def test_shards_need_chunks():
    """Zarr's own guess would depend on its version."""
    with pytest.raises(errors.GraphError, match="chunks"):
        dc.ZarrTarget("a.zarr", shards=(4, 4))


# ---- lazy access ---------------------------------------------------------------------------------


def test_annotated_parameters_get_it_open(make):
    """As zarr.Array or dask.array.Array; others get a NumPy array."""

    @dc.delayed(save=False)
    def kinds(a, b: zarr.Array, c: da.Array, d: zarr.Array):
        assert same(np.asarray(b[...]), a)
        assert same(c.compute(scheduler="sync"), a)
        return [type(x) for x in (a, b, c, d)]

    node = make()
    assert kinds(node, node, node, node).compute() == [np.ndarray, zarr.Array, da.Array, zarr.Array]


def test_annotated_parameters_get_other_formats_as_before(root):
    """What has no lazy form is read."""

    @dc.delayed(target="a.json")
    def plain():
        return [1]

    @dc.delayed(save=False)
    def kind(a: zarr.Array, b: da.Array):
        return [a, b]

    assert kind(plain(), plain()).compute() == [[1], [1]]


def test_a_dask_array_of_an_opened_result_can_be_a_result(make, root):
    """A chain of lazy steps never loads an array."""

    @dc.delayed(target="next.zarr")
    def double(image: da.Array):
        return image * 2

    node = double(make())
    assert same(dc.compute(node)[0], IMAGE * 2)
    assert node.dc.open().chunks == IMAGE.shape


def test_an_opened_result_travels(make):
    """By its hash; and it is read-only."""
    opened = make(chunks=(8, 8)).dc.open()
    pickled = pickle.dumps(opened)
    assert len(pickled) < 5000
    assert same(pickle.loads(pickled)[...], IMAGE)
    assert same(da.from_zarr(opened).compute(scheduler="processes"), IMAGE)
    with pytest.raises(ValueError, match="read-only"):
        opened[0, 0] = 1


def test_opening_reads_no_chunk(make, root):
    """Only metadata; the manifest says the rest."""
    node = make(chunks=(8, 8))
    chunk = root / "result.zarr" / "c" / "4" / "7"
    os.chmod(chunk.parent, 0o700)
    damage_in_place(chunk, b"\0" * chunk.stat().st_size)
    opened = node.dc.open()
    assert same(opened[:32], IMAGE[:32])
    with pytest.raises(errors.TargetCorrupt, match="c/4/7"):
        opened[39, 59]


# ---- damage --------------------------------------------------------------------------------------


def put_back(root):
    """What was set aside, to where it was."""
    for thing in trash.listed(Root(str(root))):
        trash.restore(Root(str(root)), thing)


def damage_in_place(path, content):
    """Change a file; its size and times may tell."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap(folder, one, other):
    os.rename(folder / one, folder / "aside")
    os.rename(folder / other, folder / one)
    os.rename(folder / "aside", folder / other)


DAMAGE = {
    "missing": lambda f: (f / "c/1/1").unlink(),
    "missing row": lambda f: shutil.rmtree(f / "c/1"),
    "changed": lambda f: damage_in_place(f / "c/1/1", (f / "c/1/1").read_bytes()[:-1] + b"?"),
    "truncated": lambda f: damage_in_place(f / "c/1/1", (f / "c/1/1").read_bytes()[:-1]),
    "empty": lambda f: damage_in_place(f / "c/1/1", b""),
    "longer": lambda f: damage_in_place(f / "c/1/1", (f / "c/1/1").read_bytes() + b"?"),
    "swapped": lambda f: swap(f, "c/1/1", "c/1/0"),
    "extra": lambda f: (f / "c/9").mkdir() or (f / "c/9/9").write_bytes(b"?"),
    "metadata": lambda f: damage_in_place(
        f / "zarr.json", (f / "zarr.json").read_bytes().replace(b'"fill_value": 0', b'"fill_value": 1')
    ),
}


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_never_served(make, root, damage, sharded):
    """Loaded, opened, or passed on to a next node; what was touched is left for the plan to judge."""

    @dc.delayed(target="sum.json")
    def total(image, whole: zarr.Array):
        return int(image.sum())

    @dc.delayed(target="lazy.json")
    def lazy_total(image: zarr.Array):
        return int(image[...].sum())

    options = {"chunks": (8, 8), "shards": (16, 16)} if sharded else {"chunks": (8, 8)}
    node = make(np.arange(40 * 60, dtype="u2").reshape(40, 60), compressors=None, **options)
    entry = node.dc._complete_entry()
    opened = entry.open()
    plans = [dc.plan(f(node, *more)) for f, more in ((total, [node]), (lazy_total, []))]
    DAMAGE[damage](root / "result.zarr")

    part = np.s_[17:19, 17:19] if sharded else np.s_[9:11, 9:11]
    for read in (entry.load, lambda: entry.open()[...], lambda: entry.open()[part]):
        with pytest.raises(errors.TargetCorrupt) as caught:
            read()
        assert "made" in str(caught.value)
        assert "compute again" in caught.value.hint
        put_back(root)
    if damage not in ("extra", "metadata"):  # whose arrays are open, and read as they were
        with pytest.raises(errors.TargetCorrupt, match="c/1/"):
            opened[part]
    for plan in plans:
        with pytest.raises(errors.TargetCorrupt):
            plan.compute()
        put_back(root)


@pytest.mark.filterwarnings("ignore::daskcache.errors.DaskcacheWarning")
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_made_again(make, root, damage, sharded):
    """By the next verb, and kept; but what somebody may have put there on purpose is an error."""
    options = {"chunks": (8, 8), "shards": (16, 16)} if sharded else {"chunks": (8, 8)}
    node = make(np.arange(40 * 60, dtype="u2").reshape(40, 60), compressors=None, **options)
    whole = contents(root / "result.zarr")
    DAMAGE[damage](root / "result.zarr")
    damaged = contents(root / "result.zarr")
    if damage == "extra":
        with pytest.raises(errors.TargetModified):
            dc.compute(node)
        assert contents(root / "result.zarr") == damaged
        return
    assert dc.compute(node)[0].sum() == sum(range(40 * 60))
    assert contents(root / "result.zarr") == whole
    (thing,) = trash.listed(Root(str(root)))
    assert contents(Path(thing.kept)) == damaged


def test_an_edited_result_can_be_adopted(make, root):
    """It is then verified file by file like any other."""
    node = make(chunks=(8, 8))
    zarr.open_array(root / "result.zarr")[0, 0] = 7
    assert node.dc.state == "modified"
    assert node.dc.adopt()
    assert node.dc.state == "adopted"
    assert node.compute()[0, 0] == 7
    (manifest,) = (root / ".daskcache" / "manifests").rglob("*.json")
    assert manifest.stem == storage.file_hash(str(root / "result.zarr"))


def test_lost_chunks_are_not_adopted_unasked(make, root):
    """Zarr would fill in for them; only who says so explicitly means it."""

    @dc.delayed(target="result.zarr", on_modified="adopt")
    def made():
        return IMAGE

    node = made()
    dc.compute(node)
    (root / "result.zarr" / "c" / "0" / "0").unlink()
    assert node.dc.state == "corrupt"
    assert node.dc.adopt()
    assert (node.compute() == 0).all()
    (root / "result.zarr" / "zarr.json").unlink()
    with pytest.raises(errors.TargetModified, match="would replace an adopted result"):
        node.compute()
    assert node.dc.release()
    assert same(node.compute(), IMAGE)


@pytest.mark.parametrize("sharded", [False, True])
def test_every_file_of_an_array_counts(make, root, sharded):
    """Whichever is missing: nothing is taken for the fill value."""
    options = {"chunks": (8, 8), "shards": (24, 24)} if sharded else {"chunks": (16, 16)}
    node = make(np.zeros((40, 60), "u1"), **options)
    entry = node.dc._complete_entry()
    names = storage.files_below(str(root / "result.zarr"))
    assert len(names) == (7 if sharded else 13)
    for name in names:
        os.rename(root / "result.zarr" / name, root / "aside")
        opened = None
        with pytest.raises(errors.TargetCorrupt, match=name):
            opened = entry.load()
        assert opened is None
        os.rename(root / "aside", root / "result.zarr" / name)
    assert same(entry.load(), np.zeros((40, 60), "u1"))


def test_an_extra_chunk_is_not_served_to_who_has_it_open(make, root):
    """Where Zarr asks for a chunk that was never written, only nothing is an answer."""
    store = make().dc.open().store
    (root / "result.zarr" / "c" / "7").mkdir()
    (root / "result.zarr" / "c" / "7" / "7").write_bytes(b"x")
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    assert sync(store.get("c/8/8", default_buffer_prototype())) is None
    with pytest.raises(errors.TargetCorrupt, match="c/7/7"):
        sync(store.get("c/7/7", default_buffer_prototype()))


def test_a_vanished_result_is_missing(make, root):
    """Not damaged: computing it again is all there is to do."""
    entry = make().dc._complete_entry()
    opened = entry.open()
    shutil.rmtree(root / "result.zarr")
    for read in (entry.load, entry.open):
        with pytest.raises(errors.TargetMissing):
            read()
    with pytest.raises(errors.TargetModified, match="deleted"):
        opened[...]


def test_a_replaced_result_is_not_called_damaged(make, root):
    """A plan that is overtaken by another one hears of it."""
    entry = make(attributes={"n": 1}).dc._complete_entry()
    make(IMAGE + 1, attributes={"n": 2})
    for read in (entry.load, entry.open):
        with pytest.raises(errors.TargetModified, match="replaced"):
            read()


def test_an_edited_result_is_kept_when_it_is_made_again(make, root):
    """With ``on_modified="recompute"``, as for files."""

    @dc.delayed(target="result.zarr", on_modified="recompute")
    def made():
        return IMAGE

    dc.compute(made())
    (root / "result.zarr" / "notes.txt").write_text("mine")
    with pytest.warns(errors.DaskcacheWarning, match="kept"):
        assert same(dc.compute(made())[0], IMAGE)
    (thing,) = trash.listed(Root(str(root)))
    assert Path(thing.kept, "notes.txt").read_text() == "mine"
    assert not (root / "result.zarr" / "notes.txt").exists()


def test_an_audit_computes_it_again(root):
    """A lazy result is hashed as it was when it was stored."""

    @dc.delayed(target="result.zarr")
    def made():
        return {"a": da.from_array(IMAGE, chunks=17), "b": IMAGE}

    dc.compute(made())
    (finding,) = dc.audit(made()).findings
    assert finding.outcome == "same"


def test_a_function_can_write_its_own_folder(root):
    """With Zarr or whatever; it is verified like others."""

    @dc.delayed(target="own.zarr")
    def own(target_path):
        array = zarr.create_array(target_path, shape=IMAGE.shape, dtype="u2", chunks=(8, 8))
        array[...] = IMAGE
        array.attrs["unit"] = "nm"

    node = own()
    assert same(dc.compute(node)[0], IMAGE)
    entry = node.dc._complete_entry()
    assert entry.open().attrs["unit"] == "nm"
    (root / "own.zarr" / "c" / "0" / "0").unlink()
    with pytest.raises(errors.TargetCorrupt):
        entry.load()


def test_a_folder_of_the_user_is_left_alone(make, root):
    """Even if it is empty."""
    (root / "result.zarr").mkdir(parents=True)
    with pytest.raises(errors.ForeignTarget):
        make()
    assert list((root / "result.zarr").iterdir()) == []
    assert [p.name for p in root.iterdir() if p.name != ".daskcache"] == ["result.zarr"]


def test_a_replaced_result_leaves_nothing_behind(make, root):
    """No parts, no trash, no manifest of what is gone."""
    make(IMAGE, attributes={"n": 1})
    make(IMAGE + 1, attributes={"n": 2})
    assert same(dc.ZarrTarget("").read(str(root / "result.zarr")), IMAGE + 1)
    assert [p.name for p in root.iterdir()] in (
        ["result.zarr", ".daskcache"],
        [".daskcache", "result.zarr"],
    )
    assert list((root / ".daskcache" / "trash").iterdir()) == []
    manifests = list((root / ".daskcache" / "manifests").rglob("*.json"))
    assert [p.stem for p in manifests] == [storage.file_hash(str(root / "result.zarr"))]


# ---- bad files -----------------------------------------------------------------------------------


def test_a_declared_size_beyond_the_limit_is_not_loaded(tmp_path):
    """A few bytes of metadata can declare a petabyte; opened, it can be looked at."""
    path = tmp_path / "bomb.zarr"
    zarr.create_array(path, shape=(2**30, 2**20), chunks=(2**10, 2**10), dtype="u1")
    for load in (lambda: dc.ZarrTarget("").read(str(path)), dc.ZarrSource(path).get_data):
        with pytest.raises(errors.FormatLimit, match="PiB"):
            load()
    assert dc.ZarrSource(path).open().shape == (2**30, 2**20)


def test_the_limit_is_configurable(make):
    """In bytes, or with a unit."""
    node = make()
    with (
        dask.config.set({"daskcache.max-decoded": "4 kB"}),
        pytest.raises(errors.FormatLimit, match="max-decoded"),
    ):
        node.dc.load()


def test_pickled_objects_are_not_loaded(tmp_path):
    """Old Zarr can hold them, and would run what is in them."""
    path = tmp_path / "objects.zarr"
    path.mkdir()
    metadata = {
        "zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "fill_value": None, "order": "C",
        "compressor": None, "filters": [{"id": "pickle", "protocol": 5}],
    }  # fmt: skip
    (path / ".zarray").write_text(json.dumps(metadata))
    with pytest.raises(errors.UntrustedPickle):
        dc.ZarrSource(path).get_data()


class Canary:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


PICKLE = {"id": "pickle", "protocol": 5}
V2 = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "order": "C", "fill_value": ""}
V3 = {
    "zarr_format": 3, "node_type": "array", "shape": [1], "data_type": "int64", "fill_value": 0,
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}},
    "chunk_key_encoding": {"name": "default"}, "attributes": {},
}  # fmt: skip
BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
PICKLED = {
    "filter": V2 | {"compressor": None, "filters": [{"id": "vlen-utf8"}, PICKLE]},
    "compressor": V2 | {"compressor": PICKLE, "filters": [{"id": "vlen-utf8"}]},
    "alone": V2 | {"compressor": None, "filters": [PICKLE]},
    "codec": V3 | {"codecs": [BYTES, {"name": "numcodecs.pickle", "configuration": {}}]},
    "another id": V3 | {"codecs": [BYTES, {"id": "zlib", "name": "numcodecs.pickle"}]},
    "a text": V3 | {"codecs": [BYTES, "numcodecs.pickle"]},
    "in its group": V2 | {"compressor": None, "filters": [{"id": "vlen-utf8"}, PICKLE]},
    "in shards": V3
    | {"codecs": [{"name": "sharding_indexed", "configuration": {"codecs": [BYTES, "Pickle"]}}]},
}
WAYS = {
    "plan": lambda node, path: str(dc.plan(node)),
    "why": lambda node, path: node.dc.why(),
    "compute": lambda node, path: node.compute(),
    "load": lambda node, path: node.dc.load(),
    "open": lambda node, path: node.dc.open()[...],
    "adopt": lambda node, path: (dc.adopt(node), dc.plan(node)),
    "read": lambda node, path: dc.ZarrTarget("").read(path),
    "open a target": lambda node, path: dc.ZarrTarget("").open(path)[...],
    "hash": lambda node, path: dc.ZarrTarget("").hash_file(path),
    "as a group's member": lambda node, path: dc.ZarrTarget("").read(os.path.dirname(path)),
    "OME": lambda node, path: dc.OMEZarrTarget("").read(os.path.dirname(path)),
    "source": lambda node, path: dc.ZarrSource(path).get_data(),
    "source, open": lambda node, path: dc.ZarrSource(path).open()[...],
    "source, group": lambda node, path: dc.ZarrSource(os.path.dirname(path), group="0").get_data(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", PICKLED)
def test_no_way_into_a_zarr_unpickles(root, tmp_path, monkeypatch, way, kind):
    """However pickles are named in metadata, and however a Zarr is read, they are not loaded."""
    import numcodecs.pickles

    # what versions before 0.16.2 do unasked
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    node = dc.delayed(np.arange, target="top.zarr/0", store=dc.ZarrTarget, version=1)(3)
    node.compute()
    path = root / "top.zarr" / "0"
    shutil.rmtree(path)
    (path / "c").mkdir(parents=True)
    version = PICKLED[kind]["zarr_format"]
    group = {"zarr_format": version, "node_type": "group"}
    if kind == "in its group":
        group["consolidated_metadata"] = {
            "kind": "inline", "must_understand": False, "metadata": {"0": PICKLED[kind]}
        }  # fmt: skip
    else:
        (path / {2: ".zarray", 3: "zarr.json"}[version]).write_text(json.dumps(PICKLED[kind]))
    (path.parent / {2: ".zgroup", 3: "zarr.json"}[version]).write_text(json.dumps(group))
    for chunk in ("0", "c/0"):
        (path / chunk).write_bytes(pickle.dumps([Canary(tmp_path / "loaded"), "|O", [1]]))
    with contextlib.suppress(errors.DaskcacheError):
        WAYS[way](node, str(path))
    assert not (tmp_path / "loaded").exists()


def test_attributes_may_speak_of_pickles(root):
    """What a user says of an array names no codec, whatever it says."""
    attributes = {"name": "pickle", "id": "pickle", "contents": ["pickles"]}
    node = dc.delayed(np.arange, target=dc.ZarrTarget("a.zarr", attributes=attributes), version=1)(3)
    assert node.compute().tolist() == node.compute().tolist() == [0, 1, 2]


def test_metadata_cannot_lead_out_of_the_folder(tmp_path):
    """Consolidated metadata may name anything; members are looked for where they belong."""
    secret = zarr.create_array(tmp_path / "secret", data=IMAGE)
    group = zarr.create_group(tmp_path / "group.zarr")
    metadata = json.loads((tmp_path / "group.zarr" / "zarr.json").read_text())
    metadata["consolidated_metadata"] = {
        "kind": "inline",
        "must_understand": False,
        "metadata": {"../secret": secret.metadata.to_dict() | {"shape": list(IMAGE.shape)}},
    }
    assert group is not None
    (tmp_path / "group.zarr" / "zarr.json").write_text(json.dumps(metadata, default=str))
    assert dc.ZarrSource(tmp_path / "group.zarr").get_data() == {}
    with pytest.raises(errors.UnsafePath):
        dc.ZarrSource(tmp_path / "group.zarr", group="../secret")


# ---- sources -------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path):
    zarr.create_array(tmp_path / "raw.zarr", data=IMAGE, chunks=(20, 20))
    return dc.ZarrSource(tmp_path / "raw.zarr")


def test_sources_arrive_as_annotated(source, root):
    """An array by itself, open where the parameter says so, or the source itself."""

    @dc.delayed(save=False)
    def kinds(a, b: zarr.Array, c: da.Array, d: dc.ZarrSource):
        assert same(a, IMAGE)
        assert same(b[...], a)
        assert same(c.compute(scheduler="sync"), a)
        return [type(x) for x in (b, c, d)]

    assert kinds(source, source, source, source).compute() == [zarr.Array, da.Array, dc.ZarrSource]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_sources_of_both_formats(tmp_path, zarr_format):
    """Arrays, groups, and what lies in a group; missing chunks are the fill value there."""
    group = zarr.create_group(tmp_path / "g.zarr", zarr_format=zarr_format)
    zarr.create_array(group.store, name="a", data=IMAGE, chunks=(20, 20), zarr_format=zarr_format)
    group.create_array("sparse", shape=(4, 4), dtype="i4", fill_value=7, chunks=(2, 2))
    source = dc.ZarrSource(tmp_path / "g.zarr")
    got = source.get_data()
    assert same(got["a"], IMAGE)
    assert same(got["sparse"], np.full((4, 4), 7, "i4"))
    assert same(dc.ZarrSource(tmp_path / "g.zarr", group="a").get_data(), IMAGE)
    assert source.filename == dc.ZarrSource(tmp_path / "g.zarr", group="a").filename == "g.zarr"


def test_a_source_is_known_by_its_content(source, tmp_path):
    """Any file counts; a copy elsewhere is the same, and of a group only what is in it."""
    before = source.identity()
    shutil.copytree(source.path, tmp_path / "copy" / "raw.zarr")
    assert dc.ZarrSource(tmp_path / "copy" / "raw.zarr").identity() == before
    chunk = Path(source.path, "c/0/0")
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    assert source.identity() != before


def test_a_source_that_changes_while_the_graph_runs_is_refused(source, root):
    """Read whole or piece by piece; a chunk that comes later, too."""

    @dc.delayed(save=False)
    def whole(image):
        return image

    @dc.delayed(save=False)
    def lazy(image: zarr.Array):
        return image[0, 0]

    plans = [dc.plan(whole(source)), dc.plan(lazy(source))]
    chunk = Path(source.path, "c/0/0")
    damage_in_place(chunk, chunk.read_bytes()[:-1] + b"?")
    for plan in plans:
        with pytest.raises(errors.SourceChanged):
            plan.compute()


def test_a_missing_source_says_so(tmp_path):
    """Nothing, a file, or a folder that is no Zarr."""
    (tmp_path / "file.zarr").touch()
    (tmp_path / "empty.zarr").mkdir()
    for name in ("none.zarr", "file.zarr", "empty.zarr"):
        with pytest.raises(errors.SourceMissing, match=name):
            dc.ZarrSource(tmp_path / name).get_data()


def test_sources_compare_and_show_their_options(tmp_path):
    """Path and group make a source again."""
    source = dc.ZarrSource(tmp_path / "a.zarr", group="/0/")
    again = dc.ZarrSource(source.path, **source.__daskcache_options__())
    assert again == source != dc.ZarrSource(source.path)
    assert repr(source).endswith("group='0')")
    assert hash(again) == hash(source)


# ---- memory, and sudden death --------------------------------------------------------------------

_MEMORY = """
    import resource, sys
    import dask, dask.array as da, numpy as np
    import daskcache as dc
    mebibytes = int(sys.argv[2])

    def block(block_info=None):
        start = block_info[None]["array-location"][0][0]
        return np.arange(start, start + 2**21, dtype="u8").reshape(1, 2**11, 2**10)

    @dc.delayed(target="big.zarr")
    def big():
        chunks = ((1,) * (mebibytes // 16), 2**11, 2**10)
        return da.map_blocks(block, chunks=chunks, dtype="u8", meta=np.empty((0, 0, 0), "u8"))

    @dc.delayed(target="double.zarr")
    def double(array: da.Array):
        return array * 2

    @dc.delayed(target="total.json")
    def total(array: da.Array):
        return int(array[:, 0, 0].sum().compute(scheduler="threads"))

    dask.config.set({"daskcache.root": sys.argv[1], "scheduler": "sync", "num_workers": 2})
    import zarr
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(dc.compute(total(double(big())))[0])
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_arrays_larger_than_memory(tmp_path, full):
    """A chain of lazy arrays is computed, stored, hashed and read in a fraction of their size."""
    mebibytes = 4096 if full else 768
    code = textwrap.dedent(_MEMORY)
    command = [sys.executable, "-c", code, str(tmp_path / "big"), str(mebibytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    total, used = done.stdout.split()
    assert int(total) == 2 * sum(range(mebibytes // 16))
    assert float(used) < 400


_KILLED = """
    import os, sys, time
    import dask, dask.array as da, numpy as np
    import daskcache as dc

    def block(block_info=None):
        if block_info[None]["chunk-location"][0] == 6:
            print("writing", flush=True)
            time.sleep(60)
        return np.ones((10, 10), "u2")

    @dc.delayed(target="result.zarr")
    def made():
        return da.map_blocks(block, chunks=((10,) * 8, 10), dtype="u2", meta=np.empty((0, 0), "u2"))

    dask.config.set({"daskcache.root": sys.argv[1], "scheduler": "sync", "num_workers": 1})
    dc.compute(made())
"""


def test_a_kill_in_mid_write_leaves_no_half_array(root):
    """What was written so far lies among the parts, where no target is."""
    written = ".daskcache/parts/*/result.zarr/c/*"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_KILLED), str(root)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "writing\n"
        deadline = time.monotonic() + 30
        while not list(root.glob(written)) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert list(root.glob(written))
    assert not (root / "result.zarr").exists()
    assert list((root / ".daskcache" / "intents").iterdir()) == []


_KILLED_AT = """
    import os, signal, sys
    import dask, numpy as np
    import daskcache as dc
    from daskcache.storage import commit, files

    root, step, when, replaces = sys.argv[1:]

    def made(fill):
        @dc.delayed(target="result.zarr", version=fill)
        def made():
            return np.full((40, 40), fill, "u2")
        return made()

    def kill_at(module, step):
        real = getattr(module, step)

        def killed(*args, **kwargs):
            if when == "after":
                real(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(module, step, killed)

    dask.config.set({"daskcache.root": root, "scheduler": "sync"})
    if replaces:
        dc.compute(made(1))
    if step:
        kill_at(commit if hasattr(commit, step) else files, step)
    print(dc.compute(made(2))[0].sum())
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("step", "replaces"),
    [
        ("keep_manifest", ""),
        ("put_new", ""),
        ("promote_intent", ""),
        ("replace", "yes"),
        ("promote_intent", "yes"),
        ("forget_manifest", "yes"),
    ],
)
def test_a_kill_at_any_step_of_a_commit(root, step, replaces, when):
    """The old result, the new one, or none; and the next run finds nothing in its way."""

    def run(*arguments):
        command = [sys.executable, "-c", textwrap.dedent(_KILLED_AT), str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run(step, when, replaces).returncode == -signal.SIGKILL
    assert (root / "result.zarr").exists() or not replaces
    if (root / "result.zarr").exists():
        value = dc.ZarrTarget("").read(str(root / "result.zarr"))
        assert (value == value[0, 0]).all()
        assert value[0, 0] in ((1, 2) if replaces else (2,))
    assert run("", "", "").stdout == "3200\n"
