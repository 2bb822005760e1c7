"""Nodes and decorated functions as Python objects: copied, pickled, kept, shown and completed."""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import io
import operator
import os
import pickle
import pydoc
import rlcompleter
import subprocess
import sys
import typing
from dataclasses import dataclass

import cloudpickle
import dask
import pytest

import daskcache as dc
from daskcache.errors import DaskcacheWarning, NotComputed

LINKS = 100_000


@dc.delayed(target="link/{i:06d}.json")
def link(x, i=0):
    """Add one.

    The second argument only tells the links apart.
    """
    return x + 1


@dc.delayed(target="both/{i}.json")
def both(x, y, i):
    return x + y


@dc.delayed
def count(values):
    return len(values)


def chain(links):
    node = 0
    for i in range(links):
        node = link(node, i)
    return node


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))


def through_cloudpickle(value):
    return pickle.loads(cloudpickle.dumps(value))


AGAIN = [copy.copy, copy.deepcopy, through_pickle, through_cloudpickle]
again = pytest.mark.parametrize("again", AGAIN, ids=lambda again: again.__name__)
pickled_again = pytest.mark.parametrize("again", AGAIN[1:], ids=lambda again: again.__name__)

# ---- copies and pickles ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_chain():
    return chain(LINKS)


@again
def test_a_long_chain_can_be_copied(long_chain, again):
    """A chain of 100,000 nodes copies and pickles without running out of stack."""
    twin = again(long_chain)
    assert isinstance(twin, dc.Node)
    assert (twin.key, twin.dc.key) == (long_chain.key, long_chain.dc.key)


@pickled_again
def test_a_copied_chain_has_all_its_links(again):
    """What was copied computes from its first link on, each link once."""
    twin = again(chain(2000))
    plan = dc.plan(twin)
    assert plan.counts["run"] == 2000
    assert twin.compute() == 2000


@again
def test_a_long_chain_of_plain_dask_and_nodes_can_be_copied(again):
    """Nodes over operators of nodes, 150 of each, copy and pickle without running out of stack."""
    node = link(0)
    for i in range(150):
        node = link(node + 0, i + 1)
    twin = again(node)
    assert twin.dc.key == node.dc.key
    assert twin.compute() == 151


@again
def test_a_wide_fan_in_can_be_copied(again):
    """A node of 20,000 others copies and pickles."""
    node = count([link(0, i) for i in range(20_000)])
    assert again(node).dc.key == node.dc.key


@pickled_again
def test_what_is_shared_is_copied_once(again):
    """In a ladder of nodes that take the one before twice, there is one copy of each."""
    node = link(0)
    for i in range(500):
        node = both(node, node, i)
    twin = again(node)
    assert twin.dc.key == node.dc.key
    assert len(dc.plan(twin)) == 501


@pickled_again
def test_identity_within_a_container_is_kept(again):
    """A container of one node twice has, copied, one node twice."""
    node = link(0)
    first, second, other = again([node, node, link(1)])
    assert first is second
    assert other.key != first.key


@pickled_again
def test_nodes_made_after_copying_join_the_graph(again):
    """A node after a copy has the key that it has after the original."""
    node = chain(10)
    assert link(again(node), 11).dc.key == link(node, 11).dc.key


@again
def test_a_complete_node_stays_complete(again):
    """The copy of a computed node needs no run."""
    node = chain(3)
    node.compute()
    assert again(node).dc.state == "complete"
    assert dc.plan(again(node)).left == 0


@again
@pytest.mark.parametrize(
    "compose",
    [
        lambda n: n + 1,
        lambda n: dask.delayed(sum)([n, n]),
        lambda n: n.real,
        lambda n: dask.delayed([n]),
    ],
    ids=["operator", "call", "attribute", "list"],
)
def test_composed_values_can_be_copied(again, compose):
    """Plain Dask values over nodes copy and pickle, and compute to the same."""
    composed = compose(chain(5))
    twin = again(composed)
    assert twin.key == composed.key
    assert twin.compute() == composed.compute()


