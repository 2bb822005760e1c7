"""The docstrings of the public names: complete by numpydoc's rules, and their examples run."""

from __future__ import annotations

import ast
import doctest
import inspect
import os
import textwrap
import types
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
from numpydoc.validate import validate

import daskcache as dc
from daskcache.graph.accessor import Accessor
from daskcache.graph.function import Function

#: What numpydoc must not find: a docstring that is missing, parameters that are not documented, unknown
#: or without a description, and a result without its section.
FAULTS = {"GL08", "PR01", "PR02", "PR07", "RT01", "RT03", "YD01"}

_KINDS = (types.FunctionType, classmethod, staticmethod, property)

_MODULES = ("errors", "hashing")
NAMES = {f"daskcache.{name}": getattr(dc, name) for name in dc.__all__ if name not in _MODULES}
CLASSES = {name: value for name, value in NAMES.items() if inspect.isclass(value)}
CLASSES["daskcache.graph.accessor.Accessor"] = Accessor
#: The methods and properties of these classes that have a docstring of their own, not a base class's.
MEMBERS = {
    f"{name}.{member}": value
    for name, cls in CLASSES.items()
    for member, value in vars(cls).items()
    if not member.startswith("_") and isinstance(value, _KINDS) and value.__doc__
}
MEMBERS |= {
    f"daskcache.graph.function.Function.{name}": getattr(Function, name) for name in ("map", "gather")
}


def faults(name, value):
    """The codes of what numpydoc finds; any keyword may be documented where a function takes any."""
    found = dict(validate(name)["errors"])
    if inspect.isfunction(value) and inspect.getfullargspec(value).varkw:
        found.pop("PR02", None)
    return found.keys() & (FAULTS | {"EX01"})


@pytest.mark.parametrize("name", NAMES)
def test_public_names_are_documented_in_full(name):
    """Each has its parameters, its results and an example."""
    assert faults(name, NAMES[name]) == set()


@pytest.mark.parametrize("name", MEMBERS)
def test_methods_are_documented_in_full(name):
    """Each has its parameters and its results."""
    assert faults(name, MEMBERS[name]) - {"EX01"} == set()


def function_of(value):
    value = value.fget if isinstance(value, property) else value
    return inspect.unwrap(getattr(value, "__func__", value))


FUNCTIONS = {n: f for n, f in {**NAMES, **MEMBERS}.items() if inspect.isfunction(function_of(f))}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_that_are_raised_are_documented(name):
    """The errors that a function's own body raises are among its Raises, by name."""
    function = function_of(FUNCTIONS[name])
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    raised = {
        node.exc.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
        and node.exc.func.id[0].isupper()
    }
    section = inspect.getdoc(function).partition("Raises\n------\n")[2].partition("\n\n")[0]
    assert {error for error in raised if error not in section} == set()


DOCUMENTED = {**NAMES, **CLASSES, **MEMBERS}
EXAMPLES = [name for name, value in DOCUMENTED.items() if ">>> " in (value.__doc__ or "")]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name, tmp_path, monkeypatch):
    """Each shows what comes out, in a folder of its own; none is left out."""
    text = inspect.getdoc(DOCUMENTED[name])
    assert "+SKIP" not in text
    monkeypatch.chdir(tmp_path)
    names = {"dc": dc, "np": np, "pd": pd, "Path": Path}
    test = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    printed: list[str] = []
    with dask.config.set({"daskcache.root": os.path.join(tmp_path, "daskcache"), "scheduler": "sync"}):
        result = runner.run(test, out=printed.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(printed)
