"""Looking never raises, and there is one way to a state: Python, plans and commands say the same."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache import errors
from daskcache.housekeeping.cli.main import cache
from daskcache.housekeeping.listing import find, listed, story
from daskcache.housekeeping.verify import verify
from daskcache.storage.roots import Root

pytestmark = pytest.mark.filterwarnings("ignore::daskcache.errors.DaskcacheWarning")

FIRST = "one/raw.npy"


def one(image, k=1):
    return image * k


def rival(image):
    return image - 1


def two(image):
    return image + 1


def program(root, k=1, first=one):
    source = dc.NumpySource(root / "raw.npy")
    values = (source, k) if first is one else (source,)
    before = dc.delayed(first, target="one/{image.stem}.npy", version=1)(*values)
    return before, dc.delayed(two, target="two/{image.stem}.npy", version=1)(before)


@pytest.fixture
def finished(root):
    """A root with two finished nodes of a chain, of which tests change something."""
    root.mkdir()
    np.save(root / "raw.npy", np.arange(3))
    program(root)[1].compute()
    return root


def put(root, content):
    (root / FIRST).write_bytes(content)


def instead(make):
    """Return a change that puts something else in the place of the first target."""

    def change(root):
        (root / FIRST).unlink()
        make(root / FIRST)

    return change


def records(root):
    return list((root / ".daskcache" / "records").rglob("*.json"))


def of_a_newer_version(root):
    for path in records(root):
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"daskcache": 99}))


def touched(root):
    os.utime(root / FIRST, ns=(0, 5_000_000_000))


def copied(root):
    shutil.copyfile(root / FIRST, root / "copy")
    os.replace(root / "copy", root / FIRST)


def damaged(root):
    before = (root / FIRST).stat()
    content = bytearray((root / FIRST).read_bytes())
    put(root, bytes(len(content)))
    os.utime(root / FIRST, ns=(before.st_atime_ns, before.st_mtime_ns))


def edited(root):
    np.save(root / FIRST, np.arange(5))


def adopted(root):
    edited(root)
    dc.adopt(program(root)[0])


def unreadable(root):
    for path in records(root):
        path.write_text("{")


CHANGES = {
    "nothing": lambda root: None,
    "touched": touched,
    "copied": copied,
    "deleted": lambda root: (root / FIRST).unlink(),
    "edited": edited,
    "adopted": adopted,
    "emptied": lambda root: put(root, b""),
    "no array": lambda root: put(root, b"no array"),
    "source gone": lambda root: (root / "raw.npy").unlink(),
    "source edited": lambda root: np.save(root / "raw.npy", np.arange(4)),
    "a link to itself": instead(lambda path: path.symlink_to(path.name)),
    "a dead link": instead(lambda path: path.symlink_to("nowhere")),
    "a folder": instead(lambda path: path.mkdir()),
    "a pipe": instead(os.mkfifo),
    "records damaged": unreadable,
    "records of a newer version": of_a_newer_version,
    "records gone": lambda root: shutil.rmtree(root / ".daskcache" / "records"),
    "a file for a folder": lambda root: (shutil.rmtree(root / "one"), (root / "one").write_text("")),
}


#: Changes that a plan takes for a missing target: what is there is in the way of a new one.
UNSEEN = ("a dead link", "a file for a folder")


def looks(node):
    """Look at a node in every way that Python has; return its state, and how many nodes are blocked."""
    plan = dc.plan(node)
    shown = str(plan), plan._repr_html_(), plan.svg(), repr(node.dc), str(dc.why(node))
    assert all(shown[:4])
    assert plan.to_frame().state.iloc[-1] == dc.status(node) == node.dc.state
    return node.dc.state, plan.counts["blocked"]


@pytest.mark.parametrize("recipe", ["same", "other argument", "rival"])
@pytest.mark.parametrize("change", CHANGES)
def test_looking_never_raises(finished, change, recipe):
    """A verb does, with a typed error, exactly if the plan shows a blocked node."""
    program(finished)
    choices = {"k": 2} if recipe == "other argument" else {"first": rival} if recipe == "rival" else {}
    node = program(finished, **choices)[1]
    CHANGES[change](finished)
    blocked = looks(node)[1]
    ours = CliRunner().invoke
    for command in ("ls", "status", "verify", f"why {FIRST}"):
        done = ours(cache, [*command.split(), "--root", str(finished)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    assert [file.name for file in (finished / "two").iterdir()] == ["raw.npy"]
    if blocked:
        with pytest.raises(errors.DaskcacheError) as caught:
            node.compute()
        (value,) = dc.compute(node, errors="collect")
        assert isinstance(value, errors.NodeFailed)
        assert type(caught.value).__name__ in str(value)
    elif change in UNSEEN and choices:
        with pytest.raises(errors.TargetError if change == "a dead link" else errors.StorageError):
            node.compute()
    else:
        expected = np.arange(3) * choices.get("k", 1) + 1 if recipe != "rival" else np.arange(3)
        if change == "adopted":
            expected = np.arange(5) + 1
        np.testing.assert_array_equal(node.compute(), expected)
        assert dc.status(node) == "complete"


#: States that need no recipe, by the change that leads there.
STATES = {
    "nothing": "complete",
    "touched": "complete",
    "copied": "complete",
    "deleted": "missing",
    "a dead link": "missing",
    "edited": "modified",
    "a link to itself": "modified",
    "a pipe": "modified",
    "emptied": "corrupt",
    "no array": "corrupt",
    "adopted": "adopted",
}


@pytest.mark.parametrize("change", STATES)
def test_one_way_to_a_state(finished, change):
    """Python and all commands, before and after a verb has written down what it found."""
    CHANGES[change](finished)
    assert said(finished) == {STATES[change]}
    dc.compute(program(finished)[1], errors="collect")
    again = {"missing": "complete", "corrupt": "complete"}.get(STATES[change], STATES[change])
    if again == "complete" and STATES[change] == "missing":  # nothing needs it
        again = "missing"
    assert said(finished) == {again}


def said(folder):
    """Return the states that the ways to look at the first target give."""
    root, node = Root(str(folder)), program(folder)[0]
    (checked,) = [item for item in verify(root) if item.path == FIRST]
    told = {
        looks(node)[0],
        next(item.state for item in listed(root) if item.path == FIRST),
        story(root, find(root, FIRST))[0].rpartition(": ")[2],
    }
    output = CliRunner().invoke(cache, ["ls", "--root", root.path]).output
    told |= {line.split()[1] for line in output.splitlines() if line.startswith(FIRST)}
    # what can't be read, verify calls so
    return told | {"modified" if checked.state == "unreadable" else checked.state}


def test_edits_block_only_what_needs_them(finished):
    """With `errors="collect"`, nodes that don't depend on a node that can't run are computed."""
    node = program(finished)[1]
    other = dc.delayed(lambda: 5, target="five.json", version=1)()
    (finished / "raw.npy").unlink()
    failed, value = dc.compute(node, other, errors="collect")
    assert value == 5
    assert "SourceMissing" in str(failed)
    assert isinstance(failed.__cause__, errors.SourceMissing)


@pytest.mark.parametrize("verb", ["accept", "adopt", "keep", "release"])
def test_decisions_raise_what_a_verb_would(finished, verb):
    """They act, and don't only look."""
    node = program(finished)[1]
    (finished / "raw.npy").unlink()
    with pytest.raises(errors.SourceMissing, match="raw"):
        getattr(dc, verb)(node)
    for attempt in (node.dc.load, node.dc.open, lambda: dc.audit(node)):
        with pytest.raises(errors.SourceMissing, match="raw"):
            attempt()


def test_one_record_of_a_newer_version_hides_no_other(finished):
    """Lists go on, and a warning names it."""
    (path,) = [path for path in records(finished) if "two/" in path.read_text()[:400]] or records(
        finished
    )[:1]
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"daskcache": 99}))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(list(listed(Root(str(finished))))) == 1
    assert "newer daskcache" in str(caught[0].message)
    assert Path(path).exists()
