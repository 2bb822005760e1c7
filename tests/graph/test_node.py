"""Building nodes: from calls of decorated functions to lazy values with a key and a target."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import functools
import inspect
import operator
import pickle
from collections import namedtuple
from pathlib import Path

import cloudpickle
import dask
import numpy as np
import pandas as pd
import pytest
from dask.delayed import Delayed

import daskcache as dc
from daskcache.errors import (
    FormatLimit,
    GraphError,
    NotANode,
    ResultError,
    SourceMissing,
    TemplateError,
    UnhashableArgument,
)

Point = namedtuple("Point", "x y")


@dataclasses.dataclass
class Pair:
    left: object
    right: object = 0


@dataclasses.dataclass(frozen=True)
class FrozenPair:
    left: object
    right: object = 0


class Scaled:
    """A callable object."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return x * self.factor


@dc.delayed
def echo(value):
    """Give back what came in."""
    return value


@dc.delayed
def add(a, b=1, *, c=0):
    return a + b + c


@dc.delayed(target="{funcname}/{key}.json")
def number(n):
    return n


def key(node):
    return node.dc.key


# ---- binding -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda: add(5, 1),
        lambda: add(5, b=1),
        lambda: add(a=5),
        lambda: add(b=1, a=5),
        lambda: add(5, 1, c=0),
        lambda: add(c=0, b=1, a=5),
    ],
)
def test_every_spelling_of_a_call_is_one_node(call):
    """`f(x)`, `f(x, 1)` and `f(x, k=1)` with default 1 have one key."""
    assert key(call()) == key(add(5))
    assert call().compute() == 6


@pytest.mark.parametrize(
    "call", [lambda: add(6), lambda: add(5, 2), lambda: add(5, c=1), lambda: add(1, 5)]
)
def test_other_arguments_make_another_node(call):
    """Any argument that differs gives another key."""
    assert key(call()) != key(add(5))


def test_variable_arguments_are_part_of_the_key():
    """`*args` and `**kwargs` count, in the order in which the function sees them."""

    @dc.delayed
    def collect(*args, **kwargs):
        return args, kwargs

    assert collect(1, 2, x=3).compute() == ((1, 2), {"x": 3})
    assert key(collect(1, 2)) != key(collect(2, 1))
    assert key(collect(x=1)) != key(collect(y=1))
    assert key(collect(x=1, y=2)) != key(collect(y=2, x=1))
    assert key(add(1, b=2)) == key(add(b=2, a=1))


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"z": 1}), ((1,), {"a": 1})]
)
def test_arguments_that_do_not_fit_raise_at_the_call(args, kwargs):
    """A wrong call raises TypeError where it is written, not when it runs."""
    with pytest.raises(TypeError):
        add(*args, **kwargs)


def test_positional_only_parameters():
    """Positional-only parameters bind as in Python."""

    @dc.delayed
    def divide(a, b=2, /):
        return a / b

    assert divide(8).compute() == 4
    assert key(divide(8)) == key(divide(8, 2))


def test_a_node_as_default_argument_is_upstream(runs):
    """A default that is a node arrives as its data, and its key is part of the key."""

    @dc.delayed
    def base(n):
        runs.note("base")
        return n

    def make(default):
        @dc.delayed
        def plus(x, b=default):
            return x + b

        return plus

    assert make(base(10))(1).compute() == 11
    assert runs.take() == ["base"]
    assert key(make(base(10))(1)) == key(make(base(10))(1)) != key(make(base(11))(1))


# ---- nodes in containers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda a, b: [a, b], [1, 2]),
        (lambda a, b: (a, b), (1, 2)),
        (lambda a, b: {"x": a, "y": [b]}, {"x": 1, "y": [2]}),
        (lambda a, b: {a: "x", b: "y"}, {1: "x", 2: "y"}),
        (lambda a, b: {a, b}, {1, 2}),
        (lambda a, b: frozenset([a, b]), frozenset([1, 2])),
        (lambda a, b: Point(a, [b]), Point(1, [2])),
        (lambda a, b: Pair(a, b), Pair(1, 2)),
        (lambda a, b: FrozenPair((a,), Pair(b)), FrozenPair((1,), Pair(2))),
        (lambda a, b: slice(a, b), slice(1, 2)),
        (lambda a, b: [[a, (b, {"k": {a}})]], [[1, (2, {"k": {1}})]]),
        (lambda a, b: [a, a, b, 3, None, "s"], [1, 1, 2, 3, None, "s"]),
    ],
)
def test_nodes_in_containers_arrive_as_data(build, expected):
    """Nodes nested in containers arrive as their data, in containers of the same type."""
    got = echo(build(number(1), number(2))).compute()
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    "build",
    [
        lambda a, b: [a, b],
        lambda a, b: {"x": a, "y": b},
        lambda a, b: Point(a, b),
        lambda a, b: Pair(a, b),
        lambda a, b: slice(a, b),
        lambda a, b: {a: 1, b: 2},
    ],
)
def test_which_node_stands_where_is_part_of_the_key(build):
    """Nodes that change places in a container make another key; the same places, the same key."""
    one, two, three = number(1), number(2), number(3)
    assert key(echo(build(one, two))) == key(echo(build(number(1), number(2))))
    assert key(echo(build(one, two))) != key(echo(build(two, one)))
    assert key(echo(build(one, two))) != key(echo(build(one, three)))


