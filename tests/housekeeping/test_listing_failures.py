"""`daskcache.failures` and ``dask cache failures``: what failed, why, and until when."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import dask
import pandas as pd
import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache.errors import NotANode
from daskcache.housekeeping.cli.main import cache
from daskcache.storage import failures
from daskcache.storage.roots import Root

log = logging.getLogger("screen")


@pytest.fixture(autouse=True)
def sync():
    with dask.config.set(scheduler="sync"):
        yield


def segment(i, cure=None):
    if i == 1 and not os.path.exists("cure"):
        log.warning("well %s is dark", i)
        raise ValueError("no cells")
    return i


def measure(segmented):
    return segmented + 1


def screen():
    step = dc.delayed(segment, target="seg/{i}.json")
    table = dc.delayed(measure, target="tab/{segmented.stem}.json")
    return [table(step(i)) for i in range(3)]


def fail(nodes):
    with pytest.raises(ValueError, match="no cells"):
        dask.compute(*nodes)


def run(*arguments, code=0):
    done = CliRunner().invoke(cache, ["failures", *arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def test_a_failure_is_remembered_whatever_the_verb(tmp_path, monkeypatch):
    """The note has the error, the traceback from the user's code on, and the log of the function."""
    monkeypatch.chdir(tmp_path)
    nodes = screen()
    fail(nodes)
    (note,) = dc.failures()
    assert note.node == "segment(seg/1.json)"
    assert note.error == "ValueError: no cells"
    assert note.targets == ["seg/1.json"]
    assert note.function.endswith("test_listing_failures.segment")
    assert note.log == ["WARNING screen: well 1 is dark"]
    first, *frames = note.traceback.splitlines()
    assert first == "Traceback (most recent call last):"
    assert __file__ in frames[0]
    assert frames[-1] == "ValueError: no cells"
    assert dc.plan(nodes[1]).to_frame()["why"].tolist()[0] == "failed: ValueError: no cells"
    assert "root cause: segment(seg/1.json): failed: ValueError: no cells" in dc.why(nodes[1])
    assert dc.status(nodes[1]) == "missing"


def test_it_is_forgotten_when_the_node_succeeds(tmp_path, monkeypatch):
    """The next run tries again, and clears the note."""
    monkeypatch.chdir(tmp_path)
    nodes = screen()
    fail(nodes)
    Path("cure").touch()
    assert dask.compute(*nodes) == (1, 2, 3)
    assert len(dc.failures()) == 0
    assert repr(dc.failures()) == "no failures"
    assert failures.failed_keys(Root(os.path.dirname(os.path.dirname(nodes[0].dc.path)))) == set()


def test_a_success_elsewhere_counts(tmp_path, monkeypatch):
    """A retry on another worker does not know of the note: a later record of the node outdates it."""
    monkeypatch.chdir(tmp_path)
    nodes = screen()
    fail(nodes)
    root = Root(nodes[0].dc.path.removesuffix("/tab/0.json"))
    (key,) = failures.failed_keys(root)
    note = Path(root.failures, key[:2], f"{key}.json")
    kept = note.read_bytes()
    Path("cure").touch()
    dask.compute(*nodes)
    note.write_bytes(kept)
    assert failures.failed_keys(root) == {key}
    assert len(dc.failures()) == 0
    os.remove(f"{root.path}/seg/1.json")
    step = dc.delayed(segment, target="seg/{i}.json")
    assert step(1).dc.state == "missing"


def test_a_failure_after_a_success_counts(tmp_path, monkeypatch):
    """The record of the earlier success says nothing, whatever the clocks say."""
    monkeypatch.chdir(tmp_path)
    nodes = screen()
    Path("cure").touch()
    dask.compute(*nodes)
    root = nodes[0].dc.path.removesuffix("/tab/0.json")
    os.remove(f"{root}/seg/1.json")
    os.remove(f"{root}/tab/1.json")
    os.remove("cure")
    fail(screen())
    for path in Path(root).rglob("*"):
        os.utime(path, ns=(2**60, 2**60))
    assert len(dc.failures()) == 1


def test_a_success_in_a_table_counts(tmp_path, monkeypatch):
    """A table has no time; another recipe's rows are a success like a file."""
    monkeypatch.chdir(tmp_path)

    def cells(n):
        if n < 0:
            raise ValueError("negative")
        return pd.DataFrame({"n": [n]})

    made = dc.delayed(cells, target="screen.sqlite::cells")
    made(1).compute()
    with pytest.raises(ValueError, match="negative"):
        made(-1).compute()
    assert [note.error for note in dc.failures()] == ["ValueError: negative"]
    made(2).compute()
    assert len(dc.failures()) == 0


