"""How two values differ: counted, told as text, and shown as a picture."""

from __future__ import annotations

import io
import json

import imageio.v3
import numpy as np
import pandas as pd
import pytest

from daskcache.housekeeping import array_differences
from daskcache.housekeeping.array_differences import HIGHER, LOWER
from daskcache.housekeeping.differences import MAX_CELLS, MAX_SHOWN, compare


def pixels(png):
    return imageio.v3.imread(io.BytesIO(png), extension=".png")


def is_colour(pixel, colour):
    """A pixel has the hue of a colour, whatever its strength."""
    return int(np.argmax(pixel)) == int(np.argmax(colour)) and np.ptp(pixel) > 50


# ---- arrays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [2, 2**20])
def test_elements_are_counted_and_measured(piece, monkeypatch):
    """NaN equals NaN, and what is not finite does not count in the statistics; in pieces or at once."""
    monkeypatch.setattr(array_differences, "_PIECE", piece)
    a = np.array([1.0, np.nan, np.inf, 5.0, np.nan])
    b = np.array([1.0, np.nan, 0.0, 2.0, 4.0])
    found = compare(a, b)
    assert (found.differing, found.total, found.share) == (3, 5, 0.6)
    assert (found.smallest, found.largest, found.mean) == (0, 3, 1.5)
    assert not found.equal
    assert "3 of 5 elements differ (60.00 %)" in str(found)


@pytest.mark.parametrize(
    ("a", "b", "smallest", "largest"),
    [
        (np.uint8([0, 255]), np.uint8([255, 0]), -255, 255),
        (np.array([True, False]), np.array([False, False]), 0, 1),
        (np.uint64([2**63 + 1]), np.uint64([2**63]), 1, 1),
        (np.array([3 + 4j]), np.array([0j]), 5, 5),
    ],
)
def test_differences_do_not_wrap_around(a, b, smallest, largest):
    """Unsigned integers, booleans and large integers have their true differences."""
    found = compare(a, b)
    assert (found.smallest, found.largest) == (smallest, largest)


def test_equal_values_of_another_dtype_differ():
    """The dtype counts, and is told."""
    found = compare(np.uint8([1, 2]), np.int16([1, 2]))
    assert (found.differing, found.equal) == (0, False)
    assert "the dtypes differ: uint8 in a, int16 in b" in str(found)
    assert compare(np.uint8([1, 2]), np.uint8([1, 2])).equal


def test_other_shapes_are_told_and_not_compared():
    """Nothing is broadcast."""
    found = compare(np.zeros((2, 3)), np.zeros((1, 3)))
    assert (found.differing, found.equal) == (None, False)
    assert found.headline == "the shapes differ: (2, 3) in a, (1, 3) in b"


def test_arrays_without_differences_are_counted():
    """Texts and times are compared, without statistics."""
    assert compare(np.array(["a", "b"]), np.array(["a", "c"])).differing == 1
    times = np.array(["2024-01-01", "NaT"], "M8[D]")
    assert compare(times, times.copy()).equal
    assert compare(np.array(["a"]), np.array([1])).differing == 1


def test_a_picture_has_what_was_added_and_removed():
    """Elements that are higher are orange, lower ones blue, on the grey plane of `b`."""
    b = np.zeros((20, 30), bool)
    b[10:15, 10:15] = True
    a = b.copy()
    a[2:4, 2:4] = True
    a[10, 10:15] = False
    shown = pixels(compare(a, b).picture)
    assert shown.shape == (20, 30, 3)
    assert is_colour(shown[3, 3], HIGHER)
    assert is_colour(shown[10, 12], LOWER)
    assert np.ptp(shown[12, 12]) == 0  # grey: it did not change
    assert shown[12, 12, 0] > shown[19, 29, 0]


