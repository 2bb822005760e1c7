"""Files that daskcache writes, opened by the programs of this field: they find the same values."""

from __future__ import annotations

import subprocess
from pathlib import Path

import bioio
import bioio_ome_tiff
import bioio_ome_zarr
import duckdb
import h5py
import imageio.v3
import netCDF4
import numpy as np
import ome_zarr.io
import ome_zarr.reader
import pandas as pd
import polars
import pyarrow.parquet
import pytest
import skimage.io
import tifffile
import xarray

import daskcache as dc

_ROWS = np.add.outer(np.arange(70), np.arange(50) * 3)
IMAGES = {
    "uint8": _ROWS.astype("uint8"),
    "uint16": (_ROWS * 257).astype("uint16"),
    "noise": np.random.default_rng(0).integers(0, 2**16, (70, 50), "uint16"),
    "float32": (_ROWS / 7).astype("float32"),
    "mask": _ROWS % 5 == 0,
    "labels": _ROWS // 9,
    "stack": np.stack([_ROWS * n for n in range(5)]).astype("uint16"),
    "large": np.tile(np.arange(2**9, dtype="uint16"), (2**9, 2)),
}
FORMATS = {
    "default": ("tif", {}),
    "uncompressed": ("tif", {"compression": None}),
    "imagej": ("tif", {"format": "imagej"}),
    "ome": ("ome.tif", {}),
}


def written(folder, name, kind):
    """Write an image with pixel sizes; return its path."""
    suffix, options = FORMATS[kind]
    axes = "ZYX" if name == "stack" else "YX"
    path = f"{folder}/{name}-{kind}.{suffix}"
    dc.ImageTarget(path, axes=axes, pixel_size=0.25, **options).write(IMAGES[name], path)
    return path


def shown(name):
    """Pixels as viewers show them: masks are black and white."""
    image = IMAGES[name]
    return image * 255 if image.dtype == bool else image


@pytest.fixture(scope="module")
def in_imagej(tmp_path_factory):
    """All images as ImageJ reads them: number of planes, pixel size, unit, and pixels."""
    folder = tmp_path_factory.mktemp("imagej")
    paths = {(name, kind): written(folder, name, kind) for name in IMAGES for kind in FORMATS}
    program = Path(__file__).with_name("ReadImages.java")
    java = ["java", "-Djava.awt.headless=true", "-cp", "/usr/share/java/ij.jar", program]
    done = subprocess.run([*java, *paths.values()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = dict(_found(line) for line in done.stdout.splitlines())
    return {which: (*told[path], np.fromfile(f"{path}.floats", ">f4")) for which, path in paths.items()}


def _found(line):
    path, channels, slices, frames, size, unit = line.split("\t")
    return path, (int(channels) * int(slices) * int(frames), float(size), unit)


@pytest.mark.needs("imagej")
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", IMAGES)
def test_imagej(in_imagej, name, kind):
    """Debian's ImageJ, which is of 2022, shows the pixels, the stack and the scale."""
    planes, size, unit, pixels = in_imagej[name, kind]
    assert np.array_equal(pixels, shown(name).astype("float32").reshape(-1))
    assert planes == (5 if name == "stack" else 1)
    if kind != "ome":  # stock ImageJ does not read OME-XML
        assert size == pytest.approx(0.25)
        assert unit in ("µm", "micron", "um")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", IMAGES)
def test_python_readers(tmp_path, name, kind):
    """tifffile, imageio, scikit-image and bioio read the pixels; bioio the size of OME's."""
    path = written(tmp_path, name, kind)
    for read in (tifffile.imread, imageio.v3.imread, skimage.io.imread):
        assert np.array_equal(read(path), shown(name))
    if kind == "ome":
        image = bioio.BioImage(path, reader=bioio_ome_tiff.Reader)
        assert np.array_equal(image.data.squeeze(), shown(name))
        assert pytest.approx(0.25) == image.physical_pixel_sizes.X


def test_readers_of_ome_zarr(tmp_path):
    """ome-zarr and bioio read pixels and scale of an OME-Zarr, xarray pixels and axes."""
    path = str(tmp_path / "stack.ome.zarr")
    dc.OMEZarrTarget(path, axes="zyx", scale={"z": 1.0, "y": 0.25, "x": 0.25}).write(
        IMAGES["stack"], path
    )
    (node, *_) = ome_zarr.reader.Reader(ome_zarr.io.parse_url(path))()
    assert np.array_equal(np.asarray(node.data[0]), IMAGES["stack"])
    assert [axis["name"] for axis in node.metadata["axes"]] == ["z", "y", "x"]
    image = bioio.BioImage(path, reader=bioio_ome_zarr.Reader)
    assert np.array_equal(image.data.squeeze(), IMAGES["stack"])
    assert image.physical_pixel_sizes == pytest.approx((1.0, 0.25, 0.25))
    array = xarray.open_zarr(path, consolidated=False)["0"]
    assert array.dims == ("z", "y", "x")
    assert np.array_equal(array, IMAGES["stack"])


TABLE = pd.DataFrame(
    {
        "cell": [1, 2, 3],
        "area": [1.5, float("nan"), 2.5],
        "name": ["a", "Ä,b", 'c"'],
        "is_alive": [True, False, True],
        "seen": pd.to_datetime(["2026-01-01 00:00", "2026-01-02 03:04", "2026-01-03 00:00"]),
    }
)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "parquet"])
def test_tables(tmp_path, suffix):
    """pandas, pyarrow, polars and duckdb read the same rows."""
    path = str(tmp_path / f"table.{suffix}")
    if suffix == "parquet":
        dc.ParquetTarget(path).write(TABLE, path)
        frames = {
            "polars": polars.read_parquet(path).to_pandas(),
            "pyarrow": pyarrow.parquet.read_table(path).to_pandas(),
        }
    else:
        separator = "\t" if suffix == "tsv" else ","
        dc.CSVTarget(path, dtype={"seen": "datetime64[us]"}).write(TABLE, path)
        frames = {
            "polars": polars.read_csv(path, separator=separator).to_pandas(),
            "pandas": pd.read_csv(path, sep=separator),
        }
    read = "read_parquet" if suffix == "parquet" else "read_csv"
    frames["duckdb"] = duckdb.sql(f"SELECT * FROM {read}('{path}')").df()
    for name, frame in frames.items():
        assert list(frame.columns) == list(TABLE.columns), name
        for column in ("cell", "area", "is_alive"):
            np.testing.assert_array_equal(frame[column].to_numpy(float), TABLE[column].to_numpy(float))
        assert list(frame["name"]) == list(TABLE["name"]), name
        assert list(pd.to_datetime(frame["seen"], format="ISO8601")) == list(TABLE["seen"]), name


