"""Images: metadata in files and from inputs to results, dtypes, lazy access, and what is refused."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import uuid
import warnings
from pathlib import Path
from xml.etree import ElementTree

import dask
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import daskcache as dc
from daskcache.errors import FormatLimit, GraphError, SourceChanged, SourceMissing, TargetError
from daskcache.hashing.encoder import hash_value
from daskcache.housekeeping.audit import audit_root
from daskcache.storage.roots import Root
from daskcache.targets.images import pixels, tiff, units
from daskcache.targets.images import target as target_module
from daskcache.targets.images.metadata import Described, taken_over

KINDS = [None, "plain", "imagej", "ome"]
RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 900, (3, 40, 50)).astype("u2")


def content(target, value):
    return b"".join(target.encode_checked(value))


def opened(target, value):
    return tifffile.TiffFile(io.BytesIO(content(target, value)))


def assert_identical(got, value):
    assert (got.dtype, got.shape) == (value.dtype, value.shape)
    assert got.tobytes() == value.tobytes()


@pytest.fixture
def image_file(tmp_path):
    """Writes a TIFF as some other program would, and returns it as a source."""

    def image_file(name="raw.tif", value=STACK, **options):
        path = tmp_path / name
        path.unlink(missing_ok=True)
        tifffile.imwrite(path, value, photometric="minisblack", **options)
        return dc.ImageSource(path)

    return image_file


def imagej(size=0.5, unit="micron", axes="ZYX", **more):
    metadata = {"axes": axes, "unit": unit, **more}
    return {"imagej": True, "resolution": (1 / size, 1 / size), "metadata": metadata}


# ---- values come back -----------------------------------------------------------------------------

_dtypes = st.sampled_from(["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"])
_sizes = st.floats(1e-3, 1e6, allow_nan=False)


@st.composite
def _images(draw):
    """An array, and metadata that may or may not fit it."""
    stacked = draw(st.permutations("TZC"))[: draw(st.integers(0, 3))]
    axes = "".join(draw(st.sampled_from([axis, "Q"])) for axis in stacked) + "YX"
    shape = draw(hnp.array_shapes(min_dims=len(axes), max_dims=len(axes), max_side=4))
    array = draw(hnp.arrays(np.dtype(draw(_dtypes)), shape))
    told = {"axes": draw(st.sampled_from([axes, None]))}
    if draw(st.booleans()):
        told["pixel_size"] = draw(st.dictionaries(st.sampled_from("ZYX"), _sizes))
    if draw(st.booleans()) and "C" in axes:
        name = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)
        count = shape[axes.index("C")]
        told["channels"] = draw(st.lists(name, min_size=count, max_size=count))
    return array, told


@settings(max_examples=200, deadline=None)
@example((np.array([[False]]), {"axes": None, "pixel_size": {"Y": 1.0}}), None, "zlib")
@given(_images(), st.sampled_from(KINDS), st.sampled_from(["zlib", "zstd", None]))
def test_an_image_comes_back_or_is_refused(image, kind, compression):
    """Values, dtype, shape and metadata come back as they were, from every kind of file."""
    array, told = image
    target = dc.ImageTarget("a.tif", compression, format=kind, **told)
    try:
        data = content(target, array)
    except FormatLimit:
        return
    assert data == content(target, array.copy())
    assert_identical(target.decode(data), array)
    metadata = target.heritage(io.BytesIO(data)).metadata
    assert target.heritage_of(array) == target.heritage(io.BytesIO(data))
    if told["axes"]:
        assert metadata.axes == told["axes"]
    assert metadata.pixel_size == told.get("pixel_size", {})
    assert metadata.unit == ("µm" if told.get("pixel_size") else None)
    assert metadata.channels == tuple(told.get("channels", ()))
    # what a bare target takes over from the file itself is all that the hash is made of; axes of one
    # length need names, or their sizes would be unclear
    bare = dc.ImageTarget("b.tif", axes=metadata.axes).inherit([target.heritage(io.BytesIO(data))])
    assert bare.hash(array) == target.hash(array)
    assert bare.heritage_of(array) == bare.heritage(io.BytesIO(content(bare, array)))


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(_dtypes.map(np.dtype), hnp.array_shapes(min_dims=2, max_dims=5, max_side=5)))
def test_every_array_without_metadata_fits_plain_tiff(array):
    """By default any image is held, and its hash is the array's."""
    target = dc.ImageTarget("a.tif")
    assert_identical(target.decode(content(target, array)), array)
    assert target.hash(array) == hash_value(array)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_show_in_viewers(kind):
    """A mask is stored as bytes of 0 and 255, and comes back as booleans."""
    mask = STACK[0] > 400
    target = dc.ImageTarget("mask.tif", format=kind)
    assert_identical(target.decode(content(target, mask)), mask)
    seen = np.asarray(Image.open(io.BytesIO(content(target, mask))))
    assert_identical(seen, mask.astype("u1") * 255)


@pytest.mark.parametrize(
    ("labels", "stored"),
    [
        (np.arange(200).reshape(10, 20), "u1"),
        (np.arange(200, dtype="u8").reshape(10, 20) * 9, "u2"),
        (np.arange(200).reshape(10, 20) * 10**6, "u4"),
        (np.arange(200).reshape(10, 20) - 1, "i4"),
        (np.arange(200).reshape(10, 20) * 10**12, "i8"),
        (np.arange(200, dtype="i4").reshape(10, 20), "i4"),
    ],
)
def test_64_bit_labels_are_stored_as_small_as_they_are(labels, stored):
    """Viewers don't know 64-bit integers: what fits fewer bits has them in the file only."""
    target = dc.ImageTarget("labels.tif")
    assert_identical(target.decode(content(target, labels)), labels)
    seen = tifffile.imread(io.BytesIO(content(target, labels)))
    assert seen.dtype == stored
    assert np.array_equal(seen, labels)


