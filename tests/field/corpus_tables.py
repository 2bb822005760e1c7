"""Tables as spreadsheets, instruments and other libraries write them: see `corpus`."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from corpus import Kind

from daskcache import CSVSource, ParquetSource

CELLS = pd.DataFrame(
    {"cell": [1, 2, 3], "area": [1.5, float("nan"), 2.25], "kind": ["a", "Ä,b", 'c "d"']}
)
WELLS = pd.DataFrame({"well": ["A01", "A02"], "mean": [0.1 + 0.2, 1e-300], "count": [2**53 + 1, -7]})
ONE = pd.DataFrame({"x": [5]})
TABLES = (CELLS, WELLS, ONE)


# ---- how they are written -----------------------------------------------------------------------------


def as_text(encoding="utf-8", **options: Any) -> Callable:
    """CSV by pandas, with these options."""

    def write(frame, path):
        text = frame.to_csv(index=False, lineterminator="\n", **options)
        Path(path).write_bytes(text.encode(encoding))

    return write


def lines(text: str, path: str) -> None:
    Path(path).write_bytes(text.encode())


def by_csv(dialect: str, **options: Any) -> Callable:
    """CSV by Python's own module."""

    def write(frame, path):
        file = io.StringIO()
        writer = csv.writer(file, dialect, **options)
        writer.writerow(frame.columns)
        writer.writerows(["" if value != value else value for value in row] for row in frame.values)
        Path(path).write_bytes(file.getvalue().encode())

    return write


def by_polars(frame, path):
    polars.from_pandas(frame).write_csv(path)


def by_duckdb(frame, path):
    duckdb.sql(f"COPY (SELECT * FROM frame) TO '{path}' (HEADER)")


def by_arrow(frame, path):
    pyarrow.csv.write_csv(pa.Table.from_pandas(frame, preserve_index=False), path)


def gzipped(frame, path):
    Path(path).write_bytes(gzip.compress(frame.to_csv(index=False).encode()))


def _half(frame, share):
    content = frame.to_parquet()
    return content[: int(len(content) * share)]


def parquet(**options: Any) -> Callable:
    return lambda frame, path: frame.to_parquet(path, **options)


def parquet_by_polars(frame, path):
    polars.from_pandas(frame).write_parquet(path)


def parquet_by_duckdb(frame, path):
    duckdb.sql(f"COPY (SELECT * FROM frame) TO '{path}' (FORMAT parquet)")


# ---- other libraries ----------------------------------------------------------------------------------


def rows_by_csv(path, **options):
    """Texts of the cells, in the types of the corpus."""
    with open(path, encoding=options.pop("encoding", "utf-8"), newline="") as file:
        head, *rows = csv.reader(file, **options)
    return _typed(pd.DataFrame(rows, columns=head))


def _typed(frame):
    for name in frame.columns:
        cells = frame[name].replace("", "nan")
        for kind in ("int64", "float64"):
            try:
                frame[name] = cells.astype(kind)
                break
            except (ValueError, OverflowError):
                continue
    return frame


def in_polars(path, read="read_csv", **options):
    return _plain(getattr(polars, read)(path, **options).to_pandas())


def in_duckdb(path, read="read_csv", options=""):
    return _plain(duckdb.sql(f"SELECT * FROM {read}('{path}'{options})").df())


def in_arrow(path, **options):
    parse = pyarrow.csv.ParseOptions(**options)
    return _plain(pyarrow.csv.read_csv(path, parse_options=parse).to_pandas())


def in_parquet(path):
    return pyarrow.parquet.read_table(path).to_pandas()


def _plain(frame):
    """A frame with the types of pandas for texts, and times in microseconds."""
    for name in frame.columns:
        if frame[name].dtype == object:
            frame[name] = frame[name].astype(CELLS["kind"].dtype)
    return frame


def rows_by_arrow_integers(path):
    """Arrow reads integers above 2**63 if it is told of them."""
    kind = pa.uint64() if "18446744073709551615" in Path(path).read_text() else pa.int64()
    options = pyarrow.csv.ConvertOptions(column_types={"a": kind})
    return pyarrow.csv.read_csv(path, convert_options=options).to_pandas()


POLARS_PARQUET = partial(in_polars, read="read_parquet")
DUCKDB_PARQUET = partial(in_duckdb, read="read_parquet")


# ---- the kinds ----------------------------------------------------------------------------------------


def _csv(name, values, write, *others, options=None, suffix=".csv", **more):
    read = partial(CSVSource, **(options or {}))
    return Kind(f"CSV: {name}", suffix, values, write, read, others=others, **more)


