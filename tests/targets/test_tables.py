"""Tables: what CSV with options and Parquet give back, and what is refused, column by column."""

from __future__ import annotations

import datetime
import gzip
import json
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daskcache as dc
from daskcache.errors import FormatLimit, SourceUnreadable, TargetModified
from daskcache.hashing.encoder import hash_value
from daskcache.storage.roots import parsed
from daskcache.targets.forms import form_of, in_form


def _three(values):
    return st.lists(values, min_size=3, max_size=3)


def _as(dtype, values):
    return _three(values).map(lambda items: pd.array(items, dtype=dtype))


_texts = st.text(max_size=4) | st.sampled_from(["", "NA", "01", "1.0", " x ", 'a"b', "a,b", "a\r\nb"])
_times = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1))
_columns = st.one_of(
    _three(st.integers()),
    _three(st.floats() | st.none()),
    _three(_texts | st.none()),
    _three(st.integers() | _texts | st.none()),
    _three(st.binary(max_size=2) | st.dates() | st.decimals() | st.complex_numbers()),
    _three(st.lists(st.integers(0, 3), max_size=2)),
    _as("float32", st.floats(width=32)),
    _as("Int64", st.integers(0, 9) | st.none()),
    _as("boolean", st.booleans() | st.none()),
    _as("string", _texts | st.none()),
    _three(st.sampled_from(["b", "a", None])).map(pd.Categorical),
    _three(st.integers(0, 3)).map(pd.Categorical),
    _three(st.sampled_from("ab")).map(lambda v: pd.Categorical(v, ["c", "b", "a"], ordered=True)),
    st.tuples(_three(_times), st.sampled_from(["s", "ms", "us", "ns"])).map(
        lambda drawn: pd.Series(drawn[0]).astype(f"M8[{drawn[1]}]").array
    ),
    _three(_times).map(lambda times: pd.Series(times).dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")),
    _three(st.timedeltas(datetime.timedelta(-9999), datetime.timedelta(9999))).map(pd.to_timedelta),
    _three(_times).map(lambda times: pd.PeriodIndex(times, freq="D")),
)
_names = st.sampled_from("abc") | _texts


@st.composite
def _frames(draw):
    frame = pd.DataFrame(draw(st.dictionaries(_names, _columns, max_size=3)), index=range(3))
    kind = draw(st.integers(0, 5))
    try:
        if kind == 1:
            frame.index = pd.Index(draw(_columns), name=draw(_names))
        elif kind == 2:
            frame.index = pd.MultiIndex.from_arrays(
                [draw(_columns), draw(_columns)], names=draw(st.tuples(_names, _names))
            )
        elif kind == 3:
            frame.index = pd.date_range("2024-01-01", periods=3, name=draw(_names))
    except (TypeError, ValueError, NotImplementedError, ArithmeticError):
        pass  # pandas has no such index
    return frame


def _check(target, frame):
    """A frame either comes back as it was, in equal bytes each time, or is refused with a hint."""
    try:
        content = b"".join(target.encode_checked(frame))
    except FormatLimit as error:
        assert error.hint is not None  # noqa: PT017 (either end is right)
        return None
    assert content == b"".join(target.encode_checked(frame))
    got = target.decode(content)
    assert hash_value(got) == hash_value(frame)
    pd.testing.assert_frame_equal(got, frame, check_exact=True, check_freq=True)
    return content


@given(_frames())
def _csv_with_all_dtypes(frame):
    named = None if isinstance(frame.index, pd.RangeIndex) else list(frame.index.names)
    levels = {name: frame.index.get_level_values(i).dtype for i, name in enumerate(named or ()) if name}
    _check(dc.CSVTarget("a.csv", dtype={**frame.dtypes, **levels}, index_col=named), frame)


@given(_frames(), st.sampled_from([None, 2]))
def _parquet(frame, row_group_size):
    _check(dc.ParquetTarget("a.parquet", row_group_size=row_group_size), frame)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("category", ["b", "a", "b"]),
        (pd.CategoricalDtype(["z", "b", "a"], ordered=True), ["b", "a", "b"]),
        (pd.CategoricalDtype(["01", "1"]), ["01", "1", None]),
        ("float32", [0.1, np.nan, 1e30]),
        ("uint8", [0, 1, 255]),
        ("Int64", [1, None, 2**62]),
        ("boolean", [True, None, False]),
        ("string", ["a", None, "NA"]),
        ("str", ["007", "1.0", None]),
        ("datetime64[s]", ["2024-02-29", "1700-01-01", None]),
        ("datetime64[ns]", ["2024-02-29T12:00:00.000000001", "2024-02-29", None]),
        ("datetime64[us, Europe/Berlin]", ["2024-10-27T00:30Z", "2024-10-27T01:30Z", None]),
        ("timedelta64[ms]", ["1 days 00:00:00.001", "-1 days", None]),
        ("period[M]", ["2024-02", None, "2024-03"]),
    ],
    ids=str,
)
def test_csv_restores_the_dtypes_that_it_is_told(dtype, values):
    """Columns and index levels come back in the dtypes that the target names; else they are refused."""
    frame = pd.DataFrame({"a": pd.Series(values).astype(dtype), "n": [1, 2, 3]})
    told = dc.CSVTarget("a.csv", dtype={"a": dtype})
    assert _check(told, frame) == frame.to_csv(index=False).encode()
    assert _check(dc.CSVTarget("a.csv", dtype=frame.dtypes), frame)
    with pytest.raises(FormatLimit, match="column 'a'") as caught:
        dc.CSVTarget("a.csv").encode_checked(frame)
    assert f"dtype={{'a': {str(frame.a.dtype)!r}}}" in caught.value.hint
    indexed = dc.CSVTarget("a.csv", dtype={"a": dtype}, index_col="a")
    _check(indexed, frame.set_index("a"))
    assert indexed.decode(_check(told, frame)).index.name == "a"


