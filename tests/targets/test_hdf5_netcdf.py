"""HDF5 and NetCDF: what comes back, what is refused by name, and what sources read."""

from __future__ import annotations

import datetime
from collections import OrderedDict

import dask
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import daskcache as dc
from daskcache.errors import FormatLimit, SourceUnreadable
from daskcache.hashing.encoder import hash_value
from daskcache.testing import TargetContract


class TestHDF5(TargetContract):
    target = dc.HDF5Target("a.h5")
    values = [
        {"z": np.arange(6, dtype="u2").reshape(2, 3), "a": np.array(1.5), "é": np.ones(2, "?")},
        {"z": np.arange(6, dtype="u4").reshape(2, 3), "a": np.array(1.5), "é": np.ones(2, "?")},
        {"a": np.array(1.5), "z": np.arange(6, dtype="u4").reshape(2, 3), "é": np.ones(2, "?")},
        {"mean": np.float64(1.5), "big": np.array([1, 2], ">i4"), "half": np.zeros((0, 3), "f2")},
        {"mean": np.array(1.5), "big": np.array([1, 2], ">i4"), "half": np.zeros((0, 3), "f2")},
        {
            "names": np.array([["DAPI", ""], ["é", "x"]]),
            "raw": np.array([b"ab", b"c"]),
            "none": np.zeros(0, "U3"),
        },
        {"c": np.array([1 + 2j]), "rows": np.array([(1, 2.5)], [("n", "i4"), ("size", "f4")])},
        {f"i{n}": np.array([n]) for n in range(40)} | {"deep": {"b": {"c": np.ones(1)}, "a": {}}},
        {},
    ]
    refused = [
        np.zeros(3),
        {"a": [1, 2]},
        {"a": 1.5},
        {"a": {"b": [1]}},
        {"a": np.array([None])},
        {"a": np.array(["2024-01-01"], "M8[D]")},
        {"a": np.ma.masked_array([1, 2], [0, 1])},
        {"a": np.array([("x", 1)], [("name", "U3"), ("n", "i4")])},
        {1: np.zeros(3)},
        {"": np.zeros(3)},
        {".": np.zeros(3)},
        {"a/b": np.zeros(3)},
        {"a\0b": np.zeros(3)},
        OrderedDict(a=np.zeros(3)),
        {"a": np.array(["x\0y"])},
    ]

    def loaded(self, opened, value):
        with opened:
            return value if {*opened} == {*value} else {*opened}


CHANNELS = {"c": ["DAPI", "GFP"], "t": pd.date_range("2024-01-01", periods=3, unit="s")}
IMAGE = xr.DataArray(
    np.arange(6, dtype="u2").reshape(2, 3),
    CHANNELS,
    ("c", "t"),
    "image",
    {
        "units": "counts",
        "n": 3,
        "gain": 0.1,
        "on": True,
        "pair": (1, 2),
        "none": None,
        "k": np.float32(0.1),
    },
)
WELLS = xr.Dataset(
    {
        "image": IMAGE,
        "mask": (("y", "x"), np.eye(2, dtype="?"), {"long_name": "Maske für é"}),
        "mean": ((), 1.5),
        "took": (
            "t",
            np.array([1, 2, 3], "m8[s]"),
            {"list": [1, 2], "mixed": [1, "a"], "nested": {"a": [1.5]}},
        ),
        "big": ("x", np.array([1, 2], ">i4")),
        "empty": ("none", np.zeros(0, "f4")),
        "nan": ("x", [np.nan, -0.0]),
    },
    {"label": ("y", ["ab", "c"], {"units": "1"})},
    {"title": "plate 1", "when": datetime.date(2024, 2, 29), "levels": np.array([1, 2], "i2")},
)


