"""What is in files that no record knows."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import zarr

import daskcache as dc
from daskcache.planning.unrecorded import look_into
from daskcache.storage import files as storage
from daskcache.storage.roots import Root
from daskcache.storage.verified_folders import keep_manifest
from daskcache.targets import registry
from daskcache.targets.registry import is_of_folder, register_suffix

IMAGE = np.arange(64, dtype="u2").reshape(8, 8)


@pytest.fixture
def stored(tmp_path):
    """A Zarr folder of four chunks, with its manifest; the root and its file hash."""
    root = Root(str(tmp_path))
    root.create()
    dc.ZarrTarget("a.zarr", chunks=(4, 4)).write(IMAGE, str(tmp_path / "a.zarr"))
    part = storage.part_of(str(tmp_path / "a.zarr"))
    keep_manifest(root, part.file_hash, part.manifest)
    return root, part.file_hash


def look(root, file_hash=None):
    return look_into(dc.ZarrTarget(root.absolute("a.zarr")), root, file_hash)


def test_an_edited_folder_has_a_manifest(stored, tmp_path):
    """And the hash of the value that is read from it."""
    root, file_hash = stored
    zarr.open_array(tmp_path / "a.zarr")[0, 0] = 7
    found = look(root, file_hash)
    assert found.file_hash == storage.file_hash(str(tmp_path / "a.zarr")) != file_hash
    assert found.manifest == storage.manifest_of(str(tmp_path / "a.zarr"))
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
