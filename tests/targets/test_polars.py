"""Data frames of polars in CSV and Parquet: what comes back, and what decides that it is polars'."""

from __future__ import annotations

import datetime
import decimal
import subprocess
import sys
from typing import TYPE_CHECKING

import pandas as pd
import polars
import polars as pl
import pytest

import daskcache as dc
from daskcache.errors import FormatLimit, GraphError, UnhashableArgument
from daskcache.hashing.encoder import hash_value
from daskcache.targets.forms import form_of
from daskcache.testing import TargetContract

if TYPE_CHECKING:
    from polars import DataFrame as CheckedFrame

CELLS = pl.DataFrame({"cell": [1, 2, None], "area": [1.5, None, 2.0], "name": ["a", "", None]})
#: Dtypes that CSV can write, all of which a record keeps.
FLAT = pl.DataFrame(
    {
        "well": ["007", "1.0", None],
        "n": pl.Series([1, None, 255], dtype=pl.UInt8),
        "score": pl.Series([0.1, None, float("nan")], dtype=pl.Float32),
        "alive": [True, None, False],
        "kind": pl.Series(["b", "a", None], dtype=pl.Categorical),
        "phase": pl.Series(["G1", "M", None], dtype=pl.Enum(["M", "G1"])),
        "day": [datetime.date(2024, 2, 29), None, datetime.date(1700, 1, 1)],
        "at": [datetime.time(1, 2, 3, 4), None, datetime.time(0)],
        "seen": pl.Series([datetime.datetime(2024, 2, 29, 1, 2, 3, 4)] * 3, dtype=pl.Datetime("ns")),
        "zoned": pl.Series([datetime.datetime(2024, 10, 27, 2, 30)] * 3).dt.replace_time_zone(
            "Europe/Berlin", ambiguous="latest"
        ),
        "price": pl.Series([decimal.Decimal("1.10"), None, decimal.Decimal(2)], dtype=pl.Decimal(10, 2)),
        "none": [None, None, None],
    }
)
NESTED = FLAT.with_columns(
    points=pl.Series([[1, 2], [], None]),
    corner=pl.Series([[1, 2], [3, 4], None], dtype=pl.Array(pl.Int8, 2)),
    box=pl.Series([{"x": 1, "kind": "a"}] * 3),
    took=pl.Series([datetime.timedelta(seconds=1), None, None]),
    raw=pl.Series([b"\0", b"", None]),
)


class TestPolarsCSV(TargetContract):
    target = dc.CSVTarget("a.csv", dtype={"id": pl.String, "day": pl.Date}, frame="polars")
    values = [
        pl.DataFrame({"id": ["7", "08"], "day": [datetime.date(2024, 2, 29), None], "area": [1.5, 2.0]}),
        pl.DataFrame({"id": ["7", "8"], "day": [datetime.date(2024, 2, 29), None], "area": [1.5, 2.0]}),
        pl.DataFrame({"id": ["", None], "day": pl.Series([None, None], dtype=pl.Date), "n": [1, 2]}),
    ]
    refused = [
        [1],
        pd.DataFrame({"id": ["7"]}),
        pl.DataFrame({"a": [1]}),
        values[0].lazy(),
        values[0]["id"],
        values[0].with_columns(points=pl.Series([[1], [2]])),
        values[0].with_columns(took=datetime.timedelta(1)),
    ]


class TestPolarsTSV(TargetContract):
    target = dc.CSVTarget("a.tsv.gz", frame="polars")
    values = [CELLS, CELLS[:2], CELLS.select("name"), pl.DataFrame()]
    refused = [pd.DataFrame({"a": [1]})]


class TestPolarsParquet(TargetContract):
    target = dc.ParquetTarget("a.parquet")
    values = [NESTED, NESTED[:0], CELLS, CELLS.to_pandas(), NESTED[1:]]
    refused = [NESTED.lazy(), NESTED["n"], [1], pl.DataFrame({"a": [2**100]}, {"a": pl.Int128})]

    def loaded(self, opened, value):
        return opened.collect() if isinstance(opened, pl.LazyFrame) else super().loaded(opened, value)


class TestPolarsParquetInPieces(TestPolarsParquet):
    target = dc.ParquetTarget("a.parquet", row_group_size=2, frame="polars")
    values = [NESTED, CELLS]
    refused = [CELLS.to_pandas()]


def twice(function, target):
    """The values of a first run and of one that reads the file."""
    node = dc.delayed(function, target=target, version=1)
    return node().compute(), node().compute()


def annotated() -> pl.DataFrame:
    return FLAT


def bare():
    return FLAT.drop("well", "score")


@pytest.mark.parametrize("target", ["a.csv", "a.tsv", "a.csv.gz", "a.parquet"])
@pytest.mark.parametrize("function", [annotated, bare])
def test_a_node_gives_polars(root, function, target):
    """Cold and warm agree with the function on type, dtypes and values, with and without annotation."""
    for value in twice(function, target):
        assert type(value) is pl.DataFrame
        assert value.schema == function().schema
        assert hash_value(value) == hash_value(function())


