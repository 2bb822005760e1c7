"""TIFF files with several images, or with pyramids: what `series` and `level` choose."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

import daskcache as dc
from daskcache.errors import FormatLimit, GraphError, SourceUnreadable

RNG = np.random.default_rng(5)
#: Three positions of unequal shape, the last one a stack.
POSITIONS = [RNG.integers(0, 2**16, shape).astype("u2") for shape in ((40, 56), (17, 33), (3, 20, 28))]
SLIDE = RNG.integers(0, 2**16, (64, 96)).astype("u2")


def positions(path, **options):
    """OME-TIFF with a pixel size for each position."""
    with tifffile.TiffWriter(path) as writer:
        for number, position in enumerate(POSITIONS):
            sizes = {f"PhysicalSize{axis}": 0.1 * (number + 1) for axis in "XY"}
            axes = "ZYX"[-position.ndim :]
            writer.write(position, metadata={"axes": axes, **sizes}, photometric="minisblack", **options)
    return str(path)


def pyramid(path, compression="zlib"):
    """A slide with two smaller copies, as viewers write them: below the page of the full size."""
    with tifffile.TiffWriter(path, ome=True) as writer:
        sizes = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25}
        options = {"tile": (16, 16), "compression": compression}
        writer.write(SLIDE, subifds=2, metadata=sizes, **options)
        for level in (1, 2):
            writer.write(SLIDE[:: 2**level, :: 2**level], subfiletype=1, **options)
    return str(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("series", [0, 1, 2])
def test_series(tmp_path, series, compression):
    """Each position arrives with its own shape and pixel size."""
    path = positions(tmp_path / "a.ome.tif", compression=compression)
    source = dc.ImageSource(path, series=series)
    np.testing.assert_array_equal(source.get_data(), POSITIONS[series])
    metadata = source.read_metadata()
    assert metadata.pixel_size["X"] == pytest.approx(0.1 * (series + 1))
    assert metadata.axes == "ZYX"[-POSITIONS[series].ndim :]
    np.testing.assert_array_equal(dc.ImageSource(path).get_data(), POSITIONS[0])


@pytest.mark.parametrize("level", [0, 1, 2])
def test_levels(tmp_path, level):
    """Each level of a pyramid arrives with its pixel sizes."""
    source = dc.ImageSource(pyramid(tmp_path / "a.ome.tif"), level=level)
    np.testing.assert_array_equal(source.get_data(), SLIDE[:: 2**level, :: 2**level])
    sizes = source.read_metadata().pixel_size
    assert (sizes["X"], sizes["Y"]) == pytest.approx((0.5 * 2**level, 0.25 * 2**level))


def test_results_take_over_the_pixel_size_of_the_level(tmp_path, root):
    """A node made from a level has its pixel sizes, and each choice has a node of its own."""
    path = pyramid(tmp_path / "a.ome.tif")

    @dc.delayed(target="{level}.tif")
    def half(image, level):
        return image // 2

    for level in (0, 1):
        node = half(dc.ImageSource(path, level=level), level)
        np.testing.assert_array_equal(node.compute(), SLIDE[:: 2**level, :: 2**level] // 2)
        assert dc.ImageSource(node.dc.path).read_metadata().pixel_size["X"] == 0.5 * 2**level


def test_the_choice_counts(tmp_path):
    """Series and level are part of the identity, of equality, and of what a record restores."""
    path = positions(tmp_path / "a.ome.tif")
    sources = [dc.ImageSource(path, **o) for o in ({}, {"series": 1}, {"series": 2}, {"level": 1})]
    assert len({source.identity() for source in sources}) == 4
    assert len(set(map(repr, (s.__daskcache_options__() for s in sources)))) == 4
    assert sources[1] == dc.ImageSource(path, series=1) != sources[2]


def test_what_is_not_there(tmp_path):
    """The error says how many series and levels there are."""
    path = positions(tmp_path / "a.ome.tif")
    with pytest.raises(SourceUnreadable, match="no series 3") as caught:
        dc.ImageSource(path, series=3).get_data()
    assert caught.value.expected == "one of 0 to 2"
    with pytest.raises(SourceUnreadable, match="no level 1"):
        dc.ImageSource(path, series=1, level=1).read_metadata()


@pytest.mark.parametrize("options", [{"series": -1}, {"series": "1"}, {"level": True}, {"level": 1.0}])
def test_what_is_no_choice(options):
    """Numbers from 0 are asked for where the source is made, and TIFF."""
    with pytest.raises(GraphError, match="a number from 0"):
        dc.ImageSource("a.tif", **options)
    with pytest.raises(GraphError, match="suffix of a TIFF"):
        dc.ImageSource("a.png", series=0)


def test_a_file_that_was_cut_short(tmp_path):
    """A series whose pixels are not all there is refused, also when another one is cut."""
    path = positions(tmp_path / "a.ome.tif", compression="zlib")
    content = (tmp_path / "a.ome.tif").read_bytes()
    for share in (0.3, 0.6, 0.9):
        (tmp_path / "a.ome.tif").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(SourceUnreadable):
            dc.ImageSource(path, series=2).get_data()


def test_a_lost_description_joins_no_images(tmp_path):
    """Without its OME-XML, which is at the end, a file of equal positions would be one stack."""
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as writer:
        for _ in range(3):
            writer.write(POSITIONS[0], metadata={"axes": "YX"})
    assert dc.ImageSource(path).get_data().shape == POSITIONS[0].shape
    path.write_bytes(path.read_bytes()[:-10])
    for options in ({}, {"series": 0}):
        with pytest.raises(SourceUnreadable, match="not whole"):
            dc.ImageSource(path, **options).get_data()


def test_a_spread_image_has_no_series_to_choose(tmp_path):
    """The files of a spread image are one image; what a choice would leave out is not guessed."""
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels '
        'ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="4" SizeY="4" SizeZ="1" SizeC="2" '
        'SizeT="1"><Channel ID="Channel:0:0"/><Channel ID="Channel:0:1"/>'
        '<TiffData FirstC="0"><UUID FileName="a.ome.tif">urn:uuid:1</UUID></TiffData>'
        '<TiffData FirstC="1"><UUID FileName="b.ome.tif">urn:uuid:2</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    for name in ("a", "b"):
        tifffile.imwrite(
            tmp_path / f"{name}.ome.tif", np.ones((4, 4), "u1"), description=xml, metadata=None
        )
    assert dc.ImageSource(tmp_path / "a.ome.tif", series=0).get_data().shape == (2, 4, 4)
    for use in ("get_data", "read_metadata"):
        with pytest.raises(FormatLimit, match="several files"):
            getattr(dc.ImageSource(tmp_path / "a.ome.tif", series=1), use)()


def test_too_large(tmp_path):
    """A level that exceeds the limit is refused before it is decoded; a smaller one is read."""
    import dask

    path = pyramid(tmp_path / "a.ome.tif")
    with dask.config.set({"daskcache.max-decoded": "1 kB"}):
        assert dc.ImageSource(path, level=2).get_data().shape == (16, 24)
        with pytest.raises(FormatLimit, match="too large"):
            dc.ImageSource(path, level=1).get_data()
