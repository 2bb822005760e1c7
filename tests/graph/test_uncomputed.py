"""Lazy values made from nodes: as without daskcache, but their errors name the node."""

from __future__ import annotations

import copy
import operator
import pickle

import cloudpickle
import dask
import numpy as np
import pytest
from dask.base import tokenize
from dask.delayed import Delayed

import daskcache as dc
from daskcache.errors import DaskcacheWarning, NotComputed

UNARY = [operator.neg, operator.pos, operator.abs, operator.invert]
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
ARITHMETIC = [
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod),
    *(operator.pow, operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift),
]


@dc.delayed(target="seven/{n}.json")
def number(n):
    return n


@dc.delayed(target="array/{n}.npy")
def array(n):
    return np.arange(n)


@pytest.mark.parametrize("operate", UNARY)
def test_operators_of_one_value(operate):
    assert operate(number(-7)).compute() == operate(-7)


@pytest.mark.parametrize("operate", COMPARISONS + ARITHMETIC)
def test_operators_of_two_values(operate):
    """On either side: a number, a node, a value made from one, and one of plain Dask."""
    node, made, plain = number(7), number(3) + 2, dask.delayed(abs)(-5)
    for left, right in [(node, 5), (node, number(5)), (made, 2), (node, made), (node, plain)]:
        a, b = dask.compute(left, right)
        assert operate(left, right).compute() == operate(a, b)
        assert operate(right, left).compute() == operate(b, a)


@pytest.mark.parametrize("operate", ARITHMETIC)
def test_a_plain_value_on_the_left_has_the_key_that_dask_gives(operate):
    """Python asks the node first, because its class derives from that of the plain value."""
    plain = dask.delayed(abs, pure=True)(-5)
    dasks = getattr(Delayed, f"__{operate.__name__.strip('_')}__")(plain, number(7))
    assert operate(plain, number(7)).key == dasks.key


def test_matrices():
    assert (array(3) @ array(3)).compute() == 5
    assert (np.ones((2, 3)).tolist() @ (array(3) * 1)).compute().tolist() == [3, 3]


def test_attributes_methods_items_and_calls():
    """Also of what is made from a node."""
    node = array(6)
    assert node.shape.compute() == (6,)
    assert node.reshape(2, 3).T.shape[0].compute() == 3
    assert (node.max() - node[1]).compute() == 4
    assert node[2:].sum().compute() == 14
    assert dc.delayed(lambda: abs, save=False)()(-3).compute() == 3


def made_of(node):
    """Values that are made from a node of an array, each in another way."""
    return {
        "operator": node > 2,
        "reflected": 2 * node,
        "item": node[0],
        "attribute": node.flat,
        "method": node.max(),
        "chain": -(node.T.max() + 1),
    }


WAYS = list(made_of(array(3)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "use",
    [bool, int, float, complex, operator.index, len, iter, "{:d}".format, lambda made: [made][made]],
)
def test_what_is_made_from_a_node_is_not_its_value(way, use):
    """What needs the value at once is a TypeError, which names the node and the cure."""
    with pytest.raises(NotComputed, match=r"made from the node array\(array/3.npy\)") as caught:
        use(made_of(array(3))[way])
    assert isinstance(caught.value, TypeError)
    assert caught.value.node == "array(array/3.npy)"
    assert "value.compute()" in caught.value.hint


@pytest.mark.parametrize("way", WAYS)
def test_in_a_text_it_is_told(way):
    made = made_of(array(3))[way]
    with pytest.warns(DaskcacheWarning, match=r"made from the node array\(array/3.npy\).*not the value"):
        assert f"{made}" == repr(made)


def test_items_can_not_be_set():
    with pytest.raises(NotComputed, match="can't be changed"):
        array(3).flat[0] = 1


@pytest.mark.parametrize("way", WAYS)
def test_to_dask_it_is_a_plain_lazy_value(way):
    """It is a collection, with the token of a plain value of its key, and it hashes."""
    made = made_of(array(3))[way]
    assert isinstance(made, Delayed)
    assert dask.is_dask_collection(made)
    assert tokenize(made) == tokenize(Delayed(made.key, made.dask))
    assert hash(made) == hash(made.key)
    assert dask.delayed(made) is made


@pytest.mark.parametrize("way", ["operator", "item", "method", "chain"])
@pytest.mark.parametrize(
    "again",
    [
        copy.copy,
        lambda made: pickle.loads(pickle.dumps(made)),
        lambda made: cloudpickle.loads(cloudpickle.dumps(made)),
        lambda made: dask.optimize(made)[0],
        lambda made: dask.persist(made)[0],
        lambda made: made.persist(),
    ],
)
def test_copies_have_its_value_and_its_errors(way, again):
    """Copies, pickles, and what Dask gives in its place, have its key, too."""
    made = made_of(array(3))[way]
    other = again(made)
    assert other.key == made.key
    assert np.array_equal(other.compute(), made.compute())
    with pytest.raises(NotComputed, match=r"made from the node array\(array/3.npy\)"):
        bool(other)


def test_attributes_are_pickled():
    """Those that Dask only makes when they are needed, too."""
    made = array(3).shape
    other = pickle.loads(pickle.dumps(made))
    assert (other.key, other.compute()) == (made.key, (3,))


def test_it_goes_into_other_functions():
    """Of Dask and of daskcache, alone and in lists."""
    made = number(7) + 1
    assert dask.delayed(sum)([made, number(1)]).compute() == 9
    assert dc.delayed(abs, target="abs/{key}.json")(made).compute() == 8
    assert dask.compute([made], {"a": made}) == ([8], {"a": 8})


def test_items_of_several_results_name_their_node():
    """With ``nout``, a node is iterated; its items are not."""
    first, _ = dc.delayed(lambda: ([1], 2), nout=2, save=False, label="pair")()
    assert first.compute() == [1]
    with pytest.raises(NotComputed, match="made from the node pair"):
        list(first)


def test_names_of_protocols_are_not_lazy_attributes():
    """What begins with an underscore is no attribute of the value, as with `dask.delayed`."""
    for made in made_of(array(3)).values():
        assert not hasattr(made, "_repr_svg_")
        assert not hasattr(made, "__array__")


def test_it_does_not_keep_the_call_alive():
    """It has the node's title, not the node: a pickle of a sum holds no arguments."""
    assert (number(7) + 1)._title == "number(seven/7.json)"
