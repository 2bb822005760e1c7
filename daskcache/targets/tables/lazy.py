"""Opening Parquet files as Dask data frames, for `csv_parquet.ParquetTarget`."""

from __future__ import annotations

import functools
import itertools
import json

import dask

from ...errors import LazyModule
from .parquet_notes import read_parquet, restored

pd = LazyModule("pandas", "table")
pq = LazyModule("pyarrow.parquet", "table")


def open_parquet(path: str):
    """Return a Dask data frame with a partition for each row group of the file.

    Each partition is as `pandas.read_parquet` gives it.  `dask.dataframe.read_parquet` would convert
    texts to Arrow's.  The result is the pandas data frame where Dask can't have such a frame: without
    dask.dataframe, without columns, or with column names that are not texts.
    """
    with pq.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        notes = _notes(file)
        empty = restored(file.schema_arrow.empty_table().to_pandas(), dict(notes))
        index = _range(file.schema_arrow.pandas_metadata)
    try:
        import dask.dataframe as dd
    except ImportError:
        return read_parquet(path)
    if empty.columns.empty or not all(type(name) is str for name in empty.columns):
        return read_parquet(path)
    with dask.config.set({"dataframe.convert-string": False}):
        if len(sizes) < 2:
            return dd.from_map(functools.partial(_read_all, path), [0], meta=empty)
        starts = [0, *itertools.accumulate(sizes[:-1])]
        read = functools.partial(_read_group, path, index)
        return dd.from_map(read, range(len(sizes)), starts, meta=empty)


def _read_all(path, _):
    return read_parquet(path)


def _read_group(path, index, position, start):
    with pq.ParquetFile(path) as file:
        frame = restored(file.read_row_group(position).to_pandas(), _notes(file))
    if index is not None:
        frame.index = index[start : start + len(frame)]
    return frame


def _notes(file):
    """Return the attrs that pandas keeps in a file's metadata."""
    return json.loads((file.schema_arrow.metadata or {}).get(b"PANDAS_ATTRS", b"{}"))


def _range(described):
    """Return the index of the whole file if only its start, stop and step are stored, or None.

    A row group doesn't know its part of such an index.
    """
    first, *_ = (described or {}).get("index_columns") or [None]
    if not isinstance(first, dict):
        return None
    return pd.RangeIndex(first["start"], first["stop"], first["step"], name=first["name"])
