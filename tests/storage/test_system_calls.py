"""System calls that Python does not offer, and what happens without them."""

from __future__ import annotations

import errno
import os

import pytest

from daskcache.errors import UnsafePath
from daskcache.storage import atomic, system_calls


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    return tmp_path


def test_a_folder_is_opened(folder):
    """By one call, however deep it lies."""
    opened = system_calls.open_folder(f"{folder}/a/b")
    assert os.path.samestat(os.fstat(opened), os.stat(folder / "a" / "b"))
    assert not os.get_inheritable(opened)
    os.close(opened)


@pytest.mark.parametrize("way", ["link", "link/b", "a/file", "a/missing", "a/link to b"])
def test_nothing_else_is_opened(folder, way):
    """Neither a link, even on the way, nor a file."""
    (folder / "link").symlink_to("a")
    (folder / "a" / "link to b").symlink_to("b")
    (folder / "a" / "file").write_text("x")
    assert system_calls.open_folder(f"{folder}/{way}") is None


def test_a_rename_replaces_nothing(folder):
    """The answer is the number of the error."""
    for name in ("x", "y"):
        (folder / name).write_text(name)
    renamed = system_calls.rename(f"{folder}/x", f"{folder}/y", None, system_calls.NO_REPLACE)
    assert renamed == errno.EEXIST
    assert system_calls.rename(f"{folder}/x", f"{folder}/y", None, system_calls.EXCHANGE) == 0
    assert [(folder / name).read_text() for name in ("x", "y")] == ["y", "x"]


@pytest.fixture
def without(monkeypatch):
    """A system without any of the calls."""
    monkeypatch.setattr(system_calls, "open_folder", lambda path: None)
    monkeypatch.setattr(system_calls, "rename", lambda *args: errno.ENOSYS)


def test_folders_are_entered_name_by_name_without_the_call(folder, without):
    """Missing ones are made, and links are refused."""
    with atomic.entered(str(folder), "a/c/d") as opened:
        assert os.path.samestat(os.fstat(opened.descriptor), os.stat(folder / "a" / "c" / "d"))
    (folder / "link").symlink_to("a")
    with pytest.raises(UnsafePath), atomic.entered(str(folder), "link/b"):
        raise AssertionError("it was entered")


def test_a_file_is_linked_where_renames_may_replace(folder, without):
    """It moves all the same, and what is there stays."""
    (folder / "x").write_text("new")
    with atomic.entered(str(folder), "a") as opened:
        opened.put_new(f"{folder}/x", "y")
        assert (folder / "a" / "y").read_text() == "new"
        assert not (folder / "x").exists()
        (folder / "x").write_text("newer")
        with pytest.raises(FileExistsError):
            opened.put_new(f"{folder}/x", "y")
    assert (folder / "a" / "y").read_text() == "new"