def test_the_order_of_a_dict_is_part_of_the_key():
    """Functions see the order of a dict: two orders are two nodes, with and without nodes in them."""
    one, two = number(1), number(2)
    assert key(echo({"a": 1, "b": 2})) == key(echo({"a": 1, "b": 2}))
    assert key(echo({"a": 1, "b": 2})) != key(echo({"b": 2, "a": 1}))
    assert key(echo({"a": one, "b": two})) == key(echo({"a": one, "b": two}))
    assert key(echo({"a": one, "b": two})) != key(echo({"b": two, "a": one}))
    assert key(echo({"a": one, "b": two})) != key(echo({"a": two, "b": one}))


def test_the_order_of_a_set_is_not_part_of_the_key():
    """Equal sets of nodes make one key."""
    nodes = [number(i) for i in range(8)]
    assert key(echo(set(nodes))) == key(echo({*nodes[4:], *nodes[:4]}))
    assert key(echo(set(nodes))) != key(echo(set(nodes[1:])))


def test_a_function_gets_containers_of_its_own():
    """A body that changes the list it got changes neither the caller's list nor the key."""

    @dc.delayed
    def grow(values):
        values.append(0)
        return len(values)

    values = [number(1)]
    assert grow(values).compute() == 2
    assert len(values) == 1


def test_what_a_node_stands_for_and_a_plain_value_have_different_keys():
    """`f(g(1))` and `f(1)` are two nodes, although their values agree."""
    assert key(echo(number(1))) != key(echo(1))


def test_plain_dask_values_are_upstream_too(runs):
    """A plain Dask value arrives as its data, and its graph is part of the key."""
    plain = dask.delayed(operator.add)
    assert echo([plain(1, 2)]).compute() == [3]
    assert key(echo(plain(1, 2))) == key(echo(plain(1, 2)))
    assert key(echo(plain(1, 2))) != key(echo(plain(1, 3)))


def test_a_decorated_function_as_argument_is_that_function():
    """A decorated function passed on is called as the plain function."""

    @dc.delayed
    def apply(function, x):
        return function(x, b=10)

    assert apply(add, 1).compute() == 11


# ---- what can be decorated -----------------------------------------------------------------------


class Filter:
    def __init__(self, sigma):
        self.sigma = sigma

    @dc.delayed
    def apply(self, x):
        return x * self.sigma

    @classmethod
    @dc.delayed
    def of_class(cls, x):
        return cls.__name__, x

    @staticmethod
    @dc.delayed
    def static(x):
        return x + 1


def test_methods():
    """A decorated method is called with its instance, whose state is part of the key."""
    node = Filter(3).apply(2)
    assert isinstance(node, dc.Node)
    assert node.compute() == 6
    assert key(node) == key(Filter(3).apply(2)) != key(Filter(4).apply(2))


def test_class_methods_and_static_methods():
    """Decorated class methods and static methods make nodes."""
    assert Filter.of_class(1).compute() == ("Filter", 1)
    assert Filter(1).of_class(1).compute() == ("Filter", 1)
    assert Filter.static(1).compute() == 2
    assert Filter(1).static(1).compute() == 2


def test_lambdas_partials_callables_and_builtins():
    """Whatever can be called can be decorated, and is keyed by what it is made of."""
    assert dc.delayed(lambda x: x + 1)(1).compute() == 2
    by_two = dc.delayed(functools.partial(operator.mul, 2))
    assert by_two(4).compute() == 8
    assert key(by_two(4)) != key(dc.delayed(functools.partial(operator.mul, 3))(4))
    assert dc.delayed(Scaled(3))(2).compute() == 6
    assert key(dc.delayed(Scaled(3))(2)) == key(dc.delayed(Scaled(3))(2))
    assert key(dc.delayed(Scaled(3))(2)) != key(dc.delayed(Scaled(4))(2))
    assert dc.delayed(len)([1, 2]).compute() == 2
    assert dc.delayed(max)(1, 2).compute() == 2
    assert key(dc.delayed(max)(1, 2)) != key(dc.delayed(min)(1, 2))
    assert dc.delayed(Point)(1, 2).compute() == Point(1, 2)


