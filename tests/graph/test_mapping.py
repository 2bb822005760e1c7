"""`map` and `gather` of decorated functions: what is mapped, what is refused, and what wins a name."""

from __future__ import annotations

import itertools
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from dask.delayed import Delayed

import daskcache as dc
from daskcache.errors import GraphError, NotANode


@dc.delayed(target="scaled/{n}_{by}.json")
def scale(n, by=1):
    return n * by


@dc.delayed
def echo(value, other=None):
    return value


@dc.delayed(target="size/{text.plate}_{text.well}.json")
def size(text, add=0):
    return len(text) + add


@dc.delayed(target="total/{sizes.plate}.json")
def total(sizes, add=0):
    return sum(sizes) + add


@dc.delayed(target="all.json")
def everything(sizes):
    return sizes


@pytest.fixture
def wells(tmp_path, monkeypatch):
    """Four files of two plates, of which one has three wells."""
    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()
    for name in ("P1_A01", "P1_A02", "P1_B10", "P2_A01"):
        Path(f"raw/{name}.txt").write_text(name)
    return dc.sources("raw/{plate}_{well}.txt")


# ---- map -----------------------------------------------------------------------------------------


def test_map_makes_the_nodes_of_a_loop():
    """Positional arguments are mapped side by side; what is passed by name is the same for each."""
    nodes = scale.map([1, 2, 3], by=2)
    assert isinstance(nodes, dc.Nodes)
    assert [node.dc.key for node in nodes] == [scale(n, by=2).dc.key for n in (1, 2, 3)]
    assert scale.map([1, 2, 3], [4, 5, 6]).compute() == [4, 10, 18]


def test_keywords_are_never_mapped():
    """A list, an array or nodes passed by name go to each call as a whole."""
    nodes = scale.map([1, 2])
    assert echo.map([1, 2], other=nodes)[0].dc.key == echo(1, other=list(nodes)).dc.key
    assert echo.map([1], other=[5, 6])[0].dc.key == echo(1, other=[5, 6]).dc.key


@pytest.mark.parametrize(
    "items",
    [
        (2, 3),
        range(2, 4),
        {"a": 2, "b": 3}.values(),
        {2: 0, 3: 0}.keys(),
        iter([2, 3]),
        (n for n in (2, 3)),
        pd.Series([2, 3], index=["x", "y"]),
        pd.Index([2, 3]),
        pd.Series([2, 3]).unique().tolist(),
    ],
    ids=lambda items: type(items).__name__,
)
def test_what_is_mapped(items):
    """Sequences, views of dicts, iterators, and columns of frames."""
    assert scale.map(items, by=2).compute() == [4, 6]


def test_nodes_and_sources_are_mapped(wells):
    """Each source is an input of its own, and so is each node."""
    sizes = size.map(wells, add=1)
    assert [Path(path).stem for path in sizes.paths] == ["P1_A01", "P1_A02", "P1_B10", "P2_A01"]
    assert echo.map(sizes).compute() == [7, 7, 7, 7]


