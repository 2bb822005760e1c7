"""CPR's interface: sources by their fields, and targets at addresses of their own."""

from __future__ import annotations

import copy
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import dask
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from cpr_cases import ARRAY_HASH, FRAME_HASH, IMAGE_HASH, array, frame, image, same

import daskcache as dc
from daskcache import cpr
from daskcache.errors import (
    DaskcacheWarning,
    FormatLimit,
    GraphError,
    StorageError,
    TargetCorrupt,
    TargetMissing,
    UnsafePath,
)


def saved(target, data):
    target.set_data(data)
    target.serialize()
    return target


# ---- constructors ----------------------------------------------------------------------------------


def test_fields_stand_for_a_path():
    """The classes in `daskcache.cpr` take location, name and ext, by position or name, as CPR's."""
    for source in (
        cpr.ImageSource("/raw", "a", ".tif"),
        cpr.ImageSource(location="/raw", name="a", ext=".tif"),
        cpr.ImageSource("/raw", name="a", ext=".tif"),
        dc.ImageSource.from_path("/raw/a.tif"),
        dc.Source.from_path("/raw/a.tif"),
    ):
        assert source == dc.ImageSource("/raw/a.tif")
        assert (source.location, source.name, source.ext) == ("/raw", "a", ".tif")
        assert source.get_path() == "/raw/a.tif"
        assert source.get_name() == "a"
        assert isinstance(source, dc.Resource)
    assert cpr.CSVSource("/raw", "a") == dc.CSVSource("/raw/a.csv", index_col=0)
    for target in (
        cpr.CSVTarget("/out", "a"),
        cpr.CSVTarget("/out", "a", ".csv"),
        dc.CSVTarget.from_path("/out/a.csv"),
        dc.Target.from_path("/out/a.csv"),
    ):
        assert target == cpr.CSVTarget("/out", "a")
        assert isinstance(target, dc.CSVTarget)
        assert isinstance(target, dc.Resource)
    target = cpr.ImageTarget("/out", "a", ".tif", {"axes": "YX"}, [2.0, 2.0], False, IMAGE_HASH)
    assert (target.metadata, target.resolution, target.imagej) == ({"axes": "YX"}, [2.0, 2.0], False)
    assert target.get_path() == f"/out/a-{IMAGE_HASH}.tif"


def test_paths_and_options_are_what_they_were():
    """A path with options of the format makes the targets and sources that nodes use."""
    assert dc.ImageTarget("a.tif", "zstd").compression == "zstd"
    assert dc.CSVTarget("a.csv", None, "id").index_col == "id"
    assert dc.ZarrSource("a.zarr", "labels/0").group == "labels/0"
    assert dc.FolderSource("raw", "*.tif").pattern == "*.tif"
    assert (dc.ImageTarget("b/a.tif").location, dc.ImageTarget("b/a.tif").name) == ("b", "a")


def test_three_texts_are_not_guessed_to_be_fields():
    """The classes in `daskcache` take a path, whatever the number of arguments."""

    class Spectrum(dc.TextTarget):
        def __init__(self, path, name="", unit=""):
            super().__init__(path)
            self.name, self.unit = name, unit

    spectrum = Spectrum("a.txt", "b", ".txt")
    assert (spectrum.path, spectrum.name, spectrum.unit) == ("a.txt", "b", ".txt")
    assert not spectrum.has_address
    for wrong in (
        lambda: dc.NumpyTarget("/out", "a", ".npy"),
        lambda: dc.TextSource("/raw", "a", ".txt"),
    ):
        with pytest.raises(TypeError):
            wrong()


