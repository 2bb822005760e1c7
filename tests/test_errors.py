"""The error tree: what users catch, what the messages say, and that all of them travel."""

from __future__ import annotations

import inspect
import pickle
import re

import cloudpickle
import pytest

import daskcache as dc
from daskcache import errors
from daskcache.errors import (
    DaskcacheError,
    DaskcacheWarning,
    GraphError,
    MissingExtra,
    NodeFailed,
    ResultError,
    TargetError,
)

ERRORS = [
    cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, DaskcacheError)
]


def drawn_tree():
    """Class names to parent names, as drawn at the top of the module."""
    found, branch = {}, "DaskcacheError"
    for line in errors.__doc__.splitlines():
        match = re.match(r"    (│   )?[├└]── (\w+)", line)
        if match:
            inner, name = match.groups()
            if inner is None:
                found[name], branch = "DaskcacheError", name
            else:
                found[name] = branch
    return found


def test_the_tree_is_the_one_that_is_drawn():
    """The drawing at the top of the module has every error, below the error that it derives from."""
    actual = {
        cls.__name__: next(b.__name__ for b in cls.__mro__[1:] if issubclass(b, DaskcacheError))
        for cls in ERRORS
        if cls is not DaskcacheError
    }
    assert drawn_tree() == actual


def test_every_error_is_public():
    """`errors.__all__` has every error, and is sorted."""
    assert {cls.__name__ for cls in ERRORS} | {"DaskcacheWarning"} == set(errors.__all__)
    assert errors.__all__ == sorted(errors.__all__)
    assert all(cls.__doc__ for cls in ERRORS)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("TemplateError", ValueError),
        ("UnsafePath", ValueError),
        ("UnknownFormat", ValueError),
        ("TargetCollision", ValueError),
        ("UnhashableArgument", TypeError),
        ("ArgumentChanged", ValueError),
        ("SourceMissing", FileNotFoundError),
        ("NotANode", TypeError),
        ("TargetMissing", FileNotFoundError),
        ("ResultError", TypeError),
        ("StorageError", OSError),
        ("MissingExtra", ImportError),
    ],
)
def test_errors_are_what_python_would_raise(name, builtin):
    """Code that knows nothing of daskcache catches the built-in error of the kind."""
    assert issubclass(getattr(errors, name), builtin)


@pytest.mark.parametrize("branch", [GraphError, TargetError, ResultError])
def test_a_branch_can_be_caught_as_one(branch):
    """Every error of a branch is caught by its base."""
    for cls in ERRORS:
        if drawn_tree().get(cls.__name__) == branch.__name__:
            with pytest.raises(branch):
                raise cls("x")


@pytest.mark.parametrize("cls", ERRORS)
def test_a_message_says_all_it_knows(cls):
    """The text has the story, node, target, expected, got and what to do; only what is known."""
    error = cls("It broke", node="f(1)", target="/r/x.tif", expected="a", got="b", hint="rerun")
    assert str(error).splitlines() == [
        "It broke",
        "  node: f(1)",
        "  target: /r/x.tif",
        "  expected: a",
        "  got: b",
        "  to do: rerun",
    ]
    assert str(cls("It broke")) == "It broke"
    assert str(cls("It broke", got=0)) == "It broke\n  got: 0"


@pytest.mark.parametrize("cls", ERRORS)
@pytest.mark.parametrize("library", [pickle, cloudpickle])
def test_every_error_survives_pickling(cls, library):
    """Errors keep type, message, details and notes on their way from workers to clients."""
    error = cls("It broke", node="f", target="t", expected=1, got=[2], hint="h")
    error.add_note("in the node f")
    twin = pickle.loads(library.dumps(error))
    assert type(twin) is cls
    assert str(twin) == str(error)
    assert twin.__notes__ == ["in the node f"]
    assert (twin.node, twin.target, twin.expected, twin.got, twin.hint) == ("f", "t", 1, [2], "h")
    assert str(pickle.loads(library.dumps(twin))) == str(error)


def test_a_failed_node_carries_its_cause():
    """NodeFailed keeps the original exception, with its notes, through pickling."""
    cause = ValueError("original", 5)
    cause.add_note("where")
    error = NodeFailed("ValueError: original", node="f")
    error.__cause__ = cause
    twin = pickle.loads(pickle.dumps(error))
    assert isinstance(twin.__cause__, ValueError)
    assert twin.__cause__.args == ("original", 5)
    assert twin.__cause__.__notes__ == ["where"]
    assert pickle.loads(pickle.dumps(NodeFailed("alone"))).__cause__ is None


def test_an_error_as_it_is_raised_survives_pickling(tmp_path):
    """An error that went through the package, chained and noted, pickles."""

    @dc.delayed(target="x.npy")
    def nothing():
        return None

    with pytest.raises(errors.FormatLimit) as caught:
        nothing().compute()
    twin = pickle.loads(pickle.dumps(caught.value))
    assert str(twin) == str(caught.value)
    assert twin.target == caught.value.target


def test_warnings_have_one_category():
    """What daskcache warns about can be silenced as one."""
    assert issubclass(DaskcacheWarning, UserWarning)


def test_a_missing_extra_names_its_pip_command():
    """An optional package that is not installed says how to install it."""
    with pytest.raises(MissingExtra, match=r'pip install "daskcache\[image\]"'):
        errors.require("no_such_package_for_daskcache", "image")
    assert errors.require("json", "table").loads("1") == 1


def test_a_lazy_module_is_imported_when_it_is_used():
    """Not when a module names it; and one that is missing says how to install it."""
    missing = errors.LazyModule("no_such_package_for_daskcache", "image")
    with pytest.raises(MissingExtra, match=r'pip install "daskcache\[image\]"'):
        missing.load
    assert errors.LazyModule("json", "table").loads("1") == 1