class TestNetCDF(TargetContract):
    target = dc.NetCDFTarget("a.nc")
    values = [
        WELLS,
        WELLS.assign_attrs(title="plate 2"),
        WELLS.drop_vars("mean"),
        WELLS[["mean", "image"]],
        WELLS[["image", "mean"]],
        IMAGE,
        IMAGE.assign_attrs(units="µm"),
        IMAGE.rename(None),
        IMAGE.assign_attrs(n=3.0),
        IMAGE.assign_attrs(n=np.int64(3)),
        IMAGE["t"],
        IMAGE[0, 0],
        IMAGE.assign_attrs({f"a{n:02d}": str(n) for n in range(30)}),
        xr.Dataset(),
        xr.DataArray(np.array([1 + 2j]), dims="x"),
    ]
    refused = [
        np.zeros(3),
        {"a": np.zeros(3)},
        IMAGE.rename(("a", 1)),
        IMAGE.chunk(),
        IMAGE.astype(object),
        IMAGE.stack(ct=("c", "t")),
        IMAGE.drop_indexes("c"),
        IMAGE.assign_attrs(what=object()),
        IMAGE.assign_attrs(text="a\0b"),
        xr.Dataset({"names": ("x", np.array(["a", None], object))}),
        xr.Dataset({"a/b": ("x", [1])}),
        xr.Dataset(attrs={"daskcache": "{}"}),
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"box": {"x": [1]}}, "'/box/x'"),
        ({"box": {"when": np.array(["2024-01-01"], "M8[D]")}}, "'/box/when'"),
        ({"name": np.array(["x\0y"])}, "'/name'"),
    ],
)
def test_hdf5_names_the_item(value, words):
    """What HDF5 can't hold is named by its path in the file, with a remedy."""
    with pytest.raises(FormatLimit, match=words) as caught:
        dc.HDF5Target("a.h5").encode_checked(value)
    assert ".pkl" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (xr.Dataset({"ok": ("x", [1]), "names": ("x", np.array(["a"], object))}), "'names'"),
        (xr.Dataset({"ok": ("x", [1], {"v": np.array([1])})}), "attributes of the variable 'ok'"),
        (IMAGE.drop_indexes("c"), "indexes"),
        (xr.Dataset({"a": ("x", da.zeros(3))}), "not computed"),
    ],
)
def test_netcdf_names_the_variable(value, words):
    """What NetCDF would change is named, with a remedy."""
    with pytest.raises(FormatLimit, match=words) as caught:
        dc.NetCDFTarget("a.nc").encode_checked(value)
    assert caught.value.hint


def test_packed_variables_are_not_packed_again(tmp_path):
    """A scale of the file that data came from would round other values."""
    packed = {"a": {"dtype": "i2", "scale_factor": 0.1, "_FillValue": -1}}
    xr.Dataset({"a": ("x", [0.1, 0.2])}).to_netcdf(
        tmp_path / "raw.nc", engine="h5netcdf", encoding=packed
    )
    value = xr.load_dataset(tmp_path / "raw.nc", engine="h5netcdf") + 0.01
    value["a"].encoding = packed["a"]
    target = dc.NetCDFTarget(str(tmp_path / "a.nc"))
    target.write(value, target.path)
    np.testing.assert_array_equal(target.read(target.path)["a"], value["a"])


def test_an_edit_of_another_program_counts(tmp_path):
    """An attribute that was changed in the file is read from the file, not from the note."""
    target = dc.NetCDFTarget(str(tmp_path / "a.nc"))
    target.write(IMAGE, target.path)
    with h5py.File(target.path, "a") as file:
        file["image"].attrs["n"] = 4
        file["image"].attrs["units"] = "electrons"
        del file["image"].attrs["pair"]
    got = target.read(target.path).attrs
    assert (got["n"], got["units"], got["on"]) == (4, "electrons", True)
    assert "pair" not in got
    xr.Dataset({"a": ("x", [1])}).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    assert type(target.read(str(tmp_path / "b.nc"))) is xr.Dataset


def test_a_unit_that_changes_makes_the_next_node_run(root, runs):
    """Attributes are data: what follows reruns after an edit of a unit alone."""

    def image(units):
        return IMAGE.assign_attrs(units=units)

    def unit(given):
        runs.note("unit")
        return given.attrs["units"]

    for units, ran in (("counts", ["unit"]), ("counts", []), ("electrons", ["unit"])):
        made = dc.delayed(image, target="a.nc")(units)
        assert dc.delayed(unit, target="b.json")(made).compute() == units
        assert runs.take() == ran


def test_both_open_lazily(root):
    """`open` loads nothing before it is used."""
    node = dc.delayed(lambda: {"a": np.arange(5)}, target="a.h5", version=1)()
    node.compute()
    with node.dc.open() as file:
        assert type(file["a"]) is h5py.Dataset
        assert file["a"][2] == 2
    node = dc.delayed(lambda: WELLS, target="a.nc", version=1)()
    node.compute()
    opened = node.dc.open()
    assert not opened["mask"].variable._in_memory
    assert opened["image"].attrs == IMAGE.attrs
    assert hash_value(opened) == hash_value(WELLS)


