"""What a function does to its arguments stays its own: the caller and other functions don't see it."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict, deque
from types import SimpleNamespace

import dask
import dask.array
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import daskcache as dc
from daskcache.errors import ArgumentChanged
from daskcache.hashing.encoder import hash_value
from daskcache.runtime import copies
from daskcache.runtime.copies import Copies, copy_of_data


@dataclasses.dataclass
class Settings:
    sigma: float = 1.0
    sizes: list = dataclasses.field(default_factory=list)


class Model:
    """An object that its methods change, as an estimator's `fit` does."""

    def __init__(self):
        self.weights = np.zeros(2)
        self.seen = []
        self.link = lambda x: x  # can't be pickled

    def fit(self):
        self.weights += 1
        self.seen.append(1)


class Connected:
    """An object that can't be copied, with an identity of its own."""

    def __init__(self):
        self.lock = threading.Lock()
        self.count = 0

    def __daskcache_encode__(self, encoder):
        encoder.add(self.count)


def put(value, place=0):
    value[place] = 9


#: Values, and functions that change them in place.
CHANGES = {
    "array": (lambda: np.zeros(3), put),
    "array in Fortran's order": (lambda: np.asfortranarray(np.zeros((2, 3))), put),
    "array of objects": (lambda: np.array([[1], {}], dtype=object), lambda x: x[0].append(1)),
    "masked array": (lambda: np.ma.array([1, 2], mask=[0, 1]), put),
    "frame": (lambda: pd.DataFrame({"a": [1]}), lambda x: put(x, "new")),
    "values of a frame": (lambda: pd.DataFrame({"a": [1]}), lambda x: put(x["a"].array)),
    "cells of a frame": (lambda: pd.DataFrame({"a": [[1]]}), lambda x: x.loc[0, "a"].append(1)),
    "attrs of a frame": (lambda: pd.DataFrame({"a": [1]}), lambda x: put(x.attrs)),
    "series": (lambda: pd.Series([1, 2]), put),
    "list": (lambda: [1], put),
    "deque": (lambda: deque([1]), put),
    "ordered dict": (lambda: OrderedDict(a=1), put),
    "array in a tuple": (lambda: (np.zeros(3),), lambda x: put(x[0])),
    "dataclass": (Settings, lambda x: setattr(x, "sigma", 2)),
    "list in a dataclass": (Settings, lambda x: x.sizes.append(1)),
    "namespace": (lambda: SimpleNamespace(a=1), lambda x: setattr(x, "a", 2)),
    "bytearray": (lambda: bytearray(b"ab"), put),
    "object": (Model, Model.fit),
    "bound method": (lambda: Model().fit, lambda x: x()),
}


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize("case", CHANGES)
def test_a_function_changes_a_copy(case, scheduler):
    """The caller's value is as it was, and so is the node, which keeps its key."""
    make, change = CHANGES[case]
    value = make()
    before = hash_value(value)

    @dc.delayed(target="result.pkl", version=1)
    def changed(x):
        change(x)
        return hash_value(x)

    node = changed(value)
    result = node.compute(scheduler=scheduler)
    assert hash_value(value) == before
    assert node.dc.state == "complete"
    change(value)
    assert result == hash_value(value)


def test_functions_that_get_the_same_value():
    """Results of nodes that keep no file, and of plain Dask, are each function's own too."""

    @dc.delayed(save=False)
    def base():
        return {"image": np.zeros(4), "table": pd.DataFrame({"a": [0.0]})}

    @dc.delayed(target="{n}.json", version=1)
    def bump(value, n):
        value["image"] += 1
        value["table"]["a"] += 1
        return float(value["image"].sum() + value["table"]["a"].sum())

    for value in (base(), dask.delayed(base.__wrapped__)()):
        nodes = [bump(value, n) for n in range(4)]
        assert dask.compute(*nodes, scheduler="sync") == (5.0,) * 4
        dc.invalidate(*nodes)


@pytest.mark.parametrize(
    "wrap", [lambda array: array, lambda array: [array], lambda a: SimpleNamespace(a=a)]
)
def test_large_arrays_are_read_only(wrap, monkeypatch):
    """They are not copied, and the error says what to do."""
    monkeypatch.setattr(copies, "LARGE", 100)
    array = np.zeros(100)

    def change(value):
        own = next(iter(vars(value).values() if isinstance(value, SimpleNamespace) else value), value)
        own = value if isinstance(value, np.ndarray) else own
        assert np.shares_memory(own, array)
        own[0] = 1

    with pytest.raises(ValueError, match="read-only") as caught:
        dc.delayed(change, target="a.json", version=1)(wrap(array)).compute(scheduler="sync")
    assert any("array.copy()" in note for note in caught.value.__notes__)
    assert array.flags.writeable
    assert not array.any()


def test_memory_maps_are_read_only(tmp_path):
    """A function can't write to the file behind an argument."""
    array = np.memmap(tmp_path / "a.bin", dtype="u1", shape=4, mode="w+")
    with pytest.raises(ValueError, match="read-only"):
        dc.delayed(put, target="a.json", version=1)(array).compute(scheduler="sync")
    assert not array.any()


def test_what_can_not_be_copied_is_watched():
    """A change of it is an error that names function and class, and nothing is stored."""
    connected = Connected()

    def count(x, step):
        x.count += step
        return x.count

    count = dc.delayed(count, target="{step}.json", version=1)
    assert count(connected, 0).compute(scheduler="sync") == 0
    node = count(connected, 1)
    with pytest.raises(ArgumentChanged, match=r"count\(\) changed an argument of type .*Connected"):
        node.compute(scheduler="sync")
    connected.count = 0
    assert node.dc.state == "failed"


def test_what_is_shared():
    """Code, Arrow's tables, Dask collections and read-only arrays are not copied."""
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    for value in (len, Model, np, pa.table({"a": [1]}), dask.array.zeros(3), frozen):
        assert Copies().of(value) is value
    inside = Copies().of(SimpleNamespace(link=test_what_is_shared, table=pa.table({"a": [1]})))
    assert inside.link is test_what_is_shared


def test_parts_that_are_one_object():
    """They are one object in the copy."""
    array = np.zeros(2)
    copied = Copies().of(SimpleNamespace(one=array, two=array))
    assert copied.one is copied.two
    assert copied.one is not array


MISSING = SimpleNamespace(of="default")


def test_defaults_and_ignored_arguments_are_the_functions_own():
    """A default may be compared by identity, and an ignored argument may be there to be changed."""

    @dc.delayed(target="a.json", ignore="progress")
    def measure(progress, option=MISSING):
        progress.seen = True
        return option is MISSING

    progress = SimpleNamespace()
    assert measure(progress).compute(scheduler="sync")
    assert progress.seen


def test_data_that_can_not_be_copied():
    """Results of nodes that keep no file may hold anything."""
    locks = np.array([threading.Lock(), None], dtype=object)
    assert copy_of_data(locks) is locks
    assert copy_of_data(locks[0]) is locks[0]
