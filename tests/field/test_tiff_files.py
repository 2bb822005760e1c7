"""TIFF files as microscopes and other programs write them: the array that must arrive, or the refusal.

Each case makes a small file, and says what a function must be given.  Where Pillow reads the file, it
must agree.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import tifffile
from PIL import Image

import daskcache as dc
from daskcache import ImageSource, delayed
from daskcache.errors import FormatLimit, SourceUnreadable, TargetCorrupt
from daskcache.targets.images import tiff

RNG = np.random.default_rng(7)
PLANE = RNG.integers(0, 2**16, (40, 56)).astype("uint16")
STACK = RNG.integers(0, 2**16, (5, 40, 56)).astype("uint16")
HYPER = RNG.integers(0, 2**16, (2, 3, 2, 40, 56)).astype("uint16")
COLOUR = RNG.integers(0, 2**8, (40, 56, 3)).astype("uint8")
#: Neighbours are alike, as in photographs.
SMOOTH = (np.add.outer(np.arange(64), np.arange(64)) * 2).astype("uint8")


class Case(NamedTuple):
    name: str
    #: Returns the bytes of the file.
    make: Callable[[], bytes]
    #: The array, or the words that a refusal must have.
    expected: Any
    #: Axes that are read, if they are known.
    axes: str | None = None


def written(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def series(*arrays, **options):
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True) as tif:
        for array in arrays:
            tif.write(array, photometric="minisblack", **options)
    return file.getvalue()


def pyramid():
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True) as tif:
        tif.write(STACK, subifds=1, metadata={"axes": "ZYX"})
        tif.write(STACK[:, ::2, ::2], subfiletype=1)
    return file.getvalue()


def pages(stack, **options):
    """Pages without any description."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as tif:
        for plane in stack:
            tif.write(plane, contiguous=False, metadata=None, **options)
    return file.getvalue()


def by_pillow(array, mode=None, **options):
    file = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(file, "TIFF", **options)
    return file.getvalue()