def test_values_become_plain_dask_values(files):
    """`delayed(value)` is what `dask.delayed(value)` is: a Dask value without a target."""
    for value in (1, [1, 2], {"a": 1}, "text"):
        wrapped = dc.delayed(value)
        assert isinstance(wrapped, Delayed)
        assert not isinstance(wrapped, dc.Node)
        assert wrapped.compute() == value
    assert files() == []


def test_a_dask_value_stays_what_it_is():
    """`delayed` of something lazy returns it."""
    plain = dask.delayed(1)
    assert dc.delayed(plain) is plain
    node = number(1)
    assert dc.delayed(node) is node
    assert dc.delayed(number) is number


def test_functools_attributes():
    """A decorated function keeps its name, docstring and signature, and gives back the original."""

    def smooth(image: list, sigma: float = 2) -> list:
        """Smooth an image."""
        return image

    decorated = dc.delayed(target="x/{sigma}.pkl")(smooth)
    assert decorated.__name__ == "smooth"
    assert decorated.__doc__ == "Smooth an image."
    assert decorated.__wrapped__ is smooth
    assert inspect.signature(decorated) == inspect.signature(smooth)
    assert callable(decorated)
    assert "smooth" in repr(decorated)


def test_the_number_of_results():
    """`nout=2` makes a node that unpacks into lazy values."""
    node = dc.delayed(divmod, nout=2)(7, 2)
    assert len(node) == 2
    quotient, rest = node
    assert (quotient.compute(), rest.compute()) == (3, 1)


@pytest.mark.parametrize("nout", [-1, 1.5, "2", True])
def test_a_bad_number_of_results_is_refused(nout):
    """`nout` must be a non-negative integer."""
    with pytest.raises(ValueError, match="nout"):
        dc.delayed(divmod, nout=nout)


def test_dask_key_name():
    """`dask_key_name=` names the Dask key, and is no part of the recipe's."""
    node = add(1, dask_key_name="mine")
    assert node.key == "mine"
    assert node.dc.key == add(1).dc.key
    assert node.compute() == 2


# ---- what Dask does with a node ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("derive", "expected"),
    [
        (lambda n: n + 1, 6),
        (lambda n: 1 + n, 6),
        (lambda n: n * n, 25),
        (lambda n: -n, -5),
        (lambda n: n == 5, True),
        (lambda n: n.real, 5),
        (lambda n: n.bit_length(), 3),
        (lambda n: n // 2 % 2, 0),
    ],
)
def test_operators_attributes_and_methods_are_plain_dask(derive, expected, files):
    """What is derived from a node by an expression is lazy, and never has a target."""
    derived = derive(number(5))
    assert isinstance(derived, Delayed)
    assert not isinstance(derived, dc.Node)
    assert derived.compute() == expected
    assert files() == [f"number/{key(number(5))}.json"]


def test_items_of_a_node_are_lazy():
    """`node[...]` is a lazy item."""
    item = echo({"a": [1, 2]})["a"]
    assert not isinstance(item, dc.Node)
    assert item.compute() == [1, 2]
    assert echo([10, 20, 30])[number(1)].compute() == 20


def test_attribute_names_belong_to_the_value():
    """A node's attributes are its value's, whatever they are called; daskcache's are behind `dc`."""
    frame = pd.DataFrame({"target": [1], "state": [2], "why": [3]})
    node = echo(frame)
    assert node.target.compute().tolist() == [1]
    assert node.state.compute().tolist() == [2]
    assert node.why.compute().tolist() == [3]
    public = {n for n in vars(dc.Node) if not n.startswith("_")} - set(dir(Delayed))
    assert public == {"dc"}


def test_a_node_is_a_delayed():
    """A node is a Dask collection and a `Delayed`."""
    node = number(1)
    assert isinstance(node, Delayed)
    assert dask.is_dask_collection(node)
    assert node.key == f"number-{node.dc.key}"


