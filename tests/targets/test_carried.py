"""What values carry beside their numbers: it comes back, cold and warm, or is refused."""

from __future__ import annotations

import datetime
import decimal
import pickle
import zoneinfo

import cloudpickle
import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import pytz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import daskcache as dc
from daskcache.errors import FormatLimit

DAY = datetime.date(2024, 2, 29)
NOON = datetime.datetime(2024, 2, 29, 12)
TIMES = pd.to_datetime(["2024-01-01 00:00:00", "2024-07-01 12:34:56", None])
ZONES = [
    datetime.UTC,
    datetime.timezone(datetime.timedelta(hours=1, minutes=30)),
    datetime.timezone(datetime.timedelta(hours=1), "here"),
    zoneinfo.ZoneInfo("UTC"),
    zoneinfo.ZoneInfo("Europe/Berlin"),
    pytz.UTC,
    pytz.timezone("Europe/Berlin"),
    pytz.FixedOffset(90),
]


def arrow(values, kind):
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.array(values, kind)))


def columns():
    """Columns of three rows of all dtypes there are, by what they are."""
    texts = ["a", "b", None]
    numbers = [1, 0, 2]
    found = {f"arrow {kind}": arrow(texts, kind) for kind in (pa.string(), pa.large_string())}
    for kind in (
        pa.int8(),
        pa.uint64(),
        pa.float32(),
        pa.bool_(),
        pa.decimal128(30, 2),
        pa.duration("s"),
    ):
        found[f"arrow {kind}"] = arrow([1, 0, None], pa.int64()).astype(pd.ArrowDtype(kind))
    for kind in (pa.timestamp("us"), pa.timestamp("ns", "Europe/Berlin"), pa.date32(), pa.date64()):
        found[f"arrow {kind}"] = arrow([NOON, None, NOON], pa.timestamp("us")).astype(
            pd.ArrowDtype(kind)
        )
    found["arrow list"] = arrow([[1], None, [2, 3]], pa.list_(pa.int64()))
    found["arrow dictionary"] = arrow(texts, pa.dictionary(pa.int8(), pa.string()))
    for name in ("object", "str", "string", "string[python]", "string[pyarrow]", "category"):
        found[name] = pd.Series(texts, dtype=name)
    for name in (
        "i1",
        "u2",
        "i4",
        "i8",
        "f2",
        "f4",
        "f8",
        "c8",
        "?",
        ">i4",
        ">f8",
        "M8[s]",
        "m8[us]",
        ">M8[ns]",
    ):
        found[name] = pd.Series(np.array(numbers).astype(name))
    for name in ("Int8", "UInt64", "Float32", "boolean", "Sparse[int]"):
        found[name] = pd.Series(numbers).astype(name if name != "boolean" else bool).astype(name)
    for zone in ZONES:
        found[f"{type(zone).__module__} {zone}"] = pd.Series(TIMES.tz_localize("UTC").tz_convert(zone))
    for unit in ("s", "ms", "us", "ns"):
        found[f"times in {unit}"] = pd.Series(TIMES.as_unit(unit))
    found["periods"] = pd.Series(pd.period_range("2024", periods=3, freq="M"))
    found["intervals"] = pd.Series(pd.interval_range(0, 3, closed="left"))
    found["categories of integers"] = pd.Series(pd.Categorical(numbers, [3, 2, 1, 0], ordered=True))
    found["categories of int8"] = pd.Series(pd.Categorical(np.array(numbers, "i1")))
    found["categories of times"] = pd.Series(pd.Categorical(TIMES))
    found["categories of texts"] = pd.Series(pd.Categorical(pd.Series(texts, dtype="string")))
    found["categories in order"] = pd.Series(pd.Categorical(texts, ["c", "b", "a"], ordered=True))
    found["cut"] = pd.cut(pd.Series(numbers), 2)
    for name, value in {
        "nan": float("nan"), "NA": pd.NA, "NaT": pd.NaT, "bytes": b"a", "date": DAY, "number": 1,
        "flag": True, "decimal": decimal.Decimal("1.10"), "list": [1, 2], "tuple": (1, 2),
        "dict": {"a": 1}, "time": datetime.datetime(2024, 1, 1), "np": np.float32(0.1),
    }.items():  # fmt: skip
        found[f"object {name}"] = pd.Series([value, None, value], dtype=object)
    return found


COLUMNS = columns()


class Measured(pd.DataFrame):
    """As GeoDataFrame is: a frame with an attribute of its own."""

    _metadata = ["crs"]

    @property
    def _constructor(self):
        return Measured


def index_of(column, name, freq):
    if freq:
        times = getattr(column, "dt", None)
        zone = getattr(times, "tz", None)
        return pd.date_range("2024-01-31", periods=3, freq=freq, tz=zone, name=name)
    return pd.Index(column, name=name)