def palette():
    image = Image.fromarray(SMOOTH // 32).convert("P")
    image.putpalette([7 * i % 256 for i in range(768)])
    file = io.BytesIO()
    image.save(file, "TIFF")
    return file.getvalue()


def large_imagej():
    """ImageJ's form for stacks of over 4 GiB: one page, and the planes in one piece behind it."""
    text = f"ImageJ=1.53t\nimages={len(STACK)}\nslices={len(STACK)}\nloop=false\n"
    first = written(STACK[0], metadata=None, description=text)
    with tifffile.TiffFile(io.BytesIO(first)) as tif:
        end = tif.pages[0].dataoffsets[0] + STACK[0].nbytes
    return first[:end] + STACK[1:].tobytes()


def stopped():
    """OME-XML declares five planes; the acquisition ended after three."""
    text = tifffile.OmeXml()
    text.addimage("uint16", STACK.shape, (5, 1, 1, 40, 56, 1), axes="ZYX")
    return pages(STACK[:3], description=text.tostring(declaration=True).encode())


def cut(make, share):
    """Only the first part of a file, as after a copy that broke off."""

    def made():
        data = make()
        return data[: int(len(data) * share)]

    return made


HOLDS = [
    Case("plane", lambda: written(PLANE), PLANE, "YX"),
    Case("big-endian", lambda: written(STACK, byteorder=">"), STACK),
    Case("BigTIFF", lambda: written(STACK, bigtiff=True), STACK),
    Case("big-endian BigTIFF", lambda: written(STACK, bigtiff=True, byteorder=">"), STACK),
    Case("32-bit floats", lambda: written(STACK.astype("float32") / 3), STACK.astype("float32") / 3),
    Case("64-bit floats", lambda: written(STACK / 3), STACK / 3),
    Case("16-bit floats", lambda: written((PLANE / 2**10).astype("f2")), (PLANE / 2**10).astype("f2")),
    Case("complex", lambda: written(PLANE.astype("c8") * 1j), PLANE.astype("c8") * 1j),
    Case("signed 8 bits", lambda: written(SMOOTH.view("i1")), SMOOTH.view("i1")),
    Case("1 bit", lambda: by_pillow(PLANE > 999), PLANE > 999),
    Case(
        "12 bits",
        lambda: written(PLANE % 4096, bitspersample=12, photometric="minisblack"),
        PLANE % 4096,
    ),
    Case("LZW", lambda: written(STACK, compression="lzw", predictor=True), STACK),
    Case("tiles", lambda: written(STACK, tile=(16, 16), compression="zlib"), STACK),
    Case("pages without a description", lambda: pages(STACK), STACK),
    Case("colour", lambda: written(COLOUR, photometric="rgb"), COLOUR, "YXS"),
    Case(
        "planar colour",
        lambda: written(COLOUR.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
        COLOUR.transpose(2, 0, 1),
    ),
    Case("colour by Pillow", lambda: by_pillow(COLOUR, compression="tiff_lzw"), COLOUR),
    Case("palette: the indices", palette, SMOOTH // 32),
    Case("ImageJ stack", lambda: written(STACK, imagej=True, metadata={"axes": "ZYX"}), STACK, "ZYX"),
    Case("ImageJ hyperstack", lambda: written(HYPER, imagej=True), HYPER, "TZCYX"),
    Case("ImageJ, deflated", lambda: written(HYPER, imagej=True, compression="zlib"), HYPER, "TZCYX"),
    Case("ImageJ, planes in one piece", large_imagej, STACK, "ZYX"),
    Case("OME", lambda: written(STACK, ome=True, metadata={"axes": "ZYX"}), STACK, "ZYX"),
    Case("OME hyperstack", lambda: written(HYPER, ome=True, metadata={"axes": "TCZYX"}), HYPER, "TCZYX"),
    Case(
        "OME of several images: the first",
        lambda: series(STACK, PLANE, metadata={"axes": None}),
        STACK,
    ),
    Case("OME pyramid: the full size", pyramid, STACK, "ZYX"),
]

CUT = [
    *((f"ImageJ cut to {n} %", cut(lambda: written(STACK, imagej=True), n / 100)) for n in (20, 60, 99)),
    *((f"OME cut to {n} %", cut(lambda: written(STACK, ome=True), n / 100)) for n in (20, 60, 90)),
    *((f"shaped cut to {n} %", cut(lambda: written(STACK), n / 100)) for n in (20, 60, 99)),
    *((f"pages cut to {n} %", cut(lambda: pages(STACK), n / 100)) for n in (20, 60, 99)),
    *(
        (f"deflated cut to {n} %", cut(lambda: written(STACK, compression="zlib"), n / 100))
        for n in (20, 40, 60, 99)
    ),
    ("ImageJ in one piece, cut", cut(large_imagej, 0.6)),
    ("JPEG, cut", cut(lambda: pages([SMOOTH], compression="jpeg"), 0.9)),
    ("acquisition stopped", stopped),
    (
        "fewer pages than ImageJ declares",
        lambda: pages(STACK[:3], description="ImageJ=1.53t\nimages=5\nslices=5\n"),
    ),
    (
        "fewer pages than the shape has",
        lambda: pages(STACK[:3], description='{"shape": [5, 40, 56]}'),
    ),
    ("no page", lambda: written(PLANE)[:4] + b"\0" * 4),
    ("header alone", lambda: written(PLANE)[:6]),
    ("empty", lambda: b""),
    ("HTML", lambda: b"<!DOCTYPE html><html><body>404 Not Found</body></html>"),
]


@pytest.mark.parametrize("case", HOLDS, ids=lambda case: case.name)
def test_a_file_arrives(case, tmp_path, runs):
    """The array arrives as it was written, in the run that makes a result and in later ones."""
    path = tmp_path / "raw.tif"
    path.write_bytes(case.make())
    source = ImageSource(path)
    got = source.get_data()
    assert got.dtype.newbyteorder("=") == case.expected.dtype
    np.testing.assert_array_equal(got, case.expected)
    if case.axes is not None:
        assert source.read_metadata().axes == case.axes

    @delayed(target="out.npy")
    def copied(image):
        runs.note("copied")
        return image

    cold, warm = copied(source).compute(), copied(source).compute()
    for result in (cold, warm):
        np.testing.assert_array_equal(result, case.expected)
    assert cold.dtype == warm.dtype
    assert runs.take() == ["copied"]


@pytest.mark.parametrize(("name", "make"), CUT, ids=[name for name, _ in CUT])
def test_a_broken_file_is_named(name, make, tmp_path, runs):
    """A file with fewer planes or bytes than it declares raises `SourceUnreadable`, nothing runs."""
    path = tmp_path / "raw.tif"
    path.write_bytes(make())

    @delayed(target="out.npy")
    def copied(image):
        runs.note("copied")
        return image

    for use in (ImageSource(path).get_data, copied(ImageSource(path)).compute):
        with pytest.raises(SourceUnreadable) as caught:
            use()
        assert str(path) in caught.value.message
        assert caught.value.hint
    assert runs.take() == []


def test_a_result_that_was_cut_is_corrupt(tmp_path):
    """A target reads no file that is not whole, and opens none, as one that a function wrote itself."""
    path = str(tmp_path / "stack.tif")
    (tmp_path / "stack.tif").write_bytes(cut(lambda: written(STACK, imagej=True), 0.6)())
    target = dc.ImageTarget("stack.tif")
    for use in (target.read, target.open, target.read_metadata):
        with pytest.raises(TargetCorrupt, match="not whole"):
            use(path)


def test_a_function_may_read_a_broken_file_itself(tmp_path):
    """What can be saved of a broken file is up to a function that takes the source."""
    path = tmp_path / "raw.tif"
    path.write_bytes(cut(lambda: written(STACK, imagej=True), 0.6)())

    @delayed(target="first.tif")
    def first_plane(image: ImageSource):
        return tifffile.imread(image.path, key=0)

    np.testing.assert_array_equal(first_plane(ImageSource(path)).compute(), STACK[0])


def test_a_description_of_another_image_declares_nothing(tmp_path):
    """A program that keeps the description of the image that it cropped declares no missing planes."""
    path = tmp_path / "raw.tif"
    path.write_bytes(pages([PLANE[:9, :9]], description='{"shape": [5, 40, 56]}'))
    np.testing.assert_array_equal(ImageSource(path).get_data(), PLANE[:9, :9])


# ---- results of 4 GiB and more --------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["zlib", "zstd", None])
@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "cpr"])
def test_large_results_are_bigtiff(name, compression, tmp_path, monkeypatch):
    """An image that may exceed the offsets of classic TIFF is BigTIFF, whatever its compression.

    The limit is lowered here; `test_the_limit_of_classic_tiff` looks at the real one.
    """
    monkeypatch.setattr(tiff, "_CLASSIC", tiff._OF_FILE + STACK.nbytes)
    if name == "cpr":
        target = dc.ImageTarget.from_path(tmp_path / "a.tif")
        target.set_data(STACK)
        target.serialize()
        path = target.get_path()
        assert np.array_equal(target.get_data(), STACK)
    else:
        target = dc.ImageTarget(name, compression, axes="ZYX", pixel_size=0.5)
        path = str(tmp_path / name)
        target.write(STACK, path)
        assert np.array_equal(target.read(path), STACK)
        assert target.read_metadata(path).pixel_size == {"Y": 0.5, "X": 0.5}
    with tifffile.TiffFile(path) as tif:
        assert tif.is_bigtiff


@pytest.mark.parametrize(
    ("shape", "needed"),
    [
        ((1000, 2000, 2000), False),
        ((1060, 2000, 2000), False),
        ((1070, 2000, 2000), True),
        ((2**22, 30, 30), True),  # the pages' own tags fill the file
        ((36000, 36000, 3), False),
        ((38000, 38000, 3), True),
    ],
)
def test_the_limit_of_classic_tiff(shape, needed):
    """Classic TIFF up to some MiB below 4 GiB, so that programs without BigTIFF read what they can."""
    assert tiff.needs_bigtiff(shape, np.dtype("u1")) is needed


def test_imagej_files_stay_below(tmp_path, monkeypatch):
    """ImageJ has no BigTIFF of its own: the kind of file that was asked for is refused."""
    monkeypatch.setattr(tiff, "_CLASSIC", tiff._OF_FILE + STACK.nbytes)
    with pytest.raises(FormatLimit, match="4 GiB"):
        dc.ImageTarget("a.tif", format="imagej").write(STACK, str(tmp_path / "a.tif"))
