"""Notes of failed nodes: written, read and cleared by key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daskcache.storage import failures
from daskcache.storage.roots import Root


@pytest.fixture
def place(tmp_path):
    root = Root(str(tmp_path / "root"))
    root.create()
    return root


def test_the_last_failure_counts(place):
    """A note stays until it is cleared, and a later failure replaces it."""
    for error in ("ValueError: x", "ValueError: y"):
        failures.write_failure(place, "k1", function="m.f", targets=["a.json"], error=error, log=["l"])
    assert failures.failed_keys(place) == {"k1"}
    note = failures.read_failure(place, "k1")
    assert (note.key, note.error, note.targets, note.log) == ("k1", "ValueError: y", ["a.json"], ["l"])
    failures.clear_failure(place, "k1")
    failures.clear_failure(place, "k1")
    assert failures.failed_keys(place) == set()
    assert failures.read_failure(place, "k1") is None


def test_notes_of_older_versions_are_read(place):
    """They have the function and the error only."""
    path = Path(place.failures, "ab", "abc.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"daskcache": 1, "function": "m.f", "error": "ValueError: x"}))
    note = failures.read_failure(place, "abc")
    assert (note.function, note.error, note.traceback, note.when) == ("m.f", "ValueError: x", "", "")


@pytest.mark.parametrize("content", ["", "[]", '{"daskcache": 1, "error": 3}', "[" * 100_000, "\\xff"])
def test_damaged_notes_are_none(place, content):
    """The node runs in any case, so there is nothing to lose."""
    path = Path(place.failures, "ab", "abc.json")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert failures.read_failure(place, "abc") is None