def test_a_changed_recipe_that_succeeds_counts(tmp_path, monkeypatch):
    """After a bad image was taken again, the node has another key, and its target is made."""
    monkeypatch.chdir(tmp_path)

    def number(text):
        return int(text)

    def made():
        return dc.delayed(number, target="{text.stem}.json")(dc.TextSource("a.txt"))

    Path("a.txt").write_text("dark")
    with pytest.raises(ValueError, match="invalid literal"):
        made().compute()
    Path("a.txt").write_text("12")
    assert len(dc.failures()) == 1
    assert made().compute() == 12
    assert len(dc.failures()) == 0


def test_failures_of_some_nodes(tmp_path, monkeypatch):
    """With nodes, those and the nodes that they are made from count."""
    monkeypatch.chdir(tmp_path)
    nodes = screen()
    fail(nodes)
    assert len(dc.failures(nodes)) == 1
    assert len(dc.failures(nodes[0], [nodes[2]])) == 0
    assert dc.failures(nodes[1])[0].node == "segment(seg/1.json)"
    with pytest.raises(NotANode):
        dc.failures("seg/1.json")


def test_a_stale_node_that_failed_says_both(tmp_path, monkeypatch):
    """A changed argument is the reason to run; that it failed is said first."""
    monkeypatch.chdir(tmp_path)

    def root_of(x, base=2):
        if base < 0:
            raise ValueError("negative")
        return x

    made = dc.delayed(root_of, target="a.json")
    made(1).compute()
    with pytest.raises(ValueError, match="negative"):
        made(1, base=-2).compute()
    node = made(1, base=-2)
    assert node.dc.state == "stale"
    assert list(node.dc.why()) == ["failed: ValueError: negative", "base: 2 -> -2"]
    assert made(1).compute() == 1


def test_the_command_lists_them(tmp_path, monkeypatch):
    """One block for each error, details on request, JSON for programs; the exit code tells."""
    monkeypatch.chdir(tmp_path)
    nodes = screen()
    root = ["--root", nodes[0].dc.path.removesuffix("/tab/0.json")]
    dc.compute(nodes, errors="collect")
    text = run(*root, code=1)
    assert text.splitlines()[0] == "ValueError: no cells"
    assert "segment(seg/1.json)" in text.splitlines()[1]
    details = run(*root, "--details", "seg", code=1)
    assert "raise ValueError" in details
    assert "WARNING screen: well 1 is dark" in details
    told = json.loads(run(*root, "--json", code=1))
    assert [note["error"] for note in told["failures"]] == ["ValueError: no cells"]
    assert run(*root, "tab/*") == "no failures\n"
    run(*root, "--forget")
    assert run(*root) == "no failures\n"
    assert dc.status(nodes[1]) == "missing"


def test_what_a_failure_says_is_shown_not_obeyed(tmp_path, monkeypatch):
    """Messages may hold escape sequences and HTML."""
    monkeypatch.chdir(tmp_path)

    def mean():
        raise ValueError("\x1b[2J<b>bold</b>")

    node = dc.delayed(mean, target="a.json")()
    dc.compute(node, errors="collect")
    found = dc.failures()
    assert "\x1b" not in repr(found) + found._repr_html_() + str(dc.plan(node))
    assert "<b>bold" not in found._repr_html_()
    assert "&lt;b&gt;bold" in found._repr_html_()


def test_many_failures_stay_short(tmp_path, monkeypatch):
    """Equal errors are one block, and the table of a notebook ends."""
    monkeypatch.chdir(tmp_path)

    def bad(i):
        raise ValueError("no cells")

    step = dc.delayed(bad, target="bad/{i}.json")
    dc.compute([step(i) for i in range(40)], errors="collect")
    found = dc.failures()
    assert len(found) == 40
    lines = repr(found).splitlines()
    assert lines[0] == "ValueError: no cells"
    assert lines[-2:] == ["    and 35 more nodes", "40 nodes failed"]
    assert "and 10 more" in found._repr_html_()
    assert len(found[:3]) == 3
    assert len(found.to_frame()) == 40


def test_a_root_that_takes_no_notes_hides_no_error(tmp_path, monkeypatch):
    """If the note can't be written, the error of the function is raised, and says so."""
    monkeypatch.chdir(tmp_path)

    def refuse(*args, **kwargs):
        raise OSError("full")

    monkeypatch.setattr(failures, "write_failure", refuse)
    with pytest.raises(ValueError, match="no cells") as raised:
        screen()[1].compute()
    assert "can't be noted in the root: full" in "\n".join(raised.value.__notes__)
