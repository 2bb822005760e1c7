"""TIFF files that are broken or large, as results and as sources.  `test_corpus` has all other kinds."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from corpus_images import PLANES, STACKS, cut, pages, tif

import daskcache as dc
from daskcache import ImageSource, delayed
from daskcache.errors import FormatLimit, TargetCorrupt
from daskcache.targets.images import tiff

PLANE, STACK = PLANES[0], STACKS[0]


@pytest.fixture
def cut_stack(tmp_path):
    """The path of a stack of which the last part is missing."""
    path = str(tmp_path / "stack.tif")
    cut(tif(imagej=True), STACK)(0.6, path)
    return path


def test_a_result_that_was_cut_is_corrupt(cut_stack):
    """A target reads no file that is not whole, and opens none, as one that a function wrote itself."""
    target = dc.ImageTarget("stack.tif")
    for use in (target.read, target.open, target.read_metadata):
        with pytest.raises(TargetCorrupt, match="not whole"):
            use(cut_stack)


def test_a_function_may_read_a_broken_file_itself(cut_stack):
    """What can be saved of a broken file is up to a function that takes the source."""

    @delayed(target="first.tif")
    def first_plane(image: ImageSource):
        return tifffile.imread(image.path, key=0)

    np.testing.assert_array_equal(first_plane(ImageSource(cut_stack)).compute(), STACK[0])


def test_a_description_of_another_image_declares_nothing(tmp_path):
    """A program that keeps the description of the image that it cropped declares no missing planes."""
    path = str(tmp_path / "raw.tif")
    pages([PLANE[:9, :9]], path, description='{"shape": [5, 40, 56]}')
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
