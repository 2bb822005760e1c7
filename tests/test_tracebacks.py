"""Tracebacks keep the frames of users, and lose those of daskcache and Dask."""

from __future__ import annotations

import linecache
import traceback

import dask
import pytest

import daskcache as dc
from daskcache.errors import SourceUnreadable, StorageError, TargetCollision
from daskcache.targets.base import BytesTarget
from daskcache.tracebacks import shorten, shortened


def names(error):
    """Return the functions of the frames in an error's traceback."""
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


@dc.delayed(target="part/{n}.json")
def part(n):
    return quotient(n)


def quotient(n):
    return 1 / n


@dc.delayed(target="same.json")
def same(n):
    return n


@pytest.mark.parametrize(
    "verb",
    [
        lambda node: node.compute(scheduler="threads"),
        lambda node: dc.compute(node, scheduler="sync"),
        lambda node: dc.plan(node).compute(scheduler="sync"),
        lambda node: dc.Nodes([node]).compute(scheduler="sync"),
        lambda node: dc.persist(node, scheduler="sync"),
    ],
)
def test_the_users_frames_stay(verb, root):
    """The frames are that of the caller, and those of the function and of what it calls."""
    with pytest.raises(ZeroDivisionError) as caught:
        verb(part(0))
    found = names(caught.value)
    assert found == [found[0], "<lambda>", "part", "quotient"]


def test_dasks_verbs_keep_a_frame_of_dask(root):
    """Dask cuts its own traceback, and keeps the first frame."""
    with pytest.raises(ZeroDivisionError) as caught:
        dask.compute(part(0), scheduler="sync")
    assert names(caught.value)[1:] == ["compute", "part", "quotient"]


def test_errors_of_daskcache_have_no_frames_of_it(root):
    """Neither where they are planned, nor where arguments are bound, which raises a TypeError."""
    with pytest.raises(TargetCollision) as caught:
        dc.compute(same(1), same(2))
    assert len(names(caught.value)) == 1
    with pytest.raises(TypeError, match="missing") as caught:
        part()
    assert len(names(caught.value)) == 1


def test_causes_stay(root):
    """The cause of an error is the same object; only frames of users are left in its traceback."""

    class Notes(BytesTarget):
        known_exts = (".notes",)

        def encode(self, value):
            return value.encode()

        def decode(self, data):
            raise ValueError("not notes")

    class NotesSource(dc.Source):
        format = Notes

    @dc.delayed(target="length.json")
    def length(notes):
        return len(notes)

    (root.parent / "a.notes").write_text("a")
    node = length(NotesSource(root.parent / "a.notes"))
    with pytest.raises(SourceUnreadable) as caught:
        node.compute(scheduler="sync")
    assert type(caught.value.__cause__) is ValueError
    assert names(caught.value.__cause__) == ["decode"]


def test_a_fault_of_daskcache_is_told(root, monkeypatch):
    """An error that no statement of daskcache raises keeps its innermost frame."""
    monkeypatch.setattr("daskcache.graph.api.Planner", lambda *args: None)
    with pytest.raises(AttributeError) as caught:
        dc.plan(part(1))
    assert names(caught.value)[1:] == ["plan"]


def test_all_frames_stay_with_dasks_setting(root):
    """An empty ``admin.traceback.shorten`` keeps all, for daskcache as for Dask."""
    with dask.config.set({"admin.traceback.shorten": []}), pytest.raises(TargetCollision) as caught:
        dc.compute(same(1), same(2))
    assert len(names(caught.value)) > 3


def test_an_error_among_its_own_causes():
    """A circle of causes ends."""
    first, second = StorageError("first"), ValueError("second")
    first.__cause__, second.__context__ = second, first
    shorten(first)
    assert first.__cause__ is second


def test_a_decorated_function_looks_the_same():
    """It has the name, the docstring and the signature, and returns the same."""

    def add(a, b=1):
        """Add."""
        return a + b

    wrapped = shortened(add)
    assert (wrapped.__name__, wrapped.__doc__, wrapped.__wrapped__) == ("add", "Add.", add)
    assert wrapped(1, b=2) == 3


def test_the_lines_of_scripts_are_found(tmp_path):
    """Code from a worker names its script in angle brackets; the traceback has the script's lines."""
    script = tmp_path / "analysis.py"
    script.write_text("\n1 / 0\n")
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile(script.read_text(), f"<{script}>", "exec"))
    assert linecache.getline(f"<{script}>", 2) == ""
    shorten(caught.value)
    assert "    1 / 0" in "".join(traceback.format_exception(caught.value))