@st.composite
def frames(draw):
    """Frames with columns, index, column names, attrs, flags and class of any kind."""
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=3, unique=True))
    frame = pd.DataFrame({name: COLUMNS[name] for name in names})
    column = COLUMNS[draw(st.sampled_from(sorted(COLUMNS)))]
    try:
        kind = draw(st.sampled_from(["plain", "plain", "range", "one", "two", "times"]))
        if kind == "range":
            frame.index = pd.RangeIndex(1, 7, 2, name="r")
        elif kind == "one":
            frame.index = index_of(column, draw(st.sampled_from([None, "i"])), None)
        elif kind == "two":
            frame.index = pd.MultiIndex.from_arrays([column, [1, 2, 3]], names=["x", "y"])
        elif kind == "times":
            frame.index = index_of(column, "t", draw(st.sampled_from(["2D", "ME", "15min"])))
        kind = draw(st.sampled_from(["texts", "texts", "texts", "numbers", "named", "times", "two"]))
        if kind == "numbers":
            frame.columns = range(len(names))
        elif kind == "named":
            frame.columns.name = "n"
        elif kind == "times":
            frame.columns = pd.date_range("2024", periods=len(names))
        elif kind == "two":
            frame.columns = pd.MultiIndex.from_product([["a"], names])
    except (TypeError, ValueError, NotImplementedError, AttributeError, pa.ArrowInvalid):
        pass  # pandas has no such index
    kind = draw(st.sampled_from(["plain"] * 6 + ["subclass", "flag"]))
    if kind == "subclass":
        frame = Measured(frame)
    elif kind == "flag" and type(frame.index) is pd.RangeIndex:
        frame = frame.set_flags(allows_duplicate_labels=False)
    frame.attrs = draw(st.sampled_from([{}, {}, {"a": {"b": [1, None]}}, {"a": (1,)}, {1: 2}]))
    return frame


def dtypes_of(frame):
    """Dtypes by name: of columns, and of named levels of the index."""
    levels = frame.index.names if None not in frame.index.names else []
    named = {name: frame.index.get_level_values(i).dtype for i, name in enumerate(levels)}
    return {**frame.dtypes, **named}


def index_col(frame):
    return (
        None
        if type(frame.index) is pd.RangeIndex and frame.index.name is None
        else list(frame.index.names)
    )


TARGETS = {
    "parquet": lambda frame: dc.ParquetTarget("a.parquet"),
    "parts": lambda frame: dc.ParquetTarget("a.parquet", row_group_size=2),
    "csv": lambda frame: dc.CSVTarget("a.csv"),
    "csv with dtypes": lambda frame: dc.CSVTarget(
        "a.csv", dtype=dtypes_of(frame), index_col=index_col(frame)
    ),
    "sql": lambda frame: dc.SQLTarget("a.db::t"),
    "sql with dtypes": lambda frame: dc.SQLTarget("a.db::t", dtype=dict(frame.dtypes)),
    "pkl": lambda frame: dc.PickleTarget("a.pkl"),
    "json": lambda frame: dc.JSONTarget("a.json"),
}


def traits_of_index(index):
    levels = getattr(index, "levels", [index])
    freq = getattr(index, "freq", None) if index.dtype.kind in "mM" else None
    return type(index), list(index.names), freq, [traits_of_dtype(level.dtype) for level in levels]


def traits_of_dtype(dtype):
    if isinstance(dtype, pd.CategoricalDtype):
        return "category", dtype.ordered, traits_of_index(dtype.categories)
    zone = getattr(dtype, "tz", None)
    inner = getattr(dtype, "pyarrow_dtype", None)
    return type(dtype), repr(dtype), type(zone), str(zone), str(inner)


def assert_all_there(got, frame):
    """All that a frame carries, without any of daskcache's own ways to look at it."""
    assert type(got) is type(frame)
    assert repr(got.attrs) == repr(frame.attrs)
    assert got.flags.allows_duplicate_labels == frame.flags.allows_duplicate_labels
    assert traits_of_index(got.index) == traits_of_index(frame.index)
    assert traits_of_index(got.columns) == traits_of_index(frame.columns)
    assert list(map(traits_of_dtype, got.dtypes)) == list(map(traits_of_dtype, frame.dtypes))
    for position in range(frame.shape[1]):
        assert list(map(type, got.iloc[:, position])) == list(map(type, frame.iloc[:, position]))
    pd.testing.assert_frame_equal(got, frame, check_exact=True, check_freq=True, check_flags=True)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", TARGETS)
