"""OME-Zarr targets: the image comes back, and viewers find a valid pyramid beside it."""

from __future__ import annotations

import os
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import daskcache as dc
from daskcache import errors
from daskcache.hashing.encoder import hash_value
from daskcache.planning.planner import Planner
from daskcache.storage import source_hashes
from daskcache.storage.source_hashes import folder_hashes

IMAGE = np.random.default_rng(0).integers(0, 2**16, (2, 3, 41, 60), "u2")


def written(folder, value=IMAGE, **options):
    """The group that a target writes."""
    path = str(folder / "image.ome.zarr")
    target = dc.OMEZarrTarget("image.ome.zarr", **options)
    target.write(value, path)
    assert hash_value(target.read(path)) == hash_value(np.asarray(value))
    assert target.hash_file(path) == target.hash(value)
    assert target.hash_read(target.read(path), path) == target.hash(value)
    return zarr.open_group(path, mode="r")


def datasets(group):
    return group.attrs["ome"]["multiscales"][0]["datasets"]


def test_a_node_stores_an_image_with_a_pyramid(root):
    """The value is the image; the smaller copies are for viewers."""

    @dc.delayed(target=dc.OMEZarrTarget("{funcname}.ome.zarr", axes="tzyx", levels=2))
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
    st.sampled_from(["yx", "zyx", "cyx", "tyx", "tczyx", "qyx"]),
    st.sampled_from(["mean", "nearest"]),
    st.integers(0, 3),
)
@settings(max_examples=25, deadline=None)
def test_metadata_are_valid(tmp_path_factory, axes, method, levels):
    """As the NGFF models see it: axes, scales, names of dimensions."""
    from ome_zarr_models.v05.image import Image

    folder = tmp_path_factory.mktemp("ome")
    value = np.zeros((2, 2, 2, 9, 33)[-len(axes) :], "u2")
    channels = ("DAPI", "GFP") if "c" in axes else None
    units = {"y": "micrometer", "x": "micrometer"}
    scale = {"y": 0.25, "x": 0.5}
    options = {"method": method, "levels": levels, "units": units, "scale": scale, "channels": channels}
    group = written(folder, value, axes=axes if axes != "qyx" else None, **options)
    image = Image.from_zarr(group)
    (multiscale,) = image.attributes.ome.multiscales
    assert [axis.name for axis in multiscale.axes] == list(axes)
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
        {"scale": (0.5, 0.5)},
        {"scale": {"y": "wide"}},
        {"units": "mm"},
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


# ---- axes, sizes and channels of the inputs --------------------------------------------------------

CHANNELS = "DAPI", "GFP"
CYX = np.arange(1, 2 * 30 * 40 + 1, dtype="u2").reshape(2, 30, 40)
KNOWN = dc.ImageMetadata("CYX", {"Y": 0.25, "X": 0.25}, "µm", CHANNELS)


def smooth(image):
    return np.asarray(image) // 2


def ome_tiff(path, value=CYX, size=0.25, unit="µm", axes="CYX"):
    """An OME-TIFF file as another program writes it."""
    sizes = {
        f"PhysicalSize{axis}{end}": told for axis in "YX" for end, told in (("", size), ("Unit", unit))
    }
    names = {"Channel": {"Name": list(CHANNELS)}} if "C" in axes else {}
    metadata = {"axes": axes, **sizes, **names}
    tifffile.imwrite(path, value, photometric="minisblack", ome=True, metadata=metadata)
    return dc.ImageSource(path)