def test_what_is_made_in_either_way_is_of_both_classes():
    """Sources and addressed targets are instances of the classes in `daskcache` and in its `cpr`."""
    for name in cpr.NAMES:
        plain, of_fields = getattr(dc, name), getattr(cpr, name)
        ext = plain.default_ext or (plain.known_exts or ("",))[0]
        for made in (of_fields("/raw", "a", ext), plain.from_path(f"/raw/a{ext}")):
            assert isinstance(made, plain), name
            assert isinstance(made, of_fields), name
            assert made == of_fields.from_path(f"/raw/a{ext}")
        assert not isinstance(dc.FileSource("/raw/a"), of_fields) or name == "FileSource"
        assert pickle.loads(pickle.dumps(of_fields)) is of_fields
    assert not hasattr(cpr, "SQLTarget")


def test_a_class_that_makes_plain_sources_has_no_subclasses():
    """Instances of such a subclass would be of the plain class, so it is refused."""
    with pytest.raises(TypeError, match=r"has to be a subclass of .*ImageSource"):

        class Mine(cpr.ImageSource):
            pass


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: cpr.CSVTarget("/out", "a", ".txt"), GraphError),
        (lambda: dc.NumpyTarget.from_path("/out/a.npz"), GraphError),
        (lambda: dc.NumpySource.from_path("/out/a.tif"), GraphError),
        (lambda: cpr.ImageTarget("/out", "b/a", ".tif"), UnsafePath),
        (lambda: cpr.ImageTarget("/out", "..", ""), UnsafePath),
        (lambda: cpr.ImageTarget("/out", "a", ".tif", colour=1), TypeError),
        (lambda: cpr.ImageTarget(location="/out", ext=".tif"), TypeError),
        (lambda: dc.ImageTarget.from_path("/out/a.tif", data_hash=IMAGE_HASH), TypeError),
        (lambda: cpr.ImageSource("/raw", "a", ".tif", colour=1), TypeError),
        (lambda: cpr.ImageSource("/raw", "a", ".tif", None, metadata=None), TypeError),
        (lambda: cpr.ImageSource("/raw", "a", ".tif", None, None, None), TypeError),
        (lambda: dc.SQLTarget.from_path("a.db::t"), GraphError),
        (lambda: dc.ImageSource("/raw", "a", ".tif"), GraphError),
        (lambda: cpr.ZarrSource("/a", "b", ".zarr", "0", [], [], "w"), GraphError),
        (lambda: cpr.ZarrSource("/a", "b", ".zarr", "0", [1], []), GraphError),
    ],
)
def test_what_is_no_address_is_refused(make, error):
    """Wrong suffixes, names and fields are typed errors."""
    with pytest.raises(error):
        make()


# ---- data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "ext", "data", "data_hash"),
    [
        (cpr.ImageTarget, ".tif", image(), IMAGE_HASH),
        (cpr.CSVTarget, ".csv", frame(), FRAME_HASH),
        (cpr.NumpyTarget, ".npy", array(), ARRAY_HASH),
    ],
)
def test_the_hashes_that_cpr_publishes(cls, ext, data, data_hash, tmp_path):
    """They are in the paths, and what is read back is what was given."""
    target = cls(str(tmp_path), "a", ext)
    assert target.data_hash is None
    with pytest.raises(GraphError, match="set_data"):
        target.get_path()
    target.set_data(data)
    assert target.get_data() is data
    target.compute_data_hash()
    assert target.data_hash == data_hash
    assert list(tmp_path.iterdir()) == []
    fields = target.serialize()
    assert fields["data_hash"] == data_hash
    assert [path.name for path in tmp_path.iterdir()] == [f"a-{data_hash}{ext}"]
    assert same(target.get_data(cache=True), data)
    assert same(cls(**fields).get_data(), data)


def test_other_data_make_another_file(tmp_path):
    """Whatever is changed, a file that is there is not written again."""
    target = cpr.NumpyTarget(str(tmp_path), "a", ".npy")
    data = array()
    saved(target, data)
    first = target.get_path()
    before = os.stat(first)
    data += 1
    assert same(target.get_data(), array())
    saved(target, data)
    assert target.get_path() != first
    assert same(np.load(first), array())
    assert same(target.get_data(), data)
    saved(target, array())
    assert target.get_path() == first
    assert (os.stat(first).st_mtime_ns, os.stat(first).st_ino) == (before.st_mtime_ns, before.st_ino)
    assert len(list(tmp_path.iterdir())) == 2