def _in_form(frame):
    """A frame comes back as its record describes it, or is refused with a hint."""
    target = dc.CSVTarget("a.csv")
    try:
        pieces, back, _ = target.encode_and_read_back(frame, form_of(frame))
    except FormatLimit as error:
        assert error.hint is not None  # noqa: PT017 (either end is right)
        return False
    recorded = parsed(json.dumps(form_of(frame)).encode())
    got = in_form(target.decode(b"".join(pieces)), recorded)
    for each in (back, got):
        assert hash_value(each) == hash_value(frame)
        pd.testing.assert_frame_equal(each, frame, check_exact=True, check_freq=True)
    return True


@given(_frames())
def _csv_in_form(frame):
    _in_form(frame)
    _in_form(frame.iloc[:0])


@pytest.mark.parametrize(
    "property_", [_csv_with_all_dtypes, _csv_in_form, _parquet], ids=["csv", "csv in form", "parquet"]
)
def test_frames_come_back_or_are_refused(property_, full):
    """Any frame comes back in value, dtypes and index, or FormatLimit is raised; nothing else is."""
    settings(max_examples=3000 if full else 80, deadline=None)(property_)()


_CUT = pd.cut([1, 2, 9], [0, 2, 5])
RESTORED = {
    "no rows": pd.DataFrame(
        {"label": np.zeros(0, "i8"), "area": np.zeros(0), "is_alive": np.zeros(0, "?")}
    ),
    "small numbers": pd.DataFrame({"a": np.array([1, 2], "i1"), "b": np.array([0.5, 2], "f4")}),
    "missing integers": pd.DataFrame({"a": pd.array([1, None], "Int64")}),
    "missing truths": pd.DataFrame({"a": pd.array([True, None], "boolean")}),
    "categories": pd.DataFrame({"a": pd.Categorical(["x", "y"])}),
    "ordered categories": pd.DataFrame({"a": pd.Categorical(["b", "a"], ["b", "a"], ordered=True)}),
    "unused categories": pd.DataFrame({"a": pd.Categorical(["x"], ["z", "x"])}),
    "integer categories": pd.DataFrame({"a": pd.Categorical([3, 1, None])}),
    "categories of intervals": pd.DataFrame({"a": _CUT}),
    "no rows of intervals": pd.DataFrame({"a": _CUT[:0]}),
    "seconds": pd.DataFrame({"t": pd.to_datetime(["2026-01-01", None]).astype("datetime64[s]")}),
    "times in a zone": pd.DataFrame({"t": pd.to_datetime(["2026-01-01"]).tz_localize("Europe/Zurich")}),
    "periods": pd.DataFrame({"t": pd.period_range("2026-01", periods=2, freq="M")}),
    "durations": pd.DataFrame({"t": pd.to_timedelta([1, 2], unit="s")}),
}


