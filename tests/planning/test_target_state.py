"""The state of a target from its file and its records, both made by hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

import daskcache as dc
from daskcache.errors import MissingExtra
from daskcache.planning.target_state import described_by, look_into, newest_first, state_of
from daskcache.storage import files
from daskcache.storage.record import RecordName, record_content, target_id
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root
from daskcache.storage.verified_folders import keep_manifest
from daskcache.targets import registry
from daskcache.targets.registry import is_of_folder, register_suffix

KEY, OTHER = "0" * 32, "1" * 32


class Scene:
    """A root with one file, and records of it."""

    def __init__(self, path):
        self.root = Root(str(path))
        self.root.create()
        self.file = path / "a.json"
        self.names = []

    def put(self, content: bytes, seconds: int = 1000) -> None:
        self.file.write_bytes(content)
        os.utime(self.file, (seconds, seconds))

    def record(self, key=KEY, adopted=False, **facts) -> RecordName:
        """Record the file as it is now."""
        stamp, content = files.stamp(str(self.file)), files.file_hash(str(self.file))
        name = RecordName(key, target_id("a.json"), "2" * 32, "3" * 32, content, *stamp, 0, adopted)
        described = {
            "function": "m.f",
            "code": "4" * 32,
            "target": "a.json",
            "format": "daskcache:JSONTarget",
            "arguments": {},
            "upstream": [],
            **facts,
        }
        RecordStore(self.root).write(name, record_content(name, **described))
        self.names.append(name)
        return name

    def state(self, thorough=False):
        return state_of(RecordStore(self.root), "a.json", self.names, thorough)


@pytest.fixture
def scene(tmp_path):
    made = Scene(tmp_path)
    made.put(b"[1]")
    return made


def test_a_file_as_recorded_is_complete_and_not_read(scene, monkeypatch):
    name = scene.record()
    monkeypatch.setattr(files, "file_hash", None)
    assert scene.state() == ("complete", name, name.stamp)


def test_a_file_that_an_adopted_record_describes_is_adopted(scene):
    name = scene.record(adopted=True)
    assert scene.state()[:2] == ("adopted", name)


def test_of_an_older_record_the_content_says_that_it_was_adopted(scene):
    scene.record(edited={"stored": None, "by": "ann", "when": "2024-01-01T00:00:00Z"})
    assert scene.state().state == "adopted"


def test_a_touched_file_is_complete(scene):
    """The name is the recorded one, the stamp that of now."""
    name = scene.record()
    scene.put(b"[1]", seconds=2000)
    assert scene.state() == ("complete", name, files.stamp(str(scene.file)))


def test_a_file_that_is_gone_is_missing(scene):
    scene.record()
    scene.file.unlink()
    assert scene.state() == ("missing", None, None)


def test_a_file_without_a_record_is_foreign(scene):
    assert scene.state().state == "foreign"


def test_an_edited_file_is_modified(scene):
    """Also if its size is as recorded."""
    scene.record()
    scene.put(b"[2]", seconds=2000)
    assert scene.state()[:2] == ("modified", None)
    scene.put(b"[2, 3]", seconds=2000)
    assert scene.state().state == "modified"


def test_a_file_that_its_format_cannot_read_is_corrupt(scene):
    scene.record()
    scene.put(b"[2", seconds=2000)
    assert scene.state()[:2] == ("corrupt", None)


@pytest.mark.parametrize("format", ["daskcache:PickleTarget", "nobody:Knows"])
def test_a_file_of_a_format_that_a_record_must_not_choose_is_not_read(scene, format):
    """It may run code: no difference is made between an edit and damage."""
    scene.record(format=format)
    scene.put(b"cposix\nsystem\n(S'touch pwned'\ntR.", seconds=2000)
    assert scene.state().state == "modified"
    assert not Path("pwned").exists()


def test_a_file_whose_package_is_not_installed_is_not_called_damaged(scene, monkeypatch):
    """A repair would move an edited file to the trash on a machine without, say, pyarrow."""

    def missing(path):
        raise MissingExtra("pyarrow is not installed")

    monkeypatch.setattr(dc.JSONTarget, "hash_file", staticmethod(missing))
    scene.record()
    scene.put(b"[2]", seconds=2000)
    assert scene.state().state == "modified"


def test_damage_that_keeps_size_and_time_is_found_thoroughly(scene):
    scene.record()
    scene.put(b"[3]")
    assert scene.state().state == "complete"
    assert scene.state(thorough=True).state == "corrupt"


@pytest.mark.parametrize(("content", "seconds"), [(b"[2, 3]", 1000), (b"", 2000)])
def test_an_edit_leaves_content_and_a_new_time(scene, content, seconds):
    """Thoroughly, a file that no program of a user can have left so is corrupt."""
    scene.record(format="nobody:Knows")
    scene.put(content, seconds)
    assert scene.state().state == "modified"
    assert scene.state(thorough=True).state == "corrupt"


def test_the_record_of_the_content_counts_whichever_recipe_wrote_it(scene):
    scene.record()
    scene.put(b"[2]", seconds=2000)
    other = scene.record(key=OTHER)
    assert scene.state()[:2] == ("complete", other)


def test_rivals_within_one_tick_are_told_apart_by_content(scene):
    """Two records with the size and time of the file: the one that has its bytes counts."""
    scene.record()
    scene.put(b"[2]")
    other = scene.record(key=OTHER)
    assert scene.state()[:2] == ("complete", other)
    scene.names.reverse()
    assert scene.state()[:2] == ("complete", other)


def test_a_pipe_is_not_opened(scene):
    """Opening it would block for ever."""
    scene.record()
    scene.file.unlink()
    os.mkfifo(scene.file)
    assert scene.state().state == "modified"


def test_a_file_that_is_replaced_while_it_is_hashed_is_not_described(scene, monkeypatch):
    """The hash may be that of the new file."""
    name = scene.record()
    location, found = str(scene.file), files.Stamp(3, 1)
    assert described_by([name], location, found, newest_first) is None
    scene.put(b"[1]", seconds=2000)
    assert described_by([name], location, files.stamp(location), newest_first) == name


# ---- content that no record knows -------------------------------------------------------------------

IMAGE = np.arange(64, dtype="u2").reshape(8, 8)


@pytest.fixture
def stored(tmp_path):
    """A Zarr folder of four chunks, with its manifest; the root and its file hash."""
    root = Root(str(tmp_path))
    root.create()
    dc.ZarrTarget("a.zarr", chunks=(4, 4)).write(IMAGE, str(tmp_path / "a.zarr"))
    part = files.part_of(str(tmp_path / "a.zarr"))
    keep_manifest(root, part.file_hash, part.manifest)
    return root, part.file_hash


def look(root, file_hash=None):
    return look_into(dc.ZarrTarget(root.absolute("a.zarr")), root, file_hash)


def test_an_edited_folder_has_a_manifest(stored, tmp_path):
    """And the hash of the value that is read from it."""
    root, file_hash = stored
    zarr.open_array(tmp_path / "a.zarr")[0, 0] = 7
    found = look(root, file_hash)
    assert found.file_hash == files.file_hash(str(tmp_path / "a.zarr")) != file_hash
    assert found.manifest == files.manifest_of(str(tmp_path / "a.zarr"))
    edited = IMAGE.copy()
    edited[0, 0] = 7
    assert found.data_hash == dc.ZarrTarget("").hash(edited)


@pytest.mark.parametrize("lose", [lambda chunk: chunk.unlink(), lambda chunk: chunk.write_bytes(b"")])
def test_a_folder_that_lost_files_is_damaged(stored, tmp_path, lose):
    """Even where the format reads it, unless somebody says that it is meant to be so."""
    root, file_hash = stored
    lose(tmp_path / "a.zarr" / "c" / "0" / "1")
    assert look(root, file_hash) is None
    (tmp_path / "a.zarr" / "c" / "0" / "1").unlink(missing_ok=True)
    assert look(root) is not None


def test_what_its_format_refuses_is_damaged(stored, tmp_path):
    """Also if the refusal is an error of ours."""
    root, _ = stored
    shutil.rmtree(tmp_path / "a.zarr")
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "notes.txt").write_text("mine")
    assert look(root) is None
    (tmp_path / "a.npz").write_bytes(b"no archive")
    assert look_into(dc.NumpyTarget(str(tmp_path / "a.npz")), root) is None


def test_classes_say_what_is_a_folder(monkeypatch):
    """Those that somebody registers, too."""
    monkeypatch.setattr(registry, "_TARGETS", dict(registry._TARGETS))
    register_suffix(".chunked", "daskcache.targets.zarr.target:ZarrTarget")
    assert all(map(is_of_folder, ("x/a.chunked", "a.ome.zarr")))
    assert not any(map(is_of_folder, ("a.npy", "a", "a.unheard-of")))
