"""What a process has just written or read is handed on without reading a file; nobody can spoil it."""

from __future__ import annotations

import os
import sys
import types

import dask
import numpy as np
import pandas as pd
import pytest

import daskcache as dc
from daskcache import errors
from daskcache.runtime import hot_cache
from daskcache.runtime.entry import Entry
from daskcache.targets.base import UNKNOWN

LARGE = 20_000  # numbers: too large to travel inside an entry


@pytest.fixture(autouse=True)
def cache(monkeypatch):
    """A cache of its own, of 8 MiB, as if this were a worker."""
    monkeypatch.setattr(hot_cache, "cache", hot_cache.HotCache())
    with dask.config.set({"daskcache.hot-cache": "8 MiB"}):
        yield


@pytest.fixture
def reads(monkeypatch):
    """Paths of the targets that were read."""
    found, read = [], Entry._read_verified

    def noted(self, path, result):
        found.append(os.path.basename(path))
        return read(self, path, result)

    monkeypatch.setattr(Entry, "_read_verified", noted)
    return found


def numbers(n=LARGE):
    return np.arange(n, dtype=float)


def frame(n=LARGE):
    return pd.DataFrame({"a": np.arange(n), "b": np.arange(n) / 3})


MAKERS = {
    "a.npy": numbers,
    "a.pkl": numbers,
    "a.tif": lambda: np.arange(60_000, dtype="u2").reshape(200, 300),
    "a.zarr": numbers,
    "a.parquet": frame,
    "a.csv": frame,
    "a.json": lambda: {"list": list(range(1000)), "text": "é" * 70_000},
    "a.txt": lambda: "é" * 70_000,
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_next_function_reads_no_file(name, reads):
    """It gets the value that was written, in whichever format."""
    made = dc.delayed(MAKERS[name], target=name)()
    result = dc.delayed(lambda x: str(x)[:1000], target="next.txt")(made)
    assert dask.compute(result) == (str(MAKERS[name]())[:1000],)
    assert reads == []


@pytest.mark.parametrize("name", ["b.pkl", "b.npz"])
def test_what_has_to_be_read_is_read_once(name, reads):
    """Where nobody knows what reading gives back: a dictionary of arrays, say."""
    made = dc.delayed(lambda: {"x": numbers(), "y": numbers()}, target=name)()
    ends = [dc.delayed(lambda d, i: float(d["x"][i]), target="end/{i}.json")(made, i) for i in range(5)]
    assert dask.compute(*ends) == (0.0, 1.0, 2.0, 3.0, 4.0)
    assert reads == [name]


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_kept_is_what_reading_gives(name):
    """In dtype, strides and order, too: a cold run and a warm run return the same."""
    node = dc.delayed(MAKERS[name], target=name)()
    dask.compute(dc.delayed(len, target="length.json")(node))
    kept = node.dc.load()
    hot_cache.cache.shrink(0)
    read = node.dc.load()
    assert type(kept) is type(read)
    if isinstance(read, np.ndarray):
        assert (kept.dtype, kept.shape, kept.strides) == (read.dtype, read.shape, read.strides)
        assert kept.flags.writeable
        np.testing.assert_array_equal(kept, read)
    elif isinstance(read, pd.DataFrame):
        pd.testing.assert_frame_equal(kept, read)
    else:
        assert kept == read


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(LARGE, dtype=float).reshape(2, -1)),
        np.arange(2 * LARGE, dtype=float)[::2],
        np.arange(LARGE, dtype=">f8"),
    ],
    ids=["order", "stride", "byte order"],
)
def test_arrays_that_come_back_in_another_form_are_read(array, reads):
    """The file has them in C order."""
    node = dc.delayed(lambda: array, target="a.npy", version=1)()
    strides = dc.delayed(lambda x: list(x.strides), target="s.json")(node)
    assert dask.compute(strides) == (list(np.ascontiguousarray(array).strides),)
    assert reads == ["a.npy"]


def test_arrays_arrive_read_only(reads):
    """Large or small, written here or read: no function changes another's; the error says what to do."""
    for n in (LARGE, 10):
        node = dc.delayed(numbers, target="{n}.npy")(n)
        change = dc.delayed(_change, target="changed/{n}.json")(node, n)
        for _ in range(2):
            with pytest.raises(ValueError, match="read-only") as caught:
                dask.compute(change)
            assert "array.copy()" in "".join(caught.value.__notes__)
            hot_cache.cache.shrink(0)
        np.testing.assert_array_equal(node.dc.load(), numbers(n))


def _change(array, n):
    array += 1
    return 1


def test_frames_are_each_functions_own():
    """Whatever way one is changed, names and the arrays beneath included."""

    def change(table, i):
        table["a"].array[0] = 99
        table.loc[1, "b"] = -1.0
        table.index.name = table.columns.name = "changed"
        table.sort_values("a", inplace=True)
        return i

    node = dc.delayed(frame, target="a.csv")()
    ends = [dc.delayed(change, target="end/{i}.json")(node, i) for i in range(2)]
    dask.compute(*ends)
    pd.testing.assert_frame_equal(node.dc.load(), frame())


