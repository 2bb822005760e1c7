"""Damage set aside, so that it is made again; what dead writers left, cleared up."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import dask
import numpy as np
import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache.errors import StorageError
from daskcache.housekeeping import repair as repairing
from daskcache.housekeeping.cli.main import cache
from daskcache.housekeeping.repair import repair
from daskcache.housekeeping.verify import verify
from daskcache.storage import files as storage
from daskcache.storage import trash
from daskcache.storage.files import DISPLACED
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root
from daskcache.testing.assertions import assert_nothing_runs, count_runs

DAY = 86400.0


@dc.delayed(target="first.json")
def first(x):
    return list(range(x))


@dc.delayed(target="second.json")
def second(x):
    return sum(x)


@dc.delayed(target="folder.zarr")
def folder(x):
    return np.full((4, 5), x)


@pytest.fixture
def stored(root):
    """A root with two targets and a folder."""
    dask.compute(second(first(5)), folder(3))
    return Root(str(root))


def flip(path):
    """Damage a file, with its size and time as they were."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def run(root, *arguments):
    return CliRunner().invoke(cache, [*arguments, "--root", root.path])


def old(path, days=2):
    """Make a file look as if it had not changed for days: its ctime can't be set, so the clock is."""
    then = time.time() - days * DAY
    os.utime(path, (then, then))


@pytest.fixture
def in_two_days(monkeypatch):
    """The clock of `repairing` is two days ahead."""
    ahead = time.time() + 2 * DAY
    monkeypatch.setattr(repairing.time, "time", lambda: ahead)


def test_repair_sets_damage_aside(stored, root):
    """What is damaged goes to the trash, its record stays, and it is made again when it is needed."""
    flip(root / "first.json")
    done = run(stored, "verify", "--repair")
    assert done.exit_code == 1
    assert "first.json is damaged: moved to" in done.output
    (thing,) = trash.listed(stored)
    assert (thing.target, thing.reason) == ("first.json", "damaged")
    assert first(5).dc.state == "missing"
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
    assert trash.listed(stored) == []


def test_repair_notes_new_times(stored, root):
    """Targets that were copied get their new times into their records."""
    os.utime(root / "first.json")
    assert "has the new time" in run(stored, "verify", "--repair").output
    assert run(stored, "verify", "--repair").output.count("new time") == 0


def test_repair_clears_up_after_dead_writers(stored, root, in_two_days):
    """Parts of results go to the trash, files and folders alike; nothing else of the user's does."""
    part = storage.part_path(stored, "first.json")
    own, empty = storage.part_folder(stored), storage.part_folder(stored)
    storage.write_part(part, [b"half"])
    storage.write_part(f"{own}/third.tif", [b"half"])
    (root / "mine.part").write_text("mine")
    (root / "folder.zarr" / ".a.0123456789abcdef.part").write_text("in a target")
    lines = "".join(repair(stored, verify(stored), DAY))
    assert lines.count("left by a writer") == 2
    assert {os.path.basename(thing.kept) for thing in trash.listed(stored)} == {
        os.path.basename(part),
        "third.tif",
    }
    assert os.listdir(stored.parts) == []
    assert not os.path.exists(empty)
    assert (root / "mine.part").exists()
    assert (root / "folder.zarr" / ".a.0123456789abcdef.part").exists()


def test_repair_leaves_live_writers_alone(stored, root):
    """Parts and intents that changed within --min-age may belong to a writer on another machine."""
    part = storage.part_path(stored, "first.json")
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
    part = storage.part_path(stored, "first.json")
    os.link(root / "first.json", part)
    assert "removed, its file is in place" in "".join(repair(stored, verify(stored), DAY))
    assert not os.path.exists(part)
    assert trash.listed(stored) == []


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

    def late(source, destination, **how):
        monkeypatch.setattr(os, "rename", rename)
        (root / "first.json").write_text("another")
        rename(source, destination, **how)

    monkeypatch.setattr(os, "rename", late)
    assert "stays as it is" in "".join(repair(stored, checked, DAY))
    assert (root / "first.json").read_text() == "another"
    assert trash.listed(stored) == []


def test_a_commit_is_not_finished_over_damage(stored, root, in_two_days):
    """An intent vouches for bytes, not for a size and a time."""
    (name,) = RecordStore(stored).with_key(first(5).dc.key)
    record = f"{stored.records}/{name.shard}/{name.file_name()}"
    os.rename(record, f"{stored.intents}/{name.file_name()}.{uuid.uuid4().hex[:16]}")
    flip(root / "first.json")
    lines = "".join(repair(stored, [], DAY))
    assert "finished" not in lines
    assert not os.path.exists(record)


# ---- what may be somebody's only copy ------------------------------------------------------------


