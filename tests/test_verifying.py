"""Targets read again and compared with their records; damage set aside; parts of dead writers."""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path

import dask
import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache import storage, verifying
from daskcache.cli import cache
from daskcache.records import RecordStore
from daskcache.storage import Root
from daskcache.targets.base import Target
from daskcache.testing import assert_nothing_runs, count_runs
from daskcache.verifying import repair, verify

DAY = 86400.0


class FolderTarget(Target):
    """A dict of texts as a folder of files."""

    def write(self, value, path):
        os.mkdir(path)
        for name, text in value.items():
            with open(f"{path}/{name}", "x") as file:
                file.write(text)

    def read(self, path):
        return {name: Path(path, name).read_text() for name in sorted(os.listdir(path))}


@dc.delayed(target="first.json")
def first(x):
    return list(range(x))


@dc.delayed(target="second.json")
def second(x):
    return sum(x)


@dc.delayed(target=FolderTarget("folder"))
def folder(x):
    return {"a": "a" * x, "b": "b" * x}


@pytest.fixture
def stored(root):
    """A root with two targets and a folder."""
    dask.compute(second(first(5)), folder(3))
    return Root(str(root))


def states(root):
    return {item.path: item.state for item in verify(root)}


def flip(path):
    """Damage a file, with its size and time as they were."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def run(root, *arguments):
    return CliRunner().invoke(cache, [*arguments, "--root", root.path])


def trash(root):
    return sorted(name.split("-", 2)[2] for name in os.listdir(root.trash))


def old(path, days=2):
    """Make a file look as if it had not changed for days: its ctime can't be set, so the clock is."""
    then = time.time() - days * DAY
    os.utime(path, (then, then))


@pytest.fixture
def in_two_days(monkeypatch):
    """The clock of `verifying` is two days ahead."""
    ahead = time.time() + 2 * DAY
    monkeypatch.setattr(verifying.time, "time", lambda: ahead)


def test_all_is_well(stored):
    """What is as recorded is ok, and the exit code is 0."""
    assert states(stored) == {"first.json": "ok", "folder": "ok", "second.json": "ok"}
    done = run(stored, "verify")
    assert done.exit_code == 0, done.output
    assert "3 ok, 0 corrupt, 0 modified, 0 missing" in done.output


def test_damage_that_keeps_size_and_time_is_found(stored, root):
    """A bit flip that planning can't see is corrupt, in a file and in a folder."""
    flip(root / "first.json")
    flip(root / "folder" / "b")
    assert states(stored) == {"first.json": "corrupt", "folder": "corrupt", "second.json": "ok"}
    done = run(stored, "verify")
    assert done.exit_code == 1
    assert "corrupt     first.json" in done.output
    assert "verify --repair" in done.output


