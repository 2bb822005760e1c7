"""OME-Zarr targets: the image comes back, and viewers find a valid pyramid beside it."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import daskcache as dc
from daskcache import errors
from daskcache.hashing import hash_value

IMAGE = np.random.default_rng(0).integers(0, 2**16, (2, 3, 41, 60), "u2")


def written(folder, value=IMAGE, **options):
    """The group that a target writes."""
    path = str(folder / "image.ome.zarr")
    target = dc.OMEZarrTarget("image.ome.zarr", **options)
    target.write(value, path)
    assert hash_value(target.read(path)) == hash_value(np.asarray(value))
    assert target.hash_file(path) == target.hash(value)
    return zarr.open_group(path, mode="r")


def datasets(group):
    return group.attrs["ome"]["multiscales"][0]["datasets"]


def test_a_node_stores_an_image_with_a_pyramid(root):
    """The value is the image; the smaller copies are for viewers."""

    @dc.delayed(target=dc.OMEZarrTarget("{funcname}.ome.zarr", levels=2))
    def image():
        return da.from_array(IMAGE, chunks=(1, 1, 20, 20))

    @dc.delayed(target="shape.json")
    def shape(image: zarr.Array):
        return list(image.shape)

    node = image()
    assert shape(node).compute() == [2, 3, 41, 60]
    assert hash_value(node.dc.load()) == hash_value(IMAGE)
    assert node.dc.open().shape == IMAGE.shape
    group = zarr.open_group(root / "image.ome.zarr", mode="r")
    assert [group[str(level)].shape[-2:] for level in range(3)] == [(41, 60), (20, 30), (10, 15)]
    source = dc.ZarrSource(root / "image.ome.zarr", group="2")
    assert hash_value(source.get_data()) == hash_value(group["2"][...])


def test_the_suffix_chooses_the_format(root):
    """The longer one."""
    assert type(dc.delayed(abs, target="a.ome.zarr")(1).dc.target).__name__ == "OMEZarrTarget"


@given(
    st.sampled_from(["yx", "zyx", "cyx", "tyx", "tczyx", None]),
    st.sampled_from(["mean", "nearest"]),
    st.integers(0, 3),
)
@settings(max_examples=25, deadline=None)
def test_metadata_are_valid(tmp_path_factory, axes, method, levels):
    """As the NGFF models see it: axes, scales, names of dimensions."""
    from ome_zarr_models.v05.image import Image

    folder = tmp_path_factory.mktemp("ome")
    value = np.zeros((2, 2, 2, 9, 33)[-len(axes or "zyx") :], "u2")
    units = {"y": "micrometer", "x": "micrometer"}
    scale = {"y": 0.25, "x": 0.5}
    group = written(folder, value, axes=axes, method=method, levels=levels, units=units, scale=scale)
    image = Image.from_zarr(group)
    (multiscale,) = image.attributes.ome.multiscales
    assert [axis.name for axis in multiscale.axes] == list(axes or "zyx")
    assert len(multiscale.datasets) == levels + 1


def test_means_lie_where_their_pixels_were(tmp_path):
    """A mean over two pixels is half a pixel further; every second pixel stays where it was."""
    image = np.arange(24, dtype="u2").reshape(4, 6)
    group = written(tmp_path, image, levels=1, scale={"y": 2, "x": 3})
    assert group["1"][...].tolist() == np.rint(image.reshape(2, 2, 3, 2).mean((1, 3))).tolist()
    scale, translation = datasets(group)[1]["coordinateTransformations"]
    assert (scale["scale"], translation["translation"]) == ([4, 6], [1, 1.5])
    assert datasets(group)[0]["coordinateTransformations"] == [{"type": "scale", "scale": [2, 3]}]

    (tmp_path / "labels").mkdir()
    group = written(tmp_path / "labels", image, levels=1, method="nearest")
    assert group["1"][...].tolist() == image[::2, ::2].tolist()
    assert datasets(group)[1]["coordinateTransformations"] == [{"type": "scale", "scale": [2, 2]}]


def test_one_pixel_stays_one(tmp_path):
    """An axis that can't be halved keeps its scale."""
    group = written(tmp_path, np.arange(5.0)[None], levels=3)
    assert [group[str(level)].shape for level in range(4)] == [(1, 5), (1, 2), (1, 1), (1, 1)]
    last = datasets(group)[3]["coordinateTransformations"]
    assert last[0]["scale"] == [1, 4]


@pytest.mark.parametrize("dtype", ["?", "u1", "i4", "f2", "f8", "c8"])
def test_smaller_copies_have_the_images_dtype(tmp_path, dtype):
    """Whatever a mean is computed in."""
    group = written(tmp_path, np.ones((8, 9), dtype), levels=2)
    assert group["2"].dtype == np.dtype(dtype)
    assert (group["2"][...] == 1).all()


def test_default_levels(tmp_path):
    """Until a plane has at most 1024 pixels along its longer side."""
    group = written(tmp_path, np.zeros((3, 4096), "u1"))
    assert group["2"].shape == (1, 1024)
    assert "3" not in group


@pytest.mark.parametrize(
    "value",
    [np.zeros(3), np.zeros((0, 3)), {"a": np.zeros((3, 3))}, np.zeros((1,) * 6), "text"],
    ids=repr,
)
def test_what_is_no_image_is_refused(tmp_path, value):
    """One or six dimensions, no pixels, no array."""
    with pytest.raises(errors.FormatLimit):
        written(tmp_path, value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        {"axes": "xy"},
        {"axes": "ctyx"},
        {"axes": "yyx"},
        {"axes": "ayx"},
        {"axes": "yx", "scale": {"z": 1}},
        {"units": {"q": "mm"}},
        {"method": "median"},
        {"levels": -1},
        {"attributes": {"ome": {}}},
    ],
    ids=repr,
)
def test_options_are_checked_at_once(options):
    """When the target is made, not when a long computation is over."""
    with pytest.raises(errors.GraphError):
        dc.OMEZarrTarget("a.ome.zarr", **options)


def test_what_is_stored_beside_the_image_counts():
    """Another scale or pyramid is another file; codecs and chunks are not."""

    def key(**options):
        return dc.delayed(abs, target=dc.OMEZarrTarget("a.ome.zarr", **options))(1).dc.key

    assert key() == key(chunks=(1, 1)) == key(compressors=None)
    assert len({key(), key(scale={"x": 2}), key(levels=1), key(method="nearest"), key(axes="yx")}) == 5