def test_imagej_gets_labels_of_any_dtype():
    """`format="imagej"` stores integers in the dtypes that ImageJ has, if they fit, else refuses."""
    labels = np.arange(200, dtype="i4").reshape(10, 20)
    target = dc.ImageTarget("labels.tif", format="imagej")
    assert_identical(target.decode(content(target, labels)), labels)
    with opened(target, labels) as tif:
        assert tif.is_imagej
        assert tif.pages[0].dtype == "u1"
    with pytest.raises(FormatLimit, match="int32") as caught:
        target.encode_checked(labels - 1)
    assert "plain" in caught.value.hint


# ---- what other programs read -------------------------------------------------------------------

OPTIONS = {"axes": "CYX", "pixel_size": 0.25, "channels": ("DAPI", 'a "b" <&é>', "x")}


def tag(tif, name):
    return tif.pages[0].tags[name].value


def test_imagej_file():
    """ImageJ finds axes, unit, resolution, spacing and labels where it looks for them."""
    target = dc.ImageTarget("a.tif", axes="ZYX", pixel_size=(2, 0.25, 0.5))
    with opened(target, STACK) as tif:
        assert tif.is_imagej
        assert tif.series[0].axes == "ZYX"
        assert tif.imagej_metadata["slices"] == 3
        assert tif.imagej_metadata["unit"] == "micron"
        assert tif.imagej_metadata["spacing"] == 2
        assert tag(tif, "XResolution") == (2, 1)
        assert tag(tif, "YResolution") == (4, 1)
        assert tag(tif, "ResolutionUnit") == 1
        assert tag(tif, "Compression") == 8
    with opened(dc.ImageTarget("a.tif", **OPTIONS), STACK) as tif:
        assert tif.imagej_metadata["channels"] == 3
        assert tif.imagej_metadata["Labels"] == list(OPTIONS["channels"])


def test_ome_file():
    """OME-XML says axes, sizes, units and names, and has one UUID for equal images."""
    target = dc.ImageTarget("a.ome.tif", **OPTIONS)
    with opened(target, STACK) as tif:
        assert tif.is_ome
        assert tif.series[0].axes == "CYX"
        root = ElementTree.fromstring(tif.ome_metadata)
    pixels = root.find("{*}Image/{*}Pixels")
    assert (pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit")) == ("0.25", "µm")
    assert (pixels.get("SizeC"), pixels.get("Type")) == ("3", "uint16")
    assert [c.get("Name") for c in pixels.findall("{*}Channel")] == list(OPTIONS["channels"])
    assert uuid.UUID(root.get("UUID"))
    assert content(target, STACK) == content(target, STACK.copy())
    assert content(target, STACK) != content(target, STACK + 1)


def test_older_tifffile_and_quotes(monkeypatch):
    """OME-XML that would not be XML, as older versions of tifffile made it of quotes, is not written."""
    target = dc.ImageTarget("a.ome.tif", **OPTIONS)
    monkeypatch.setattr(tifffile, "__version__", "2026.2.20")
    with pytest.raises(FormatLimit, match="quotes"):
        target.encode_checked(STACK)
    dc.ImageTarget("a.ome.tif", axes="CYX", channels=("a", "b", "c")).encode_checked(STACK)


def test_plain_file():
    """Plain TIFF has the resolution per centimetre, and is RGB only if it is a colour image."""
    target = dc.ImageTarget("a.tif", format="plain", pixel_size=0.25)
    with opened(target, STACK) as tif:
        assert not tif.is_imagej
        assert not tif.is_ome
        assert tag(tif, "XResolution") == (40000, 1)
        assert tag(tif, "ResolutionUnit") == 3
        assert tag(tif, "PhotometricInterpretation") == 1
        assert len(tif.pages) == 3
    assert "DateTime" not in tif.pages[0].tags


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compression", ["zlib", "zstd", None])
def test_other_readers_see_the_same_pixels(kind, compression, tmp_path):
    """tifffile and imageio read what was stored; PIL too, where it knows the compression."""
    target = dc.ImageTarget("a.tif", compression, format=kind, **OPTIONS)
    path = tmp_path / "a.tif"
    target.write(STACK, path)
    assert_identical(tifffile.imread(path), STACK)
    assert_identical(iio.imread(path, plugin="tifffile"), STACK)
    if compression != "zstd":
        page = Image.open(path)
        page.seek(1)
        assert_identical(np.asarray(page), STACK[1])


@pytest.mark.parametrize("kind", KINDS)
def test_colours_and_stacks(kind):
    """(H, W, 3) of bytes is RGB unless the axes say otherwise; (3, H, W) never is."""
    colours = RNG.integers(0, 255, (40, 50, 3), dtype="u1")
    target = dc.ImageTarget("a.tif", format=kind)
    seen = Image.open(io.BytesIO(content(target, colours)))
    assert (seen.mode, seen.size) == ("RGB", (50, 40))
    assert_identical(np.asarray(seen), colours)
    planes = dc.ImageTarget("a.tif", format=kind, axes="ZYX")
    for value in (colours, np.ascontiguousarray(colours.transpose(2, 0, 1))):
        with opened(planes, value) as tif:
            assert len(tif.pages) == value.shape[0]
            assert tag(tif, "PhotometricInterpretation") == 1
        assert_identical(planes.decode(content(planes, value)), value)


def test_pixels_are_deflated_without_a_predictor():
    """Older versions of ImageJ ignore predictors, and show other pixels; see also tests/field."""
    smooth = np.add.outer(np.arange(200), np.arange(300)).astype("u2")
    target = dc.ImageTarget("a.tif")
    with opened(target, smooth) as tif:
        assert (tif.pages[0].predictor, tif.pages[0].compression) == (1, 8)
    assert_identical(target.decode(content(target, smooth)), smooth)


def test_tiles():
    """Tiles hold the same, in as many tiles as it takes."""
    target = dc.ImageTarget("a.tif", tile=(16, 32))
    with opened(target, STACK) as tif:
        assert tif.pages[0].tile == (16, 32)
        assert len(tif.pages[0].dataoffsets) == 3 * 2
    assert_identical(target.decode(content(target, STACK)), STACK)


#: Images whose pixels are made while they are written: of another dtype, or in another order.
MADE = {
    "mask": STACK[0] > 400,
    "masks": STACK > 400,
    "narrowed": STACK.astype("i8") - 1000,
    "wide narrowed": np.tile(STACK[0].astype("i8"), (3, 12)),
    "turned": STACK.T,
    "mirrored colours": RNG.integers(0, 255, (40, 50, 3), dtype="u1")[:, ::-1],
    "masks of width 1": STACK[..., :1] > 400,
    "pixels": STACK[:, :1, :1].astype("i8"),
}


@pytest.mark.parametrize("value", MADE.values(), ids=MADE)
@pytest.mark.parametrize("tile", [None, (16, 32)], ids=["strips", "tiles"])
@pytest.mark.parametrize("compression", ["zlib", "zstd", None])
def test_pieces_make_the_same_file(value, tile, compression, tmp_path, monkeypatch):
    """A large image is stored piece by piece, and on threads, in the bytes of one that is not."""
    monkeypatch.setattr(pixels, "_SMALLEST_STRIP", 500)
    monkeypatch.setattr(pixels, "PIECE", 500)
    for name in ("a.tif", "a.ome.tif"):
        target, path = dc.ImageTarget(name, compression, tile=tile), tmp_path / name
        whole = content(target, value)
        with monkeypatch.context() as patch:
            patch.setattr(target_module, "_LARGE", 0)
            patch.setattr(pixels, "_WORTH_A_THREAD", 0)
            target.write(value, path)
        written = path.read_bytes()
        assert hash_value(written) == hash_value(whole)  # pytest takes minutes to show other bytes
        assert_identical(target.read(path), np.ascontiguousarray(value))


@pytest.mark.parametrize("value", MADE.values(), ids=MADE)
def test_deflate_without_isal(value, monkeypatch):
    """Where there is none for a machine, libdeflate makes strips of the same pixels."""
    target = dc.ImageTarget("a.tif")
    usual = content(target, value)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "isal", None)
        other = content(target, value)
    assert other != usual
    assert_identical(target.decode(other), target.decode(usual))


