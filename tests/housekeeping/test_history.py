"""`dask cache history`: what happened at a root, in order of time."""

from __future__ import annotations

import json
from pathlib import Path

import dask
import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache.housekeeping.cli.main import cache
from daskcache.storage.roots import Root


def run(*arguments):
    done = CliRunner().invoke(cache, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def upper(word):
    if word == "bad":
        raise ValueError("no word")
    return word.upper()


def words(*given):
    node = dc.delayed(upper, target="words/{word}.txt", version=1)
    return [node(word) for word in given]


@pytest.fixture(autouse=True)
def here(monkeypatch, root):
    root.mkdir()
    Root(str(root)).create()
    monkeypatch.chdir(root)


def told(*arguments):
    found = json.loads(run("history", *arguments, "--json"))["history"]
    return [(moment["event"], moment["target"], moment["detail"]) for moment in found]


def test_all_that_happened_is_told():
    dask.compute(*words("a", "b"), scheduler="sync")
    assert {each[:2] for each in told()} == {("made", "words/a.txt"), ("made", "words/b.txt")}
    dc.compute(*words("bad"), errors="collect", scheduler="sync")
    assert ("failed", "words/bad.txt", "ValueError: no word") in told()
    Path("words/a.txt").write_text("by hand")
    words("a")[0].dc.adopt()
    (adopted,) = told("words/a.txt")
    assert adopted[0] == "adopted"
    assert adopted[2].startswith("by ")
    run("rm", "words/b.txt")
    assert told("words/b.txt")[-1] == ("to the trash", "words/b.txt", "removed")


def test_it_is_in_order_of_time(monkeypatch):
    for day, word in enumerate("cab", 1):
        now = f"2024-01-0{day}T00:00:00Z"
        monkeypatch.setattr("daskcache.storage.record.utc_now", lambda now=now: now)
        words(word)[0].compute(scheduler="sync")
    assert [target for _, target, _ in told()] == [f"words/{word}.txt" for word in "cab"]
    lines = run("history", "--last", "2").splitlines()
    assert [line.split()[2] for line in lines[2:4]] == ["words/a.txt", "words/b.txt"]
    assert lines[4] == "1 more before; --last 3 shows all"


def test_a_kept_correction_is_told():
    words("a")[0].compute(scheduler="sync")
    Path("words/a.txt").write_text("by hand")
    words("a")[0].dc.adopt()
    node = dc.delayed(upper, target="words/{word}.txt", version=2, on_modified="adopt")("a")
    with pytest.warns(match="kept"):
        node.compute(scheduler="sync")
    assert {event for event, *_ in told("words")} == {"adopted", "kept"}


def test_without_any():
    assert run("history") == "nothing is recorded\n"