_CELLS = pd.DataFrame({"area": [1.5, 2.5, 4]}, index=pd.Index([1, 2, 3], name="label"))
_TIMES = pd.to_datetime(["2026-01-01", "2026-01-03"]).astype("datetime64[s]")
#: Frames with an index that has names.
INDEXED = {
    "labels that count": _CELLS,
    "labels that don't": _CELLS.iloc[[0, 2, 1]],
    "no labels": _CELLS.iloc[:0],
    "small labels": _CELLS.set_axis(pd.Index(np.array([1, 2, 3], "u1"), name="label")),
    "a range": _CELLS.set_axis(pd.RangeIndex(1, 4, name="label")),
    "times": pd.DataFrame({"n": [1, 2]}, index=pd.Index(_TIMES, name="t")),
    "levels": _CELLS.assign(t=pd.to_datetime("2026-01-01")).set_index("t", append=True),
    "no rows of levels": _CELLS.assign(kind="a").set_index("kind", append=True).iloc[:0].copy(),
    "levels and categories": _CELLS.assign(kind=pd.Categorical(["a", "b", "a"])),
}
INDEXED["no rows of levels"].index = INDEXED["no rows of levels"].index.remove_unused_levels()


@pytest.mark.parametrize("name", [*RESTORED, *INDEXED])
def test_a_node_restores_the_dtypes_of_csv(name, runs):
    """A record keeps the dtypes that the text lacks: a node returns them, cold, warm and downstream."""
    frame = RESTORED[name] if name in RESTORED else INDEXED[name]
    index_col = list(frame.index.names) if name in INDEXED else None

    @dc.delayed(target=dc.CSVTarget("table.csv", index_col=index_col))
    def table():
        runs.note("table")
        return frame

    @dc.delayed(target="seen.pkl")
    def seen(data):
        return data

    for got in (table().compute(), table().compute(), table().dc.load(), seen(table()).compute()):
        pd.testing.assert_frame_equal(got, frame, check_exact=True)
        assert hash_value(got) == hash_value(frame)
    assert runs.take() == ["table"]
    assert dc.audit(seen(table())).counts == {"same": 2, "differs": 0, "failed": 0, "skipped": 0}


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["007", "1"], dtype="str"),
        pd.Series([True, None], dtype=object),
        pd.Categorical(pd.to_datetime(["2026-01-01"])),
        pd.cut([1, 2], [-np.inf, 1, np.inf]),
    ],
    ids=["digits", "mixed", "times", "infinite"],
)
def test_what_a_record_does_not_restore_is_refused(column):
    """Never another value: the frame is refused, with a remedy."""
    assert not _in_form(pd.DataFrame({"a": column}))


def test_files_of_equal_bytes_and_other_dtypes(root):
    """Two empty wells: their files are equal, their data are not, even in a process that keeps them."""
    frames = [pd.DataFrame({"a": np.zeros(0, dtype)}) for dtype in ("i8", "f8")]

    @dc.delayed(target="{i}.csv")
    def table(i):
        return frames[i]

    with dask.config.set({"daskcache.hot-cache": "8 MiB"}):
        for _ in ("cold", "warm", "hot"):
            for i, frame in enumerate(frames):
                pd.testing.assert_frame_equal(table(i).compute(), frame)
    assert (root / "0.csv").read_bytes() == (root / "1.csv").read_bytes() == b"a\n"
    assert dc.plan(table(0)).counts["load"] == 1


def test_a_form_that_is_lost_gives_no_other_dtypes(root):
    """Without what the record says of the dtypes, the file is not what was stored."""
    node = dc.delayed(lambda: RESTORED["small numbers"], target="table.csv")()
    node.compute()
    (record,) = root.glob(".daskcache/records/*/*.json")
    document = json.loads(record.read_text())
    record.write_text(json.dumps({name: each for name, each in document.items() if name != "form"}))
    with pytest.raises(TargetModified, match="other data than was stored"):
        node.dc.load()


def test_a_corrected_csv_is_read_in_its_form(root):
    """Rows that a person edits keep the categories and times of the function's table."""
    frame = pd.DataFrame(
        {
            "kind": pd.Categorical(["round", "long"], ["round", "long", "none"], ordered=True),
            "seen": pd.to_datetime(["2026-01-01", "2026-01-02"]).astype("datetime64[s]"),
        }
    )
    node = dc.delayed(lambda: frame, target="table.csv")()
    node.compute()
    path = root / "table.csv"
    path.write_text(path.read_text().replace("long", "none"))
    node.dc.adopt()
    expected = frame.assign(kind=pd.Categorical(["round", "none"], frame.kind.dtype.categories, True))
    pd.testing.assert_frame_equal(node.compute(), expected)
    path.write_text(path.read_text().replace("none", "oval"))
    with pytest.raises(FormatLimit, match="'kind'"):
        node.dc.adopt()