def test_data_that_change_before_they_are_saved_are_hashed_as_they_are(tmp_path):
    """Hash and file agree whatever happens to an array between the two."""
    target = cpr.NumpyTarget(str(tmp_path), "a", ".npy")
    data = array()
    target.set_data(data)
    data[0, 0] += 1
    target.serialize()
    assert same(target.get_data(), data)


def test_a_file_that_is_not_what_it_should_be_is_never_served(tmp_path):
    """Missing, damaged and exchanged files are typed errors, and nothing is written over them."""
    target = saved(cpr.NumpyTarget(str(tmp_path), "a", ".npy"), array())
    np.save(target.get_path(), array() + 1)
    with pytest.raises(TargetCorrupt):
        target.get_data()
    target.set_data(array())
    with pytest.raises(TargetCorrupt):
        target.serialize()
    assert same(target.get_data(), array())
    os.truncate(target.get_path(), 50)
    with pytest.raises(TargetCorrupt):
        target.serialize()
    os.unlink(target.get_path())
    target.serialize()
    os.unlink(target.get_path())
    with pytest.raises(TargetMissing):
        target.get_data()


@pytest.mark.parametrize("cls", [cpr.ImageTarget, cpr.CSVTarget, cpr.ParquetTarget, cpr.ZarrTarget])
def test_damage_in_any_format_is_noticed(cls, tmp_path):
    """Bytes that are no file of the format are TargetCorrupt, whatever the package raises."""
    ext = {"ImageTarget": ".tif", "ZarrTarget": ".zarr", "ParquetTarget": ".parquet"}.get(
        cls.__name__, ".csv"
    )
    data = image() if cls in (cpr.ImageTarget, cpr.ZarrTarget) else frame()
    target = saved(cls(str(tmp_path), "a", ext), data)
    path = target.get_path()
    if os.path.isdir(path):
        path = next(str(p) for p in target_files(path) if "c/" in str(p) or p.name.isdigit())
    with open(path, "r+b") as file:
        file.write(b"\xff" * 40)
    with pytest.raises(TargetCorrupt):
        target.get_data()


def target_files(folder):
    from pathlib import Path

    return [path for path in Path(folder).rglob("*") if path.is_file()]


def test_nothing_is_left_of_what_can_not_be_saved(tmp_path):
    """Refused values and a folder that can't be made leave no file, and the data stay."""
    target = cpr.NumpyTarget(str(tmp_path), "a", ".npy")
    for value in (None, [1], np.array([object()])):
        target.set_data(value)
        with pytest.raises(FormatLimit):
            target.serialize()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    target = cpr.NumpyTarget(str(tmp_path / "file"), "a", ".npy")
    target.set_data(array())
    with pytest.raises(StorageError):
        target.serialize()
    assert same(target.get_data(), array())


def test_many_at_once_make_one_file(tmp_path):
    """Writers of equal data don't disturb one another."""

    data = image()

    def write(_):
        return saved(cpr.ImageTarget(str(tmp_path / "new"), "a", ".tif"), data).get_path()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(write, range(24)))) == 1
    assert os.listdir(tmp_path / "new") == [f"a-{IMAGE_HASH}.tif"]


def test_what_travels_is_a_handle(tmp_path):
    """Pickling saves the data; copies in memory keep them."""
    target = cpr.ImageTarget(str(tmp_path), "a", ".tif", metadata={"axes": "YX"})
    target.set_data(image())
    twin = copy.deepcopy(target)
    assert same(copy.copy(target).get_data(), image())
    assert same(twin.get_data(), image())
    assert list(tmp_path.iterdir()) == []
    content = pickle.dumps(target)
    assert len(content) < 1000
    loaded = pickle.loads(content)
    assert loaded == target == twin
    assert hash(loaded) == hash(target)
    assert type(loaded) is type(target)
    assert same(loaded.get_data(), image())