def ome_zarr(path, version, value=CYX, size=0.25, unit="micrometer", axes="cyx", levels=2):
    """An OME-Zarr folder as another program writes it; returns the source of its first array."""
    described = [{"name": a, "type": {"c": "channel", "t": "time"}.get(a, "space")} for a in axes]
    for axis in described[-2:]:
        axis["unit"] = unit
    datasets = []
    for level in range(levels):
        scale = [1.0] * (len(axes) - 2) + [size * 2**level] * 2
        transformations = [{"type": "scale", "scale": scale}]
        datasets.append({"path": str(level), "coordinateTransformations": transformations})
    window = {"min": 0, "max": 9, "start": 0, "end": 9}
    channels = [{"label": name, "color": "FF0000", "window": window} for name in CHANNELS]
    told = {
        "multiscales": [{"axes": described, "datasets": datasets}],
        **({"omero": {"channels": channels}} if "c" in axes else {}),
    }
    if version == "0.5":
        attributes, form = {"ome": {"version": version, **told}}, 3
    else:
        told["multiscales"][0]["version"] = version
        attributes, form = told, 2
    group = zarr.create_group(path, zarr_format=form, attributes=attributes)
    for level in range(levels):
        names = {"dimension_names": tuple(axes)} if form == 3 else {}
        group.create_array(str(level), data=value[..., :: 2**level, :: 2**level], **names)
    return dc.ZarrSource(path, group="0")


def changed(path, old, new):
    """Change what the folder of an image tells of it."""
    about = next(p for p in (path / "zarr.json", path / ".zattrs") if p.exists())
    text = about.read_text()
    assert old in text
    about.write_text(text.replace(old, new))