@pytest.mark.parametrize("compression", ["zlib", None])
@pytest.mark.parametrize("value", [STACK[0] > 400, STACK[0].astype("i8") + 2**16], ids=["mask", "int64"])
def test_pixels_of_another_byte_order(value, compression, tmp_path, monkeypatch):
    """Another program may write the bytes the other way round, and keep the tag with the dtype."""
    monkeypatch.setattr(pixels, "PIECE", 500)
    target = dc.ImageTarget("a.tif", compression)
    with opened(target, value) as tif:
        stored, (note,) = tif.asarray(), [tag for tag in tif.pages[0].tags if tag.code == 65321]
    extra = [(note.code, "s", 0, note.value, True)]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, byteorder=">", compression=compression, extratags=extra)
    assert_identical(target.read(path), value)


# ---- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip"},
        {"format": "OME"},
        {"axes": "XY"},
        {"axes": "YXC"},
        {"axes": "ZZYX"},
        {"axes": "AYX"},
        {"axes": "ZS"},
        {"axes": 3},
        {"pixel_size": 0},
        {"pixel_size": (1, 2, 3, 4)},
        {"pixel_size": {"T": 1}},
        {"pixel_size": float("nan")},
        {"pixel_size": True},
        {"pixel_size": 1j},
        {"pixel_size": "1"},
        {"pixel_size": (1,)},
        {"pixel_size": ("1", "1")},
        {"unit": "furlong", "pixel_size": 1},
        {"unit": "µm"},
        {"channels": "DAPI"},
        {"channels": ["a\0b"]},
        {"channels": [""]},
        {"channels": 5},
        {"tile": (100, 100)},
        {"tile": (16,)},
        {"tile": 256},
    ],
)
def test_bad_options_are_refused_at_once(options):
    """An option that means nothing raises when the target is made, and says what would do."""
    with pytest.raises(GraphError, match=next(iter(options))) as caught:
        dc.ImageTarget("a.tif", **options)
    assert caught.value.expected


@pytest.mark.parametrize(
    "options",
    [
        {"axes": "YX"},
        {"axes": "TZYX"},
        {"axes": "YXS"},
        {"pixel_size": (1, 2, 3)},
        {"axes": "CYX", "channels": ["a"]},
        {"channels": ["a", "b", "c"]},
    ],
)
def test_options_that_do_not_fit_the_image_are_refused(options):
    """Axes, sizes and names that the result has no place for are refused when saving."""
    with pytest.raises(FormatLimit) as caught:
        dc.ImageTarget("a.tif", **options).encode_checked(STACK)
    assert caught.value.hint


@pytest.mark.parametrize("size", [0.5, (0.5, 0.5), {"Y": 0.5, "X": 0.5}])
def test_ways_to_say_the_pixel_size(size):
    """One number is along Y and X, a tuple ends in Y and X, µm is the unit if none is given."""
    target = dc.ImageTarget("a.tif", pixel_size=size)
    assert (target.pixel_size, target.unit) == ({"Y": 0.5, "X": 0.5}, "µm")
    assert dc.ImageTarget("a.tif", pixel_size=size, unit="um") == target


