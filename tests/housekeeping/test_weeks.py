"""Corrections in a project of many weeks: never gone unless released, always used where they stand."""

from __future__ import annotations

import os
import random

import dask
import pytest
from weeks import Project


@pytest.fixture
def folder(tmp_path, monkeypatch):
    home = tmp_path / "project"
    home.mkdir()
    monkeypatch.chdir(home)
    with dask.config.set({"daskcache.root": str(home / "working"), "scheduler": "sync"}):
        yield home
    os.chdir(tmp_path)


@pytest.mark.filterwarnings("ignore::daskcache.errors.DaskcacheWarning")
@pytest.mark.parametrize("seed", range(2))
def test_corrections_survive_weeks(seed, folder, full):
    """Edits, adoptions, images, parameters, deletions, variants, clean-ups, copies of the root."""
    project = Project(random.randrange(2**32) if full else seed)
    for _ in range(1000 if full else 60):
        project.week()
    assert min(project.happened.get(event.__name__, 0) for event in Project.EVENTS) > 0