SOURCES = {
    "ome.tif": lambda folder: ome_tiff(folder / "raw.ome.tif"),
    "0.4": lambda folder: ome_zarr(folder / "raw.ome.zarr", "0.4"),
    "0.5": lambda folder: ome_zarr(folder / "raw.ome.zarr", "0.5"),
}


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tif"])
@pytest.mark.parametrize("kind", SOURCES)
def test_metadata_go_from_source_to_result(tmp_path, kind, suffix):
    """And from there to the next one: the same from and to either format."""
    source = SOURCES[kind](tmp_path)
    first = dc.delayed(smooth, target=f"first{suffix}")(source)
    second = dc.delayed(smooth, target="second.ome.zarr")(first)
    third = dc.delayed(smooth, target="third.ome.tif")(second)
    assert hash_value(third.compute()) == hash_value(CYX // 2 // 2 // 2)
    assert source.read_metadata() == KNOWN
    for node in (first, second, third):
        assert type(node.dc.target).read_metadata(node.dc.target, node.dc.path) == KNOWN


def test_what_other_programs_see(tmp_path):
    """Valid NGFF with axes, sizes, units, and names of channels with the values that there are."""
    from ome_zarr_models.v05.image import Image

    dc.delayed(smooth, target="a.ome.zarr")(ome_tiff(tmp_path / "raw.ome.tif")).compute()
    group = zarr.open_group(tmp_path / "root" / "a.ome.zarr", mode="r")
    Image.from_zarr(group)
    told = group.attrs["ome"]
    assert told["multiscales"][0]["axes"] == [
        {"name": "c", "type": "channel"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    assert datasets(group)[0]["coordinateTransformations"] == [
        {"type": "scale", "scale": [1, 0.25, 0.25]}
    ]
    assert group["0"].metadata.dimension_names == ("c", "y", "x")
    channels = told["omero"]["channels"]
    assert [channel["label"] for channel in channels] == list(CHANNELS)
    windows = [(channel["window"]["start"], channel["window"]["end"]) for channel in channels]
    assert windows == [(0, 600), (600, 1200)]


@pytest.mark.parametrize("dtype", ["?", "u1", "f4", "c8"])
def test_channels_of_any_dtype(tmp_path, dtype):
    """Also of values that have no order, or are not finite."""
    value = np.ones((2, 3, 3), dtype)
    if dtype == "f4":
        value[0, 0] = np.nan
    group = written(tmp_path, value, axes="cyx", channels=("a", "b"))
    windows = [channel["window"] for channel in group.attrs["ome"]["omero"]["channels"]]
    assert windows[0]["start"] == windows[0]["min"] <= windows[0]["end"]


@pytest.mark.parametrize("kind", SOURCES)
def test_a_corrected_pixel_size_reruns_what_follows(tmp_path, kind, runs):
    """Early cutoff never leaves an old size."""

    def f1(image):
        runs.note("first")
        return smooth(image)

    def f2(image):
        runs.note("second")
        return smooth(image)

    def second():
        source = dc.ImageSource(path) if kind == "ome.tif" else dc.ZarrSource(path, group="0")
        return dc.delayed(f2, target="b.ome.zarr")(dc.delayed(f1, target="a.ome.zarr")(source))

    path = Path(SOURCES[kind](tmp_path).path)
    second().compute()
    assert runs.take() == ["first", "second"]
    second().compute()
    assert runs.take() == []
    if kind == "ome.tif":
        ome_tiff(path, size=0.5)
    else:
        changed(path, "0.25", "0.5")
    node = second()
    node.compute()
    assert runs.take() == ["first", "second"]
    assert node.dc.target.read_metadata(node.dc.path).pixel_size == {"Y": 0.5, "X": 0.5}


def test_what_says_nothing_new_of_an_array_does_not_count(tmp_path):
    """Nor do the other arrays of the image."""
    before = ome_zarr(tmp_path / "raw.ome.zarr", "0.5").identity()
    changed(tmp_path / "raw.ome.zarr", '"FF0000"', '"00FF00"')
    zarr.open_array(tmp_path / "raw.ome.zarr/1", mode="r+")[...] = 0
    assert dc.ZarrSource(tmp_path / "raw.ome.zarr", group="0").identity() == before
    assert dc.ZarrSource(tmp_path / "raw.ome.zarr/0").content_hash() != "0" * 32


def test_an_array_outside_of_an_image_counts_as_before(tmp_path):
    """By the files in its folder alone."""
    zarr.create_group(tmp_path / "g.zarr").create_array("a", data=CYX)
    source = dc.ZarrSource(tmp_path / "g.zarr", group="a")
    assert source.content_hash() == hash_value(folder_hashes(f"{tmp_path}/g.zarr/a"))


def test_an_image_is_known_by_its_group_and_by_its_folder(tmp_path):
    """Whether the array is named by a path or by a group; a smaller copy has sizes of its own."""
    ome_zarr(tmp_path / "raw.ome.zarr", "0.4")
    path = tmp_path / "raw.ome.zarr"
    assert dc.ZarrSource(path).read_metadata() == KNOWN
    assert dc.ZarrSource(path / "0").read_metadata() == KNOWN
    assert dc.ZarrSource(path, group="1").read_metadata().pixel_size == {"Y": 0.5, "X": 0.5}


def test_a_part_of_an_image(tmp_path):
    """Its channels are those that are left."""
    ome_zarr(tmp_path / "raw.ome.zarr", "0.5")
    cut = {"slices_start": [1, None, None], "slices_stop": [2, None, None]}
    source = dc.ZarrSource(tmp_path / "raw.ome.zarr", group="0", **cut)
    assert source.read_metadata().channels == ("GFP",)
    node = dc.delayed(smooth, target="a.ome.zarr")(source)
    node.compute()
    assert node.dc.target.read_metadata(node.dc.path).channels == ("GFP",)


def test_a_metadata_file_that_changes_while_the_graph_runs(tmp_path):
    """It is a change of the source."""
    source = ome_zarr(tmp_path / "raw.ome.zarr", "0.5")
    edit = dc.delayed(lambda: changed(tmp_path / "raw.ome.zarr", "0.25", "0.5"), target="e.json")
    node = dc.delayed(lambda image, edited: image, target="a.ome.zarr")(source, edit())
    with pytest.raises(errors.SourceChanged):
        node.compute()


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"multiscales": [{"version": "0.1", "datasets": [{"path": "0"}]}]}, "TCZYX"),
        ({"multiscales": [{"axes": ["t", "c", "z", "y", "x"], "datasets": [{"path": "0"}]}]}, "TCZYX"),
        ({"multiscales": [{"axes": ["a", "c", "c", "y", "x"], "datasets": [{"path": "0"}]}]}, "QQQYX"),
        ({"multiscales": []}, None),
        ({"multiscales": 3}, None),
        ({"multiscales": [{"datasets": [{"path": "0", "coordinateTransformations": [3]}]}]}, None),
        ({"multiscales": [{"datasets": [{"path": "1"}]}]}, None),
        ({"multiscales": [{"axes": ["y", "x"], "datasets": [{"path": "0"}]}]}, None),
        ({"ome": [], "multiscales": []}, None),
        ({}, None),
    ],
)
def test_older_and_broken_metadata(tmp_path, told, expected):
    """What isn't understood says nothing; the array is read all the same."""
    group = zarr.create_group(tmp_path / "g.zarr", zarr_format=2, attributes=told)
    group.create_array("0", data=np.ones((1, 2, 1, 3, 3)))
    source = dc.ZarrSource(tmp_path / "g.zarr", group="0")
    assert source.read_metadata() == dc.ImageMetadata(expected or "QQQQQ")
    node = dc.delayed(np.copy, target="a.ome.tif")(source)
    assert node.compute().shape == (1, 2, 1, 3, 3)