def test_frames_come_back_with_all_that_they_carry(kind, full, tmp_path_factory):
    """In the run that makes them and in those that read them; or they are refused, with a hint."""
    kept = []

    @given(frames())
    @settings(max_examples=2000 if full else 150, deadline=None, suppress_health_check=list(HealthCheck))
    def check(frame):
        with dask.config.set({"daskcache.root": str(tmp_path_factory.mktemp("root"))}):
            node = dc.delayed(lambda: frame, target=TARGETS[kind](frame), version="1")()
            try:
                cold = node.compute()
            except FormatLimit as error:
                assert error.hint is not None  # noqa: PT017 (either end is right)
                return
            assert_all_there(cold, frame)
            assert_all_there(node.compute(), frame)
            assert_all_there(node.dc.load(), frame)
            kept.append(frame)

    check()
    assert kept or kind == "json"


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("kind", ["parquet", "csv with dtypes", "sql with dtypes", "pkl"])
def test_a_column_of_each_dtype(kind, name):
    """Alone, so that nothing else refuses the frame; a pickle holds any."""
    frame = pd.DataFrame({"x": COLUMNS[name]})
    node = dc.delayed(lambda: frame, target=TARGETS[kind](frame), version="1")()
    try:
        cold = node.compute()
    except FormatLimit as error:
        assert kind != "pkl"
        assert error.hint is not None  # noqa: PT017
        return
    assert_all_there(cold, frame)
    assert_all_there(node.compute(), frame)


@pytest.mark.parametrize("zone", ZONES, ids=lambda zone: f"{type(zone).__module__} {zone}")
def test_time_zones(zone):
    """Parquet gives back the kind of time zone that a frame has, where it can say which it is."""
    times = pd.date_range("2024-03-01", periods=3, freq="D", tz="UTC").tz_convert(zone)
    index = pd.MultiIndex.from_product([times, ["a"]], names=["t", "u"])
    for frame in (
        pd.DataFrame({"x": times}),
        pd.DataFrame({"x": [1, 2, 3]}, index=times),
        pd.DataFrame({"x": [1, 2, 3]}, index=index),
    ):
        try:
            content = dc.ParquetTarget("a.parquet").encode_checked(frame)
        except FormatLimit:
            assert str(zone) == "here"
            continue
        assert_all_there(dc.ParquetTarget("a.parquet").decode(b"".join(content)), frame)


@pytest.mark.parametrize("zone", ZONES, ids=lambda zone: f"{type(zone).__module__} {zone}")
@pytest.mark.parametrize("kind", ["csv with dtypes", "sql with dtypes"])
def test_time_zones_that_the_target_names(kind, zone):
    """The option says which kind of time zone it is."""
    frame = pd.DataFrame({"x": pd.Series(TIMES.tz_localize("UTC").tz_convert(zone))})
    node = dc.delayed(lambda: frame, target=TARGETS[kind](frame), version="1")()
    assert_all_there(node.compute(), frame)
    assert_all_there(node.compute(), frame)


@pytest.mark.parametrize("name", ["arrow string", "datetime UTC+01:30", "pytz.tzfile Europe/Berlin"])
def test_parts_of_a_frame_have_its_dtypes(name):
    """Read lazily, each of them, and what Dask takes them for."""
    target = dc.ParquetTarget("a.parquet", row_group_size=2)
    frame = pd.DataFrame({"x": COLUMNS[next(n for n in COLUMNS if n.startswith(name))]})
    node = dc.delayed(lambda: frame, target=target, version="1")()
    node.compute()
    opened = node.dc.open()
    assert opened.npartitions == 2
    dtypes = [opened.dtypes["x"], *(opened.partitions[i].compute().dtypes["x"] for i in range(2))]
    assert {traits_of_dtype(dtype) for dtype in dtypes} == {traits_of_dtype(frame.dtypes["x"])}


@pytest.mark.parametrize("kind", ["csv", "sql"])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda frame: frame.attrs.update(unit="mm"), "attrs"),
        (
            lambda frame: setattr(frame.flags, "allows_duplicate_labels", False),
            "allows_duplicate_labels",
        ),
        (lambda frame: setattr(frame, "columns", pd.date_range("2024", periods=1)), "columns.freq"),
    ],
)
def test_what_is_lost_is_named(kind, change, named):
    """Of frames that nothing but this keeps from being saved."""
    frame = pd.DataFrame({"x": [1, 2]})
    change(frame)
    with pytest.raises(FormatLimit, match=named):
        dc.delayed(lambda: frame, target=TARGETS[kind](frame), version="1")().compute()


def test_column_names_that_change_are_to_be_renamed():
    """No other index of the rows would mend that."""
    with pytest.raises(FormatLimit, match=r"column names, int64, would become str") as caught:
        dc.delayed(lambda: pd.DataFrame([[1, 2]], columns=[1, 2]), target="x.csv", version=1)().compute()
    assert "rename the columns" in str(caught.value)