def test_the_accessor_tells_what_daskcache_knows(root):
    """`node.dc` has key, target, path, state, record, reasons and the stored value."""
    node = number(7)
    assert len(node.dc.key) == 32
    assert set(node.dc.key) <= set("0123456789abcdef")
    assert node.dc.path == f"{root}/number/{node.dc.key}.json"
    assert node.dc.target == dc.JSONTarget(node.dc.path)
    assert (node.dc.state, node.dc.record) == ("missing", None)
    assert "never computed" in node.dc.why()
    with pytest.raises(dc.errors.TargetMissing):
        node.dc.load()
    node.compute()
    assert (node.dc.state, str(node.dc.why()), node.dc.load()) == ("complete", "", 7)
    assert node.dc.record["function"].endswith("number")
    node.dc.invalidate()
    assert node.dc.state == "missing"


def test_a_path_with_the_hash_of_the_data(root):
    """It is known once the result is there; then it can be opened, and moved away."""

    @dc.delayed(target=("numbers/{i}-{data_hash}.json", "{i}.json"))
    def number(i):
        return i, i

    node = number(3)
    assert node.dc.path == (f"{root}/numbers/3-{{data_hash}}.json", f"{root}/3.json")
    node.compute()
    path, _ = node.dc.path
    assert path == f"{root}/numbers/3-{dc.hashing.hash_value(3)}.json"
    assert Path(path).exists()
    assert [target.path for target in node.dc.target] == list(node.dc.path)
    dc.invalidate(node)
    assert not Path(path).exists()
    assert node.dc.state == "missing"


def test_the_functions_of_the_package_agree_with_the_accessor():
    """`dc.why`, `dc.status` and `dc.target` are the accessor's, as functions."""
    node = number(8)
    assert str(dc.why(node)) == str(node.dc.why())
    assert dc.status(node) == "missing"
    assert dc.target(node) == node.dc.target
    node.compute()
    assert (dc.status(node), str(dc.why(node))) == ("complete", "")


@pytest.mark.parametrize("verb", [dc.why, dc.status, dc.target, dc.plan, dc.compute])
@pytest.mark.parametrize("value", [1, "x", [1, 2], None])
def test_what_is_no_node_is_refused(verb, value):
    """The functions of the package raise NotANode on what isn't one, and say what would be."""
    with pytest.raises(NotANode, match=r"daskcache\.delayed"):
        verb(value)


def test_compute_repacks_nested_arguments():
    """`dc.compute` returns its arguments with values in place of nodes."""
    got = dc.compute(number(1), [number(2), {"x": number(3)}], 4, dask.delayed(5))
    assert got == (1, [2, {"x": 3}], 4, 5)


def test_persist_returns_a_node_that_is_still_one(runs):
    """`persist` returns a node that holds its value, knows its recipe, and can be used upstream."""

    @dc.delayed
    def count(n):
        runs.note("count")
        return n

    (held,) = dask.persist(count(4))
    assert runs.take() == ["count"]
    assert isinstance(held, dc.Node)
    assert held.dc.key == key(count(4))
    assert held.compute() == 4
    assert add(held, 1).compute() == 5
    assert (held + 1).compute() == 5
    assert runs.take() == []


def test_optimize_keeps_the_node():
    """`dask.optimize` returns nodes that compute to the same values."""
    one, two = dask.optimize(add(1), add(2))
    assert dask.compute(one, two) == (2, 3)


# ---- pickling, copying, showing ------------------------------------------------------------------


@pytest.mark.parametrize(
    "again",
    [
        copy.copy,
        copy.deepcopy,
        lambda node: pickle.loads(pickle.dumps(node)),
        lambda node: pickle.loads(cloudpickle.dumps(node)),
    ],
    ids=["copy", "deepcopy", "pickle", "cloudpickle"],
)
def test_a_copied_or_pickled_node_is_the_same_node(again):
    """Copies and pickles of a node have its key and target, and compute to its value."""
    node = add(number(1), b=2)
    twin = again(node)
    assert isinstance(twin, dc.Node)
    assert (twin.key, twin.dc.key, twin.dc.path) == (node.key, node.dc.key, node.dc.path)
    assert twin.compute() == 3


def test_a_node_of_a_local_function_travels():
    """A node of a function that can't be imported pickles by value."""
    factor = 3

    @dc.delayed(label="times {x}")
    def times(x):
        return x * factor

    twin = pickle.loads(cloudpickle.dumps(times(2)))
    assert (twin.dc.key, repr(twin)) == (times(2).dc.key, repr(times(2)))
    assert twin.compute() == 6