# ---- images -----------------------------------------------------------------------------------------

_SHAPES = [(100, 100), (2, 50, 100), (1, 1, 100, 100), (100, 25, 4), (3, 20, 30), (100, 100, 1), (1, 1)]
_DTYPES = ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


@pytest.mark.parametrize("imagej", [True, False])
@pytest.mark.parametrize("metadata", [None, {"unit": "micron"}])
@pytest.mark.parametrize("dtype", _DTYPES)
def test_images_come_back_as_they_were(dtype, metadata, imagej, tmp_path):
    """Masks, labels and whatever ImageJ's own files can't hold, too."""
    target = cpr.ImageTarget(str(tmp_path), "a", ".tif", metadata=metadata, imagej=imagej)
    for shape in _SHAPES:
        count = int(np.prod(shape))
        for largest in (1, 200, 60_000, 2**31):
            data = np.linspace(0, largest, count).reshape(shape)
            with np.errstate(invalid="ignore"):
                data = data.astype(dtype)
            assert same(saved(target, data).get_data(), data), (shape, largest)


def test_masks_and_labels_are_images_that_imagej_opens(tmp_path):
    """A mask is 0 and 255, and labels that fit are in 16 bits."""
    target = cpr.ImageTarget(str(tmp_path), "a", ".tif")
    with tifffile.TiffFile(saved(target, image() > 100).get_path()) as tif:
        assert tif.is_imagej
        assert set(np.unique(tif.asarray())) == {0, 255}
    with tifffile.TiffFile(saved(target, image().astype("i8") * 200).get_path()) as tif:
        assert tif.is_imagej
        assert tif.asarray().dtype == "u2"


@pytest.mark.parametrize(
    ("metadata", "resolution", "expected"),
    [
        (None, None, (1, 1)),
        ({"axes": "ZYX"}, None, (1, 1)),
        ({"axes": "ZYX", "unit": "micron"}, [74.5, 80.0], (74.5, 80.0)),
        (None, (74.5, 80.0), (74.5, 80.0)),
    ],
)
def test_files_say_of_an_image_what_cpr_let_them_say(metadata, resolution, expected, tmp_path):
    """Pixels per centimetre along X and Y, 1 by default, and the metadata."""
    target = cpr.ImageTarget(str(tmp_path), "a", ".tif")
    target.set_metadata(metadata)
    target.set_resolution(resolution)
    with tifffile.TiffFile(saved(target, image().reshape(4, 50, 50)).get_path()) as tif:
        tags = tif.pages.first.tags
        found = [tags[f"{axis}Resolution"].value for axis in "XY"]
        assert [a / b for a, b in found] == pytest.approx(expected)
        centimetres = metadata is not None or resolution is not None
        assert tags["ResolutionUnit"].value == (3 if centimetres else 1)
        if metadata and "unit" in metadata:
            assert tif.imagej_metadata["unit"] == "micron"


def test_an_image_source_tells_what_it_was_given():
    """Metadata and resolution are those that were given, and part of what a node is made from."""
    source = dc.ImageSource.from_path("/raw/a.tif", {"axes": "YX"}, [2.0, 2.0])
    assert isinstance(source, dc.Metadata)
    assert source.get_metadata() == {"axes": "YX"}
    assert source.get_resolution() == [2.0, 2.0]
    assert source != dc.ImageSource("/raw/a.tif")


# ---- tables, archives, Zarr --------------------------------------------------------------------------


def test_tables_that_csv_changes(tmp_path):
    """Other values are refused; other dtypes of equal values are said."""
    target = cpr.CSVTarget(str(tmp_path), "a")
    target.set_data(pd.DataFrame({"a": np.float32([0.1, 0.2])}))
    with pytest.raises(FormatLimit):
        target.serialize()
    target.set_data(pd.DataFrame({"a": pd.Categorical(["x", "y"])}))
    with pytest.warns(DaskcacheWarning, match="category"):
        target.serialize()
    indexed = frame().set_index(pd.Index([5, 6, 7], name="id"))
    assert same(saved(target, indexed).get_data(), indexed)
    assert target.get_data().index.name == "id"