@pytest.mark.parametrize("kind", ["csv", "sql", "parquet"])
def test_a_subclass_is_named(kind):
    """It would come back as a plain frame."""
    frame = Measured({"x": [1, 2]})
    with pytest.raises(FormatLimit, match="it is a Measured"):
        dc.delayed(lambda: frame, target=TARGETS[kind](frame), version="1")().compute()


# ---- arrays ---------------------------------------------------------------------------------------

DTYPES = st.one_of(
    st.sampled_from(["?", "i1", "<u2", ">i4", ">f8", ">c8", ">M8[ns]", "<m8[s]", ">U2", "S3", "V4"]),
    st.just([("a", ">i4"), ("b", "<M8[D]", (2,))]),
    st.just([("a", "O")]),
).map(np.dtype)


@st.composite
def arrays(draw):
    """Arrays of any dtype and byte order, some of them parts of others, or in Fortran's order."""
    dtype = draw(DTYPES)
    shape = draw(hnp.array_shapes(max_dims=3, max_side=4))
    array = np.frombuffer(bytes(range(1, 1 + int(np.prod(shape)))), "u1").reshape(shape)
    array = np.zeros(shape, dtype) if dtype.kind in "VO" else array.astype(dtype)
    how = draw(st.sampled_from(["whole", "part", "fortran"]))
    if how == "part":
        array = array[..., ::2]
    return np.asfortranarray(array) if how == "fortran" else array


@pytest.mark.parametrize("path", ["a.npy", "a.pkl", "a.tif", "a.zarr"])
def test_arrays_come_back_in_their_dtype(path, full, tmp_path_factory):
    """Byte order included, in every order of memory; or they are refused."""

    @given(arrays())
    @settings(max_examples=1000 if full else 100, deadline=None)
    def check(array):
        with dask.config.set({"daskcache.root": str(tmp_path_factory.mktemp("root"))}):
            node = dc.delayed(lambda: array, target=path, version="1")()
            try:
                values = node.compute(), node.compute()
            except FormatLimit:
                assert path != "a.pkl"
                return
            for got in values:
                assert (type(got), got.dtype.descr, got.shape) == (
                    np.ndarray,
                    array.dtype.descr,
                    array.shape,
                )
                assert got.tobytes() == array.tobytes()

    check()


def test_byte_order_inside_of_values():
    """Wherever a pickle has an array: in containers, frames, closures, and values pickled by value."""
    times = np.array(["2024-01-01", "2024-01-02"], ">M8[ns]")
    part = np.arange(6, dtype=">i4")[::2]
    frame = pd.DataFrame({"a": np.array([1, 2], ">i8"), "b": np.array([1, 2], ">f4")})

    def closure():
        return times

    value = {"times": [times], "part": (part,), "frame": frame, "closure": closure}
    target = dc.PickleTarget("a.pkl")
    got = target.decode(b"".join(target.encode(value)))
    assert [a.dtype.str for a in (got["times"][0], got["part"][0], got["closure"]())] == [
        ">M8[ns]",
        ">i4",
        ">M8[ns]",
    ]
    assert [dtype.str for dtype in got["frame"].dtypes] == [">i8", ">f4"]


def test_a_pickle_is_one_that_pickle_itself_would_write():
    """Of what it keeps by itself: other programs wrote, and read, the same bytes."""
    for value in (1, {"a": [1, (2,)]}, np.arange(9.0), pd.DataFrame({"x": [1]}), b"x" * 10**6):
        assert b"".join(dc.PickleTarget("a.pkl").encode(value)) == pickle.dumps(value, protocol=5)
    for value in (lambda: 1, type("Local", (), {})()):
        content = b"".join(dc.PickleTarget("a.pkl").encode(value))
        assert content == cloudpickle.dumps(value, protocol=5)


@pytest.mark.parametrize(
    ("dtype", "named"),
    [
        (np.dtype("u2", metadata={"unit": "mm"}), "metadata, {'unit': 'mm'}"),
        (np.dtype([("a", "i1"), ("b", "i4")], align=True), "an aligned layout"),
        (np.dtype([("a", np.dtype("i1", metadata={"x": 1}))]), "metadata, {'x': 1}"),
    ],
)
@pytest.mark.parametrize("path", ["a.npy", "a.npz", "a.tif", "a.zarr"])
def test_what_a_dtype_carries_is_named(dtype, named, path):
    """Formats of arrays have no place for it."""
    array = np.zeros((3, 3), dtype)
    value = {"x": array} if path == "a.npz" else array
    told = named if dtype.names is None or path.startswith("a.np") else "dtype"
    with pytest.raises(FormatLimit, match=told):
        dc.delayed(lambda: value, target=path, version="1")().compute()