def test_a_decorated_function_pickles():
    """Decorated functions, those of a module and local ones, make the same nodes after pickling."""
    assert key(pickle.loads(pickle.dumps(add))(1)) == key(add(1))
    local = dc.delayed(lambda x: x + 1, target="l/{key}.pkl")
    twin = pickle.loads(cloudpickle.dumps(local))
    assert (twin(1).dc.key, twin(1).dc.path) == (local(1).dc.key, local(1).dc.path)


def test_the_repr_names_function_and_target():
    """A node shows as its label, else as function and target."""
    assert repr(number(1)) == f"Node('number(number/{key(number(1))}.json)')"
    labelled = dc.delayed(lambda i: i, label="slice {i:03d}")
    assert repr(labelled(7)) == "Node('slice 007')"


# ---- options -------------------------------------------------------------------------------------


def test_the_default_target_follows_the_return_annotation(root):
    """Without a target, the file is `{funcname}/{key}` with a suffix by the return annotation."""

    @dc.delayed
    def array() -> np.ndarray:
        return np.arange(3)

    @dc.delayed
    def table() -> pd.DataFrame:
        return pd.DataFrame({"a": [1]})

    @dc.delayed
    def anything():
        return object

    for node, suffix in ((array(), ".npy"), (table(), ".parquet"), (anything(), ".pkl")):
        assert node.dc.path == f"{root}/{node._recipe.name}/{key(node)}{suffix}"
        node.compute()
        assert Path(node.dc.path).is_file()


def test_impure_nodes_are_never_cached(runs, files):
    """`pure=False`: every call is a node of its own, which runs each time and leaves no file."""

    @dc.delayed(pure=False)
    def roll():
        runs.note("roll")
        return 4

    assert roll().key != roll().key
    node = roll()
    assert (node.compute(), node.compute()) == (4, 4)
    assert runs.take() == ["roll", "roll"]
    assert files() == []
    assert node.dc.target is None


def test_one_call_can_be_impure(files):
    """`f(x, pure=False)` is impure for this call only."""
    assert number(1, pure=False).compute() == 1
    assert files() == []
    assert number(1).compute() == 1
    assert len(files()) == 1


def test_save_false_is_not_cached_but_keyed(runs, files):
    """`save=False`: no file, and the same key each time; what follows it is cached."""

    @dc.delayed(save=False)
    def temporary(n):
        runs.note("temporary")
        return n

    @dc.delayed
    def kept(n):
        runs.note("kept")
        return n

    assert key(temporary(1)) == key(temporary(1))
    assert kept(temporary(1)).compute() == 1
    assert runs.take() == ["kept", "temporary"]
    assert kept(temporary(1)).compute() == 1
    assert runs.take() == []
    assert files() == [f"kept/{key(kept(temporary(1)))}.pkl"]


def test_ignored_arguments_are_not_part_of_the_key(runs):
    """`ignore=` leaves arguments out of the key; they still arrive."""

    @dc.delayed(ignore="threads")
    def work(x, threads=1):
        runs.note(f"threads {threads}")
        return x

    assert key(work(1)) == key(work(1, threads=8)) != key(work(2))
    work(1, threads=8).compute()
    assert runs.take() == ["threads 8"]
    work(1).compute()
    assert runs.take() == []


def test_ignored_arguments_may_have_no_identity():
    """An ignored argument needs no stable identity."""
    ignoring = dc.delayed(lambda x, handle=None: x, ignore=["handle"])
    assert key(ignoring(1, handle=object())) == key(ignoring(1))


def test_an_ignored_name_that_is_no_argument_is_an_error():
    """`ignore=` with a name that the function doesn't have says which names there are."""
    with pytest.raises(GraphError, match="thread"):
        dc.delayed(lambda threads: 1, ignore="thread")(1)


def test_version_replaces_the_fingerprint_of_the_code():
    """With `version=`, the body of a function doesn't count, and the version does."""

    def step(x):
        return x + 1

    one, newer, plain = dc.delayed(step, version=1), dc.delayed(step, version=2), dc.delayed(step)

    def step(x):
        return 1 + x + 0

    edited = dc.delayed(step, version=1)
    assert key(one(1)) == key(edited(1)) != key(newer(1))
    assert key(one(1)) != key(plain(1))


def test_labels_are_filled_from_arguments():
    """`label=` names the node in plans and errors, and is no part of the key."""
    labelled = dc.delayed(lambda path, i: i, label="{funcname} of {path.stem} {i}", version=1)
    plain = dc.delayed(lambda path, i: i, version=1)
    node = labelled(Path("a/b/c.tif"), 3)
    assert "of c 3" in repr(node)
    assert key(node) == key(plain(Path("a/b/c.tif"), 3))


