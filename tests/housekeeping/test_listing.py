"""Recorded targets as ``ls``, ``status`` and ``why`` show them, and which were made from which."""

from __future__ import annotations

import os

import dask
import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache.housekeeping.cli.main import cache
from daskcache.housekeeping.lineage import Lineage
from daskcache.housekeeping.listing import find, listed
from daskcache.housekeeping.verify import verify
from daskcache.storage import files
from daskcache.storage.roots import Root


@dc.delayed(target="first.json")
def first(n):
    return n


@dc.delayed(target="second.json")
def second(x):
    return x + 1


@dc.delayed(target=("low.json", "high.json"))
def halves(n):
    return n // 2, n - n // 2


@dc.delayed(target="sum.json")
def total(both):
    return sum(both)


@pytest.fixture
def stored(root):
    dask.compute(second(first(1)))
    return Root(str(root))


def run(root, *arguments):
    return CliRunner().invoke(cache, [*arguments, "--root", root.path]).output


def touch(path):
    os.utime(path, (1_000_000, 1_000_000))


def edit(path, text):
    path.write_text(text)
    touch(path)


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (lambda path: None, "complete"),
        (touch, "complete"),
        (lambda path: edit(path, "2"), "modified"),
        (lambda path: edit(path, "["), "corrupt"),
        (lambda path: path.unlink(), "missing"),
    ],
    ids=["as stored", "touched", "edited", "damaged", "deleted"],
)
def test_a_target_has_one_state_wherever_it_is_asked_for(stored, root, change, state):
    """The command line says what Python says."""
    change(root / "second.json")
    assert second(first(1)).dc.state == state
    item = find(stored, "second.json")
    assert item.state == state
    assert {item.path: item.state for item in verify(stored)}["second.json"] == state
    (line,) = [line for line in run(stored, "ls").splitlines() if "second.json" in line]
    assert line.split()[1] == state
    head, _, *lines = run(stored, "status").splitlines()[1:]
    (counted,) = [line for line in lines if "second" in line]
    assert dict(zip(head.split(), counted.split(), strict=False))[state] == "1"
    assert run(stored, "why", "second.json").splitlines()[0] == f"second.json: {state}"


def test_a_damaged_target_is_explained(stored, root):
    edit(root / "second.json", "[")
    assert "the file is damaged; it is made again when it is needed" in run(stored, "why", "second.json")


def test_a_touched_target_can_be_accepted_and_need_not_be_adopted(stored, root):
    """It is as it was stored."""
    touch(root / "second.json")
    assert "second.json is as it was stored" in run(stored, "adopt", "second.json")
    assert "second.json will be accepted if it is stale" in run(stored, "accept", "second.json")


def test_a_target_that_may_not_be_read_is_listed(stored, root, monkeypatch):
    """One file of many does not keep the others from being listed."""
    touch(root / "second.json")

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(files, "file_hash", refuse)
    assert {item.path: item.state for item in listed(stored)} == {
        "first.json": "complete",
        "second.json": "modified",
    }


def test_files_are_read_only_for_their_states(stored, root, monkeypatch):
    """Disk usage and lineage need none: a root that was copied without its times is large."""
    touch(root / "first.json")
    touch(root / "second.json")
    monkeypatch.setattr(files, "file_hash", None)
    assert [line.split()[1] for line in run(stored, "du").splitlines() if "total" in line] == ["2"]
    assert Lineage(listed(stored)).intermediates() == {"first.json"}


def test_targets_downstream_of_one_of_several_results(root):
    """A node takes all results of a call, so what follows follows from each of them."""
    dask.compute(total(halves(5)))
    lineage = Lineage(listed(Root(str(root))))
    for path in ("low.json", "high.json"):
        assert [item.path for item in lineage.descendants([lineage.by_path[path]])] == ["sum.json"]
    assert {item.path for item in lineage.ancestors([lineage.by_path["sum.json"]])} == {
        "low.json",
        "high.json",
    }


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("*", ["a/b/1.json", "a/b/2.json", "ab.json"]),
        ("a", ["a/b/1.json", "a/b/2.json"]),
        ("a/", ["a/b/1.json", "a/b/2.json"]),
        ("a/b", ["a/b/1.json", "a/b/2.json"]),
        ("root/a/b", ["a/b/1.json", "a/b/2.json"]),
        ("./a/b/1.json", ["a/b/1.json"]),
        ("*1.json", ["a/b/1.json"]),
        ("root", ["a/b/1.json", "a/b/2.json", "ab.json"]),
        ("b", []),
        ("a/b/1", []),
        (".", ["a/b/1.json", "a/b/2.json", "ab.json"]),
    ],
)
def test_a_folder_stands_for_what_is_in_it(root, tmp_path, monkeypatch, given, found):
    """For all commands that take patterns; what means nothing is an error."""
    save = dc.delayed(lambda path: 1, target="{path}", store=dc.JSONTarget, version=1)
    make = dc.delayed(lambda n: n, target="a/b/{n}.json", version=1)
    dask.compute(make(1), make(2), save("ab.json"))
    monkeypatch.chdir(tmp_path)
    at = ["--root", str(root)]
    done = CliRunner().invoke(cache, ["ls", given, *at])
    lines = [line.split()[0] for line in done.output.splitlines() if ".json" in line]
    assert (lines, done.exit_code) == (found, 0 if found else 1)
    assert [item.path for item in verify(Root(str(root)), given)] == found
    exported = CliRunner().invoke(cache, ["export", "x.tar", given, *at])
    assert (exported.exit_code == 0) == bool(found)


def test_an_empty_root_has_no_targets(root):
    """That is no error."""
    Root(str(root)).create()
    done = CliRunner().invoke(cache, ["ls", "--root", str(root)])
    assert (done.output, done.exit_code) == ("no targets yet\n", 0)


@pytest.mark.parametrize("command", ["accept", "keep"])
def test_a_decision_that_was_not_needed_is_none_about_a_later_change(root, command):
    """A target that was as recorded when it was accepted is stale after the code changes."""

    def made(version):
        return dc.delayed(lambda: version, target="x.json", version=version)()

    made(1).compute()
    if command == "keep":
        (root / "x.json").write_text("7")
        dc.adopt(made(1))
    assert "x.json" in run(Root(str(root)), command, "x.json")
    value = made(1).compute()
    assert value == (7 if command == "keep" else 1)
    if command == "keep":
        assert dc.plan(made(2)).counts["blocked"] == 1
    else:
        assert dc.status(made(2)) == "stale"
        assert made(2).compute() == 2


def test_an_acceptance_is_recorded_with_its_user(root):
    """Of a target that is stale when its program runs."""

    def made(version):
        return dc.delayed(lambda: version, target="x.json", version=version)()

    made(1).compute()
    run(Root(str(root)), "accept", "x.json")
    assert made(2).compute() == 1
    record = made(2).dc.record
    assert record["accepted"]["by"]
    assert not list((root / ".daskcache" / "accepted").iterdir())


def test_rm_downstream(stored, root):
    said = run(stored, "rm", "--downstream", "first.json").splitlines()
    assert [line.partition(" -> ")[0] for line in said] == ["first.json", "second.json"]
    assert not (root / "second.json").exists()