def _pq(name, values, write, *others, **more):
    return Kind(f"Parquet: {name}", ".parquet", values, write, ParquetSource, others=others, **more)


def _told(name, *pairs, options=None, others=(), **more):
    """Texts of CSV, each with the frame that it stands for."""
    frames = {text: pd.DataFrame(columns) for text, columns in pairs}
    read = partial(CSVSource, **(options or {}))
    expected = frames.__getitem__
    return Kind(f"CSV: {name}", ".csv", [*frames], lines, read, expected, others, **more)


NULLS = pd.DataFrame(
    {
        "count": pd.array([1, None, 3], "Int64"),
        "is_alive": pd.array([True, None, False], "boolean"),
        "name": pd.array(["a", None, "c"], "string"),
    }
)
KINDS_OF = pd.DataFrame({"kind": pd.Categorical(["b", "a", "b"], ["a", "b", "c"])})
TIMES = pd.DataFrame({"seen": pd.to_datetime(["2026-01-01 00:00", None, "2026-01-03 12:30"])})
ZONES = pd.DataFrame({"seen": TIMES["seen"].dt.tz_localize("Europe/Zurich")})
DAYS = pd.DataFrame({"taken": pd.to_timedelta([1, 2, 3], unit="s")})
LISTS = pd.DataFrame({"points": [[1.0, 2.0], [], [3.0]]})
INDEXED = CELLS.set_index("kind")
LEVELS = CELLS.set_index(["kind", "cell"])
NARROW = pd.DataFrame({"a": np.array([1, 2, 3], "i1"), "b": np.array([1, 2, 3], "f4")})
WIDE = pd.DataFrame({f"c{i}": np.arange(4) * i for i in range(200)})
MANY = pd.DataFrame({"a": np.arange(5000), "b": np.arange(5000) % 7 / 3})
EMPTY = tuple(frame.iloc[:0] for frame in (CELLS, WELLS, NARROW))

_TAB, _SEMI, _GERMAN = {"sep": "\t"}, {"sep": ";"}, {"sep": ";", "decimal": ","}