def test_an_expired_result_is_stale(runs, root):
    """`expires=` makes a result stale when its file is older."""
    import os

    @dc.delayed(target="news.json", expires="1 hour")
    def news():
        runs.note("news")
        return 1

    news().compute()
    assert news().dc.state == "complete"
    record = dc.plan(news()).nodes[0].records[0]
    old = record.mtime_ns - 2 * 3600 * 10**9
    os.utime(root / "news.json", ns=(old, old))
    renamed = record._replace(mtime_ns=old)
    folder = root / ".daskcache" / "records" / record.shard
    (folder / record.file_name()).rename(folder / renamed.file_name())
    assert news().dc.state == "stale"
    assert "1 hour" in news().dc.why()
    runs.clear()
    assert news().compute() == 1
    assert runs.take() == ["news"]
    assert news().dc.state == "complete"


def test_store_decides_the_format(root):
    """`store=` names the format, whatever the suffix."""

    @dc.delayed(target="numbers.dat", store=dc.JSONTarget)
    def numbers():
        return [1, 2]

    assert numbers().compute() == [1, 2]
    assert (root / "numbers.dat").read_text() == "[\n 1,\n 2\n]\n"


def test_a_target_instance_keeps_its_options(root):
    """`target=ImageTarget(..., compression=None)` is used as it is."""
    import tifffile

    @dc.delayed(target=dc.ImageTarget("im/{n}.tif", compression=None))
    def image(n):
        return np.zeros((20, 30), "u1") + n

    assert image(3).compute().tolist() == np.full((20, 30), 3).tolist()
    with tifffile.TiffFile(root / "im" / "3.tif") as tif:
        assert tif.pages[0].compression == 1


def test_several_targets_as_a_tuple(root, runs):
    """A tuple of targets holds a tuple of results, each in its file."""

    @dc.delayed(target=("{n}.npy", "{n}.json"))
    def both(n):
        runs.note("both")
        return np.arange(n), {"n": n}

    array, facts = both(3)
    assert (array.compute().tolist(), facts.compute()) == ([0, 1, 2], {"n": 3})
    assert runs.take() == ["both"]
    got = both(3).compute()
    assert isinstance(got, tuple)
    assert runs.take() == []
    assert np.load(root / "3.npy").tolist() == [0, 1, 2]
    assert both(3).dc.path == (f"{root}/3.npy", f"{root}/3.json")
    assert [type(t) for t in dc.target(both(3))] == [dc.NumpyTarget, dc.JSONTarget]


def test_several_targets_as_a_dict(root, runs):
    """A dict of targets holds a dict of results, each in its file."""

    @dc.delayed(target={"labels": "{n}-labels.npy", "table": "{n}-table.csv"})
    def segment(n):
        runs.note("segment")
        return {"table": pd.DataFrame({"n": [n]}), "labels": np.zeros(n)}

    got = segment(2).compute()
    assert set(got) == {"labels", "table"}
    assert segment(2)["table"].compute().n.tolist() == [2]
    assert runs.take() == ["segment"]
    assert (root / "2-table.csv").read_text() == "n\n2\n"


@pytest.mark.parametrize(
    ("target", "result"),
    [
        (("a.pkl", "b.pkl"), 1),
        (("a.pkl", "b.pkl"), (1, 2, 3)),
        ({"a": "a.pkl", "b": "b.pkl"}, (1, 2)),
        ({"a": "a.pkl", "b": "b.pkl"}, {"a": 1}),
        ({"a": "a.pkl", "b": "b.pkl"}, {"a": 1, "b": 2, "c": 3}),
    ],
)
def test_results_that_do_not_fit_the_targets(target, result, files):
    """A function with several targets must return as many results; else nothing is stored."""
    node = dc.delayed(lambda: result, target=target)()
    with pytest.raises(ResultError, match="targets"):
        node.compute()
    assert files() == []


def test_losing_one_of_several_targets_reruns(root, runs):
    """If one of several targets is deleted, the function reruns and all are there again."""

    @dc.delayed(target=("a.json", "b.json"))
    def both():
        runs.note("both")
        return 1, 2

    both().compute()
    (root / "b.json").unlink()
    assert both().dc.state == "missing"
    assert both().compute() == (1, 2)
    assert runs.take() == ["both", "both"]
    assert both().dc.state == "complete"


