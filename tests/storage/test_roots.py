"""Where roots, targets and sources can be."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import dask
import pytest

import daskcache as dc
from daskcache import cpr
from daskcache.errors import StorageError
from daskcache.storage import roots

URLS = [
    "s3://bucket/x.tif",
    pathlib.PurePosixPath("s3://bucket/x.tif"),
    "file:///data/x.tif",
    "https://host/x.tif",
]
#: As fsspec has it; as a target, `::` means a table.
CHAINED = "simplecache::s3://bucket/x.tif"

USES = {
    "config": lambda url: dc.delayed(abs)(1),
    "a plan": lambda url: dc.plan(dc.delayed(abs)(1)),
    "the root that is given": roots.local_root,
    "a source": dc.ImageSource,
    "a file": dc.FileSource,
    "a folder": dc.FolderSource,
    "a Zarr": dc.ZarrSource,
    "a source at a location": lambda url: cpr.ImageSource(os.path.dirname(url), "x", ".tif"),
    "a source from a path": dc.Source.from_path,
    "a target's text": lambda url: dc.delayed(abs, target=url),
    "a target": lambda url: dc.delayed(abs, target=dc.ImageTarget(url)),
    "a target with a store": lambda url: dc.delayed(abs, target=url, store=dc.PickleTarget),
    "targets": lambda url: dc.delayed(abs, target=["a.tif", url]),
    "a target at a location": lambda url: cpr.ImageTarget(os.path.dirname(url), "x", ".tif"),
    "a target from a path": dc.Target.from_path,
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder in which nothing may appear."""
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "use"),
    [(url, use) for url in URLS for use in USES]
    + [(CHAINED, use) for use in USES if "target" not in use],
    ids=str,
)
def test_urls_are_refused(url, use):
    """Nothing is made of them, the local folder of that name least of all."""
    root = {"daskcache.root": str(url)} if use in ("config", "a plan") else {}
    with dask.config.set(root), pytest.raises(StorageError, match="local paths only"):
        USES[use](url)


def test_secrets_are_not_shown():
    """An error is not the place for them."""
    with pytest.raises(StorageError) as caught:
        dc.FileSource("s3://key:secret@bucket/x")
    assert "secret" not in str(caught.value)


def test_the_path_of_a_file_url_is_asked_for():
    """What to write instead."""
    with pytest.raises(StorageError, match="write the path without file://"):
        dc.FileSource("file:///data/x.tif")


def test_the_command_line():
    """An error, and no folder."""
    command = [sys.executable, "-m", "dask", "cache", "status", "--root", "s3://bucket/x"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "local paths only" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("path", ["./s3:/x", "C:/x", "a:b/c", "x/s3://y", "results.db::table"])
def test_local_paths_that_look_a_little_like_urls(path):
    """They are what they were."""
    roots.check_local(path, "a path")