@pytest.mark.parametrize("ending", [DISPLACED, f"{DISPLACED}.aside"])
@pytest.mark.parametrize("in_folder", [False, True])
def test_what_a_dead_writer_displaced_can_be_restored(stored, root, in_two_days, ending, in_folder):
    """A file that was exchanged with a result goes to the trash under the target's own path."""
    (root / "first.json").write_text("[17]")
    start = f"{storage.part_folder(stored)}/" if in_folder else storage.part_path(stored, "")
    os.link(
        root / "first.json", f"{start}first.json{ending}"
    )  # a second name makes it no less somebody's
    os.unlink(root / "first.json")
    lines = "".join(repair(stored, [], DAY))
    assert "may have been in the place of first.json" in lines
    (thing,) = trash.listed(stored)
    assert (thing.target, thing.reason) == ("first.json", "displaced by a dead writer")
    assert run(stored, "restore", "first.json").exit_code == 0
    assert (root / "first.json").read_text() == "[17]"
    assert os.listdir(stored.parts) == []


def test_what_was_displaced_has_two_names(stored, root, in_two_days):
    """A displaced file is kept even if another name leads to it, too."""
    part = storage.part_path(stored, f"first.json{DISPLACED}")
    os.link(root / "first.json", part)
    list(repair(stored, [], DAY))
    assert [thing.target for thing in trash.listed(stored)] == ["first.json"]


def test_parts_are_not_restored_as_targets(stored, in_two_days):
    """What was never in place is kept in the trash, and stays there: nobody knows where it belongs."""
    storage.write_part(storage.part_path(stored, "first.json"), [b"half"])
    list(repair(stored, [], DAY))
    (thing,) = trash.listed(stored)
    with pytest.raises(StorageError, match="this was no target"):
        trash.restore(stored, thing)
    assert Path(thing.kept).read_bytes() == b"half"


# ---- metadata -----------------------------------------------------------------------------------


def test_metadata_of_no_use_goes(stored, root, in_two_days):
    """Parts of metadata, old leases and manifests that no record names are deleted; the others stay."""
    manifests = Path(stored.manifests)
    (used,) = manifests.rglob("*.json")
    unfinished = [manifests / "0123456789abcdef.part", Path(stored.metadata, "root.json.0.part")]
    unfinished.append(Path(stored.code, "sources", "0.txt.1.part"))
    unused = manifests / f"{'0' * 32}.json"
    leases = [Path(stored.leases, name) for name in ("0.json", f"0.json.{'0' * 32}")]
    Path(stored.leases).mkdir()
    for path in (*unfinished, unused, *leases):
        path.write_text("{")
    lines = list(repair(stored, verify(stored), DAY))
    assert len(lines) == 6
    assert list(manifests.rglob("*.*")) == [used]
    assert not any(path.exists() for path in (*unfinished, *leases))
    assert trash.listed(stored) == []


def test_new_metadata_stays(stored, root):
    """A manifest whose record is still to be written, a part, a lease: all may be a live writer's."""
    manifests = Path(stored.manifests)
    Path(stored.leases).mkdir()
    Path(stored.leases, "0.json").write_text("{")
    for name in (f"{'0' * 32}.json", "0123456789abcdef.part"):
        (manifests / name).write_text("{")
    assert list(repair(stored, verify(stored), DAY)) == []
    assert len(list(manifests.rglob("*.*"))) == 3
    assert Path(stored.leases, "0.json").exists()


@pytest.mark.parametrize("damage", [os.unlink, lambda path: Path(path).write_text("{}")])
def test_lost_manifests_are_made_again(stored, damage):
    """Without its manifest a folder is hashed whenever it is opened: verify puts it back."""
    (manifest,) = Path(stored.manifests).rglob("*.json")
    before = manifest.read_bytes()
    damage(manifest)
    assert "folder.zarr: the list of its files was lost" in run(stored, "verify", "--repair").output
    assert manifest.read_bytes() == before


def test_sealed_intents_are_settled(tmp_path, in_two_days):
    """In a root with sealed records, a commit that was cut short is finished, too."""
    key = tmp_path / "key"
    key.write_text("0123456789abcdef0123456789abcdef")
    key.chmod(0o600)
    with dask.config.set({"daskcache.key-file": str(key), "daskcache.root": str(tmp_path / "sealed")}):
        first(5).compute()
        root = Root(str(tmp_path / "sealed"))
        (name,) = RecordStore(root).with_key(first(5).dc.key)
        record = f"{root.records}/{name.shard}/{name.file_name()}"
        os.rename(record, f"{root.intents}/{name.file_name()}.{uuid.uuid4().hex[:16]}")
        assert "is finished now" in "".join(repair(root, verify(root), DAY))
        assert os.path.exists(record)
        with assert_nothing_runs():
            first(5).compute()