def test_containers_are_each_functions_own(reads):
    """Lists and dictionaries are made anew, however deep."""

    def change(found, i):
        found["list"].append(1)
        found["inner"]["x"] = 2
        return len(found["list"])

    value = {"list": [0], "inner": {"x": 1}, "text": "x" * 80_000}
    node = dc.delayed(lambda: value, target="a.json", version=1)()
    ends = [dc.delayed(change, target="end/{i}.json")(node, i) for i in range(3)]
    assert dask.compute(*ends) == (2, 2, 2)
    assert node.dc.load() == value
    assert reads == []


def test_a_function_that_goes_on_with_its_result(reads):
    """A buffer that is filled again for each call: what is kept is a copy."""
    buffer = numbers()

    def filled(i):
        buffer[:] = i
        return buffer

    nodes = [dc.delayed(filled, target="{i}.npy", version=1)(i) for i in range(3)]
    total = dc.delayed(lambda arrays: [float(a[0]) for a in arrays], target="total.json")(nodes)
    assert dask.compute(total) == ([0.0, 1.0, 2.0],)
    assert buffer.flags.writeable
    assert reads == []


def test_a_result_that_nobody_else_has_is_not_copied():
    """Its memory is what the next function gets."""
    places = []

    def made():
        array = numbers()
        places.append(array.ctypes.data)
        return array

    node = dc.delayed(made, target="a.npy", version=1)()
    look = dc.delayed(lambda x: places.append(x.ctypes.data), target="b.pkl", version=1)(node)
    dask.compute(look, scheduler="sync")
    assert places[0] == places[1]


def test_parts_of_results_that_somebody_holds(reads):
    """Several results of one call are parts of one array: each is kept as a copy."""
    whole = numbers(2 * LARGE)

    def halves():
        whole[:] += 1
        return whole[:LARGE], whole[LARGE:]

    made = dc.delayed(halves, target=("first.npy", "second.npy"), version=1)()
    first = dc.delayed(lambda both: float(both[1][0]), target="end.json")(made)
    assert dask.compute(first) == (LARGE + 1.0,)
    whole[:] = 0
    assert made.dc.load()[1][0] == LARGE + 1
    assert reads == []


@pytest.mark.parametrize("happens", ["deleted", "edited"])
def test_a_target_that_is_not_as_it_was_stored(happens):
    """What is kept does not hide that it is gone, or another one."""
    node = dc.delayed(numbers, target="a.npy")()
    dask.compute(node)
    entry = node.dc._complete_entry()
    assert len(hot_cache.cache) == 1
    if happens == "deleted":
        os.unlink(node.dc.path)
        with pytest.raises(errors.TargetMissing):
            entry.load()
    else:
        np.save(node.dc.path, numbers() + 1)
        with pytest.raises(errors.TargetModified):
            entry.load()


def test_another_result_at_the_same_path(reads):
    """What was kept of the earlier one is not handed out for it."""
    for offset in (1.0, 2.0):
        node = dc.delayed(lambda offset: numbers() + offset, target="a.npy")(offset)
        assert dask.compute(dc.delayed(lambda x: float(x[0]), target="first.json")(node)) == (offset,)
    assert reads == []


def test_options_that_print_alike():
    """Equal bytes that another target reads in another dtype are read anew."""
    names = [f"c{number}" for number in range(200)]
    orders = names, [*names[:100], *reversed(names[100:190]), *names[190:]]
    assert len({repr(pd.CategoricalDtype(order)) for order in orders}) == 1
    for place, order in enumerate(orders):
        dtype = pd.CategoricalDtype(order)
        target = dc.CSVTarget(f"{place}.csv", dtype={"name": dtype})
        node = dc.delayed(lambda dtype: pd.DataFrame({"name": names * 100}, dtype=dtype), target=target)
        last = dc.delayed(lambda table: table["name"].cat.categories[150], target=f"{place}.json")
        assert last(node(dtype)).compute() == order[150]


def test_what_was_used_longest_ago_goes_first():
    """And the whole never has more bytes than its limit."""
    cache = hot_cache.HotCache()
    for i in range(4):
        cache.put(i, f"value {i}", 30, 100)
        cache.get(0)
    assert [cache.get(i) for i in range(4)] == ["value 0", UNKNOWN, "value 2", "value 3"]
    assert cache.nbytes == 90
    cache.put("more than all", "value", 101, 100)
    assert cache.get("more than all") is UNKNOWN
    cache.shrink(40)
    assert len(cache) == 1


def test_nothing_is_kept_beyond_the_limit():
    """Of arrays of 160 kB, eight MiB hold 52."""
    nodes = [dc.delayed(lambda i: numbers() + i, target="{i}.npy")(i) for i in range(60)]
    dask.compute(*nodes)
    assert len(hot_cache.cache) == 52
    assert hot_cache.cache.nbytes <= 8 * 2**20