def test_a_function_that_writes_its_own_file(root, runs):
    """`target_path` is a temporary path; what the function leaves there becomes the target."""

    @dc.delayed(target="own/{n}.json")
    def write(n, target_path):
        runs.note("write")
        assert Path(target_path).suffix == ".json"
        assert not (root / "own" / f"{n}.json").exists()
        Path(target_path).write_text(f"[{n}]")

    assert write(5).compute() == [5]
    assert (root / "own" / "5.json").read_text() == "[5]"
    assert write(5).compute() == [5]
    assert runs.take() == ["write"]
    assert [p.name for p in (root / "own").iterdir()] == ["5.json"]


def test_a_function_that_writes_several_files():
    """With several targets, `target_path` has a path for each."""

    @dc.delayed(target={"a": "{n}/a.json", "b": "{n}/b.txt.json"})
    def write(n, target_path=None):
        for name, path in target_path.items():
            Path(path).write_text(f'"{name}{n}"')

    assert write(1).compute() == {"a": "a1", "b": "b1"}


def test_a_function_that_forgets_to_write_its_file(files):
    """If nothing was left at `target_path`, an error names the target, and nothing is stored."""
    node = dc.delayed(lambda target_path: None, target="forgotten.json")()
    with pytest.raises(dc.errors.DaskcacheError, match=r"forgotten\.json"):
        node.compute()
    assert files() == []


def test_save_false_with_a_target_lets_the_function_write(root):
    """`save=False` with a target: the function writes the file, daskcache checks and records it."""

    @dc.delayed(target="mine.json", save=False)
    def write(target_path):
        Path(target_path).write_text("[1]")

    assert write().compute() == [1]
    assert write().dc.state == "complete"

    lazy = dc.delayed(lambda: None, target="never.json", save=False)()
    with pytest.raises(ResultError, match="did not"):
        lazy.compute()


@pytest.mark.parametrize(
    "options", [{"check": "sometimes"}, {"on_modified": "cry"}, {"target": 5}, {"target": "x.nope"}]
)
def test_bad_options_are_refused_when_decorating(options):
    """Options that can't work raise where the function is decorated."""
    with pytest.raises(GraphError):
        dc.delayed(lambda: 1, **options)


# ---- sources and objects -------------------------------------------------------------------------


def test_sources_arrive_as_their_data(tmp_path):
    """A source arrives as its data, in containers too; FileSource arrives as its path."""
    np.save(tmp_path / "a.npy", np.arange(3))
    (tmp_path / "t.csv").write_text("x\n1\n")
    (tmp_path / "f.bin").write_bytes(b"123")
    array, table, path = echo(
        [
            dc.NumpySource(tmp_path / "a.npy"),
            dc.CSVSource(tmp_path / "t.csv"),
            dc.FileSource(tmp_path / "f.bin"),
        ]
    ).compute()
    assert array.tolist() == [0, 1, 2]
    assert table.x.tolist() == [1]
    assert path == tmp_path / "f.bin"


def test_a_missing_source_raises_at_the_call(tmp_path):
    """A source that is not there raises SourceMissing naming the file."""
    with pytest.raises(SourceMissing, match=r"gone\.npy"):
        echo(dc.NumpySource(tmp_path / "gone.npy"))


def test_annotated_parameters_get_the_object(tmp_path, root):
    """A parameter annotated with a Source or Target class gets the object instead of the data."""
    np.save(tmp_path / "a.npy", np.arange(3))

    @dc.delayed
    def inspect_both(source: dc.Source, result: dc.Target, data):
        return source.filename, result.path, type(result).__name__, data

    got = inspect_both(dc.NumpySource(tmp_path / "a.npy"), number(4), number(4)).compute()
    assert got == ("a.npy", f"{root}/number/{key(number(4))}.json", "JSONTarget", 4)


def test_no_stable_identity_names_the_argument():
    """An argument without a stable identity raises at the call, naming function and argument."""
    with pytest.raises(UnhashableArgument, match=r"'value' of echo\(\)"):
        echo(object())
    with pytest.raises(UnhashableArgument, match=r"'value' of echo\(\)"):
        echo([{"deep": (object(),)}])


# ---- bodies --------------------------------------------------------------------------------------


def test_a_decorated_function_inside_a_body_is_a_plain_call(files):
    """What a running body calls is called, not recorded."""

    @dc.delayed
    def outer(x):
        inner = number(x)
        assert inner == x
        return inner + 1

    assert outer(1).compute() == 2
    assert files() == [f"outer/{key(outer(1))}.pkl"]
    assert isinstance(number(1), dc.Node)