# ---- metadata of sources ------------------------------------------------------------------------


def test_metadata_of_an_imagej_hyperstack(image_file):
    """Axes, unit and sizes of a TZCYX hyperstack, and channel names that are the planes' labels."""
    value = np.zeros((2, 3, 2, 8, 9), "u2")
    labels = ["DAPI", "GFP"] * 6
    source = image_file(value=value, **imagej(0.1625, axes="TZCYX", spacing=2.0, Labels=labels))
    metadata = source.read_metadata()
    assert metadata.axes == "TZCYX"
    assert metadata.pixel_size == {"Z": 2.0, "Y": 0.1625, "X": 0.1625}
    assert metadata.unit == "µm"
    assert metadata.channels == ("DAPI", "GFP")
    labels = [f"c:{c}/2 z:{z}/3 - a" for t in (1, 2) for z in (1, 2, 3) for c in (1, 2)]
    source = image_file("b.tif", value=value, **imagej(axes="TZCYX", Labels=labels))
    assert source.read_metadata().channels == ()


@pytest.mark.parametrize("unit", ["\\u00B5m", "um", "micron", "microns"])
def test_all_names_of_micrometres_are_one(image_file, unit):
    """ImageJ's ways to write µm are read as µm."""
    assert image_file(**imagej(unit=unit)).read_metadata().unit == "µm"


def test_metadata_of_an_ome_tiff(image_file):
    """Axes, sizes (in one unit) and channels come from the OME-XML."""
    metadata = {
        "axes": "CZYX",
        "PhysicalSizeX": 100,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 100,
        "PhysicalSizeYUnit": "nm",
        "PhysicalSizeZ": 0.3,
        "Channel": {"Name": ["DAPI", "GFP"]},
    }
    source = image_file("a.ome.tif", np.zeros((2, 3, 8, 9), "u1"), metadata=metadata)
    found = source.read_metadata()
    assert found.axes == "CZYX"
    assert (found.pixel_size["X"], found.unit) == (0.1, "µm")
    assert found.pixel_size["Z"] == 0.3
    assert found.channels == ("DAPI", "GFP")


@pytest.mark.parametrize(
    ("resolution", "unit", "size"),
    [
        ((40000, 20000), "CENTIMETER", {"Y": 0.5, "X": 0.25}),
        ((25400, 25400), "INCH", {"Y": 1.0, "X": 1.0}),
        ((4, 4), "NONE", {"Y": 0.25, "X": 0.25}),
        ((72, 72), "INCH", {}),
        ((1, 1), "NONE", {}),
        (None, None, {}),
    ],
)
def test_metadata_of_resolution_tags(image_file, resolution, unit, size):
    """Resolution per inch or centimetre is given in µm; the usual placeholders are no resolution."""
    metadata = image_file(resolution=resolution, resolutionunit=unit, metadata=None).read_metadata()
    assert metadata.pixel_size == size
    assert metadata.unit == ("µm" if size and unit != "NONE" else None)
    assert metadata.axes == "QYX"


def test_an_edit_by_another_program_counts(tmp_path):
    """Where resolution tags were edited in a file of ours, they count, not what was noted."""
    path = tmp_path / "a.tif"
    target = dc.ImageTarget(str(path), axes="ZYX", pixel_size=0.1)
    target.write(STACK > 400, path)
    assert target.read_metadata().pixel_size == {"Y": 0.1, "X": 0.1}
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages[0].tags["XResolution"].overwrite((2, 1))
        tif.pages[0].tags["YResolution"].overwrite((2, 1))
    assert target.read_metadata().pixel_size == {"Y": 0.5, "X": 0.5}
    assert_identical(target.read(path), STACK > 400)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "[]",
        '{"dtype": "bool"}',
        {"dtype": "object"},
        {"stored": "uint8"},
        {"shape": [7]},
        {"metadata": {"axes": "YX", "pixel_size": {}, "unit": None, "channels": []}},
    ],
)
def test_a_note_that_does_not_fit_is_ignored(note, tmp_path):
    """A private tag that isn't ours, or not of these pixels, changes nothing."""
    ours = {
        "dtype": "int64",
        "stored": "uint16",
        "shape": STACK.shape,
        "metadata": {"axes": "ZYX", "pixel_size": {}, "unit": None, "channels": []},
    }
    path = tmp_path / "a.tif"

    def read(text):
        tags = [(65321, 2, 0, text, True)]
        tifffile.imwrite(path, STACK, photometric="minisblack", extratags=tags)
        return dc.ImageSource(path).get_data()

    assert read(json.dumps(ours)).dtype == "i8"
    assert_identical(read(note if isinstance(note, str) else json.dumps({**ours, **note})), STACK)


def test_other_formats_have_no_metadata_to_read(tmp_path):
    """PNG is read, and says so when asked for what only TIFF has."""
    iio.imwrite(tmp_path / "a.png", np.zeros((4, 5), "u1"))
    source = dc.ImageSource(tmp_path / "a.png")
    assert source.get_data().shape == (4, 5)
    with pytest.raises(FormatLimit, match="TIFF"):
        source.read_metadata()


# ---- from inputs to results ---------------------------------------------------------------------


def described(axes, shape, size=None, unit="µm", channels=()):
    metadata = dc.ImageMetadata(axes, size or {}, unit if size else None, channels)
    return Described(metadata, shape)


A = described("ZYX", (9, 20, 30), {"Z": 2.0, "Y": 0.5, "X": 0.5})
#: Two sizes that differ by the precision of TIFF's fractions.
ALMOST = {"Y": 0.10833, "X": 0.1083300001}
CUBE = described("ZYX", (9, 9, 9), A.metadata.pixel_size)