@again
def test_options_of_creation_survive(again):
    """Dask's key name, annotations, root and number of results are those of the original."""
    pair = dc.delayed(lambda: (1, 2), nout=2, target="pair.json")
    with dask.annotate(priority=3):
        node = pair(dask_key_name="mine")
    if again is through_pickle:
        node = through_cloudpickle(node)  # the function travels by value
        again = through_cloudpickle
    with dask.config.set({"daskcache.root": "elsewhere"}):
        twin = again(node)
    assert (twin.key, twin.dc.path, len(twin)) == ("mine", node.dc.path, 2)
    assert dict(twin._recipe.annotations) == {"priority": 3}


PROGRAM = """
import daskcache as dc

@dc.delayed(target="step/{i}.json")
def step(x, i):
    return x + 1

class Scale:
    def __init__(self, factor):
        self.factor = factor

    @dc.delayed
    def apply(self, x):
        return x * self.factor

    @classmethod
    @dc.delayed
    def named(cls, x):
        return [cls.__name__, x]

    @staticmethod
    @dc.delayed
    def double(x):
        return 2 * x

def nodes():
    node = 0
    for i in range(1000):
        node = step(node, i)
    return [node, Scale(3).apply(node), Scale.named(node), Scale.double(node), step({"a": 1}, -1)]
"""

