"""The formats that the fault suites go through, a row for each."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import xarray as xr

import daskcache as dc
from daskcache.storage import files
from daskcache.storage.paths import is_table


class Format(NamedTuple):
    """One row."""

    #: Makes the target from a path without suffix.
    target: Callable[[str], dc.Target]
    #: Two values that differ.
    old: Any
    new: Any


def _image(seed):
    return np.random.default_rng(seed).integers(0, 4096, (20, 30), dtype="u2")


def _table(seed):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"label": np.arange(40), "area": rng.random(40), "name": ["cell"] * 40})


def _plain(seed):
    return {"seed": seed, "values": np.random.default_rng(seed).random(50).tolist()}


def _labelled(seed):
    return xr.DataArray(_image(seed), dims=("y", "x"), attrs={"units": "counts"})


def _of_polars(seed):
    return pl.DataFrame(_plain(seed))


def _arrays(seed):
    return {"image": _image(seed), "mean": np.float64(seed) * np.ones(3)}


def _text(seed):
    return f"seed: {seed}\n" + "äöü\n" * 20


def _mask(seed):
    return np.random.default_rng(seed).random((20, 30)) < 0.3


#: Two folders with files of the same names, for formats whose values are paths.
_OLD, _NEW = (Path(__file__).parent / "values" / which for which in ("old", "new"))

FORMATS = {
    "npy": Format(lambda path: dc.NumpyTarget(f"{path}.npy"), _image(1), _image(2)),
    "npz": Format(lambda path: dc.NumpyTarget(f"{path}.npz"), _arrays(13), _arrays(14)),
    "tif": Format(lambda path: dc.ImageTarget(f"{path}.tif"), _image(3), _image(4)),
    "csv": Format(lambda path: dc.CSVTarget(f"{path}.csv"), _table(5), _table(6)),
    "parquet": Format(lambda path: dc.ParquetTarget(f"{path}.parquet"), _table(7), _table(8)),
    "json": Format(lambda path: dc.JSONTarget(f"{path}.json"), _plain(9), _plain(10)),
    "txt": Format(lambda path: dc.TextTarget(f"{path}.txt"), _text(15), _text(16)),
    "pkl": Format(lambda path: dc.PickleTarget(f"{path}.pkl"), _plain(11), _plain(12)),
    # a folder of four chunks and their description
    "zarr": Format(lambda path: dc.ZarrTarget(f"{path}.zarr", (5, 30)), _image(17), _image(18)),
}
#: Further formats, written in the same ways: damaged like the others, but not killed at each step.
OF_THE_FIELD = {
    "tsv": Format(lambda path: dc.CSVTarget(f"{path}.tsv"), _table(21), _table(22)),
    "csv.gz": Format(lambda path: dc.CSVTarget(f"{path}.csv.gz"), _table(23), _table(24)),
    "polars": Format(lambda path: dc.ParquetTarget(f"{path}.parquet"), _of_polars(27), _of_polars(28)),
    "partitioned": Format(
        lambda path: dc.PartitionedParquetTarget(f"{path}.parquet", rows=15), _table(33), _table(34)
    ),
    "h5": Format(lambda path: dc.HDF5Target(f"{path}.h5"), {"a": _image(29)}, {"a": _image(30)}),
    "nc": Format(lambda path: dc.NetCDFTarget(f"{path}.nc"), _labelled(31), _labelled(32)),
    "jsonl": Format(
        lambda path: dc.JSONLinesTarget(f"{path}.jsonl"), [_plain(25)] * 3, [_plain(26)] * 3
    ),
    "png": Format(lambda path: dc.PNGTarget(f"{path}.png"), _mask(21), _mask(22)),
    "file": Format(lambda path: dc.FileTarget(f"{path}.txt"), _OLD / "a.txt", _NEW / "a.txt"),
    "folder": Format(dc.FolderTarget, _OLD, _NEW),
}
#: With tables, whose commits are transactions of a database.
EVERY = {
    **FORMATS,
    "sql": Format(lambda path: dc.SQLTarget(f"{path}.db::t"), _table(19), _table(20)),
}
#: All in files and folders.
IN_FILES = {**FORMATS, **OF_THE_FIELD}
#: Those whose targets are folders.
FOLDERS = ("zarr", "partitioned", "folder")
#: One for each way in which targets are written: as bytes, by the format's own library, as a folder.
KINDS = ("json", "tif", "zarr")


def value_of(name: str, which: str) -> Any:
    """The old or new value of a format."""
    return getattr((EVERY | OF_THE_FIELD)[name], which)


def which_value(name: str, value: Any) -> str:
    """ "old", "new", or a description of what is neither."""
    found = _content(value)
    for which in ("old", "new"):
        if found == _content(value_of(name, which)):
            return which
    return f"neither: {value!r}"[:200]


def _content(value):
    """What two paths of equal files, or folders, have in common; the hash of any other value."""
    if not isinstance(value, Path):
        return dc.hashing.hash_value(value)
    try:
        return files_of(str(value))
    except OSError as error:
        raise files.storage_error(error, str(value)) from error


def files_of(path: str) -> dict[str, bytes]:
    """Content of each file of a target, by its name from the folder; of a file or table, by ""."""
    if is_table(path):
        return {"": files.file_hash(path).encode()}
    if os.path.isfile(path):
        return {"": Path(path).read_bytes()}
    return {name: Path(path, name).read_bytes() for name in files.files_below(path)}
