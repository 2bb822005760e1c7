"""Placement of files from another file system, of which nothing is left behind."""

from __future__ import annotations

import errno
import os
import shutil

import pytest

from daskcache.errors import StorageError
from daskcache.storage import atomic, system_calls


@pytest.fixture
def far(monkeypatch, tmp_path):
    """A part that is on another disk than the folder that it is to get into."""
    (tmp_path / "folder").mkdir()
    part = tmp_path / "part"
    part.write_bytes(b"new")
    rename = system_calls.rename

    def refuse(source, *args):
        return errno.EXDEV if source == str(part) else rename(source, *args)

    monkeypatch.setattr(system_calls, "rename", refuse)
    return part


def test_a_part_is_brought_near(far, tmp_path):
    """It is copied beside its place, and renamed there."""
    with atomic.entered(str(tmp_path), "folder") as folder:
        folder.put_new(str(far), "x.bin")
    assert os.listdir(tmp_path / "folder") == ["x.bin"]
    assert (tmp_path / "folder" / "x.bin").read_bytes() == b"new"
    assert not far.exists()


def test_a_copy_that_fails_leaves_no_part(far, tmp_path, monkeypatch):
    """The disk of the target is full after half of it."""

    def copy(source, destination):
        with open(destination, "wb") as file:
            file.write(b"n")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), destination)

    monkeypatch.setattr(shutil, "copy2", copy)
    with atomic.entered(str(tmp_path), "folder") as folder, pytest.raises(OSError, match="space"):
        folder.put_new(str(far), "x.bin")
    assert os.listdir(tmp_path / "folder") == []


def test_a_copy_that_can_not_begin_says_so(far, tmp_path):
    """The error is that of the copy, not one about a file that was never there."""
    far.unlink()
    far.symlink_to("nowhere")
    with (
        atomic.entered(str(tmp_path), "folder") as folder,
        pytest.raises(FileNotFoundError, match=str(far)),
        folder._brought_near(str(far)),
    ):
        raise AssertionError("nothing was brought")


def test_errors_are_about_the_file_that_they_name():
    """Or about the folder, and a typed error stays as it is."""
    for error, target in ((OSError(5, "bad", "/a/b"), "/a/b"), (OSError(5, "bad"), "/a")):
        with pytest.raises(StorageError) as caught, atomic.refused_below("/a"):
            raise error
        assert (caught.value.target, caught.value.__cause__) == (target, error)
    known = StorageError("known")
    with pytest.raises(StorageError) as caught, atomic.refused_below("/a"):
        raise known
    assert caught.value is known
