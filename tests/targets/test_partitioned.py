"""Partitioned Parquet: folders that Dask and others read, written partition by partition."""

from __future__ import annotations

import os

import dask
import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

import daskcache as dc
from daskcache.errors import FormatLimit, GraphError, SourceChanged, SourceMissing, SourceUnreadable
from daskcache.hashing.encoder import hash_value, tag
from daskcache.testing import TargetContract

FRAME = pd.DataFrame(
    {
        "n": np.arange(5, dtype="u1"),
        "name": ["x", None, "é", "x", "y"],
        "kind": pd.Categorical(list("xyzxy"), categories=list("zyxw")),
        "seen": np.arange(5).astype("M8[s]"),
    }
)
FRAME.attrs["plate"] = 1


class TestPartitionedParquet(TargetContract):
    target = dc.PartitionedParquetTarget("a.parquet", rows=2)
    values = [
        FRAME,
        FRAME[:2],
        FRAME.drop(columns="kind")[:0],
        FRAME.set_index("name"),
        FRAME.assign(n=1),
        pd.DataFrame({"n": [1, 2, 3]}, index=pd.date_range("2024-01-01", periods=3)),
    ]
    refused = [
        [1],
        pd.Series([1]),
        pd.DataFrame({"mixed": [1, "a"]}),
        pd.DataFrame({"n": [1]}).set_flags(allows_duplicate_labels=False),
        pd.DataFrame(),
    ]


def dask_frame():
    return dd.from_pandas(FRAME.drop(columns="kind"), npartitions=3)


def test_a_frame_of_dask_is_written_by_partition(root):
    """Each partition is a file; cold and warm give the frame that `compute` gives."""
    expected = dask_frame().compute()
    node = dc.delayed(dask_frame, target=dc.PartitionedParquetTarget("a.parquet"))()
    for got in (node.compute(), node.compute()):
        pd.testing.assert_frame_equal(got, expected)
    assert node.dc.record["data_hash"] == tag(hash_value(expected))
    assert len(os.listdir(node.dc.path)) == dask_frame().npartitions
    assert node.dc.open().npartitions == dask_frame().npartitions
    assert dc.delayed(len)(node).compute() == 5


def test_partitions_that_differ(root):
    """Partitions with other categories would make another dtype of the column, which is named."""

    def frame():
        return dd.from_map(part, ["a", "b"], meta=part("a").iloc[:0])

    def part(kind):
        return pd.DataFrame({"kind": pd.Categorical([kind])})

    with pytest.raises(FormatLimit, match="'kind'") as caught:
        dc.delayed(frame, target=dc.PartitionedParquetTarget("a.parquet"))().compute()
    assert "categorize" in caught.value.hint
    assert not (root / "a.parquet").exists()


def test_others_read_the_folder(tmp_path):
    """dask.dataframe, DuckDB, PyArrow and pandas read the folder as one table."""
    path = str(tmp_path / "a.parquet")
    frame = FRAME.drop(columns="kind")
    dc.PartitionedParquetTarget(path, rows=2).write(frame, path)
    for got in (
        dd.read_parquet(path).compute(),
        duckdb.sql(f"SELECT * FROM read_parquet('{path}/*.parquet')").df(),
        pyarrow.parquet.read_table(path).to_pandas(),
        pd.read_parquet(path),
    ):
        assert got["n"].tolist() == [0, 1, 2, 3, 4]
        assert got["name"].isna().tolist() == frame["name"].isna().tolist()


def test_a_folder_of_dask_is_a_source(tmp_path, root, runs):
    """It arrives as pandas' frame, and an edited, added or removed file counts."""
    path = tmp_path / "in.parquet"
    dask_frame().to_parquet(path)

    def total(frame):
        runs.note("total")
        return int(frame["n"].sum())

    def computed():
        return dc.delayed(total, target="total.json")(dc.PartitionedParquetSource(path)).compute()

    assert (computed(), computed(), runs.take()) == (10, 10, ["total"])
    pd.DataFrame({"n": [100]}).to_parquet(path / "part.9.parquet")
    assert (computed(), runs.take()) == (110, ["total"])
    (path / "part.9.parquet").unlink()
    assert computed() == 10


def test_a_source_that_changes_while_the_graph_runs(tmp_path):
    """A file that changed since it was hashed is not read."""
    dask_frame().to_parquet(tmp_path / "in.parquet")
    source = dc.PartitionedParquetSource(tmp_path / "in.parquet")
    expected = source.content_hash()
    source.verify(expected)
    (tmp_path / "in.parquet" / "part.0.parquet").write_bytes(b"PAR1")
    for use in (source.verify, source.load_verified):
        with pytest.raises(SourceChanged):
            use(expected)
    with pytest.raises(SourceUnreadable, match=r"in\.parquet"):
        source.get_data()


def test_folders_that_are_no_table(tmp_path):
    """A missing or empty folder, and one whose folders' names hold a column, is an error."""
    with pytest.raises(SourceMissing):
        dc.PartitionedParquetSource(tmp_path / "gone.parquet").get_data()
    (tmp_path / "empty.parquet").mkdir()
    with pytest.raises(SourceUnreadable, match="not one table"):
        dc.PartitionedParquetSource(tmp_path / "empty.parquet").get_data()
    dask_frame().to_parquet(tmp_path / "hive.parquet", partition_on="n")
    with pytest.raises(SourceUnreadable) as caught:
        dc.PartitionedParquetSource(tmp_path / "hive.parquet").get_data()
    assert "hold a column" in caught.value.got


def test_rows():
    """The number of rows is checked where it is written, and does not count for the key."""
    for rows in (0, 1.5, "2"):
        with pytest.raises(GraphError, match="rows="):
            dc.PartitionedParquetTarget("a.parquet", rows=rows)
    keys = {
        dc.delayed(dask_frame, target=dc.PartitionedParquetTarget("a.parquet", rows=n))().dc.key
        for n in (1, 2)
    }
    assert len(keys) == 1


def test_the_partitions_are_computed_one_by_one(root):
    """A partition is made when it is to be written, so no two need be in memory together."""
    made = []

    def part(number):
        made.append(number)
        return pd.DataFrame({"n": [number]})

    def frame():
        return dd.from_map(part, range(4), meta=pd.DataFrame({"n": [0]}).iloc[:0])

    pieces = iter(dc.PartitionedParquetTarget("a.parquet")._pieces(frame()))
    with dask.config.set(scheduler="sync"):
        assert next(pieces)["n"].tolist() == [0]
        assert made == [0]
        assert len(list(pieces)) == 3