def test_images_have_the_interface_of_metadata():
    """`Metadata` is what sources and targets of images have in common."""
    for image_class in (dc.ImageSource, dc.ImageTarget):
        made = image_class.from_path("/raw/a.tif", {"axes": "YX"}, [2.0, 2.0])
        assert isinstance(made, dc.Metadata)
        assert (made.get_metadata(), made.get_resolution()) == ({"axes": "YX"}, [2.0, 2.0])
        made.set_metadata(None)
        made.set_resolution([3.0, 3.0])
        assert (made.metadata, made.resolution) == (None, [3.0, 3.0])


def test_archives_are_sources(tmp_path):
    """An .npz file arrives as a dict of arrays."""
    np.savez(tmp_path / "a.npz", x=array(), y=image())
    data = dc.NumpySource.from_path(tmp_path / "a.npz").get_data()
    assert same(data["x"], array())
    assert same(data["y"], image())


def test_zarr_sources_are_lazy_without_slices(tmp_path, runs):
    """With slices they are arrays; in a node they are arrays in any case, and the slices count."""
    data = np.arange(300).reshape(3, 10, 10)
    zarr.create_group(tmp_path / "z.zarr").create_array("0", data=data)
    whole = cpr.ZarrSource(str(tmp_path), "z", ".zarr")
    cut = dc.ZarrSource.from_path(tmp_path / "z.zarr", "0", [1, None], [2, 5])
    assert isinstance(whole.get_data(), zarr.Array)
    assert np.array_equal(cut.get_data(), data[1:2, :5])

    @dc.delayed(target="{key}.json")
    def total(values):
        runs.note("total")
        return int(values.sum())

    assert total(whole).compute() == data.sum()
    assert total(cut).compute() == data[1:2, :5].sum()
    assert total(cut).compute() == data[1:2, :5].sum()
    assert runs.names().count("total") == 2


# ---- in graphs -------------------------------------------------------------------------------------


def test_a_parameter_of_a_class_of_cpr_gets_the_source_itself(tmp_path):
    """As with the class in `daskcache`; other parameters get its data."""

    @dc.delayed(target="{key}.json")
    def described(picture: cpr.ImageSource, data):
        return [picture.get_name(), list(data.shape)]

    tifffile.imwrite(tmp_path / "a.tif", image())
    source = cpr.ImageSource(str(tmp_path), "a", ".tif")
    assert described(source, source).compute() == ["a", [100, 100]]


def test_targets_at_addresses_pass_through_nodes(tmp_path, runs):
    """As CPR's users wrote them: a target is made, given its data and returned; nothing reruns."""

    @dc.delayed
    def denoise(folder, picture: dc.ImageSource, add):
        runs.note("denoise")
        made = dc.ImageTarget.from_path(f"{folder}/{picture.get_name()}.tif", picture.get_metadata())
        made.set_data(picture.get_data() + np.uint8(add))
        return made

    @dc.delayed(target="mean/{name}.json")
    def mean(found, name):
        runs.note("mean")
        return float(found.get_data().mean())

    tifffile.imwrite(tmp_path / "a.tif", image())
    source = dc.ImageSource.from_path(str(tmp_path / "a.tif"), metadata={"axes": "YX"})

    def graph():
        return mean(denoise(str(tmp_path / "out"), source, 1), "a")

    expected = float((image() + np.uint8(1)).mean())
    assert [graph().compute(), graph().compute()] == [expected, expected]
    assert (runs.names().count("denoise"), runs.names().count("mean")) == (1, 1)
    (path,) = (tmp_path / "out").iterdir()
    found = denoise(str(tmp_path / "out"), source, 1).compute()
    assert found.get_path() == str(path)
    assert found.get_metadata() == {"axes": "YX"}