def test_a_corrected_csv_keeps_its_index(root):
    """A person may delete rows; labels that are no integers any more are refused."""
    node = dc.delayed(lambda: _CELLS, target=dc.CSVTarget("cells.csv", index_col="label"))()
    node.compute()
    path = root / "cells.csv"
    path.write_text("label,area\n1,1.5\n3,4.0\n")
    node.dc.adopt()
    pd.testing.assert_frame_equal(node.compute(), _CELLS.loc[[1, 3]])
    assert hash_value(node.compute()) == hash_value(_CELLS.loc[[1, 3]])
    path.write_text("label,area\na,1.5\n")
    with pytest.raises(FormatLimit, match="'label' don't fit into int64"):
        node.dc.adopt()


def test_a_csv_file_with_dtypes_is_plain(tmp_path):
    """The file has a line of names and a line for each row, whatever has to be restored."""
    frame = pd.DataFrame(
        {"kind": pd.Categorical(["x", "y"]), "area": np.array([0.1, 2], "f4")},
        index=pd.Index(["01", "02"], name="id"),
    )
    target = dc.CSVTarget("a.csv", dtype={"kind": "category", "area": "f4", "id": "str"}, index_col="id")
    node = dc.delayed(lambda: frame, target=target)()
    pd.testing.assert_frame_equal(node.compute(), frame)
    with open(node.dc.path) as file:
        assert file.read() == "id,kind,area\n01,x,0.1\n02,y,2.0\n"


@pytest.mark.parametrize("target", [dc.CSVTarget("a.csv"), dc.ParquetTarget("a.parquet")])
def test_what_a_hash_does_not_count_is_kept_or_refused(target):
    """Attrs and the frequency of an index come back from Parquet, and are refused by CSV."""
    frame = pd.DataFrame({"a": [1, 2]})
    frame.attrs = {"unit": ["µm", 1]}
    dated = pd.DataFrame({"a": [1, 2]}, index=pd.date_range("2024-01-01", periods=2, name="day"))
    if isinstance(target, dc.ParquetTarget):
        assert target.decode(_check(target, frame)).attrs == frame.attrs
        got = target.decode(_check(target, dated))
        assert (got.index.freq, got.attrs) == (dated.index.freq, {})
        assert dated.attrs == {}
    else:
        target = dc.CSVTarget("a.csv", dtype={"day": dated.index.dtype}, index_col="day")
        with pytest.raises(FormatLimit, match=r"index\.freq"):
            target.encode_checked(dated)
        with pytest.raises(FormatLimit, match="attrs"):
            dc.CSVTarget("a.csv").encode_checked(frame)
    for lost in ({"a": (1, 2)}, {"a": object()}):
        frame.attrs = lost
        with pytest.raises(FormatLimit):
            target.encode_checked(frame)
    with pytest.raises(FormatLimit, match="allows_duplicate_labels"):
        target.encode_checked(pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False))


@pytest.mark.parametrize(
    "target", [dc.CSVTarget("a.csv", index_col=["x", "y"]), dc.ParquetTarget("a.parquet")]
)
def test_integers_beside_missing_values_in_an_index(target):
    """Such a level would come back as floats: it is refused."""
    index = pd.MultiIndex([[1], [2]], [[0, 0], [0, -1]], names=["x", "y"])
    with pytest.raises(FormatLimit, match="index, int64, int64, would become int64, float64") as caught:
        target.encode_checked(pd.DataFrame({"a": [1, 2]}, index=index))
    assert "reset_index" in caught.value.hint
    _check(target, pd.DataFrame({"a": [1, 2]}, index=index.set_levels([2.0], level="y")))


def test_parquet_opens_as_a_dask_data_frame():
    """`open` gives a partition for each row group, in the dtypes that pandas gives, texts included."""
    frame = pd.DataFrame({"n": range(5), "s": list("abcde")}, index=pd.RangeIndex(10, 20, 2, name="i"))
    node = dc.delayed(lambda: frame, target=dc.ParquetTarget("a.parquet", row_group_size=2))()
    node.compute()
    opened = node.dc.open()
    assert opened.npartitions == 3
    assert opened.dtypes.to_dict() == frame.dtypes.to_dict()
    pd.testing.assert_frame_equal(opened.compute(), frame)
    assert opened.partitions[1].compute().index.tolist() == [14, 16]
    assert dask.config.get("dataframe.convert-string", None) is not False