UNPICKLE = """
import pickle, sys
nodes = pickle.load(sys.stdin.buffer)
sys.stdout.buffer.write(pickle.dumps([(n.key, n.dc.key, n.dc.path, repr(n)) for n in nodes]))
sys.stdout.buffer.write(pickle.dumps(nodes))
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A module that this process and others can import."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "node_objects_program.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path[1:]]))
    yield importlib.import_module("node_objects_program")
    sys.modules.pop("node_objects_program", None)


@pytest.mark.parametrize("seed", ["0", "1"])
@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps], ids=["pickle", "cloudpickle"])
def test_keys_are_equal_in_another_process(program, tmp_path, monkeypatch, dumps, seed):
    """There and back through another process, nodes have the same keys, paths and values."""
    monkeypatch.setenv("PYTHONHASHSEED", seed)
    nodes = program.nodes()
    done = subprocess.run(
        [sys.executable, "-c", UNPICKLE], input=dumps(nodes), capture_output=True, cwd=tmp_path
    )
    assert done.stderr == b""
    output = io.BytesIO(done.stdout)
    there, back = pickle.load(output), pickle.load(output)
    here = [(n.key, n.dc.key, n.dc.path, repr(n)) for n in nodes]
    assert there == here
    assert [(n.key, n.dc.key, n.dc.path, repr(n)) for n in back] == here
    assert dask.compute(back[:4]) == ([1000, 3000, ["Scale", 1000], 2000],)
    assert dc.plan(nodes[:4]).left == 0


# ---- equality, sets and dicts ----------------------------------------------------------------------

# Dask's `==` between lazy values is lazy, and a lazy value has no truth.  So values whose hashes are
# equal can't be told apart in a set, be they nodes or Dask's own.


def test_comparing_nodes_is_lazy():
    """`==` and `!=` give lazy values, which say whether the values are equal."""
    assert (link(1, 2) == link(1, 3)).compute()
    assert not (link(1, 2) != link(1, 3)).compute()
    with pytest.raises(NotComputed, match="no truth value"):
        bool(link(1) == link(1))


def test_equal_nodes_hash_equally():
    """The hash depends on the key, and is the same for copies."""
    assert hash(link(1)) == hash(link(1)) == hash(copy.deepcopy(link(1)))
    assert hash(link(1)) != hash(link(2))


def test_sets_of_distinct_nodes():
    """Distinct nodes can be put into sets, found, compared as sets and computed."""
    nodes = [link(i, i) for i in range(1000)]
    kept = set(nodes)
    assert len(kept) == 1000
    assert all(node in kept for node in nodes)
    assert link(-1) not in kept
    assert kept - set(nodes[:990]) == set(nodes[990:])
    assert dask.compute(set(nodes[:3])) == ({1, 2, 3},)


def test_nodes_as_keys_of_dicts():
    """A node finds what was put under it."""
    nodes = [link(i, i) for i in range(1000)]
    places = {node: i for i, node in enumerate(nodes)}
    assert [places[node] for node in nodes] == list(range(1000))
    assert dict.fromkeys(nodes + nodes).keys() == places.keys()
    assert link(-1) not in places
    assert places.pop(nodes[5]) == 5
    assert nodes[5] not in places


def test_two_nodes_of_one_call_in_a_set_do_what_two_values_of_dask_do():
    """Whether that is a TypeError or one element, it is the same as for `dask.delayed`."""

    def outcome(*values):
        try:
            return len(set(values))
        except TypeError:
            return TypeError

    plain = dask.delayed(abs, pure=True)
    assert plain(1).key == plain(1).key
    assert outcome(link(1), link(1)) == outcome(plain(1), plain(1))


def test_nodes_in_lists_are_found_by_identity():
    """`in` and `index` find the node itself at the front."""
    node = link(1)
    assert node in [node, link(2)]
    assert [node, link(2)].index(node) == 0


def test_functions_in_sets_and_dicts():
    """Decorated functions can be elements and keys."""
    assert len({link, both, count, link}) == 3
    assert {link: 1, both: 2}[both] == 2


# ---- showing and completing ------------------------------------------------------------------------


def test_showing_a_node_reads_nothing(root):
    """`repr`, `str` and formatting name the node, and make no root."""
    for text in (repr(link(1, 7)), str(link(1, 7)), f"{link(1, 7)!r}"):
        assert text == "Node('link(link/000007.json)')"
    assert not root.exists()


def test_a_node_in_a_text_is_told():
    """Its name stands there, and a warning says that it is not the value."""
    with pytest.warns(DaskcacheWarning, match=r"link\(link/000007.json\).*not the value"):
        assert f"{link(1, 7)}" == "Node('link(link/000007.json)')"


@pytest.mark.parametrize(
    "use",
    [bool, int, float, complex, operator.index, len, iter, "{:d}".format, lambda node: [node][node]],
)
def test_a_node_is_not_its_value(use):
    """What needs the value at once is a TypeError, which names the node and the cure."""
    with pytest.raises(NotComputed, match=r"link\(link/000007.json\) is a node") as caught:
        use(link(1, 7))
    assert isinstance(caught.value, TypeError)
    assert "node.compute()" in caught.value.hint


def test_a_node_of_several_results_is_iterated():
    """With ``nout``, a node has a length and items, which are lazy."""
    pair = dc.delayed(lambda: (1, 2), nout=2, save=False)()
    assert len(pair) == 2
    assert [item.compute() for item in pair] == [1, 2]


def test_the_repr_of_a_long_chain_is_short(long_chain):
    """A node shows itself, not what is before it."""
    assert repr(long_chain) == f"Node('link(link/{LINKS - 1:06d}.json)')"


def test_the_repr_of_a_function_names_it():
    """A decorated function shows its module and qualified name."""
    assert repr(link) == f"<daskcache function {__name__}.link>"
    assert repr(Scale.apply) == f"<daskcache function {__name__}.Scale.apply>"


def test_a_node_has_the_names_of_a_dask_value_and_one_more():
    """`dir(node)` adds `dc` to what `dask.delayed` has; all else begins with an underscore."""
    plain = dask.delayed(abs, pure=True)(1)
    new = set(dir(link(1))) - set(dir(plain))
    assert {name for name in new if not name.startswith("_")} == {"dc"}
    assert set(dir(link(1))) >= set(dir(plain))


def test_a_function_has_the_public_names_of_dasks():
    """`dir(function)` is that of what `dask.delayed` returns, with `map` and `gather`."""

    def public(value):
        return {name for name in dir(value) if not name.startswith("_")}

    assert public(link) == public(dask.delayed(abs)) | {"map", "gather"}


@pytest.mark.parametrize("name", ["_repr_svg_", "_ipython_display_", "_unheard_of_", "__array__"])
def test_names_of_protocols_are_not_lazy_attributes(name):
    """What begins with an underscore is no attribute of the value, as with `dask.delayed`."""
    assert hasattr(link(1), name) == hasattr(dask.delayed(abs)(1), name)


def completions(text, **names):
    completer = rlcompleter.Completer(names)
    found = []
    while (match := completer.complete(text, len(found))) is not None:
        found.append(match.rstrip("()"))
    return found


def test_completion_offers_the_accessor(root):
    """Completing `node.` and `node.dc.` lists what is there, and reads nothing."""
    node = link(1)
    assert "node.dc" in completions("node.", node=node)
    offered = {name.rpartition(".")[2] for name in completions("node.dc.", node=node)}
    documented = {"key", "target", "path", "state", "record", "why", "load", "invalidate"}
    assert documented <= offered
    assert all(name.startswith("__") or getattr(type(node.dc), name).__doc__ for name in offered)
    assert not root.exists()


def test_the_accessor_shows_only_what_is_documented():
    """Each public name in `dir(node.dc)` has a docstring."""
    accessor = type(link(1).dc)
    public = [name for name in dir(link(1).dc) if not name.startswith("_")]
    assert all(inspect.getdoc(getattr(accessor, name)) for name in public)
    assert all(name in dir(accessor) for name in public)


# ---- decorated functions ---------------------------------------------------------------------------


def smooth(image: list, /, sigma: float = 2, *rest: int, mode="wrap", **others) -> list:
    """Smooth an image."""
    return image


def test_the_signature_is_the_functions():
    """All kinds of parameters, defaults and annotations are there."""
    assert inspect.signature(dc.delayed(smooth)) == inspect.signature(smooth)


def test_the_source_is_the_functions():
    """`inspect` finds the text and the file."""
    assert inspect.getsource(dc.delayed(smooth)) == inspect.getsource(smooth)
    assert "Add one." in inspect.getsource(link)
    assert inspect.getsourcefile(inspect.unwrap(link)) == __file__


def test_a_function_without_docstring_has_none():
    """It does not show that of a class of Dask's or daskcache's."""
    assert both.__doc__ is None
    assert inspect.getdoc(both) is None


def test_wrapping_a_decorated_function():
    """`functools.wraps` and `functools.partial` take a decorated function as they take any other."""

    @functools.wraps(link)
    def shifted(*args, **kwargs):
        return link(*args, **kwargs) + 1

    assert (shifted.__name__, shifted.__doc__) == ("link", link.__doc__)
    assert inspect.signature(shifted) == inspect.signature(link)
    assert shifted(1).compute() == 3
    assert functools.partial(link, i=3)(1).dc.key == link(1, 3).dc.key
    assert functools.lru_cache(link)(1).dc.key == link(1).dc.key


def test_decorating_a_wrapped_function():
    """A function under a decorator of the user's shows the name and signature that this passes on."""

    def twice(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return 2 * function(*args, **kwargs)

        return wrapper

    @dc.delayed(target="{funcname}/{x}.json")
    @twice
    def plus(x: int, y: int = 1):
        """Add."""
        return x + y

    assert (plus.__name__, plus.__doc__) == ("plus", "Add.")
    assert list(inspect.signature(plus).parameters) == ["x", "y"]
    assert plus(2).compute() == 6
    assert plus(2).dc.key == plus(2, 1).dc.key
    assert plus(x=2).dc.path.endswith("plus/2.json")


@again
@pytest.mark.parametrize("name", ["link", "Scale.apply", "Scale.double"])
def test_decorated_functions_can_be_copied(again, name):
    """Copies and pickles keep name, docstring and signature, and make the same nodes."""
    function = functools.reduce(getattr, name.split("."), sys.modules[__name__])
    twin = again(function)
    assert (twin.__name__, twin.__doc__) == (function.__name__, function.__doc__)
    assert inspect.signature(twin) == inspect.signature(function)
    args = (Scale(3), 1) if name == "Scale.apply" else (1,)
    assert twin(*args).dc.key == function(*args).dc.key


# ---- methods ---------------------------------------------------------------------------------------


@dataclass
class Scale:
    factor: int

    @dc.delayed
    def apply(self, x, offset=0):
        """Scale and shift."""
        return x * self.factor + offset

    @classmethod
    @dc.delayed
    def named(cls, x):
        """Name of the class."""
        return [cls.__name__, x]

    @staticmethod
    @dc.delayed
    def double(x):
        """Twice."""
        return 2 * x


class Inverse(Scale):
    @dc.delayed
    def apply(self, x, offset=0):
        """Divide."""
        return x / self.factor


METHODS = {
    "of an instance": (Scale(3).apply, "(x, offset=0)", "Scale and shift.", 6),
    "class method": (Scale.named, "(x)", "Name of the class.", ["Scale", 2]),
    "class method of an instance": (Scale(3).named, "(x)", "Name of the class.", ["Scale", 2]),
    "class method of a subclass": (Inverse.named, "(x)", "Name of the class.", ["Inverse", 2]),
    "static method": (Scale.double, "(x)", "Twice.", 4),
    "static method of an instance": (Scale(3).double, "(x)", "Twice.", 4),
    "overridden": (Inverse(2).apply, "(x, offset=0)", "Divide.", 1.0),
}


@pytest.mark.parametrize(
    ("method", "signature", "documentation", "value"), METHODS.values(), ids=METHODS.keys()
)
def test_decorated_methods_look_like_methods(method, signature, documentation, value):
    """Signature without what is bound, docstring and name; calling makes a node with the value."""
    assert str(inspect.signature(method)) == signature
    assert inspect.getdoc(method) == documentation
    assert method.__name__ in ("apply", "named", "double")
    assert isinstance(method(2), dc.Node)
    assert method(2).compute() == value


def test_a_method_taken_from_the_class_wants_an_instance():
    """`Class.method` has `self` as a parameter, and makes the nodes of the bound method."""
    assert str(inspect.signature(Scale.apply)) == "(self, x, offset=0)"
    assert Scale.apply(Scale(3), 2).dc.key == Scale(3).apply(2).dc.key
    with pytest.raises(TypeError):
        Scale.apply(2)


def test_nodes_of_methods_differ_where_class_or_state_does():
    """Equal calls of equal objects are one node; another class or state makes another."""
    assert Scale(3).apply(2).dc.key == Scale(3).apply(2, offset=0).dc.key
    keys = {
        *(Scale(3).apply(2).dc.key, Scale(4).apply(2).dc.key, Inverse(3).apply(2).dc.key),
        *(Scale.named(2).dc.key, Inverse.named(2).dc.key, Scale.double(2).dc.key),
    }
    assert len(keys) == 6


@again
def test_nodes_of_methods_can_be_copied(again):
    """They copy and pickle with the object that they are bound to."""
    for node in (Scale(3).apply(2), Scale.named(2), Inverse.named(2), Scale.double(2)):
        twin = again(node)
        assert twin.dc.key == node.dc.key
        assert twin.compute() == node.compute()


def test_help_on_a_class_with_decorated_methods():
    """`help(Class)` works and names them."""
    text = pydoc.render_doc(Scale, renderer=pydoc.plaintext)
    assert all(name in text for name in ("apply", "named", "double"))


def test_what_wraps_a_decorated_function_looks_like_the_users():
    """`functools.wraps`, `help` and type hints show the function's own module, name and annotations."""

    def smooth(image: list, sigma: float = 1.0) -> list:
        """Smooth an image."""
        return image

    cached = dc.delayed(smooth)

    @functools.wraps(cached)
    def wrapper(*args, **kwargs):
        return cached(*args, **kwargs)

    for attribute in ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__"):
        assert getattr(cached, attribute) == getattr(smooth, attribute)
        assert getattr(wrapper, attribute) == getattr(smooth, attribute)
    hints = typing.get_type_hints(smooth)
    assert typing.get_type_hints(cached) == typing.get_type_hints(wrapper) == hints
    helps = [pydoc.plain(pydoc.render_doc(each)).partition("\n")[2] for each in (cached, smooth)]
    assert helps[0] == helps[1]
    assert type(cached).__module__ == "daskcache.graph.function"