@pytest.mark.parametrize("target", ["a.csv", "a.parquet"])
def test_frames_without_rows(root, target):
    """The dtypes of an empty frame come back; CSV has them from the record."""
    for value in twice(lambda: FLAT[:0], target):
        assert value.schema == FLAT.schema


def test_a_default_target():
    """A function annotated with polars' DataFrame has Parquet files without a target."""
    assert dc.delayed(annotated)().dc.path.endswith(".parquet")


def named_by_text() -> "pl.DataFrame":  # noqa: UP037 (with and without quotes)
    return CELLS


def of_checkers() -> CheckedFrame:
    return CELLS


def of_pandas() -> pd.DataFrame:
    return CELLS.to_pandas()


def of_module() -> polars.DataFrame:
    return CELLS


def of_series() -> pl.Series:
    return CELLS["cell"]


@pytest.mark.parametrize(
    ("function", "frame"),
    [
        (named_by_text, "polars"),
        (of_module, "polars"),
        (of_checkers, None),
        (of_pandas, None),
        (of_series, None),
        (bare, None),
    ],
)
def test_the_annotation_decides(function, frame):
    """The target of a function that is annotated with polars' DataFrame reads files with polars."""
    (target,) = dc.delayed(function, target="a.csv")._spec.formats
    assert target.frame == frame


def test_an_evaluated_annotation():
    """Modules without deferred annotations have the class itself in them."""

    def function():
        return CELLS

    function.__annotations__["return"] = pl.DataFrame
    assert dc.delayed(function, target="a.parquet")._spec.formats[0].frame == "polars"


def test_an_annotation_that_is_not_true(root):
    """A frame of pandas from a function annotated with polars is refused."""

    def wrong() -> pl.DataFrame:
        return CELLS.to_pandas()

    for target in ("a.csv", "a.parquet"):
        with pytest.raises(FormatLimit, match="frame of pandas") as caught:
            dc.delayed(wrong, target=target)().compute()
        assert "from_pandas" in caught.value.hint


def test_what_csv_would_change_names_the_column_and_the_annotation(root):
    """Without annotation, pandas reads the text, and what it would change is refused."""

    def wells():
        return FLAT.select("well", "n")

    with pytest.raises(FormatLimit, match="'well'") as caught:
        dc.delayed(wells, target="a.csv")().compute()
    assert "-> polars.DataFrame" in caught.value.hint
    with pytest.raises(FormatLimit, match="'took'") as caught:
        dc.CSVTarget("a.csv").encode_checked(NESTED.select("took"))
    assert ".parquet" in caught.value.hint


def test_a_table_saved_again_by_another_program(root):
    """An adopted file that pandas wrote comes back as the function's frame, in its dtypes."""
    for target in ("a.parquet", "a.csv"):
        node = dc.delayed(bare, target=target, version=1)()
        node.compute()
        corrected = bare().to_pandas()
        corrected["n"] = [4.0, None, 5.0]
        corrected = corrected.astype({"price": float, "kind": str, "phase": str, "at": str})
        if target == "a.csv":
            corrected["zoned"] = "2024-10-27T02:30:00.000000+0100"
            corrected.to_csv(node.dc.path, index=False)
        else:
            corrected.to_parquet(node.dc.path)
        dc.adopt(node)
        got = node.compute()
        assert got.schema == bare().schema
        assert got["n"].to_list() == [4, None, 5]
        assert got["phase"].to_list() == ["G1", "M", None]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda frame: frame.rename(columns={"n": "m"}), "columns"),
        (lambda frame: frame.assign(n=[1.5, 2, 3]), "'n'"),
        (lambda frame: frame.assign(day=pd.Timestamp("2024-02-29 12:00")), "'day'"),
        (lambda frame: frame.assign(day=pd.Timestamp("2024-02-29", tz="UTC")), "'day'"),
        (lambda frame: frame.assign(seen=pd.Timestamp("2024-02-29", tz="UTC")), "'seen'"),
        (lambda frame: frame.assign(alive=["yes", "no", "no"]), "'alive'"),
    ],
)
def test_a_table_that_does_not_fit(root, edit, words):
    """An adopted file with other columns, or values of another kind, is refused with the column."""
    node = dc.delayed(lambda: FLAT.select("n", "alive", "day", "seen"), target="a.parquet", version=1)()
    node.compute()
    edit(FLAT.select("n", "alive", "day", "seen").to_pandas()).to_parquet(node.dc.path)
    with pytest.raises(FormatLimit, match=words):
        dc.adopt(node)


def test_the_type_of_the_frame_counts():
    """The same cells in pandas and in polars are different data."""
    frame = pl.DataFrame({"a": [1, 2]})
    hashes = {hash_value(each) for each in (frame, frame.to_pandas(), frame.to_arrow(), frame["a"])}
    assert len(hashes) == 4