def test_parquet_sources(tmp_path):
    """A Parquet file arrives as a data frame; options for pandas count in its identity."""
    frame = pd.DataFrame({"a": [1, 2], "b": pd.Categorical(["x", "y"])})
    frame.to_parquet(tmp_path / "a.parquet")
    source = dc.ParquetSource(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(dc.delayed(lambda t: t)(source).compute(), frame)
    narrow = dc.ParquetSource(tmp_path / "a.parquet", columns=["b"])
    assert list(narrow.get_data()) == ["b"]
    assert narrow.identity() != source.identity()
    assert narrow != source


@pytest.mark.parametrize("name", ["a.tsv", "a.csv.gz", "a.tsv.gz", "a.CSV.GZ"])
def test_sources_by_suffix(tmp_path, name):
    """A source reads tabs and gzip by its suffix, which also finds its class."""
    frame = pd.DataFrame({"a": [1, 2], "b": ["x,y", "z"]})
    frame.to_csv(tmp_path / name, index=False, sep="\t" if ".tsv" in name else ",", compression="infer")
    if name.endswith(".GZ"):
        (tmp_path / name).write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    else:
        assert type(dc.Source.from_path(tmp_path / name)) is dc.CSVSource
    (source,) = dc.FolderSource(tmp_path)
    pd.testing.assert_frame_equal(source.get_data(), frame)


def test_options_of_sources_come_before_the_suffix(tmp_path):
    """``sep`` and ``compression`` are taken as they are given; the separator counts, given or not."""
    path = tmp_path / "a.tsv"
    path.write_text("a;b\n1;2\n")
    assert list(dc.CSVSource(path, sep=";").get_data()) == ["a", "b"]
    assert list(dc.CSVSource(path, delimiter=";").get_data()) == ["a", "b"]
    assert dc.CSVSource(path).identity() == dc.CSVSource(path, sep="\t").identity()
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(b"a\n1\n"))
    assert dc.CSVSource(packed, compression="gzip").get_data()["a"].tolist() == [1]


def test_a_decompressed_table_has_a_limit(tmp_path):
    """A file of gzip that would fill the memory is refused before."""
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"a\n" + b"1\n" * 10**6))
    with dask.config.set({"daskcache.max-decoded": "1 MB"}), pytest.raises(FormatLimit, match=r"a\.csv"):
        dc.CSVSource(path).get_data()
    assert len(dc.CSVSource(path).get_data()) == 10**6


@pytest.mark.parametrize("broken", ["cut", "junk"])
def test_broken_gzip(tmp_path, broken):
    """A file of gzip that was cut short, or goes on with something else, is an error."""
    path, content = tmp_path / "a.csv.gz", gzip.compress(b"a\n1\n" * 100)
    path.write_bytes(content[:-3] if broken == "cut" else content + b"junk")
    with pytest.raises(SourceUnreadable, match=r"a\.csv\.gz"):
        dc.CSVSource(path).get_data()


def test_the_header_of_gzip_names_no_time_and_no_file():
    """The same table gives the same bytes on another day, under another name."""
    content = b"".join(dc.CSVTarget("a.csv.gz").encode(pd.DataFrame({"a": [1]})))
    assert content[3:8] == bytes(5)
    assert b"a.csv" not in content


@pytest.mark.parametrize("name", ["t.tsv", "t.csv.gz", "t.npz"])
def test_a_field_may_bring_the_suffix_if_the_class_is_named(root, name):
    """What is written and what is read goes by the filled path, not by the template."""
    if name.endswith(".npz"):
        store, value = dc.NumpyTarget, {"a": np.arange(3)}
    else:
        store, value = dc.CSVTarget, pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    for _ in range(2):
        node = dc.delayed(lambda name: value, store=store, target="{name}", version=1)(name)
        assert hash_value(node.compute()) == hash_value(value)
    assert Path(node.dc.path).name == name


def test_json_lines_name_the_place_of_a_fault(tmp_path):
    """An error names the item that can't be saved, or the line that is no JSON."""
    with pytest.raises(FormatLimit, match=r"item 1: .*ndarray"):
        dc.JSONLinesTarget("a.jsonl").encode_checked([1, np.zeros(3)])
    with pytest.raises(FormatLimit, match="DataFrame") as caught:
        dc.JSONLinesTarget("a.jsonl").encode_checked(pd.DataFrame({"a": [1]}))
    assert 'to_dict("records")' in caught.value.hint
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n\n{]\n")
    with pytest.raises(SourceUnreadable, match="line 3"):
        dc.Source.from_path(path).get_data()
    path.write_bytes(b'{"$set": [1]}\r\n\n"\xe2\x80\xa8"')
    assert dc.JSONLinesSource(path).get_data() == [{"$set": [1]}, "\u2028"]