@pytest.mark.parametrize(("setting", "read"), [(0, ["a.npy"] * 2), (0.2, [])])
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_off_workers_values_go_with_their_entries(setting, read, scheduler, reads):
    """Functions own what they get there, and after a verb nothing is kept."""
    with dask.config.set({"daskcache.hot-cache": setting, "scheduler": scheduler}):
        node = dc.delayed(numbers, target="a.npy")()
        change = dc.delayed(_change, target="c{n}.json")
        assert dask.compute(change(node, 1), change(node, 2)) == (1, 1)
    assert reads == read
    assert len(hot_cache.cache) == hot_cache.cache.nbytes == 0


@pytest.mark.parametrize("setting", [0.2, "8 MiB"])
def test_copies_keep_the_order_in_memory(setting):
    """As a pickle that is read has it."""
    with dask.config.set({"daskcache.hot-cache": setting}):
        node = dc.delayed(lambda: np.asfortranarray(numbers().reshape(100, 200)), target="a.pkl")()
        is_fortran = dc.delayed(lambda a: bool(a.flags.f_contiguous), target="f.json", version=1)
        array, is_so = dask.compute(node, is_fortran(node))
        assert is_so
    assert array.flags.f_contiguous


def test_a_share_off_workers_is_of_the_machines_memory(monkeypatch):
    """What is beyond it is read again."""
    monkeypatch.setattr(hot_cache, "_memory", lambda: 1_000_000)
    kept = []
    with dask.config.set({"daskcache.hot-cache": 0.5}):
        nodes = [dc.delayed(lambda i: numbers() + i, target="{i}.npy")(i) for i in range(9)]
        count = dc.delayed(lambda arrays: kept.append(len(hot_cache.cache)), target="n.json", version=1)
        dask.compute(count(nodes))
    assert kept == [3]


def test_a_machine_without_distributed(monkeypatch, tmp_path):
    """Dask works in threads there, and so does the cache: of the memory, or of that of a container."""
    monkeypatch.setitem(sys.modules, "distributed.system", None)
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 2**28 < hot_cache._memory.__wrapped__() <= machine
    monkeypatch.setattr(hot_cache, "_GROUPS", (tmp_path / "max", tmp_path / "none"))
    for text, expected in (("max\n", machine), ("123456789\n", 123_456_789)):
        (tmp_path / "max").write_text(text)
        assert hot_cache._memory.__wrapped__() == expected


def test_what_was_read_back_is_given_once():
    """The first who asks gets what was read as the file was written; the next one reads its content."""
    made = {"list": [1, 2]}
    node = dc.delayed(lambda: made, target="a.json", version=1)()
    seen = dc.delayed(lambda x, n: x["list"].append(n) or x, target="seen{n}.json")
    found = dask.compute(node, seen(node, 3), seen(node, 4))
    assert found == ({"list": [1, 2]}, {"list": [1, 2, 3]}, {"list": [1, 2, 4]})
    assert made == {"list": [1, 2]}


@pytest.mark.parametrize("setting", [0.2, "8 MiB"])
@pytest.mark.parametrize("shape", [(5, 4), (500, 400)])
def test_arrays_whose_file_is_small_are_not_decoded(shape, setting, monkeypatch):
    """They travel inside the entry.  Each function gets its own, or all a read-only one."""
    decoded = []
    monkeypatch.setattr(dc.ImageTarget, "decode", lambda self, data: decoded.append(len(data)))
    with dask.config.set({"daskcache.hot-cache": setting}):
        labels = dc.delayed(lambda: np.zeros(shape, "i4"), target="labels.tif")()
        raised = dc.delayed(_raised, target="raised{n}.npy", version=1)
        found = dask.compute(raised(labels, 1), raised(labels, 2))
    assert [array.max() for array in found] == [1, 2]
    assert _raised.changes_it == (setting == 0.2)
    assert os.path.getsize(labels.dc.path) < 64 * 1024
    assert decoded == []


def _raised(labels, n):
    _raised.changes_it = labels.flags.writeable
    if not labels.flags.writeable:
        return labels + n
    labels += n
    return labels


def test_what_can_be_changed_is_not_kept():
    """Objects of classes, and frames with objects in their cells."""
    odd = pd.DataFrame({"a": [[1], [2]] * LARGE})
    node = dc.delayed(lambda: odd, target="a.pkl", version=1)()
    dask.compute(dc.delayed(len, target="length.json")(node))
    assert len(hot_cache.cache) == 0


@pytest.mark.parametrize("module", ["numpy", "pandas"])
def test_a_module_that_another_thread_is_importing(monkeypatch, module):
    """What is half imported has no values yet."""
    monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    with dask.config.set({"daskcache.hot-cache": "1 MiB"}):
        assert hot_cache.likewise([1, "a"]) == [1, "a"]
    assert hot_cache.handed_out([1, "a"], shared=True) == [1, "a"]