def test_one_pixel_of_a_large_stack_is_seen():
    """The plane with the most differences is shown, and no pixel gets lost when it is made smaller."""
    b = np.zeros((5, 1001, 700), "u2")
    a = b.copy()
    a[1, 777, 333] = 1
    found = compare(a, b)
    shown = pixels(found.picture)
    assert max(shown.shape[:2]) <= 256
    assert is_colour(shown[777 // 4, 333 // 4], HIGHER)
    assert "the picture shows plane (1,), where most elements differ" in found.notes


def test_colours_and_what_is_not_finite_have_pictures():
    """A changed colour is shown, and so is a NaN."""
    b = np.zeros((10, 10, 3), "u1")
    a = b.copy()
    a[4, 5, 2] = 200
    assert is_colour(pixels(compare(a, b).picture)[4, 5], HIGHER)
    lost = np.ones((10, 10))
    lost[7, 7] = np.nan
    assert is_colour(pixels(compare(lost, np.ones((10, 10))).picture)[7, 7], HIGHER)


def test_what_has_no_picture():
    """Equal images, small matrices and lists of points."""
    assert compare(np.ones((20, 20)), np.ones((20, 20))).picture is None
    assert compare(np.ones((3, 3)), np.zeros((3, 3))).picture is None
    assert compare(np.ones(50), np.zeros(50)).picture is None


# ---- tables ---------------------------------------------------------------------------------------


def cells():
    return pd.DataFrame({"area": [1, 2, 3], "kind": ["a", "b", None]}, index=["x", "y", "z"])


def test_cells_of_tables():
    """Cells that differ are counted and listed; missing values are equal."""
    a = cells()
    a.loc["y", "area"] = 7
    a.loc["z", "kind"] = "c"
    found = compare(a, cells())
    assert (found.differing, found.total) == (2, 6)
    assert found.cells[0] == ("y", "area", "7", "2")
    assert found.cells[1][:3] == ("z", "kind", "c")
    assert "differing cells by column: area: 1, kind: 1" in str(found)
    assert compare(cells(), cells()).equal
    gone = [pd.DataFrame({"kind": [kind, None]}) for kind in "ab"]
    assert compare(*gone).differing == 1


def test_rows_are_matched_by_their_labels():
    """A row that was deleted does not shift the others."""
    found = compare(cells().drop("x"), cells())
    assert (found.differing, found.total, found.equal) == (0, 4, False)
    assert "rows only in b: x" in str(found)
    shuffled = compare(cells().iloc[::-1], cells())
    assert (shuffled.differing, shuffled.notes) == (0, ("the order of the rows differs",))


def test_columns_and_dtypes():
    """Columns of one side are told, the others compared; dtypes count."""
    a = cells().astype({"area": float}).assign(new=1)
    found = compare(a, cells())
    assert (found.differing, found.equal) == (0, False)
    assert "columns only in a: new" in str(found)
    assert "the dtypes of 'area' differ: float64 in a, int64 in b" in str(found)


def test_rows_without_labels_are_matched_by_position():
    """Tables of other lengths are compared as far as the shorter one goes."""
    a, b = pd.DataFrame({"n": range(5)}), pd.DataFrame({"n": range(3)})
    found = compare(a, b)
    assert (found.differing, found.total) == (0, 3)
    assert "a has 5 rows, b 3; the first 3 were compared" in str(found)


def test_unusual_cells_and_columns():
    """Lists in cells, categories, and columns that share a name."""
    lists = pd.DataFrame({"p": [[1, 2], [3]]})
    assert compare(lists, pd.DataFrame({"p": [[1, 2], [4]]})).differing == 1
    one, other = (pd.DataFrame({"c": pd.Categorical([v, "b"])}) for v in ("a", "c"))
    assert compare(one, other).differing == 1
    twice = pd.DataFrame([[1, 2]], columns=["n", "n"])
    assert compare(twice, twice.copy()).notes == (
        "columns share a name, so the cells were not compared",
    )


def test_many_cells_are_counted_and_some_shown():
    """The text stays short."""
    found = compare(pd.DataFrame({"n": range(1000)}), pd.DataFrame({"n": range(1, 1001)}))
    assert (found.differing, len(found.cells)) == (1000, MAX_CELLS)
    assert "… and 980 more cells" in str(found)


# ---- texts and others -----------------------------------------------------------------------------


def test_texts_and_json_have_a_unified_diff():
    """Lines of `a` are added, those of `b` removed."""
    found = compare("one\nthree\n", "one\ntwo\n")
    assert found.lines[3:] == (" one", "-two", "+three")
    found = compare({"cells": 3}, {"cells": 4})
    assert {'-  "cells": 4'.replace("  ", " "), '+ "cells": 3'} <= set(found.lines)
    assert compare({"cells": 3}, {"cells": 3}).equal


def test_types_that_a_text_does_not_show():
    """Values whose texts agree still differ."""
    found = compare((1, 2), [1, 2])
    assert not found.equal
    assert "what a text does not show" in str(found)


def test_long_texts():
    """Long diffs are shown in part; longer texts are not compared line by line."""
    found = compare("\n".join(map(str, range(300))), "")
    assert f"… and {len(found.lines) - MAX_SHOWN} more lines" in str(found)
    assert "too many to compare" in str(compare("x\n" * 20_000, "y"))


def test_bytes():
    """The first byte that differs is told."""
    assert compare(b"abc", b"abd").notes == ("they differ from byte 2 on",)
    assert compare(b"abc", b"ab").notes == ("they differ from byte 2 on",)
    assert compare(b"abc", b"abc").equal


def test_dicts_of_arrays_are_compared_in_parts():
    """Parts that only one side has are named."""
    found = compare({"m": np.ones(2), "n": 1, "o": 2}, {"m": np.zeros(2), "n": 1})
    assert {name: part.equal for name, part in found.parts.items()} == {"m": False, "n": True}
    assert "parts only in a: o" in str(found)
    assert "    2 of 2 elements differ" in str(found)


def test_other_types():
    """An array is not a table, nor a number."""
    assert not compare(np.ones(2), cells()).equal
    assert "they are of other types" in str(compare(np.ones(2), "text"))


def test_a_difference_is_plain_data_and_html():
    """Programs get JSON; a notebook gets the text and the picture, and no code of a text."""
    found = compare(np.ones((9, 9)), np.zeros((9, 9)))
    told = json.loads(json.dumps(found.to_dict()))
    assert (told["differing"], told["share"], told["equal"]) == (81, 1, False)
    assert 'src="data:image/png;base64,' in found._repr_html_()
    assert "<script>" not in compare("<script>", "")._repr_html_()
    assert "\x1b" not in str(compare("\x1b[2J", ""))
