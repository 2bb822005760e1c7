"""Completion of targets in shells."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import dask
import pytest
from click.shell_completion import BashComplete

from daskcache.housekeeping.cli.main import cache
from daskcache.storage.roots import Root


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A root with files of names that a shell could trip over."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "root"
    (root / "masks").mkdir(parents=True)
    for name in ("masks/a.tif", "masks/b.tif", "masks/\x1b[2J", "map.png", "other.csv"):
        (root / name).touch()
    Root(str(root)).create()
    return root


def completed(words, incomplete, command=cache):
    group = click.Group("dask", commands={"cache": command})
    found = BashComplete(group, {}, "dask", "_DASK_COMPLETE").get_completions(words, incomplete)
    return [item.value for item in found]


@pytest.mark.parametrize(
    "command",
    [
        "show",
        "why",
        "open",
        "ls",
        "history",
        "failures",
        "adopt",
        "keep",
        "release",
        "rm",
        "verify",
        "diff",
    ],
)
def test_targets_below_the_root(command, here, monkeypatch):
    monkeypatch.chdir(here)
    assert completed(["cache", command], "ma") == ["map.png", "masks/"]
    assert completed(["cache", command], "masks/") == ["masks/a.tif", "masks/b.tif"]


def test_the_root_is_found_as_commands_find_it(here, monkeypatch):
    """The one that is named, one here or above, or in this folder; its own folder is left out."""
    assert completed(["cache", "show"], "o") == ["other.csv"]
    monkeypatch.chdir("root/masks")
    assert completed(["cache", "show"], "o") == ["other.csv"]
    monkeypatch.chdir("/")
    assert completed(["cache", "show", "--root", str(here)], "o") == ["other.csv"]
    assert completed(["cache", "show", "--root", str(here)], ".") == []


@pytest.mark.parametrize("incomplete", ["nowhere/", "other.csv/", "\0"])
def test_what_is_not_there(here, monkeypatch, incomplete):
    monkeypatch.chdir(here)
    assert completed(["cache", "show"], incomplete) == []


def test_the_configured_root_is_the_last(here, monkeypatch):
    monkeypatch.chdir("/")
    assert completed(["cache", "show"], "o") == ["other.csv"]
    with dask.config.set({"daskcache.root": "/nowhere"}):
        assert completed(["cache", "show"], "") == []


def test_it_imports_little(here):
    """A shell waits for it after each key."""
    words = {"_DASK_COMPLETE": "bash_complete", "COMP_WORDS": "dask cache show ma", "COMP_CWORD": "3"}
    done = subprocess.run(
        [Path(sys.executable).parent / "dask"],
        cwd=here,
        env={**os.environ, **words, "PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["plain,map.png", "plain,masks/"]
    assert "daskcache.storage.roots" in done.stderr
    assert "daskcache.storage.records" not in done.stderr