@pytest.mark.parametrize("mode", ["dask", "cache", "function"])
def test_the_example_of_cpr(mode, tmp_path, runs):
    """Denoise and segment, as in CPR's documentation: only imports and decorators differ."""

    @dc.task
    def list_files(folder):
        found = sorted(os.listdir(folder))
        return [
            dc.ImageSource.from_path(f"{folder}/{name}", {"axes": "YX"}, [7.5, 7.5]) for name in found
        ]

    @dc.task
    def denoise(result_dir, picture: dc.ImageSource, sigma):
        runs.note("denoise")
        output = dc.ImageTarget.from_path(
            path=os.path.join(result_dir, f"{picture.get_name()}.tif"),
            metadata=picture.get_metadata(),
            resolution=picture.get_resolution(),
        )
        output.set_data(picture.get_data() // sigma)
        return output

    @dc.task
    def segment(result_dir: str, denoised: dc.ImageTarget, threshold: float):
        runs.note("segment")
        output = dc.ImageTarget.from_path(
            path=os.path.join(result_dir, f"{denoised.get_name()}.tif"),
            metadata=denoised.get_metadata(),
            resolution=denoised.get_resolution(),
        )
        output.set_data(denoised.get_data() > threshold)
        return output

    @dc.flow(name="Example")
    def measure(raw, results):
        files = list_files.submit(raw).result()
        found = []
        for file in files:
            denoised = denoise.submit(f"{results}/denoised", file, 2)
            found.append(segment.submit(f"{results}/segmented", denoised, 60))
        return [future.result() for future in found]

    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("a", "b"):
        tifffile.imwrite(raw / f"{name}.tif", image())
    for _ in range(2):
        with dask.config.set({"daskcache.mode": mode}):
            found = measure(str(raw), str(tmp_path / "out"))
        if mode == "function":
            for target in found:
                target.serialize()
        for target in found:
            assert same(target.get_data(), image() // 2 > 60)
            assert target.get_resolution() == [7.5, 7.5]
    names = sorted(path.name[:2] for path in (tmp_path / "out/segmented").iterdir())
    assert names == ["a-", "b-"]
    times = 2 if mode == "function" else 1
    assert sorted(runs.names()) == times * 2 * ["denoise"] + times * 2 * ["segment"]


def test_a_target_as_an_argument_counts_by_its_data(tmp_path, runs):
    """Where it lies doesn't matter; other data, or other fields, do."""

    @dc.delayed(target="{found.stem}-{key}.json")
    def mean(found):
        runs.note("mean")
        return float(found.get_data().mean())

    one = saved(cpr.NumpyTarget(str(tmp_path / "one"), "a", ".npy"), array())
    two = saved(cpr.NumpyTarget(str(tmp_path / "two"), "a", ".npy"), array())
    other = saved(cpr.NumpyTarget(str(tmp_path / "one"), "a", ".npy"), array() + 1)
    assert mean(one).dc.key == mean(two).dc.key
    assert mean(one).dc.key != mean(other).dc.key
    dask.compute(mean(one), mean(two), mean(other))
    assert runs.names().count("mean") == 2
    assert mean(one).dc.path.rpartition("/")[2].startswith("a-")


def test_a_nodes_target_has_no_address_of_its_own():
    """Where it lies is up to its template."""
    with pytest.raises(GraphError, match="address of its own"):
        dc.delayed(target=cpr.ImageTarget("out", "a", ".tif"))(image)


def test_a_handle_that_a_function_gets_can_be_read():
    """A parameter annotated with a target class has CPR's interface."""

    @dc.delayed(target="a/{n}.npy")
    def make(n):
        return np.arange(n)

    @dc.delayed(target="b/{n}.json")
    def describe(made: dc.NumpyTarget, n):
        return [made.get_name(), made.ext, int(made.get_data().sum())]

    assert describe(make(5), 5).compute() == ["5", ".npy", 10]