def test_names_of_channels_that_are_not_there(tmp_path):
    """More names than channels name none."""
    source = ome_zarr(tmp_path / "raw.ome.zarr", "0.5", value=np.ones((3, 8, 8), "u2"))
    assert source.read_metadata().channels == ()
    dc.delayed(smooth, target="a.ome.zarr")(source).compute()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"node_type": "group", "attributes": [1]}', "[" * 100_000]
)
def test_broken_groups_around_an_array(tmp_path, content):
    """They say nothing of it."""
    zarr.create_array(tmp_path / "g/a", data=CYX)
    (tmp_path / "g/zarr.json").write_text(content)
    assert dc.ZarrSource(tmp_path / "g/a").read_metadata() == dc.ImageMetadata("QQQ")


def test_units_that_differ(tmp_path):
    """Sizes are told in one unit; a size of 1 without a unit is none."""
    ome_zarr(tmp_path / "raw.ome.zarr", "0.5")
    about = tmp_path / "raw.ome.zarr" / "zarr.json"
    about.write_text(about.read_text().replace("micrometer", "nanometer", 1))
    found = dc.ZarrSource(tmp_path / "raw.ome.zarr", group="0").read_metadata()
    assert (found.unit, found.pixel_size) == ("nm", {"Y": 0.25, "X": 250.0})
    written(tmp_path, CYX)
    assert dc.OMEZarrTarget(f"{tmp_path}/image.ome.zarr").read_metadata() == dc.ImageMetadata("QYX")


def test_names_of_dimensions(tmp_path):
    """They are axes where they are letters of axes; not told from a Zarr array by their place."""
    names = {
        ("z", "y", "x"): "ZYX",
        ("time", "Y", "X"): "TYX",
        ("depth", "y", "x"): "QYX",
        (None, "y", "x"): "QYX",
        None: "QQQ",
    }
    for i, (called, expected) in enumerate(names.items()):
        zarr.create_array(tmp_path / f"{i}.zarr", data=CYX, dimension_names=called)
        assert dc.ZarrSource(tmp_path / f"{i}.zarr").read_metadata().axes == expected
    node = dc.delayed(smooth, target="a.ome.zarr")(dc.ZarrSource(tmp_path / "0.zarr"))
    node.compute()
    assert node.dc.target.read_metadata(node.dc.path).axes == "ZYX"