@pytest.mark.parametrize(
    ("inputs", "shape", "axes", "size"),
    [
        ([A], (9, 20, 30), "ZYX", {"Z": 2.0, "Y": 0.5, "X": 0.5}),
        ([A], (5, 20, 30), "QYX", {"Y": 0.5, "X": 0.5}),
        ([A], (9, 10, 15), "ZYX", {"Z": 2.0}),
        ([A], (20, 30), "YX", {"Y": 0.5, "X": 0.5}),
        ([A], (9, 30), "YX", {"Y": 2.0, "X": 0.5}),  # a section along Y
        ([A], (30, 20, 9), "QYX", {"Y": 0.5, "X": 2.0}),
        ([A], (9, 20, 20), "ZYX", {"Z": 2.0}),  # another axis has got the length of Y
        ([A], (9, 9), "YX", {}),
        ([CUBE], (9, 9, 9), "QYX", {}),
        ([CUBE], (9, 9), "YX", {}),
        ([described("ZYX", (9, 9, 9), dict.fromkeys("ZYX", 0.5))], (9, 9), "YX", {"Y": 0.5, "X": 0.5}),
        ([described("CZYX", (2, 9, 20, 30), {"Z": 2.0})], (2, 20, 30), "CYX", {}),
        ([described("YX", (9, 9), ALMOST)], (9, 9), "YX", ALMOST),
        ([described("YX", (20, 30), {"X": 0.6}), A], (20, 30), "YX", {"X": 0.6}),
        ([], (9, 20, 30), "QYX", {}),
        ([A, A], (9, 20, 30), "ZYX", {"Z": 2.0, "Y": 0.5, "X": 0.5}),
        ([described("QYX", (9, 20, 30)), A], (9, 20, 30), "ZYX", {"Z": 2.0, "Y": 0.5, "X": 0.5}),
        ([A, described("TYX", (9, 20, 30), {"X": 0.5})], (9, 20, 30), "QYX", {"Y": 0.5, "X": 0.5}),
        ([A, described("ZYX", (9, 20, 30), {"X": 0.6})], (9, 20, 30), "ZYX", {"Z": 2.0, "Y": 0.5}),
        ([A, described("ZYX", (9, 20, 30), {"X": 500}, "nm")], (9, 20, 30), "ZYX", {"Z": 2, "Y": 0.5}),
        ([A, described("YX", (20, 30), {"X": 0.6})], (9, 20, 30), "ZYX", {"Z": 2, "Y": 0.5, "X": 0.5}),
        ([described("YX", (2, 2), {"X": 0.6}, "furlong")], (2, 2), "YX", {}),
        ([described("ZCYX", (2, 3, 4, 5)), described("CZYX", (2, 3, 4, 5))], (2, 3, 4, 5), "QQYX", {}),
        ([described("ZYX", (3, 4, 5)), described("YXS", (3, 4, 5))], (3, 4, 5), "ZYX", {}),
        ([described("ZQYX", (2, 3, 4, 5)), described("QZYX", (2, 3, 4, 5))], (2, 3, 4, 5), "QQYX", {}),
    ],
)
def test_what_is_taken_over(inputs, shape, axes, size):
    """What inputs agree on holds along axes of the same length; what is contradicted does not."""
    default = "Q" * (len(shape) - 2) + "YX"
    found = taken_over(inputs, shape, default, fixed=False)
    assert (found.axes, found.pixel_size) == (axes, size)
    assert found.unit == ("µm" if size else None)


def test_what_could_be_read_two_ways_is_said_once(monkeypatch):
    """Nothing is taken over then, unless the target says what the result is like, or gives the sizes."""
    monkeypatch.setattr(units, "_told", set())
    cube = np.zeros(CUBE.shape, "u1")
    found = []
    for options in ({}, {"like": "image"}, {"axes": "ZYX"}, {"pixel_size": 3.0}):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            target = dc.ImageTarget("a.tif", **options).inherit([CUBE])
            sizes, again = (target._metadata_of(cube).pixel_size for _ in range(2))
            assert again == sizes
        found.append((sizes, [str(each.message)[:30] for each in told]))
    whole = CUBE.metadata.pixel_size
    said = ["axes of length 9 have different"[:30]]
    assert found == [({}, said), (whole, []), (whole, []), ({"Y": 3.0, "X": 3.0}, [])]


@pytest.mark.parametrize("suffix", ["tif", "ome.zarr"])
def test_a_result_can_be_like_one_input(image_file, suffix):
    """The metadata of the named parameter count alone, those of images in a list, too."""
    cube = np.zeros(CUBE.shape, "u1")
    image = image_file("cube.tif", cube, **imagej(spacing=2.0))
    other = image_file("other.tif", cube, **imagej(spacing=7.0))
    kind = dc.ImageTarget if suffix == "tif" else dc.OMEZarrTarget

    def plus(image, offset):
        return image + offset

    def first_of(offset, image):
        return image[0] + offset

    for function, argument in ((plus, image), (first_of, [image])):
        target = kind(f"{function.__name__}.{suffix}", like="image")
        node = dc.delayed(function, target=target)(image=argument, offset=other)
        node.compute()
        assert node.dc.target.read_metadata().pixel_size["Z"] == 2.0


def test_a_result_is_like_a_parameter():
    """A name that the function does not have is refused when it is decorated."""
    with pytest.raises(GraphError, match="like='picture'"):
        dc.delayed(lambda image: image, target=dc.ImageTarget("a.tif", like="picture"))


def test_channels_are_taken_over_with_their_axis():
    """Names of channels hold where the axis C does, and unless two inputs name them differently."""
    two = described("CYX", (2, 4, 5), channels=("a", "b"))
    other = described("CYX", (2, 4, 5), channels=("a", "c"))
    assert taken_over([two], (2, 4, 5), "QYX", fixed=False).channels == ("a", "b")
    assert taken_over([two], (2, 4, 5), "QYX", fixed=True).channels == ()
    assert taken_over([two], (3, 4, 5), "QYX", fixed=False).channels == ()
    assert taken_over([two, other], (2, 4, 5), "QYX", fixed=False).channels == ()