def test_after_an_error_in_a_body_calls_make_nodes_again():
    """An exception in a body doesn't leave the process in 'inside a body'."""

    @dc.delayed
    def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        fail().compute()
    assert isinstance(number(1), dc.Node)


def test_async_functions_run_to_their_end(runs):
    """The node of an `async def` has what it returns, and is cached like any other."""

    @dc.delayed
    async def fetch(x):
        runs.note("fetch")
        await asyncio.sleep(0)
        return x + 1

    assert fetch(1).compute() == 2
    assert fetch(1).compute() == 2
    assert runs.take() == ["fetch"]


def test_async_functions_run_inside_a_running_loop():
    """An `async def` works in a notebook, where a loop is running already."""

    @dc.delayed
    async def fetch(x):
        await asyncio.sleep(0)
        return x + 1

    async def main():
        return fetch(5).compute()

    assert asyncio.run(main()) == 6


async def _nothing():
    return None


async def _stream():
    yield 1


@pytest.mark.parametrize(
    ("function", "story"),
    [
        (lambda: (i for i in range(3)), "generator"),
        (lambda: _nothing(), "coroutine"),
        (lambda: _stream(), "generator"),
        (lambda: dask.delayed(1), "lazy"),
        (lambda: -dask.delayed(1), "lazy"),
    ],
)
def test_results_that_are_no_values(function, story, files):
    """A generator, a coroutine or a lazy value as a result is a typed error with a way out."""
    node = dc.delayed(function)()
    with pytest.raises(ResultError, match=story) as caught:
        node.compute()
    assert caught.value.hint
    assert files() == []


def test_a_generator_function_is_refused():
    """A decorated function with `yield` says what to return instead."""

    @dc.delayed
    def numbers():
        yield 1

    with pytest.raises(ResultError, match="list"):
        numbers().compute()


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".csv", ".parquet"])
def test_none_for_a_format_that_cannot_hold_it(suffix):
    """A function that returns None to an array or table format is asked whether it forgot to."""
    node = dc.delayed(lambda: None, target=f"nothing{suffix}")()
    with pytest.raises(FormatLimit, match=r"forgot to return\?") as caught:
        node.compute()
    assert caught.value.target.endswith(f"nothing{suffix}")


def test_an_error_says_which_node_it_was():
    """An exception in a body carries a note with node, arguments, key and target."""

    @dc.delayed(target="failing/{n}.json")
    def failing(n):
        raise ZeroDivisionError("oh")

    with pytest.raises(ZeroDivisionError) as caught:
        failing(3).compute()
    note = "\n".join(caught.value.__notes__)
    assert all(part in note for part in ("failing(n=3)", "failing/3.json", key(failing(3))))


def test_relative_targets_lie_below_the_root_at_the_time_of_the_call(tmp_path):
    """The root is made absolute when the node is made; config and folder may change afterwards."""
    with dask.config.set({"daskcache.root": str(tmp_path / "other")}):
        node = number(1)
    assert node.compute() == 1
    assert node.dc.path.startswith(f"{tmp_path}/other/")
    assert Path(node.dc.path).is_file()


def test_a_relative_root_is_of_the_current_folder(tmp_path, monkeypatch):
    """A relative root is taken from the folder that is current when the node is made."""
    monkeypatch.chdir(tmp_path)
    with dask.config.set({"daskcache.root": "./working"}):
        node = number(1)
    monkeypatch.chdir("/")
    node.compute()
    assert (tmp_path / "working" / "number").is_dir()


def test_a_target_outside_of_the_templates_language_is_refused():
    """A target that is neither text, path nor Target is refused with what it may be."""
    with pytest.raises(TemplateError, match="expected"):
        dc.delayed(lambda: 1, target=3.5)


@pytest.mark.parametrize("container", [list, dict])
def test_cyclic_and_very_deep_arguments_are_told_of(container):
    """An argument without an end is a typed error that names the function."""
    cyclic = container()
    cyclic.append(cyclic) if container is list else cyclic.update(a=cyclic)
    deep = 1
    for _ in range(100_000):
        deep = [deep] if container is list else {"a": deep}
    for value in (cyclic, deep):
        with pytest.raises(UnhashableArgument, match="cyclic or nested too deeply") as caught:
            dc.delayed(len)(value)
        assert caught.value.node == "len"


def test_a_plan_of_a_node_given_twice_has_its_value_twice():
    """A plan computes as many values as it was given nodes."""
    node = dc.delayed(int)("7")
    assert dc.plan(node, [node]).compute() == (7, 7)
