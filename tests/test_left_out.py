"""Tests that need more than a bare machine has are left out by name, but not where CI is true."""

from __future__ import annotations

import ast
from pathlib import Path

import needs
import pytest


@pytest.fixture
def a_need(monkeypatch):
    """A function that sets whether the need "moon" is met."""

    def set_it(there):
        needs.is_met.cache_clear()
        monkeypatch.setitem(needs.NEEDS, "moon", (lambda: there, "a full moon"))

    yield set_it
    needs.is_met.cache_clear()


def test_what_is_there_is_used(a_need):
    """A test whose need is met runs, in CI and elsewhere."""
    a_need(True)
    for environment in ({}, {"CI": "true"}):
        needs.check(("moon",), environment)


def test_a_bare_machine_leaves_tests_out(a_need):
    """The reason names what is missing."""
    a_need(False)
    with pytest.raises(pytest.skip.Exception, match="needs a full moon"):
        needs.check(("moon",), {"CI": ""})


def test_ci_leaves_nothing_out(a_need):
    """With CI=true a test that would be left out fails."""
    a_need(False)
    with pytest.raises(pytest.fail.Exception, match="left out where CI=true: needs a full moon"):
        needs.check(("moon",), {"CI": "true"})


def test_nothing_else_is_left_out():
    """No test of the suite is skipped in another way, and none is expected to fail."""
    other = {"skip", "skipif", "xfail", "importorskip"}
    found = []
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        if path.stem in ("needs", "test_left_out"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in other
                and ast.unparse(node.value) in ("pytest", "pytest.mark")
            ):
                found.append(f"{path.name}:{node.lineno}")
    assert found == []