def test_colours_stay_colours_and_thin_stacks_stacks():
    """Bytes in threes are colours, unless an input of the same shape is known to be something else."""
    value = np.zeros((4, 20, 3), "u1")
    for axes, expected in (("ZYX", "ZYX"), ("YXS", "YXS"), ("QYX", "YXS")):
        target = dc.ImageTarget("a.tif").inherit([described(axes, value.shape, {"X": 1.0})])
        assert target.heritage(io.BytesIO(content(target, value))).metadata.axes == expected
    target = dc.ImageTarget("a.tif").inherit([described("ZYXS", (2, 4, 20, 3), {"Z": 1.0})])
    stack = np.zeros((2, 4, 20, 3), "u1")
    assert target.heritage(io.BytesIO(content(target, stack))).metadata.axes == "ZYXS"


def metadata_of(node):
    return dc.ImageTarget(node.dc.path).read_metadata()


def smooth(image):
    return (image // 2).astype("f4")


def threshold(image):
    return image > 100


def profile(image):
    return image.mean(axis=(0, 1))


def test_metadata_goes_from_source_to_result_to_result(image_file):
    """A chain of images keeps axes, sizes and channels, whatever the dtypes are."""
    source = image_file(**imagej(0.5, axes="CYX", Labels=["a", "b", "c"]))
    smoothed = dc.delayed(smooth, target="smooth.tif")(source)
    mask = dc.delayed(threshold, target="mask.ome.tif")(smoothed)
    assert mask.compute().dtype == bool
    expected = dc.ImageMetadata("CYX", {"Y": 0.5, "X": 0.5}, "µm", ("a", "b", "c"))
    assert metadata_of(smoothed) == metadata_of(mask) == expected


def test_small_results_that_travel_inline_hand_on_metadata(image_file):
    """A result that is small enough to travel in its entry is not read again for it."""
    source = image_file(value=STACK[:, :4, :4], **imagej())
    first = dc.delayed(smooth, target="smooth.tif")(source)

    def removing(image, path):
        os.unlink(path)
        return threshold(image)

    node = dc.delayed(removing, target="mask.tif")(first, first.dc.path)
    node.compute()
    assert metadata_of(node).pixel_size == {"Y": 0.5, "X": 0.5}


def test_the_filled_path_decides_the_format(image_file):
    """A result whose name ends in .ome.tif is an OME-TIFF, wherever the name came from."""
    source = image_file(
        "a.ome.tif", metadata={"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    )
    node = dc.delayed(smooth, target="s/{image.stem}.tif")(source)
    node.compute()
    assert node.dc.path.endswith("s/a.ome.tif")
    with tifffile.TiffFile(node.dc.path) as tif:
        assert tif.is_ome
    assert metadata_of(node) == dc.ImageMetadata("ZYX", {"Y": 0.5, "X": 0.5}, "µm")


def test_options_come_before_what_is_taken_over(image_file):
    """What the target says itself replaces what the inputs say; empty means unknown."""
    source = image_file(**imagej(0.5))
    target = dc.ImageTarget("a.tif", pixel_size=2, unit="nm")
    node = dc.delayed(smooth, target=target)(source)
    node.compute()
    assert metadata_of(node) == dc.ImageMetadata("ZYX", {"Y": 2.0, "X": 2.0}, "nm")
    node = dc.delayed(smooth, target=dc.ImageTarget("b.tif", axes="TYX", pixel_size={}))(source)
    node.compute()
    assert metadata_of(node) == dc.ImageMetadata("TYX")


def test_a_changed_pixel_size_alone_reruns_what_follows(image_file, runs):
    """Early cutoff never leaves an old pixel size: it is part of an image's data, in any format."""

    def f1(image):
        runs.note("smooth")
        return smooth(image)

    def f2(image):
        runs.note("mask")
        return threshold(image)

    def f3(image):
        runs.note("array")
        return image + 1

    def f4(array):
        runs.note("sum")
        return float(array.sum())

    def graph():
        smoothed = dc.delayed(f1, target="smooth.tif")(source)
        mask = dc.delayed(f2, target="mask.tif")(smoothed)
        array = dc.delayed(f3, target="array.npy")(smoothed)
        return mask, dc.delayed(f4, target="sum.json")(array)

    source = image_file(**imagej(0.5))
    mask, total = graph()
    dask.compute(mask, total)
    assert runs.take() == ["array", "mask", "smooth", "sum"]
    dask.compute(*graph())
    assert runs.take() == []
    source = image_file(**imagej(0.7))
    mask, total = graph()
    dask.compute(mask, total)
    assert runs.take() == ["array", "mask", "smooth", "sum"]
    assert metadata_of(mask).pixel_size == pytest.approx({"Y": 0.7, "X": 0.7})
    dask.compute(*graph())
    assert runs.take() == []


def test_options_of_a_target_are_part_of_the_key(image_file, runs):
    """Another pixel size in the target's options makes the file again, and `why` says so."""
    source = image_file()

    def node(**options):
        return dc.delayed(smooth, target=dc.ImageTarget("a.tif", **options))(source)

    node(pixel_size=0.5).compute()
    with dc.testing.count_runs() as counted:
        node(pixel_size=0.5, compression=None).compute()
        assert counted() == {}
        changed = node(pixel_size=0.7)
        assert str(dc.why(changed)) == "option pixel_size: {'Y': 0.5, 'X': 0.5} -> {'Y': 0.7, 'X': 0.7}"
        changed.compute()
        assert counted() == {"smooth": 1}
    assert metadata_of(changed).pixel_size == {"Y": 0.7, "X": 0.7}


def test_options_count_for_the_target_that_has_them():
    """The same options at another one of several targets are another key."""

    def two():
        return STACK, STACK

    told, plain = dc.ImageTarget("a.tif", axes="ZYX"), dc.ImageTarget("b.tif")
    one = dc.delayed(two, target=(told, plain))()
    other = dc.delayed(two, target=(plain.at("a.tif"), told.at("b.tif")))()
    assert one.dc.key != other.dc.key


def test_a_moved_target_keeps_its_metadata(image_file, runs):
    """The same recipe at another path is copied with what it took over, not computed."""
    source = image_file(**imagej(0.5))

    def f(image):
        runs.note("f")
        return image + 1

    dc.delayed(f, target="a.tif")(source).compute()
    moved = dc.delayed(f, target="b.tif")(source)
    moved.compute()
    assert runs.take() == ["f"]
    assert metadata_of(moved).pixel_size == {"Y": 0.5, "X": 0.5}


def test_a_function_that_writes_its_own_image(image_file, runs):
    """The metadata of a file that a function wrote itself counts, and is handed on."""
    source = image_file(**imagej(0.5))

    def write(image, size, target_path=None):
        tifffile.imwrite(target_path, image, **imagej(size))

    def follow(image):
        runs.note("follow")
        return threshold(image)

    for size in (0.25, 0.25, 0.75):
        written = dc.delayed(write, target="own.tif")(source, size)
        node = dc.delayed(follow, target="mask.tif")(written)
        node.compute()
        assert metadata_of(node).pixel_size == pytest.approx({"Y": size, "X": size})
    assert runs.take() == ["follow", "follow"]


def test_audits_agree_with_what_was_stored(image_file):
    """An audit hashes with the metadata that was taken over, from the graph and from records."""
    source = image_file(**imagej(0.5))
    node = dc.delayed(threshold, target="mask.tif")(dc.delayed(smooth, target="s.tif")(source))
    node.compute()
    audit = dc.audit(node)
    assert audit.ok, audit
    assert audit.counts["same"] == 2


def test_audits_of_a_root_agree_too(define, image_file, root):
    """So does one that has nothing but the records: a target's options aren't in them."""
    program = define("""
        import daskcache as dc

        @dc.delayed(target=dc.ImageTarget("s.tif", axes="ZYX", pixel_size=(3, 1, 1)))
        def half(image): return image // 2

        @dc.delayed(target="m.ome.tif")
        def mask(image): return image > 100
    """)
    node = program.mask(program.half(image_file(**imagej(0.5))))
    node.compute()
    assert metadata_of(node).pixel_size == {"Z": 3.0, "Y": 1.0, "X": 1.0}
    audit = audit_root(Root(str(root)))
    assert audit.ok, audit
    assert audit.counts["same"] == 2


def test_nothing_is_read_for_metadata_without_images(image_file, monkeypatch):
    """Headers are read for results that are images, and of inputs that are."""
    source = image_file(**imagej())
    asked = []
    monkeypatch.setattr(dc.ImageSource, "heritage", lambda self: asked.append(self))
    dc.delayed(profile, target="a.npy")(source).compute()
    dc.delayed(smooth, save=False)(source).compute()
    assert asked == []
    dc.delayed(threshold, target="a.tif")(source).compute()
    assert asked == [source]


def test_metadata_of_a_source_that_changed_meanwhile_is_not_used(image_file):
    """A source that changes while the function runs raises, and hands nothing on."""
    source = image_file(**imagej(0.5))

    def slow(image):
        image_file(**imagej(0.7))
        return image + 1

    node = dc.delayed(slow, target="a.tif", version=1)(source)
    with pytest.raises(SourceChanged):
        node.compute()
    assert not Path(node.dc.path).exists()


def test_a_source_that_vanished_meanwhile(image_file):
    """A source that is gone when its metadata is wanted raises SourceMissing."""
    source = image_file(**imagej(0.5))

    def slow(image):
        os.unlink(source.path)
        return image + 1

    with pytest.raises(SourceMissing, match=r"raw\.tif"):
        dc.delayed(slow, target="a.tif", version=1)(source).compute()


@pytest.mark.parametrize(
    "edit", [lambda data: data.replace(b"micron", b"inches"), lambda data: data[:9], lambda data: b""]
)
def test_metadata_of_an_input_that_changed_meanwhile_is_not_used(image_file, edit):
    """A stored input that is edited or cut short while the function runs raises if it has to be read.

    What was stored in the same verb is known, and the edit is for the next verb.
    """
    source = image_file(**imagej(0.5))
    first = dc.delayed(smooth, target="s.tif")(source)

    def slow(image, path, name):
        Path(path).write_bytes(edit(Path(path).read_bytes()))
        return image + 1

    slow = dc.delayed(slow, target="{name}.tif", version=1)
    with dask.config.set({"daskcache.inline": 0}):
        together = slow(first, first.dc.path, "together")
        together.compute()
        assert metadata_of(together).pixel_size == {"Y": 0.5, "X": 0.5}
        assert first.dc.state in ("modified", "corrupt")
        Path(first.dc.path).unlink()
        first.compute()
        alone = slow(first, first.dc.path, "alone")
        with pytest.raises(TargetError):
            alone.compute()
    assert not Path(alone.dc.path).exists()


def test_a_source_that_only_the_function_can_read(tmp_path):
    """A file that is no TIFF whatever its name is, has nothing to hand on, and is no error."""
    (tmp_path / "odd.tif").write_bytes(b"MYFORMAT")

    def read(image: dc.ImageSource):
        return np.full((4, 5), len(Path(image.path).read_bytes()), "u1")

    assert dc.delayed(read, target="a.tif")(dc.ImageSource(tmp_path / "odd.tif")).compute().max() == 8


def test_a_function_can_read_the_metadata(image_file):
    """A parameter annotated with a class of images has `read_metadata`, for sources and results."""
    source = image_file(**imagej(0.5))

    def area(image: dc.ImageSource, mask: dc.ImageTarget) -> float:
        return [image.read_metadata().pixel_size["X"], mask.read_metadata().pixel_size["X"]]

    mask = dc.delayed(threshold, target="m.tif")(source)
    assert dc.delayed(area, target="area.json")(source, mask).compute() == [0.5, 0.5]


# ---- lazy access --------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["zlib", "zstd", None])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "value",
    [STACK, STACK > 400, STACK.astype("i8"), STACK[None, :, None, :, :], STACK[:1] > 400],
    ids=["stack", "mask", "labels", "of length 1", "one plane"],
)
def test_lazy_access_gives_what_reading_gives(value, kind, tile, compression, tmp_path):
    """`open` has the dtype, shape and values of `read`, for every kind of file."""
    path = str(tmp_path / "a.tif")
    target = dc.ImageTarget(path, compression, format=kind, tile=tile)
    target.write(value, path)
    lazy = target.open(path)
    assert (lazy.dtype, lazy.shape) == (value.dtype, value.shape)
    assert_identical(np.asarray(lazy), value)
    assert_identical(np.asarray(lazy[..., 3:20, ::7]), value[..., 3:20, ::7])


def test_lazy_access_is_read_only(tmp_path):
    """Uncompressed images are memory maps, compressed ones Zarr arrays; neither can be written to."""
    path = str(tmp_path / "a.tif")
    target = dc.ImageTarget(path, compression=None)
    target.write(STACK, path)
    lazy = target.open(path)
    assert type(lazy) is np.memmap
    with pytest.raises(ValueError, match="read-only"):
        lazy[0] = 1
    os.unlink(path)
    dc.ImageTarget(path).write(STACK, path)
    lazy = target.open(path)
    assert isinstance(lazy, zarr.Array)
    with pytest.raises(PermissionError, match="read-only"):
        lazy[0] = 1


# ---- declared sizes -----------------------------------------------------------------------------


def forged(width, height):
    """A TIFF of a few bytes that declares an image of this size."""
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((16, 16), "u1"), photometric="minisblack", compression="zlib")
    file.seek(0)
    with tifffile.TiffFile(file, mode="r+") as tif:
        for name, length in (("ImageWidth", width), ("ImageLength", height), ("RowsPerStrip", height)):
            tif.pages[0].tags[name].overwrite(length, dtype="I")
    return file.getvalue()


_READ_FORGED = """
import resource, sys
import daskcache as dc, numpy, tifffile, imagecodecs
from daskcache.errors import FormatLimit
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
try:
    dc.ImageSource(sys.argv[1]).get_data()
except FormatLimit as error:
    print(error)
"""


def test_an_image_that_declares_too_much_is_not_decoded(tmp_path):
    """A header of 10⁶ × 10⁶ pixels raises FormatLimit before memory is allocated."""
    path = tmp_path / "bomb.tif"
    path.write_bytes(forged(10**6, 10**6))
    done = subprocess.run([sys.executable, "-c", _READ_FORGED, path], capture_output=True, text=True)
    assert "bomb.tif is too large to be read as a whole" in done.stdout, done.stderr
    assert "max-decoded" in done.stdout


def test_the_largest_image_can_be_configured(tmp_path):
    """`daskcache.max-decoded` decides, for TIFF and for other formats."""
    target = dc.ImageTarget("a.tif")
    data = content(target, STACK)
    iio.imwrite(tmp_path / "a.png", STACK[0])
    with dask.config.set({"daskcache.max-decoded": STACK[0].nbytes - 1}):
        with pytest.raises(FormatLimit, match=r"11\.72 kiB"):
            target.decode(data)
        with pytest.raises(FormatLimit, match=r"a\.png"):
            dc.ImageSource(tmp_path / "a.png").get_data()
    with dask.config.set({"daskcache.max-decoded": "12 kB"}):
        assert_identical(target.decode(data), STACK)
        assert dc.ImageSource(tmp_path / "a.png").get_data().shape == (40, 50)


def test_results_of_the_same_verb_are_not_read_for_their_metadata(image_file, monkeypatch):
    """They are known, and are what the next verb reads in the files; subclasses may write others."""
    source, read, described_in = image_file(**imagej(0.5, spacing=3)), [], tiff.described_in

    def noted(file):
        read.append(os.path.basename(file) if isinstance(file, str) else file)
        return described_in(file)

    monkeypatch.setattr(tiff, "described_in", noted)

    def smoothed(image):
        return image / 2

    def masked(image):  # its file is small, and travels in the entry
        return image > 100

    def counted(image):
        return image[0].astype("u1")

    first = dc.delayed(smoothed, target="smoothed.tif")(source)
    second = dc.delayed(masked, target="mask.tif")(first)
    third = dc.delayed(counted, target="counted.tif")(second)
    dask.compute(third)
    assert read == ["raw.tif"]
    assert metadata_of(third).pixel_size == {"Y": 0.5, "X": 0.5}
    known = [node.dc.record["data_hash"] for node in (second, third)]
    for node in (second, third):
        os.remove(node.dc.path)
    del read[:]
    dask.compute(third)
    assert read == ["smoothed.tif"]
    assert known == [node.dc.record["data_hash"] for node in (second, third)]

    class Finer(dc.ImageTarget):
        """Writes half the pixel size."""

        def encode(self, value):
            return dc.ImageTarget(self.path, pixel_size=0.25).encode(value)

    assert Finer("finer.tif").heritage_of(STACK) is None
