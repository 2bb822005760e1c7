"""Looks at stored results: what they show, how little they read, and that they never raise."""

from __future__ import annotations

import gzip
import io
import time
import zlib

import imageio.v3
import numpy as np
import pandas as pd
import pytest
import tifffile
from matplotlib.figure import Figure

import daskcache as dc
from daskcache.targets import planes
from daskcache.targets.preview import Preview
from daskcache.targets.registry import target_class
from daskcache.targets.thumbnail import FIGURE, ROWS, thumbnail


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def look(target, value):
    """A look at a value that was written by a target."""
    target.write(value, target.path)
    return thumbnail(target, target.path)


def of(path):
    """The target that a template with this path would have."""
    return target_class(path)(path)


def pixels(found):
    return imageio.v3.imread(io.BytesIO(found.picture), extension=".png")


def ramp(rows=300, columns=600, dtype="u2"):
    return np.arange(rows * columns).reshape(rows, columns).astype(dtype) % 60_000


# ---- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        dc.ImageTarget("a.tif"),
        dc.ImageTarget("plain.tif", compression=None),
        dc.ImageTarget("tiles.tif", tile=(64, 64)),
        dc.ImageTarget("a.ome.tif"),
        dc.ZarrTarget("a.zarr"),
        dc.OMEZarrTarget("a.ome.zarr", axes="tzyx"),
    ],
    ids=lambda target: target.path,
)
def test_an_image_is_its_first_plane_with_stretched_contrast(target):
    """Small, and from black at the 1st percentile to white at the 99.8th."""
    image = np.zeros((2, 3, 300, 600), "u2")
    image[0, 0] = ramp() + 1000
    image[0, 0, 0, 0] = 65_535  # a hot pixel
    image[1:], image[0, 1:] = 7, 9
    found = look(target, image)
    assert found.summary.startswith(
        "uint16 array, 2 × 3 × 300 × 600; first of 6 planes; one pixel for 3"
    )
    low, high = np.percentile(image[0, 0, ::3, ::3], (1, 99.8))
    assert f"from {low:.4g} (black) to {high:.4g} (white)" in found.summary
    seen = pixels(found)
    assert seen.shape == (100, 200)
    expected = ((image[0, 0, ::3, ::3] - low) / (high - low)).clip(0, 1) * 255
    assert np.abs(seen - expected).max() <= 1


def test_colours_and_masks_are_shown_as_they_are():
    """Whether TIFF or PNG; a mask is black and white, though most of it is black."""
    colours = np.zeros((40, 50, 3), "u1")
    colours[5, 6] = 1, 2, 3
    mask = np.zeros((40, 50), bool)
    mask[3, 4] = True
    for suffix in ("tif", "png"):
        assert (pixels(look(of(f"rgb.{suffix}"), colours)) == colours).all()
        found = look(of(f"mask.{suffix}"), mask)
        assert (pixels(found) == mask * 255).all()
        assert "from 0 (black) to " in found.summary
        assert "to 0 (white)" not in found.summary


