"""What the pages of daskcache look like: `gallery` makes them, and tests open them in Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dask
import gallery as screens
import likeness
import pytest


@dataclass
class Gallery:
    """What cells show, by what is written in them, and the files with pages, by their names."""

    #: What IPython saves in a notebook.
    cells: dict[str, dict[str, str]]
    classes: set[type]
    files: dict[str, Path]


@pytest.fixture(scope="session")
def gallery(tmp_path_factory, cache_folder):
    folder = tmp_path_factory.mktemp("screen")
    settings = {"daskcache.root": str(folder / "working"), "scheduler": "sync"}
    with pytest.MonkeyPatch.context() as patch, dask.config.set(settings):
        patch.chdir(folder)
        screen = screens.screen_in(folder)
        shown = {source: show(screen) for source, show in screens.SHOWN.items()}
        return Gallery(
            {source: screens.bundle_of(each, screen) for source, each in shown.items()},
            {type(each) for each in shown.values()},
            {name: folder / write(screen) for name, (write, _) in screens.FILES.items()},
        )


@pytest.fixture(scope="session")
def keep(request):
    """Keep a picture, with what was checked in the pictures by eye, if pytest was asked to."""
    folder = request.config.getoption("--pictures")

    def keep(name: str, draw: Callable[[str], object]) -> None:
        assert name in likeness.checked_by_eye()
        if folder:
            draw(f"{folder}/display/{name}.png")
            shutil.copy(likeness.CHECKED, f"{folder}/display")

    return keep
