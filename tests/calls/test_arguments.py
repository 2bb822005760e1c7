"""References in the arguments of a call, in place of nodes and other stand-ins for data."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import attrs
import dask.array
import numpy as np
import pandas as pd
import pydantic
import pytest
from dask._task_spec import TaskRef

import daskcache as dc
from daskcache.calls.recipe import Ref
from daskcache.errors import TemplateError
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
        (OrderedDict({B: A}), OrderedDict({Ref(0): Ref(1)}), [1, 0]),
        (defaultdict(list, b=[B]), defaultdict(list, b=[Ref(0)]), [1]),
        (deque([1, A], maxlen=2), deque([1, Ref(0)], maxlen=2), [0]),
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


def test_containers_arrive_as_they_were_given():
    """An ordered dict keeps its order, a default dict its factory, and a deque its length."""
    ordered, default, queue = echo(
        [OrderedDict(b=B, a=A), defaultdict(list, a=A), deque([A, B], maxlen=2)]
    ).compute()
    assert ordered == OrderedDict(b=1, a=0)
    assert default == {"a": 0}
    assert default["new"] == []
    assert (queue, queue.maxlen) == (deque([0, 1]), 2)


@attrs.define
class Own:
    value: object


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    value: object


class Dict(dict):
    pass


class Future(TaskRef):
    """Futures of distributed derive from references, too."""


class Plain:
    def __init__(self, value):
        self.value = value


def with_attrs(value):
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["value"] = value
    return frame


#: Values that are not taken apart, by the name in the error.
OPAQUE = {
    "numpy.ndarray": lambda value: np.array([value, None], dtype=object),
    "numpy.ma.MaskedArray": lambda value: np.ma.array([value], dtype=object),
    "pandas.Series": lambda value: pd.Series([value]),
    "pandas.Index": lambda value: [1, {"a": (pd.Index([value]),)}],
    "pandas.DataFrame": lambda value: pd.DataFrame({"a": [1], "b": [value]}),
    "pandas.DataFrame ": with_attrs,
    "types.SimpleNamespace": lambda value: SimpleNamespace(a=value),
    "collections.Counter": lambda value: Counter(a=value),
    "collections.ChainMap": lambda value: ChainMap({"a": value}),
    "collections.UserDict": lambda value: UserDict(a=value),
    "builtins.mappingproxy": lambda value: MappingProxyType({"a": value}),
    "functools.partial": lambda value: functools.partial(print, value),
    "test_arguments.Own": Own,
    "test_arguments.Model": lambda value: Pair(1, Model(value=value)),
    "test_arguments.Dict": lambda value: Dict(a=value),
    "test_arguments.Plain": Plain,
}


@pytest.mark.parametrize("name", OPAQUE)
def test_a_node_where_no_data_can_take_its_place(name):
    """It is an error that names argument and class: the function would get the node itself."""
    with pytest.raises(dc.errors.GraphError, match="pass it as an argument of its own") as raised:
        echo(OPAQUE[name](A))
    assert f"the argument 'value' of echo() holds a lazy value inside of {name.strip()}," in str(
        raised.value
    )
    assert raised.value.got == repr(A)
    echo(OPAQUE[name](1))


def test_other_lazy_values_where_no_data_can_take_their_place():
    """Plain Dask values are nodes to the function, too; collections can be computed in it."""
    with pytest.raises(dc.errors.GraphError, match="inside of"):
        echo(pd.Series([dask.delayed(len)([1])]))
    with pytest.raises(dc.errors.GraphError, match="inside of"):
        echo(Plain(Future("len-1")))
    zeros = dask.array.zeros(3)
    assert echo(Plain(zeros)).dc.key == echo(Plain(zeros)).dc.key


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((1,), {"j": 1}, "scale() got an unexpected keyword argument 'j': it takes image, factor"),
        (
            (1,),
            {"factr": 1},
            "scale() got an unexpected keyword argument 'factr': did you mean 'factor'?",
        ),
        ((), {"j": 1}, "scale() got an unexpected keyword argument 'j': it takes image, factor"),
        ((), {}, "scale(): missing a required argument: 'image'"),
        ((1, 2, 3), {}, "scale(): too many positional arguments"),
    ],
)
def test_arguments_that_do_not_fit(args, kwargs, message):
    """The error names the function and the argument."""
    with pytest.raises(TypeError) as raised:
        dc.delayed(scale)(*args, **kwargs)
    assert str(raised.value) == message


def scale(image, factor=1):
    return image * factor


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


# ---- suffixes -------------------------------------------------------------------------------------


def test_a_value_does_not_choose_the_format():
    """A file by the name of an image would hold a pickle: the format was chosen without the value."""
    save = dc.delayed(lambda name: name, target="shown/{name}")
    with pytest.raises(TemplateError, match=r"shown/image\.tif") as caught:
        save("image.tif")
    assert "store=" in str(caught.value)
    two = dc.delayed(lambda name: (name, name), target=("first.json", "second/{name}"))
    with pytest.raises(TemplateError, match=r"second/a\.csv"):
        two("a.csv")


@pytest.mark.parametrize("name", ["image", "image.v2", "image.pkl", ".tif", "tif"])
def test_other_values_may_end_a_template(name):
    """They bring no suffix of another format."""
    assert dc.delayed(lambda name: 1, target="shown/{name}")(name).dc.path.endswith(f"shown/{name}")


@pytest.mark.parametrize("options", [{"store": dc.JSONTarget}, {"target": dc.JSONTarget("{name}")}])
def test_a_format_that_was_named_takes_any_suffix(options):
    node = dc.delayed(lambda name: 1, **{"target": "{name}", **options})("note.txt")
    assert node.compute(scheduler="sync") == 1
    assert Path(node.dc.path).read_text() == "1\n"