@pytest.mark.parametrize(
    ("value", "cure"),
    [
        ("text", "write a list for one item"),
        (b"text", "write a list for one item"),
        (Path("a.tif"), "write a list for one item"),
        (np.arange(3), "rows of an array"),
        (pd.DataFrame({"a": [1]}), "column of a frame"),
        (da.ones(3), "list of its parts"),
        (dask.delayed(3), "write a list for one item"),
        (scale(3), "write a list for one item"),
        ({"a": 1}, r"\.values\(\)"),
        ({1, 2}, r"sorted\("),
        (itertools.repeat(1), "pass a list"),
        (3, "write a list for one item"),
        (None, "write a list for one item"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_mapped(value, cure):
    """One text, array, frame, node … is an error that names the argument and the cure."""
    with pytest.raises(GraphError, match=rf"echo\.map\(\) can't go through other(.|\n)*{cure}"):
        echo.map([1, 2, 3], value)


def test_a_single_source_is_not_mapped(wells):
    """A source is one input, although some have items."""
    with pytest.raises(GraphError, match="one source"):
        size.map(wells[0])


def test_lengths_must_be_equal():
    """The error names each argument with its length."""
    with pytest.raises(GraphError, match=r"different lengths(.|\n)*n: 3, by: 2"):
        scale.map([1, 2, 3], [1, 2])


def test_map_without_items():
    """Nothing to map is an error; no item is not."""
    with pytest.raises(GraphError, match=r"nothing to map(.|\n)*only n"):
        scale.map(n=[1, 2])
    assert len(scale.map([])) == 0


def test_one_dask_key_name_for_many_is_refused():
    """Dask takes nodes with one key for one node."""
    with pytest.raises(GraphError, match="dask_key_name"):
        scale.map([1, 2], dask_key_name="mine")


def test_map_in_a_body_calls():
    """Inside of another function's body, `map` gives values, as a call does."""

    @dc.delayed
    def outer(numbers):
        return scale.map(numbers, by=3)

    assert outer([1, 2]).compute() == [3, 6]


def test_arguments_that_do_not_fit():
    """A misspelt keyword is named as in a call."""
    with pytest.raises(TypeError, match="did you mean 'other'"):
        echo.map([1, 2], others=2)


class Scope:
    """A class with a method that is decorated."""

    @dc.delayed
    def seen(self, x=1):
        return x


def test_map_of_a_method():
    """It goes through instances; items in their place are refused, as each would pass for `self`."""
    assert Scope.seen.map([Scope(), Scope()], [2, 3]).compute() == [2, 3]
    with pytest.raises(GraphError, match=r"can't bind a method(.|\n)*a int(.|\n)*thing\.seen\(item\)"):
        Scope().seen.map([5])


# ---- a name of the user's own --------------------------------------------------------------------


class Model:
    """A callable object with attributes named as methods of decorated functions."""

    gather = 5

    def __call__(self, x):
        return x

    def map(self, values):
        return [value + 1 for value in values]


def test_attributes_of_the_decorated_object_win():
    """`map` of an object that has one is that, lazily, as in Dask; so are its other attributes."""
    lazy = dc.delayed(Model())
    assert isinstance(lazy.map, Delayed)
    assert lazy.map([1, 2]).compute() == [2, 3]
    assert lazy.gather.compute() == 5


def test_an_attribute_of_a_function_wins():
    """So is an attribute that was set on a function before it was decorated."""

    def function(x):
        return x

    function.map = "mine"
    assert dc.delayed(function).map.compute() == "mine"


# ---- gather --------------------------------------------------------------------------------------


def test_gather_by_a_field(wells):
    """One node for each value, which gets a list and has the fields that its members share."""
    sizes = size.map(wells)
    totals = total.gather(sizes, "plate", add=1)
    assert totals.compute() == [19, 7]
    assert totals.fields == {"plate": ["P1", "P2"], "well": [None, "A01"]}
    assert totals[0].dc.key == total(list(sizes[:3]), add=1).dc.key
    assert [node.dc.key for node in total.gather(list(sizes), "plate", add=1)] == [
        node.dc.key for node in totals
    ]


def test_gather_is_map_over_groups(wells):
    """It is the short form for mapping the groups; several fields make smaller groups, in order."""
    sizes = size.map(reversed(wells))
    by_hand = echo.map(sizes.group_by("well", "plate").values())
    assert [n.dc.key for n in echo.gather(sizes, "well", "plate")] == [n.dc.key for n in by_hand]
    assert by_hand.fields["well"] == ["A01", "A01", "A02", "B10"]


def test_gather_sources(wells):
    """A group of sources is one input."""
    assert everything.gather(wells, "plate")[0].dc.key == everything(wells[:3]).dc.key


def test_gather_needs_a_field(wells):
    """Without a field, the error says how to pass all nodes; an unknown one is named."""
    sizes = size.map(wells)
    with pytest.raises(GraphError, match=r"by nothing(.|\n)*plate, well(.|\n)*function\(nodes\)"):
        total.gather(sizes)
    with pytest.raises(GraphError, match=r"no field 'plat'(.|\n)*did you mean 'plate'"):
        total.gather(sizes, "plat")
    with pytest.raises(GraphError, match=r"not all of them have the field(.|\n)*scale"):
        total.gather([*sizes, scale(1)], "plate")
    with pytest.raises(NotANode, match="got: 3"):
        total.gather([3], "plate")
