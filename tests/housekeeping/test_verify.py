"""Targets read again and compared with their records."""

from __future__ import annotations

import json
import os
from pathlib import Path

import dask
import numpy as np
import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache.hashing import algorithms
from daskcache.housekeeping import verify as verifying
from daskcache.housekeeping.cli.main import cache
from daskcache.housekeeping.verify import verify
from daskcache.storage import files as storage
from daskcache.storage import trash
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root
from daskcache.targets.base import Target
from daskcache.testing.assertions import count_runs

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


def test_all_is_well(stored):
    """What is as recorded is complete, and the exit code is 0."""
    assert states(stored) == {"first.json": "complete", "folder": "complete", "second.json": "complete"}
    done = run(stored, "verify")
    assert done.exit_code == 0, done.output
    assert "3 complete, 0 adopted, 0 missing, 0 modified, 0 corrupt, 0 unreadable" in done.output


def test_damage_that_keeps_size_and_time_is_found(stored, root):
    """A bit flip that planning can't see is corrupt, in a file and in a folder."""
    flip(root / "first.json")
    flip(root / "folder" / "b")
    assert states(stored) == {"first.json": "corrupt", "folder": "corrupt", "second.json": "complete"}
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


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "swapped", "extra"])
def test_zarr_folders(root, damage):
    """A chunk that is missing, cut short, damaged or in another's place, or one too many, is found."""

    @dc.delayed(target=dc.ZarrTarget("volume.zarr", chunks=(2, 2)))
    def volume():
        return np.arange(16).reshape(4, 4)

    volume().compute()
    stored, chunks = Root(str(root)), root / "volume.zarr" / "c"
    assert states(stored) == {"volume.zarr": "complete"}
    one, two = chunks / "0" / "0", chunks / "0" / "1"
    if damage == "missing":
        one.unlink()
    elif damage == "cut":
        stat = one.stat()
        one.write_bytes(one.read_bytes()[:-1])
        os.utime(one, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif damage == "flipped":
        flip(one)
    elif damage == "swapped":
        for old, new in ((one, chunks / "aside"), (two, one), (chunks / "aside", two)):
            old.rename(new)
    else:
        stat = one.stat()
        (chunks / "0" / "9").write_bytes(one.read_bytes())
        os.utime(chunks / "0" / "9", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert states(stored) == {"volume.zarr": "corrupt"}
    assert "moved to" in run(stored, "verify", "--repair").output
    with count_runs() as runs:
        assert volume().compute()[3, 3] == 15
    assert runs() == {"volume": 1}
    assert states(stored) == {"volume.zarr": "complete"}


@pytest.fixture
def other_hash(monkeypatch):
    """Makes this process hash with SHA-256, as another one may do."""

    def other_hash():
        monkeypatch.setattr(algorithms, "_chosen", None)
        dask.config.set({"daskcache.hash": "sha256"})

    with dask.config.set({"daskcache.hash": "xxh3_128"}):
        yield other_hash


def test_results_that_were_hashed_otherwise_are_not_called_damaged(stored, root, other_hash):
    """Who forgets to set `daskcache.hash` loses nothing to --repair, and is told what to set."""
    other_hash()
    done = run(stored, "verify", "--repair", "--min-age", "0 s")
    assert done.exit_code == 1
    assert "0 complete, 0 adopted, 0 missing, 0 modified, 0 corrupt, 3 unreadable" in done.output
    assert "first.json (hashed with xxh3_128: set daskcache.hash to that to verify it)" in done.output
    assert trash.listed(stored) == []
    assert (root / "folder" / "a").exists()


def test_advice_for_edits_names_both_ways_on(stored, root):
    """Who edited a result is told how to go on with it, and how to compute it again."""
    (root / "first.json").write_text("[17]")
    said = run(stored, "verify").output
    assert "dask cache adopt TARGET" in said
    assert "dask cache rm TARGET" in said.replace("\n", " ")


def test_edits_are_modified_and_stay(stored, root):
    """What somebody edited is reported and left alone, by --repair too."""
    (root / "first.json").write_text("[17]")
    done = run(stored, "verify", "--repair")
    assert done.exit_code == 1
    assert "modified    first.json" in done.output
    assert (root / "first.json").read_text() == "[17]"
    assert trash.listed(stored) == []


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


def test_a_pattern_that_matches_nothing(stored):
    """Nothing was verified, so nothing is said to be well."""
    done = run(stored, "verify", "frist*")
    assert done.exit_code == 1
    assert "no targets match frist*" in done.output


def test_json(stored, root):
    """For programs the outcome is JSON."""
    flip(root / "first.json")
    content = json.loads(run(stored, "verify", "--json").output)
    assert (content["complete"], content["corrupt"]) == (2, 1)
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
    assert states(stored) == {"first.json": "complete", "folder": "complete", "second.json": "complete"}


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
