"""Checks of a root before each commit, parts of which hold for a moment."""

from __future__ import annotations

import os
import shutil
import time

import pytest

from daskcache.errors import ReachError, StorageError, UnsafePath
from daskcache.storage import roots


@pytest.fixture
def made(root):
    """A root that was just checked."""
    found = roots.Root(str(root))
    found.create()
    found.check()
    return found


@pytest.mark.parametrize("name", ["records", "intents", "parts", "trash"])
def test_a_folder_that_becomes_a_link_is_noticed(made, root, tmp_path, name):
    """By the next check but those of the same moment."""
    os.rename(root / ".daskcache" / name, tmp_path / "away")
    os.symlink(tmp_path / "away", root / ".daskcache" / name)
    time.sleep(2 * roots._MOMENT_NS / 1e9)
    with pytest.raises(UnsafePath):
        made.check()


def test_a_root_that_is_gone_is_noticed_at_once(made, root):
    """As below a disk that is gone."""
    shutil.rmtree(root)
    root.mkdir()
    with pytest.raises(StorageError, match="the root is gone"):
        made.check()


def test_another_root_is_noticed_at_once(made, root):
    """A check of the moment before says nothing about another id."""
    before = made.id()
    shutil.rmtree(root)
    made.check(made.create())
    with pytest.raises(ReachError):
        made.check(before)