@pytest.mark.parametrize(
    "target",
    [
        dc.ImageTarget("a.tif", pixel_size={"Y": 0.2, "X": 0.5}, unit="µm"),
        dc.OMEZarrTarget(
            "a.ome.zarr", axes="yx", scale={"y": 0.2, "x": 0.5}, units=dict.fromkeys("yx", "micrometer")
        ),
    ],
    ids=lambda target: target.path,
)
def test_the_scale_bar_has_the_length_that_is_said(target):
    """600 pixels of 0.5 µm, one of three shown: 50 µm are 100 pixels of the image, and 33 shown."""
    found = look(target, ramp() // 100)
    assert found.summary.endswith("bar: 50 µm")
    row = pixels(found)[-6]
    ends = np.flatnonzero(np.diff(np.concatenate([[0], row == 255, [0]])))
    assert ends[-1] - ends[-2] == 33


def test_no_bar_without_a_size():
    """Nor on a tiny image."""
    assert "bar" not in look(dc.ImageTarget("a.tif"), ramp()).summary
    small = dc.ImageTarget("b.tif", pixel_size={"Y": 1, "X": 1}, unit="µm")
    assert "bar" not in look(small, ramp(20, 20)).summary


def test_4_gb_are_not_read():
    """Of a memory map only some rows are."""
    tifffile.memmap("large.tif", shape=(2**15, 2**16), dtype="u2", bigtiff=True)[::128, 500:] = 7
    before = time.perf_counter()
    found = thumbnail(dc.ImageTarget("large.tif"), "large.tif")
    assert time.perf_counter() - before < 5
    assert found.summary.startswith("uint16 array, 32768 × 65536; one pixel for 256 × 256")
    assert pixels(found).shape == (128, 256)


def test_a_large_compressed_plane_is_shown_in_part(monkeypatch):
    """Only the chunks of its middle are decoded; a copy in smaller size is shown as a whole."""
    monkeypatch.setattr(planes, "LIMIT", 2**22)
    monkeypatch.setattr(planes, "_PART", 400)
    image = np.zeros((1500, 1600), "u2")
    image[550:950, 600:1000] = np.arange(160_000).reshape(400, 400) // 3
    for target in (dc.ImageTarget("a.tif"), dc.ZarrTarget("a.zarr", chunks=(100, 100))):
        found = look(target, image)
        assert "the middle 400 × 400 pixels; one pixel for 2 × 2" in found.summary
        assert pixels(found).shape == (200, 200)
        assert pixels(found)[0, 0] < pixels(found)[60, 60] < pixels(found)[140, 140]
    found = look(dc.OMEZarrTarget("b.ome.zarr", levels=2), image)
    assert "middle" not in found.summary
    assert found.summary.startswith("uint16 array, 1500 × 1600; one pixel for 8 × 8")
    whole = look(dc.ZarrTarget("one.zarr", chunks=(1500, 1600)), image)
    assert whole.picture is None
    assert "FormatLimit: a part of 4.58 MiB is not read" in whole.summary


# ---- arrays, tables, texts ------------------------------------------------------------------------


def test_numbers_have_statistics_and_a_histogram():
    """The highest bar is where most numbers are; what is not finite is counted apart."""
    values = np.concatenate([np.full(90, 2.0), [1.0, 3.0, np.nan, np.inf]])
    found = look(dc.NumpyTarget("a.npy"), values)
    assert found.summary == "float64 array, 94; min 1, mean 2, max 3, 2 not finite"
    bars = (pixels(found) < 128).sum(0)
    assert bars.argmax() == pytest.approx(len(bars) / 2, abs=4)
    assert bars[0] > 0
    assert look(dc.NumpyTarget("b.npy"), np.array(["a", "b"])) == Preview("<U1 array, 2")
    assert look(dc.NumpyTarget("c.npy"), np.zeros((0, 3))) == Preview("float64 array, 0 × 3")
    assert look(dc.NumpyTarget("d.npy"), np.full(3, np.nan)).summary.endswith("no finite numbers")
    one = look(dc.NumpyTarget("e.npy"), np.float64(3.5))
    assert one == Preview("float64 array, no axes; min 3.5, mean 3.5, max 3.5")


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_arrays_are_sampled(order):
    """In pieces from the first to the last number, and it says so."""
    values = np.asfortranarray(ramp(3000, 1000, "f8")) if order == "F" else ramp(3000, 1000, "f8")
    values.ravel(order="K")[[0, -1]] = -1, 99_999
    found = look(dc.NumpyTarget("a.npy"), values)
    assert "min -1, " in found.summary
    assert "max 1e+05 (of a sample of 1,048,576)" in found.summary


def test_members_of_archives_are_listed():
    """Their heads are read, no more."""
    found = look(dc.NumpyTarget("a.npz"), {"x": np.ones(3), "y": np.zeros((2, 2), "u1")})
    assert found == Preview("2 arrays", text="x: float64 array, 3\ny: uint8 array, 2 × 2")
    found = look(dc.HDF5Target("a.h5"), {"x": np.ones(3), "g": {"y": np.zeros((2, 2), "u1")}})
    assert found.text == "g/y: uint8 array, 2 × 2\nx: float64 array, 3"
    found = look(dc.ZarrTarget("a.zarr"), {"x": np.ones(3), "y": np.zeros((2, 2), "u1")})
    assert found == Preview("2 members", text="x: float64 array, 3\ny: uint8 array, 2 × 2")


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.parquet"])
def test_a_table_has_its_first_rows(name):
    """As texts, cut to so many rows, columns and characters."""
    frame = pd.DataFrame({"a": range(50), "b": ["x,\ny" * 100] * 50})
    found = look(of(name), frame)
    assert [row["a"] for row in found.rows] == list("01234")
    assert len(found.rows) == ROWS
    assert found.rows[0]["b"] == ("x,\ny" * 100)[:100].replace("\n", "\\n")
    assert found.summary.startswith("table, ")
    empty = look(of(f"empty_{name}"), frame[:0].astype(object))
    assert empty.rows == [{"a": "", "b": ""}]


def test_the_last_row_of_a_head_is_not_cut():
    """A row that the head does not hold as a whole is left out."""
    frame = pd.DataFrame({"a": ["x" * 9_000] * 3})
    assert len(look(dc.CSVTarget("t.csv"), frame).rows) == 1


def test_texts_have_their_first_lines():
    """Of at most 20 lines; JSON is text."""
    assert look(dc.TextTarget("a.txt"), "one\ntwo") == Preview("text, 7 B", text="one\ntwo")
    found = look(dc.TextTarget("b.txt"), "line\n" * 1000)
    assert found.text == "line\n" * 19 + "line …"
    found = look(dc.TextTarget("c.txt"), "x" * 10**6)
    assert len(found.text) < 1010
    assert look(dc.JSONTarget("a.json"), {"a": "<b>"}).text.split() == ["{", '"a":', '"<b>"', "}"]
    assert "\x1b" not in look(dc.TextTarget("d.txt"), "\x1b[2J").text


# ---- figures --------------------------------------------------------------------------------------


def figure(size=4):
    drawn = Figure(figsize=(size, size))
    drawn.subplots().plot([1, 2, 4])
    return drawn


@pytest.mark.parametrize(("name", "kind"), [("a.svg", "image/svg+xml"), ("a.png", "image/png")])
def test_figures_are_shown_as_they_are(name, kind, tmp_path):
    """Byte for byte."""
    found = look(of(name), figure())
    assert found.kind == kind
    assert found.picture == (tmp_path / name).read_bytes()


def test_large_figures_are_made_smaller(tmp_path):
    """And a drawing that is too large, or a PDF, is only named."""
    noise = np.random.default_rng(0).integers(0, 255, (700, 900, 3), dtype="u1")
    imageio.v3.imwrite("a.png", noise)
    assert (tmp_path / "a.png").stat().st_size > FIGURE
    found = thumbnail(dc.FileTarget("a.png"), "a.png")
    assert found.summary.endswith("made smaller")
    assert max(pixels(found).shape) == 800
    (tmp_path / "b.svg").write_text("<svg>" + " " * FIGURE)
    assert thumbnail(dc.FigureTarget("b.svg"), "b.svg").picture is None
    assert look(dc.FigureTarget("a.pdf"), figure()).picture is None


def test_a_picture_of_too_many_pixels_is_not_decoded(tmp_path):
    """Its head says so; a few kilobytes may hold gigabytes."""
    imageio.v3.imwrite("bomb.png", np.zeros((8, 8, 3), "u1"))
    content = bytearray((tmp_path / "bomb.png").read_bytes())
    content[16:24] = (10_000).to_bytes(4, "big") * 2  # width and height
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(content)
    for target in (dc.PNGTarget("bomb.png"), dc.FileTarget("bomb.png")):
        found = thumbnail(target, "bomb.png")
        assert found.picture is None
        assert found.summary.endswith("too large for a look")


# ---- nothing to see -------------------------------------------------------------------------------


class Spy:
    def __reduce__(self):
        return open, ("read", "w")


def test_pickles_are_never_read(tmp_path):
    """Nor are objects in other formats."""
    dc.PickleTarget("a.pkl").write(Spy(), "a.pkl")
    assert thumbnail(dc.PickleTarget("a.pkl"), "a.pkl") is None
    np.save("objects.npy", np.array([Spy()], dtype=object), allow_pickle=True)
    assert thumbnail(dc.NumpyTarget("objects.npy"), "objects.npy").summary.startswith("not shown: ")
    np.savez("objects.npz", a=np.array([Spy()], dtype=object), allow_pickle=True)
    assert thumbnail(dc.NumpyTarget("objects.npz"), "objects.npz").text.startswith("a: object array")
    assert not (tmp_path / "read").exists()


class Mine(dc.TextTarget):
    runs_code = True


def test_nothing_is_shown_of_what_is_not_there_or_unknown(tmp_path):
    """A missing file; a table in a database; a format that runs code."""
    (tmp_path / "a.txt").write_text("x")
    assert thumbnail(dc.TextTarget("none.txt"), "none.txt") is None
    assert thumbnail(dc.SQLTarget("sqlite:///a.db::t"), "sqlite:///a.db::t") is None
    assert thumbnail(Mine("a.txt"), "a.txt") is None


@pytest.mark.parametrize("content", [b"", b"no such format", b"\x89PNG\r\n\x1a\n", b"II*\0\x08\0\0\0"])
@pytest.mark.parametrize(
    "name",
    [
        "a.tif",
        "a.png",
        "a.npy",
        "a.npz",
        "a.csv",
        "a.csv.gz",
        "a.parquet",
        "a.json",
        "a.h5",
        "a.nc",
        "a.svg",
    ],
)
def test_damaged_files_raise_nothing(name, content, tmp_path):
    """The summary says why there is nothing to see, or what is there is shown."""
    (tmp_path / name).write_bytes(content)
    found = thumbnail(of(name), str(tmp_path / name))
    assert found.summary
    assert found.summary.isprintable()
    assert found.picture is None or name == "a.svg"


def test_only_the_head_of_a_compressed_text_is_read(tmp_path):
    """What is cut off far behind it does not matter."""
    content = gzip.compress(b"a,b\n" + b"".join(b"%d,2\n" % n for n in range(200_000)))
    (tmp_path / "a.csv.gz").write_bytes(content[: len(content) // 2])
    assert len(thumbnail(dc.CSVTarget("a.csv.gz"), "a.csv.gz").rows) == ROWS