def test_json_lines(tmp_path):
    """pandas, polars and duckdb read dicts as the rows of a table."""
    path, rows = str(tmp_path / "cells.jsonl"), [{"cell": 1, "name": "Ä"}, {"cell": 2, "name": "b\n"}]
    dc.JSONLinesTarget(path).write(rows, path)
    assert pd.read_json(path, lines=True).to_dict("records") == rows
    assert polars.read_ndjson(path).to_dicts() == rows
    assert duckdb.sql(f"SELECT * FROM read_json('{path}')").df().to_dict("records") == rows


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_of_polars(tmp_path, suffix):
    """pandas, pyarrow and duckdb read the rows of a frame of polars."""
    path = str(tmp_path / f"table.{suffix}")
    frame = polars.from_pandas(TABLE.drop(columns="seen"))
    if suffix == "csv":
        dc.CSVTarget(path, frame="polars").write(frame, path)
        frames = [pd.read_csv(path), duckdb.sql(f"SELECT * FROM read_csv('{path}')").df()]
    else:
        dc.ParquetTarget(path).write(frame, path)
        frames = [
            pd.read_parquet(path),
            pyarrow.parquet.read_table(path).to_pandas(),
            duckdb.sql(f"SELECT * FROM read_parquet('{path}')").df(),
        ]
    for got in frames:
        assert polars.from_pandas(got).equals(frame)


def test_netcdf(tmp_path):
    """Unidata's library, xarray and h5py read values, labels and units."""
    path = str(tmp_path / "image.nc")
    labels = {"c": ["DAPI", "GFP"], "x": [0.0, 0.5, 1.0]}
    image = xarray.DataArray(
        np.arange(6, dtype="u2").reshape(2, 3), labels, name="image", attrs={"units": "counts", "n": 3}
    )
    dc.NetCDFTarget(path).write(image, path)
    with netCDF4.Dataset(path) as file:
        assert np.array_equal(file["image"][:], image)
        assert (file["image"].units, file["image"].n) == ("counts", 3)
        assert list(file["c"][:]) == labels["c"]
    with h5py.File(path) as file:
        assert np.array_equal(file["image"], image)
    got = xarray.open_dataset(path)["image"]
    assert got.sel(c="GFP", x=0.5).item() == 4
    assert got.attrs["units"] == "counts"


def test_hdf5(tmp_path):
    """h5py and Unidata's library read arrays, groups and texts."""
    path = str(tmp_path / "cells.h5")
    cells = {"area": np.array([1.5, 2.5]), "box": {"x": np.arange(3)}, "name": np.array(["a", "é"])}
    dc.HDF5Target(path).write(cells, path)
    with h5py.File(path) as file:
        assert np.array_equal(file["box/x"], cells["box"]["x"])
        assert list(file["name"].asstr()) == ["a", "é"]
    with netCDF4.Dataset(path) as file:
        assert np.array_equal(file["area"][:], cells["area"])
        assert list(file["name"][:]) == ["a", "é"]