def test_the_hash_counts_values_and_dtypes_not_chunks():
    """Equal frames have one hash, however they came about, and any edit changes it."""
    pieces = pl.concat([NESTED[:1], NESTED[1:]], rechunk=False)
    assert hash_value(pieces) == hash_value(NESTED) == hash_value(NESTED.clone())
    frames = [NESTED, NESTED[:2], NESTED[::-1], NESTED.rename({"n": "m"}), NESTED.head(0)]
    frames += [NESTED.with_columns(pl.col("n").cast(pl.Int64)), NESTED.with_columns(kind=pl.lit("a"))]
    frames += [NESTED.with_columns(pl.col("phase").cast(pl.Enum(["G1", "M"])))]
    frames += [pl.DataFrame({"a": [2**100]}, {"a": pl.Int128}), pl.DataFrame({"a": [str(2**100)]})]
    frames += [pl.DataFrame(), pl.DataFrame({"a": [None]}), pl.DataFrame({"a": [None, None]})]
    assert len({hash_value(frame) for frame in frames}) == len(frames)


def test_categories_that_a_process_met_before_do_not_count():
    """The codes of categories differ between processes, and the hash does not."""
    code = (
        "import polars as pl\n"
        "from daskcache.hashing.encoder import hash_value\n"
        "{}\n"
        "print(hash_value(pl.DataFrame({{'a': pl.Series(['x', 'y'], dtype=pl.Categorical)}})))"
    )
    before = "kept = pl.Series(['p', 'y', 'x'], dtype=pl.Categorical)"
    hashes = [
        subprocess.check_output([sys.executable, "-c", code.format(first)]) for first in ("", before)
    ]
    assert hashes[0] == hashes[1] != b""


def test_objects_have_no_identity():
    """Arrow would give the places of Python objects in memory."""
    series = pl.Series("a", [object()], dtype=pl.Object)
    with pytest.raises(UnhashableArgument, match="Python objects"):
        hash_value(series)
    assert hash_value(pl.DataFrame({"a": [{"Object": 1}]}))


def test_a_function_that_changes_its_frame_changes_a_copy():
    """An edit in place reaches neither the caller's frame nor that of another function."""
    frame = pl.DataFrame({"a": [1, 2]})

    def edit(given):
        given[0, "a"] = 7
        return given

    shared = dc.delayed(lambda: frame, save=False)()
    edited, read = dc.compute(dc.delayed(edit)(shared), dc.delayed(lambda given: given.sum())(shared))
    assert edited["a"].to_list() == [7, 2]
    assert read.item() == 3
    assert frame["a"].to_list() == [1, 2]


def test_sources_of_polars(tmp_path):
    """``frame="polars"`` gives frames of polars, with polars' options, and counts."""
    CELLS.write_parquet(tmp_path / "a.parquet")
    CELLS.write_csv(tmp_path / "a.csv")
    CELLS.write_csv(tmp_path / "a.tsv", separator="\t")
    for cls, name in ((dc.ParquetSource, "a.parquet"), (dc.CSVSource, "a.csv"), (dc.CSVSource, "a.tsv")):
        source = cls(tmp_path / name, frame="polars")
        assert source.get_data().equals(CELLS)
        assert type(cls(tmp_path / name).get_data()) is pd.DataFrame
        assert source.identity() != cls(tmp_path / name).identity()
        assert dc.Source.from_path(tmp_path / name).path == source.path
    part = dc.CSVSource(tmp_path / "a.csv", frame="polars", columns=["area"]).get_data()
    assert part.equals(CELLS.select("area"))


def test_other_packages_are_no_frames():
    """A misspelt package is an error where it is written; polars has no index."""
    for make in (dc.CSVTarget, dc.ParquetTarget, dc.CSVSource, dc.ParquetSource):
        with pytest.raises(GraphError, match="frame="):
            make("a.csv", frame="polar")
    with pytest.raises(GraphError, match="no index"):
        dc.CSVTarget("a.csv", frame="polars", index_col="a")


def test_a_form_is_plain_data():
    """The form has the dtypes of a flat frame with their parameters, and none for a nested one."""
    form = form_of(FLAT)
    assert form["frame"] == "polars"
    assert ["zoned", "Datetime[us, Europe/Berlin]"] in form["columns"]
    assert form["categories"] == {"phase": {"values": ["M", "G1"]}}
    assert form_of(NESTED) is None


def test_parquet_of_polars_opens_lazily(root):
    """`open` gives polars' lazy frame, which reads the columns that are used."""
    node = dc.delayed(annotated, target="a.parquet")()
    node.compute()
    opened = node.dc.open()
    assert type(opened) is pl.LazyFrame
    assert opened.select(pl.col("n").sum()).collect().item() == 256