KINDS = [
    _csv("RFC 4180", TABLES, as_text(), rows_by_csv, in_polars, in_duckdb, in_arrow),
    _csv("lines of Windows", TABLES, by_csv("excel"), rows_by_csv, in_polars, in_duckdb),
    _csv("lines of Unix, all quoted", TABLES, by_csv("unix"), rows_by_csv, in_duckdb),
    _csv("written by polars", TABLES, by_polars, rows_by_csv, in_duckdb, in_arrow),
    _csv("written by DuckDB", TABLES, by_duckdb, rows_by_csv, in_polars),
    _csv("written by Arrow, quoted", TABLES, by_arrow, rows_by_csv, in_polars, in_duckdb),
    _csv(
        "tabs",
        TABLES,
        as_text(sep="\t"),
        partial(rows_by_csv, delimiter="\t"),
        partial(in_polars, separator="\t"),
        partial(in_arrow, delimiter="\t"),
        options=_TAB,
        suffix=".tsv",
    ),
    _csv(
        "semicolons and decimal commas of Excel",
        (ONE, pd.DataFrame({"a": [0.5, -1e-7], "b": [1, 2]}), pd.DataFrame({"a": ["x"], "b": [1e9]})),
        as_text(sep=";", decimal=","),
        partial(in_polars, separator=";", decimal_comma=True),
        options=_GERMAN,
    ),
    _told(
        "semicolons that nobody told of are one column",
        ("a;b\n1;2\n", {"a;b": ["1;2"]}),
        ("a;b\nx;y\nz;w\n", {"a;b": ["x;y", "z;w"]}),
        ("a;b;c\n1;2;3\n", {"a;b;c": ["1;2;3"]}),
    ),
    _csv("a byte order mark", TABLES, as_text("utf-8-sig"), partial(rows_by_csv, encoding="utf-8-sig")),
    _csv(
        "UTF-16 of Excel",
        TABLES,
        as_text("utf-16"),
        partial(rows_by_csv, encoding="utf-16"),
        options={"encoding": "utf-16"},
    ),
    _csv(
        "a code page of Windows",
        TABLES,
        as_text("cp1252"),
        partial(rows_by_csv, encoding="cp1252"),
        options={"encoding": "cp1252"},
    ),
    _csv(
        "a code page that nobody told of",
        ["name\nZürich\n", "µm\n1\n", "a\nÅ\n"],
        lambda text, path: Path(path).write_bytes(text.encode("cp1252")),
        refused="cp1252",
    ),
    _csv("UTF-16 that nobody told of", TABLES, as_text("utf-16"), refused="utf-16"),
    _csv(
        "line breaks in cells",
        [pd.DataFrame({"note": [text, "x"], "n": [1, 2]}) for text in ("two\nlines", "\n", "a\n\nb\n")],
        as_text(),
        rows_by_csv,
        in_polars,
        in_duckdb,
    ),
    _told(
        "no last line break, empty lines",
        ("a,b\n1,2", {"a": [1], "b": [2]}),
        ("a,b\n1,2\n\n\n", {"a": [1], "b": [2]}),
        ("\na,b\n1,2\n", {"a": [1], "b": [2]}),
    ),
    _told(
        "a header alone",
        ("a,b\n", {"a": pd.Series(dtype=object), "b": pd.Series(dtype=object)}),
        ("a\n", {"a": pd.Series(dtype=object)}),
        ("label,area,kind\n", {name: pd.Series(dtype=object) for name in ("label", "area", "kind")}),
    ),
    _told(
        "two columns of one name",
        ("a,a\n1,2\n", {"a": [1], "a.1": [2]}),
        ("a,a,a\n1,2,3\n", {"a": [1], "a.1": [2], "a.2": [3]}),
        ("x,a,a\n0,1,2\n", {"x": [0], "a": [1], "a.1": [2]}),
    ),
    _told(
        "an index without a name, of pandas and of ImageJ's results",
        (",a\n0,5\n1,6\n", {"Unnamed: 0": [0, 1], "a": [5, 6]}),
        (" ,Area,Mean\n1,20,3.5\n", {" ": [1], "Area": [20], "Mean": [3.5]}),
        (",,a\n0,1,2\n", {"Unnamed: 0": [0], "Unnamed: 1": [1], "a": [2]}),
    ),
    _told(
        "spaces after commas",
        ("a, b\n1, 2\n", {"a": [1], "b": [2]}),
        ('a, b\n1, "x, y"\n', {"a": [1], "b": ["x, y"]}),
        ("a,  b\nx,  y\n", {"a": ["x"], "b": ["y"]}),
        options={"skipinitialspace": True},
    ),
    _told(
        "comments",
        ("# Leica, 2026\na,b\n1,2\n", {"a": [1], "b": [2]}),
        ("#x\n#y\na\n1\n", {"a": [1]}),
        ("a\n1 # one\n", {"a": [1]}),
        options={"comment": "#"},
    ),
    _told(
        "lines of an instrument above the table",
        ("Plate 7\nGain 3\na,b\n1,2\n", {"a": [1], "b": [2]}),
        (";;\n\na\n1\n", {"a": [1]}),
        ('"x\ny"\nz\na\n1\n', {"a": [1]}),
        options={"skiprows": 2},
    ),
    _told(
        "thousands",
        ('a,b\n"1,234",2\n', {"a": [1234], "b": [2]}),
        ('a\n"1,234,567"\n', {"a": [1234567]}),
        ('a\n"-1,000.5"\n', {"a": [-1000.5]}),
        options={"thousands": ","},
    ),
    _told(
        "missing values",
        ("a,b\n1,\n2,x\n", {"a": [1, 2], "b": [None, "x"]}),
        ("a,b\nNA,NaN\n1,2\n", {"a": [None, 1.0], "b": [None, 2.0]}),
        ("a,b\nnull,None\n1,2\n", {"a": [None, 1.0], "b": [None, 2.0]}),
    ),
    _told(
        "texts that look like missing values, and are none",
        ("gene\nNA\nNaN\n", {"gene": ["NA", "NaN"]}),
        ("gene,n\nnull,1\n", {"gene": ["null"], "n": [1]}),
        ("gene\nNone\nn/a\n", {"gene": ["None", "n/a"]}),
        options={"keep_default_na": False},
    ),
    _told(
        "large integers",
        (f"a\n{2**53 + 1}\n", {"a": [2**53 + 1]}),
        (f"a\n{2**63 - 1}\n{-(2**63)}\n", {"a": [2**63 - 1, -(2**63)]}),
        (f"a\n{2**64 - 1}\n", {"a": np.array([2**64 - 1], "u8")}),
        others=(rows_by_arrow_integers,),
    ),
    _told(
        "all digits of floats",
        ("a\n0.30000000000000004\n", {"a": [0.1 + 0.2]}),
        ("a\n1e-320\n5e-324\n", {"a": [1e-320, 5e-324]}),
        ("a\n1.7976931348623157e308\n-0.0\n", {"a": [1.7976931348623157e308, -0.0]}),
        options={"float_precision": "round_trip"},
        others=(in_polars, in_duckdb, in_arrow),
    ),
    _told(
        "infinities",
        ("a\ninf\n1\n", {"a": [np.inf, 1]}),
        ("a\n-inf\n1\n", {"a": [-np.inf, 1]}),
        ("a\nInfinity\n1\n", {"a": [np.inf, 1]}),
    ),
    _told(
        "truth values",
        ("a\nTrue\nFalse\n", {"a": [True, False]}),
        ("a\ntrue\nfalse\n", {"a": [True, False]}),
        ("a\nTRUE\nFALSE\n", {"a": [True, False]}),
        others=(in_duckdb,),
    ),
    _told(
        "numbers of wells, with zeros in front",
        ("well\n001\n012\n", {"well": pd.Series(["001", "012"], dtype="str")}),
        ("well,n\n0,1\n", {"well": pd.Series(["0"], dtype="str"), "n": [1]}),
        ("well\n1e5\n", {"well": pd.Series(["1e5"], dtype="str")}),
        options={"dtype": {"well": "str"}},
    ),
    _told(
        "times",
        ("t\n2026-01-01\n2026-01-02\n", {"t": pd.to_datetime(["2026-01-01", "2026-01-02"])}),
        ("t\n2026-01-01 12:30:00\n", {"t": pd.to_datetime(["2026-01-01 12:30:00"])}),
        ("t,n\n2026-01-01T00:00:01,1\n", {"t": pd.to_datetime(["2026-01-01T00:00:01"]), "n": [1]}),
        options={"parse_dates": ["t"]},
        others=(in_duckdb,),
    ),
    _csv(
        "two rows of names",
        [
            pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])),
            pd.DataFrame([[1.5]], columns=pd.MultiIndex.from_tuples([("a", "x")])),
            pd.DataFrame([[1, "b"]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("b", "x")])),
        ],
        as_text(),
        options={"header": [0, 1]},
    ),
    _csv("compressed", TABLES, gzipped, options={"compression": "gzip"}, suffix=".csv.gz"),
    _csv("many columns", (WIDE, WIDE.iloc[:1], WIDE.iloc[:, :150]), as_text(), in_polars, in_duckdb),
    _csv("many rows", (MANY, MANY[::-1].reset_index(drop=True), MANY[["b"]]), as_text(), in_polars),
    _csv("nothing", ["", "\n", "\n\n"], lines, refused="empty|columns"),
    _pq("of pandas", TABLES, parquet(), in_parquet, POLARS_PARQUET, DUCKDB_PARQUET),
    _pq("of polars", TABLES, parquet_by_polars, POLARS_PARQUET, DUCKDB_PARQUET),
    _pq("of DuckDB", TABLES, parquet_by_duckdb, POLARS_PARQUET, DUCKDB_PARQUET),
    _pq("Zstandard", TABLES, parquet(compression="zstd"), POLARS_PARQUET, DUCKDB_PARQUET),
    _pq("gzip", TABLES, parquet(compression="gzip"), POLARS_PARQUET, DUCKDB_PARQUET),
    _pq("groups of rows", (MANY, MANY[:2500], MANY[:101]), parquet(row_group_size=100), POLARS_PARQUET),
    _pq("an index", (INDEXED, INDEXED[:1], INDEXED[:0]), parquet(), in_parquet),
    _pq("an index of several levels", (LEVELS, LEVELS[:1], LEVELS[:0]), parquet(), in_parquet),
    _pq("missing integers, truths and texts", (NULLS, NULLS[:1], NULLS[1:2]), parquet(), in_parquet),
    _pq("categories", (KINDS_OF, KINDS_OF[:1], KINDS_OF[::-1]), parquet(), in_parquet),
    _pq("times", (TIMES, TIMES[:1], TIMES[:0]), parquet(), in_parquet),
    _pq("times in zones", (ZONES, ZONES[:1], ZONES[:0]), parquet(), in_parquet),
    _pq("durations", (DAYS, DAYS[:1], DAYS[:0]), parquet(), in_parquet),
    _pq("small integers and floats", (NARROW, NARROW[:1], NARROW[["b"]]), parquet(), in_parquet),
    _pq("no rows", EMPTY, parquet(), in_parquet),
    _pq(
        "lists in cells",
        (LISTS, LISTS[:1], LISTS[1:2]),
        parquet(),
        expected=lambda frame: frame.map(np.array),
    ),
    _pq(
        "cut",
        (0.2, 0.6, 0.99),
        lambda share, path: Path(path).write_bytes(_half(MANY, share)),
        refused="cut short|can't be read",
    ),
]