def test_files_that_were_cut_short_are_corrupt(stored, root):
    """A file that is empty, or shorter with the time that it had, is damaged, not edited."""
    stamp = (root / "first.json").stat()
    (root / "first.json").write_text("[0")
    os.utime(root / "first.json", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (root / "second.json").write_text("")
    found = states(stored)
    assert (found["first.json"], found["second.json"]) == ("corrupt", "corrupt")


def test_folders_with_files_missing_swapped_or_added(stored, root):
    """A folder counts as a whole: the names, sizes and bytes of all its files."""
    a, b = root / "folder" / "a", root / "folder" / "b"
    newest = max(a, b, key=lambda path: path.stat().st_mtime_ns)
    a.rename(root / "folder" / "c")
    b.rename(a)
    (root / "folder" / "c").rename(b)
    assert states(stored)["folder"] == "corrupt"
    newest.unlink()
    assert states(stored)["folder"] == "corrupt"
    (root / "folder" / "c").write_text("new")
    assert states(stored)["folder"] == "modified"


def test_edits_are_modified_and_stay(stored, root):
    """What somebody edited is reported and left alone, by --repair too."""
    (root / "first.json").write_text("[17]")
    done = run(stored, "verify", "--repair")
    assert done.exit_code == 1
    assert "modified    first.json" in done.output
    assert (root / "first.json").read_text() == "[17]"
    assert trash(stored) == []


def test_missing_is_no_damage(stored, root):
    """A target that is gone is made again when it is needed: nothing is wrong."""
    (root / "first.json").unlink()
    done = run(stored, "verify")
    assert done.exit_code == 0
    assert "1 missing" in done.output


def test_pattern(stored, root):
    """Only what matches the pattern is read."""
    flip(root / "first.json")
    assert run(stored, "verify", "second*").exit_code == 0
    assert run(stored, "verify", "first*").exit_code == 1


def test_json(stored, root):
    """For programs the outcome is JSON."""
    flip(root / "first.json")
    content = json.loads(run(stored, "verify", "--json").output)
    assert (content["ok"], content["corrupt"]) == (2, 1)
    assert content["problems"] == [{"path": "first.json", "state": "corrupt", "note": ""}]


def test_records_that_cannot_be_read_are_reported(stored):
    """A target whose record is damaged can't be verified, and that is said."""
    (name,) = RecordStore(stored).with_key(first(5).dc.key)
    with open(f"{stored.records}/{name.shard}/{name.file_name()}", "w") as file:
        file.write("{")
    done = run(stored, "verify")
    assert done.exit_code == 1
    assert f"unreadable  .daskcache/records/{name.shard}/{name.file_name()}" in done.output


def test_records_that_name_a_place_outside_are_not_followed(stored, root, tmp_path):
    """A record that was tampered with can't make --repair touch a file outside of the root."""
    outside = tmp_path / "outside.json"
    outside.write_text("")
    (name,) = RecordStore(stored).with_key(first(5).dc.key)
    path = f"{stored.records}/{name.shard}/{name.file_name()}"
    content = json.loads(Path(path).read_text()) | {"target": "../outside.json"}
    with open(path, "w") as file:
        json.dump(content, file)
    assert run(stored, "verify", "--repair").exit_code == 1
    assert outside.exists()


def test_a_target_that_is_replaced_meanwhile_is_no_damage(stored, root, monkeypatch):
    """A result that another program commits while it is verified is compared with its own record."""
    claims = verifying._claims(stored)
    first(6).compute()
    answers = iter([claims])
    look = verifying._claims
    monkeypatch.setattr(verifying, "_claims", lambda root: next(answers, None) or look(root))
    assert states(stored) == {"first.json": "ok", "folder": "ok", "second.json": "ok"}


def test_repair_sets_damage_aside(stored, root):
    """What is damaged goes to the trash with its record forgotten, and the next run makes it again."""
    flip(root / "first.json")
    done = run(stored, "verify", "--repair")
    assert done.exit_code == 1
    assert "first.json is damaged: moved to" in done.output
    assert trash(stored) == ["first.json"]
    assert RecordStore(stored).with_key(first(5).dc.key) == []
    assert run(stored, "verify").exit_code == 0
    with assert_nothing_runs():
        assert second(first(5)).compute() == 10
    with count_runs() as runs:
        assert first(5).compute() == [0, 1, 2, 3, 4]
    assert runs() == {"first": 1}


def test_repair_leaves_what_was_replaced_meanwhile(stored, root):
    """Between verify and repair another program may have made a damaged target again."""
    flip(root / "first.json")
    checked = verify(stored)
    (root / "first.json").unlink()
    dc.compute(first(5), force=True)
    assert "changed meanwhile" in "".join(repair(stored, checked, DAY))
    assert first(5).dc.state == "complete"
    assert trash(stored) == []


def test_repair_notes_new_times(stored, root):
    """Targets that were copied get their new times into their records."""
    os.utime(root / "first.json")
    assert "has the new time" in run(stored, "verify", "--repair").output
    assert run(stored, "verify", "--repair").output.count("new time") == 0


def test_repair_clears_up_after_dead_writers(stored, root, in_two_days):
    """Parts of results go to the trash, files and folders alike; nothing else of the user's does."""
    part = storage.part_path(str(root / "first.json"))
    own = storage.part_path(str(root / "deep" / "third.tif"))
    storage.write_part(part, [b"half"])
    os.mkdir(own)
    storage.write_part(f"{own}/third.tif", [b"half"])
    (root / "mine.part").write_text("mine")
    (root / "folder" / ".a.0123456789abcdef.part").write_text("in a target")
    lines = "".join(repair(stored, verify(stored), DAY))
    assert lines.count("left by a writer") == 2
    assert [name.rpartition(".")[2] for name in trash(stored)] == ["part", "part"]
    assert not os.path.exists(part)
    assert not os.path.exists(own)
    assert (root / "mine.part").exists()
    assert (root / "folder" / ".a.0123456789abcdef.part").exists()


def test_repair_leaves_live_writers_alone(stored, root):
    """Parts and intents that changed within --min-age may belong to a writer on another machine."""
    part = storage.part_path(str(root / "first.json"))
    storage.write_part(part, [b"half"])
    old(part)  # an mtime may be that of the file that a replacement displaced
    (name,) = RecordStore(stored).with_key(first(5).dc.key)
    intent = storage.write_intent(stored, name._replace(key="0" * 32).file_name(), b"{}")
    done = run(stored, "verify", "--repair")
    assert done.exit_code == 0
    assert os.path.exists(part)
    assert os.path.exists(intent)
    assert run(stored, "verify", "--repair", "--min-age", "0 s").exit_code == 0
    assert not os.path.exists(part)
    assert not os.path.exists(intent)


def test_parts_that_are_in_place_as_well_are_removed(stored, root, in_two_days):
    """A part that was linked into place is no second copy to keep."""
    part = storage.part_path(str(root / "first.json"))
    os.link(root / "first.json", part)
    assert "removed, its file is in place" in "".join(repair(stored, verify(stored), DAY))
    assert not os.path.exists(part)
    assert trash(stored) == []


def test_repair_finishes_commits_that_were_cut_short(stored, root, in_two_days):
    """An intent whose target is in place becomes the record; one without a target is forgotten."""
    (name,) = RecordStore(stored).with_key(first(5).dc.key)
    record = f"{stored.records}/{name.shard}/{name.file_name()}"
    intent = f"{stored.intents}/{name.file_name()}.{uuid.uuid4().hex[:16]}"
    os.rename(record, intent)
    torn = storage.write_intent(stored, name._replace(key="0" * 32).file_name(), b'{"target": ')
    lines = "".join(repair(stored, verify(stored), DAY))
    assert "first.json: its commit was cut short, and is finished now" in lines
    assert os.path.exists(record)
    assert os.listdir(stored.intents) == []
    assert not os.path.exists(torn)
    with assert_nothing_runs():
        first(5).compute()


def test_repair_puts_back_what_was_replaced_at_the_last_moment(stored, root, monkeypatch):
    """Between the last look and the move a writer may come: its result stays in place."""
    flip(root / "first.json")
    checked, rename = verify(stored), os.rename

    def late(source, destination):
        monkeypatch.setattr(os, "rename", rename)
        (root / "first.json").write_text("another")
        rename(source, destination)

    monkeypatch.setattr(os, "rename", late)
    assert "it stays as it is" in "".join(repair(stored, checked, DAY))
    assert (root / "first.json").read_text() == "another"
    assert trash(stored) == []


def test_a_commit_is_not_finished_over_damage(stored, root, in_two_days):
    """An intent vouches for bytes, not for a size and a time."""
    (name,) = RecordStore(stored).with_key(first(5).dc.key)
    record = f"{stored.records}/{name.shard}/{name.file_name()}"
    os.rename(record, f"{stored.intents}/{name.file_name()}.{uuid.uuid4().hex[:16]}")
    flip(root / "first.json")
    lines = "".join(repair(stored, [], DAY))
    assert "finished" not in lines
    assert not os.path.exists(record)


def test_a_target_that_changes_while_it_is_read_gets_no_verdict(stored, root, monkeypatch):
    """Bytes that were read while somebody wrote say nothing about damage."""
    hashed = storage.file_hash

    def slow(path):
        found = hashed(path)
        if path.endswith("first.json"):
            os.utime(path)
        return found

    monkeypatch.setattr(storage, "file_hash", slow)
    (item,) = verify(stored, "first.json")
    assert (item.state, item.note) == ("unreadable", "it changes while it is read")
