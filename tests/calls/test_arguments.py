"""References in the arguments of a call, in place of nodes and other stand-ins for data."""

from __future__ import annotations

import copy
import dataclasses
from collections import namedtuple

import pytest

import daskcache as dc
from daskcache.calls.recipe import Ref
from daskcache.hashing.encoder import canonical_order

Point = namedtuple("Point", "x y")


@dataclasses.dataclass
class Pair:
    left: object
    right: object


@dc.delayed
def number(n):
    return n


@dc.delayed
def echo(value):
    return value


A, B, C, D = (number(n) for n in range(4))


def bound(value):
    """Return the argument as the recipe holds it, and the numbers of its parents."""
    recipe = echo(value)._recipe
    return recipe.values[0], [parent.values[0] for parent in recipe.upstream]


@pytest.mark.parametrize(
    ("value", "replaced", "parents"),
    [
        (A, Ref(0), [0]),
        ([B, 1, (A, B)], [Ref(0), 1, (Ref(1), Ref(0))], [1, 0]),
        ({A: B, C: [D]}, {Ref(0): Ref(1), Ref(2): [Ref(3)]}, [0, 1, 2, 3]),
        (slice(B, 1, A), slice(Ref(0), 1, Ref(1)), [1, 0]),
        (Point(B, {"a": A}), Point(Ref(0), {"a": Ref(1)}), [1, 0]),
        (Pair(B, [A]), Pair(Ref(0), [Ref(1)]), [1, 0]),
        (iter([A, 1]), [Ref(0), 1], [0]),
        ([number(0), A], [Ref(0), Ref(0)], [0]),
    ],
)
def test_references_are_numbered_as_they_are_met(value, replaced, parents):
    """The numbers are part of keys: each key of a dict comes before its value."""
    found, numbers = bound(value)
    assert (type(found), found, numbers) == (type(replaced), replaced, parents)


@pytest.mark.parametrize("given", [{A, B, C}, frozenset({A, B, C}), iter({A, B, C})])
def test_references_in_sets_do_not_depend_on_their_order(given):
    """They are numbered in the order of the items' encodings, which every process has."""
    found, numbers = bound(given)
    assert found == {Ref(0), Ref(1), Ref(2)}
    assert numbers == [node._recipe.values[0] for node in canonical_order([C, A, B])]


@pytest.mark.parametrize(
    "value",
    [[1, [2]], (1, ()), {1, 2}, frozenset({1}), {"a": [1]}, slice(1), Point(1, [2]), Pair(1, {})],
)
def test_values_without_stand_ins_are_not_copied(value):
    """They go on as they are, however large."""
    assert bound(value) == (value, [])
    assert bound(value)[0] is value


def test_a_container_that_can_not_be_made_again():
    """The error says what to do instead."""

    @dataclasses.dataclass
    class Checked:
        n: object

        def __post_init__(self):
            if isinstance(self.n, Ref):
                raise TypeError("n is no number")

    with pytest.raises(dc.errors.GraphError, match="in place of the nodes in a Checked: n is no number"):
        echo(Checked(A))


@dataclasses.dataclass
class Counted:
    items: list
    count: int = dataclasses.field(init=False)
    start: dataclasses.InitVar[int]

    def __post_init__(self, start):
        self.count = len(self.items) + start


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    items: list


@dc.delayed(save=False)
def append(value):
    value.items.append(0)
    return value


@pytest.mark.parametrize("value", [Counted([1, 2], start=3), Frozen([1])])
def test_the_call_gets_a_copy_of_a_dataclass(value):
    """The body changes its own containers; no constructor runs, which may want other arguments."""
    given = copy.deepcopy(value)
    result = append(value).compute(scheduler="sync")
    assert value == given
    assert result == append.__wrapped__(given)
