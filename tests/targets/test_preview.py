"""Looks at values: pictures of images, first rows of tables, starts of texts."""

from __future__ import annotations

import io
from pathlib import Path

import imageio.v3
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from daskcache.targets.preview import (
    CHARACTERS,
    FIGURE_PIXELS,
    LARGEST,
    NAMES,
    PIXELS,
    ROWS,
    preview,
)


def picture(value):
    """The pixels of a value's picture."""
    return imageio.v3.imread(io.BytesIO(preview(value).picture), extension=".png")


def test_an_image_is_a_small_picture():
    """It has at most so many pixels, keeps its proportions, and is as bright as its values."""
    image = np.linspace(0, 60_000, 600 * 1200).reshape(600, 1200).astype("u2")
    seen = picture(image)
    assert seen.shape == (600 // 5 + (600 % 5 > 0), 1200 // 5)
    assert max(seen.shape) <= PIXELS
    assert seen[0, 0] == 0
    assert seen[-1, -1] == 255
    assert (np.diff(seen[:, 0].astype(int)) >= 0).all()
    assert preview(image).summary == "uint16 array, 600 × 1200"


def test_the_middle_of_a_stack_is_shown():
    stack = np.zeros((3, 2, 8, 8))
    stack[1, 1, 4, 4] = 1
    assert picture(stack)[4, 4] == 255


def test_colours_stay():
    image = np.zeros((8, 9, 3), "u1")
    image[..., 1] = 200
    np.testing.assert_array_equal(picture(image), image)


def test_a_mask_with_few_cells_shows_them():
    mask = np.zeros((100, 100), bool)
    mask[3:5, 3:6] = True
    np.testing.assert_array_equal(picture(mask), mask * np.uint8(255))


@pytest.mark.parametrize(
    "image",
    [
        np.full((8, 8), np.nan),
        np.full((8, 8), 7),
        np.tile([[0, np.inf], [np.nan, -np.inf]], (4, 4)),
        np.ones((8, 8), complex),
        np.zeros((8, 8, 8), "i8"),
    ],
    ids=["nan", "even", "infinite", "complex", "stack"],
)
def test_any_numbers_have_a_picture(image):
    assert picture(image).dtype == np.uint8


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.arange(3), "[0 1 2]"),
        (np.ones((9, 2), "i8")[:1], "[[1 1]]"),
        (np.zeros((0, 3)), "[]"),
        (np.array([["a", "b"]]), "[['a' 'b']]"),
    ],
)
def test_other_arrays_are_texts(array, text):
    look = preview(array)
    assert (look.picture, look.text) == (None, text)


def test_a_table_is_shown_by_its_first_rows():
    """Cells are texts, of which nothing acts on a terminal."""
    look = preview(pd.DataFrame({"area": range(100), "name": ["a\x1b[2J"] * 100}))
    assert look.summary == "table, 100 rows × 2 columns"
    assert len(look.rows) == ROWS
    assert look.rows[3] == {"area": "3", "name": r"a\x1b[2J"}


def test_columns_of_one_name_are_told_apart():
    look = preview(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    assert look.rows == [{"a (0)": "1", "a (1)": "2"}]


def test_a_figure_is_a_picture(tmp_path):
    """The figure itself, and the path of its file, which is what a node has as its value."""
    figure = Figure(figsize=(20, 10), facecolor="red")
    seen = picture(figure)
    assert seen.shape[:2] == (FIGURE_PIXELS // 2, FIGURE_PIXELS)
    assert seen[0, 0, :3].tolist() == [255, 0, 0]
    path = tmp_path / "a.png"
    figure.savefig(path)
    np.testing.assert_array_equal(picture(path), seen)
    assert preview(path).summary.startswith(".png, ")


def test_other_files_are_shown_by_their_size(tmp_path):
    """Nothing is read of a file that has no picture, or a large one."""
    movie, large = tmp_path / "a.mp4", tmp_path / "large.png"
    movie.write_bytes(b"frames")
    with large.open("wb") as file:
        file.truncate(LARGEST + 1)
    assert preview(movie) == (".mp4, 6 B", None, None, str(movie), "image/png")
    assert preview(large).picture is None
    assert preview(Path("nowhere.png")).text == repr(Path("nowhere.png"))


def test_a_folder_is_shown_by_its_names(tmp_path):
    for i in range(NAMES + 5):
        (tmp_path / f"{i:02d}.tif").touch()
    look = preview(tmp_path)
    assert look.summary == f"folder, {NAMES + 5} entries"
    assert look.text.splitlines()[:2] == ["00.tif", "01.tif"]
    assert look.text.splitlines()[NAMES:] == ["and 5 more"]


def test_a_text_is_shown_by_its_start():
    assert preview("two\nlines").text == "two\nlines"
    assert preview("\x1b[2J").text == r"\x1b[2J"
    assert len(preview("x" * 10_000).text) == CHARACTERS + 2


def test_other_values_are_shown_by_a_short_text():
    assert preview({"cells": 17}).text == "{'cells': 17}"
    assert len(preview(list(range(10**6))).text) <= CHARACTERS + 2

    class Broken:
        def __repr__(self):
            raise RuntimeError

    assert "Broken instance" in preview(Broken()).text