def test_hdf5_sources(tmp_path):
    """Groups are dicts, texts and numbers without axes are Python's and NumPy's, order is the file's."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["image"] = np.arange(6, dtype=">u2").reshape(2, 3)
        file["meta/name"] = "é"
        file["meta/names"] = ["a", "b"]
        file["meta/n"] = 3
        file["same"] = h5py.SoftLink("/meta/n")
    got = dc.Source.from_path(path).get_data()
    assert got["image"].dtype == ">u2"
    assert got["meta"] == {"n": 3, "name": "é", "names": got["meta"]["names"]}
    assert list(got["meta"]["names"]) == ["a", "b"]
    assert got["same"] == 3
    assert dc.delayed(lambda given: given["image"].sum())(dc.HDF5Source(path)).compute() == 15


def _external_link(file, folder):
    file["a"] = h5py.ExternalLink("b.h5", "/a")


def _virtual(file, folder):
    layout = h5py.VirtualLayout((3,), "i8")
    layout[:] = h5py.VirtualSource(str(folder / "b.h5"), "a", (3,))
    file.create_virtual_dataset("a", layout)


def _external_data(file, folder):
    file.create_dataset("a", (3,), "i8", external=[(str(folder / "b.raw"), 0, 24)])


def _circle(file, folder):
    file.create_group("a")["b"] = file["/"]


def _references(file, folder):
    file["a"] = np.array([file.ref], h5py.ref_dtype)


@pytest.mark.parametrize("fill", [_external_link, _virtual, _external_data, _circle, _references])
def test_files_that_are_not_whole(tmp_path, fill):
    """A file that shows itself, or data of other files, whose edits would not count, is refused."""
    with h5py.File(tmp_path / "b.h5", "w") as other:
        other["a"] = [1, 2, 3]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        fill(file, tmp_path)
    with pytest.raises(SourceUnreadable, match="'/a"):
        dc.HDF5Source(tmp_path / "a.h5").get_data()
    if fill is not _references:
        (tmp_path / "a.h5").rename(tmp_path / "a.nc")
        with pytest.raises(SourceUnreadable, match="'/a"):
            dc.NetCDFSource(tmp_path / "a.nc").get_data()


def test_netcdf_sources(tmp_path):
    """NetCDF 3 and 4 arrive as datasets; options are xarray's, and count."""
    dataset = xr.Dataset({"a": ("t", [1.0, 2.0])}, {"t": pd.date_range("2024-01-01", periods=2)})
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    dataset.to_netcdf(tmp_path / "b.nc", engine="scipy")
    dataset.to_netcdf(tmp_path / "c.nc", engine="h5netcdf", group="plate")
    for name in ("a.nc", "b.nc"):
        xr.testing.assert_identical(dc.Source.from_path(tmp_path / name).get_data(), dataset)
    plain, raw = (dc.NetCDFSource(tmp_path / "a.nc", **o) for o in ({}, {"decode_times": False}))
    assert raw.get_data()["t"].dtype.kind in "if"
    assert raw.identity() != plain.identity()
    group = dc.NetCDFSource(tmp_path / "c.nc", group="plate").get_data()
    xr.testing.assert_identical(group, dataset)


@pytest.mark.parametrize("name", ["a.h5", "a.nc"])
def test_damaged_and_large_sources(tmp_path, name):
    """A file that is cut short, or of another kind, is unreadable; one beyond the limit is refused."""
    path, cls = tmp_path / name, dc.HDF5Source if name == "a.h5" else dc.NetCDFSource
    if name == "a.h5":
        with h5py.File(path, "w") as file:
            file["a"] = np.zeros(10**6)
    else:
        xr.Dataset({"a": ("x", np.zeros(10**6))}).to_netcdf(path, engine="h5netcdf")
    with (
        dask.config.set({"daskcache.max-decoded": "1 MB"}),
        pytest.raises(FormatLimit, match="too large"),
    ):
        cls(path).get_data()
    whole = path.read_bytes()
    for content in (whole[:-1000], b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(SourceUnreadable, match=name):
            cls(path).get_data()