def test_imagej_and_the_order_of_axes(tmp_path):
    """ImageJ's Z comes before C, which OME-Zarr can't have: that is said, not swapped."""
    value = np.zeros((3, 2, 8, 9), "u2")
    metadata = {"axes": "ZCYX", "unit": "micron", "spacing": 2.0}
    tifffile.imwrite(tmp_path / "raw.tif", value, imagej=True, resolution=(4, 4), metadata=metadata)
    source = dc.ImageSource(tmp_path / "raw.tif")
    with pytest.raises(errors.FormatLimit, match="'zcyx': OME-Zarr has the order t, c, z, y, x"):
        dc.delayed(smooth, target="a.ome.zarr")(source).compute()

    def swapped(image):
        return image.swapaxes(0, 1)

    node = dc.delayed(swapped, target=dc.OMEZarrTarget("b.ome.zarr", axes="czyx"))(source)
    node.compute()
    assert node.dc.target.read_metadata(node.dc.path).pixel_size == {"Z": 2.0, "Y": 0.25, "X": 0.25}
    node = dc.delayed(lambda image: image[:, 0], target="c.ome.zarr")(source)
    node.compute()
    sizes = {"Z": 2.0, "Y": 0.25, "X": 0.25}
    assert node.dc.target.read_metadata(node.dc.path) == dc.ImageMetadata("ZYX", sizes, "µm")


@pytest.mark.parametrize("between", ["a.npy", "a.zarr", None])
def test_metadata_go_through_what_is_between(tmp_path, between):
    """Formats without metadata and uncached nodes hand them on."""
    options = {"target": between} if between else {"save": False}
    middle = dc.delayed(smooth, **options)(ome_tiff(tmp_path / "raw.ome.tif"))
    node = dc.delayed(smooth, target="b.ome.zarr")(middle)
    node.compute()
    sizes = {"Y": 0.25, "X": 0.25}
    expected = dc.ImageMetadata("CYX", sizes, "µm", ("DAPI", "GFP"))
    assert node.dc.target.read_metadata(node.dc.path) == expected


def test_unknown_axes_are_not_made_up():
    """Of an array without metadata, the axes are unknown but for the last two."""
    node = dc.delayed(smooth, target="b.ome.zarr")(np.zeros((2, 8, 9)))
    node.compute()
    assert node.dc.target.read_metadata(node.dc.path) == dc.ImageMetadata("QYX")
    told = zarr.open_group(node.dc.path, mode="r").attrs["ome"]["multiscales"][0]["axes"]
    assert told[0] == {"name": "q"}


@pytest.mark.parametrize(
    ("value", "options", "said"),
    [
        (np.zeros((2, 2, 3, 3)), {}, "2 of them are unknown"),
        (np.zeros((2, 2, 2, 3, 3)), {}, "3 of them are unknown"),
        (np.zeros((8, 9, 3), "u1"), {}, "colours"),
        (np.zeros((2, 3, 3)), {"scale": {"z": 2}}, "name the axis z"),
        (np.zeros((2, 3, 3)), {"axes": "cyx", "channels": ("a",)}, "1 names of channels for 2"),
        (np.zeros((2, 3, 3)), {"channels": ("a", "b")}, "2 names of channels for no"),
    ],
)
def test_what_is_not_known_is_asked_for(tmp_path, value, options, said):
    """An axis is not taken for a channel, time or depth because there is room for one."""
    with pytest.raises(errors.FormatLimit, match=said):
        written(tmp_path, value, **options)


def test_options_come_before_what_is_taken_over(tmp_path):
    """What the target says replaces what the inputs say; empty means unknown."""
    source = ome_tiff(tmp_path / "raw.ome.tif")
    for i, (options, expected) in enumerate(
        [
            ({"scale": {"y": 2, "x": 2}}, dc.ImageMetadata("CYX", {"Y": 2, "X": 2}, None, CHANNELS)),
            ({"scale": {}, "channels": ()}, dc.ImageMetadata("CYX")),
            ({"axes": "zyx"}, dc.ImageMetadata("ZYX", {"Y": 0.25, "X": 0.25}, "µm")),
            ({"channels": ("a", "b")}, dc.ImageMetadata("CYX", KNOWN.pixel_size, "µm", ("a", "b"))),
        ]
    ):
        node = dc.delayed(smooth, target=dc.OMEZarrTarget(f"{i}.ome.zarr", **options))(source)
        node.compute()
        assert node.dc.target.read_metadata(node.dc.path) == expected


def test_only_metadata_are_read_for_the_next_result(tmp_path):
    """A result is opened, not read, for what another takes over from it."""
    first = dc.delayed(smooth, target="a.ome.zarr")(ome_tiff(tmp_path / "raw.ome.tif"))
    first.compute()

    def opened(image: zarr.Array):
        return np.zeros(image.shape, "u1")

    chunk = next(p for p in (tmp_path / "root/a.ome.zarr/0/c").rglob("*") if p.is_file())
    found = chunk.stat()
    data = chunk.read_bytes()
    chunk.write_bytes(b"x" * len(data))
    os.utime(chunk, ns=(found.st_atime_ns, found.st_mtime_ns))
    node = dc.delayed(opened, target="b.ome.zarr")(first)
    node.compute()
    assert node.dc.target.read_metadata(node.dc.path) == KNOWN
    about = tmp_path / "root/a.ome.zarr/zarr.json"
    found = about.stat()
    about.write_text(about.read_text().replace("0.25", "0.35"))
    os.utime(about, ns=(found.st_atime_ns, found.st_mtime_ns))
    entry = Planner().look(first._recipe).entry
    with pytest.raises(errors.TargetCorrupt, match=r"zarr\.json"):
        entry.heritage()


def test_audits_agree_with_what_was_stored(tmp_path):
    """An audit hashes with the metadata that was taken over."""
    node = dc.delayed(smooth, target="b.ome.zarr")(
        dc.delayed(smooth, target="a.ome.zarr")(ome_tiff(tmp_path / "raw.ome.tif"))
    )
    node.compute()
    audit = dc.audit(node)
    assert audit.ok, audit
    assert audit.counts["same"] == 2


def test_names_of_dimensions_are_not_lost(tmp_path):
    """A Zarr array with names that its copy would not have is refused."""
    array = zarr.create_array(tmp_path / "a.zarr", data=CYX, dimension_names=("a", "y", "x"))
    named = zarr.create_array(tmp_path / "b.zarr", data=CYX, dimension_names=("c", "y", "x"))
    with pytest.raises(errors.FormatLimit, match="names of dimensions"):
        dc.ZarrTarget("x.zarr").write(array, str(tmp_path / "x.zarr"))
    with pytest.raises(errors.FormatLimit, match="names of dimensions"):
        dc.OMEZarrTarget("x.ome.zarr").write(array, str(tmp_path / "x.ome.zarr"))
    dc.OMEZarrTarget("y.ome.zarr", axes="cyx").write(named, str(tmp_path / "y.ome.zarr"))


@pytest.mark.parametrize("target", [dc.OMEZarrTarget("{key}.ome.zarr"), dc.ImageTarget("{key}.tif")])
def test_metadata_of_a_template(target):
    """A target whose path is a template has none, and says so."""
    with pytest.raises(dc.errors.TargetMissing, match="may be a template") as caught:
        target.read_metadata()
    assert caught.value.target == target.path


def test_only_metadata_are_read_for_metadata(tmp_path, monkeypatch):
    """`read_metadata` of a target or source hashes no chunk, and reads none."""
    target = dc.OMEZarrTarget("a.ome.zarr", axes="cyx", scale={"y": 0.5, "x": 0.5}, levels=1)
    path = str(tmp_path / "a.ome.zarr")
    target.write(CYX, path)
    expected = target.read_metadata(path)
    for chunk in Path(path).rglob("c/**/*"):
        if chunk.is_file():
            chunk.write_bytes(b"unreadable")
    monkeypatch.setattr(source_hashes, "content_hash", None)
    assert target.read_metadata(path) == dc.ZarrSource(path).read_metadata() == expected
    assert dc.ZarrSource(path, group="0").read_metadata() == expected
    assert expected.pixel_size == {"Y": 0.5, "X": 0.5}
