"""Hashes of tables: blocks, chunks and offsets do not count, what the columns hold does."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from daskcache.errors import UnhashableArgument
from daskcache.hashing.encoder import hash_value

# ---- pandas -------------------------------------------------------------------------------------


def test_blocks_of_a_frame_do_not_count():
    """Equal frames share their hash, however their columns lie in memory."""
    one = pd.DataFrame(np.arange(6.0).reshape(3, 2), columns=["a", "b"])
    two = pd.DataFrame({"b": one["b"].copy()})
    two.insert(0, "a", one["a"].copy())
    three = pd.DataFrame(np.asfortranarray(np.arange(6.0).reshape(3, 2)), columns=["a", "b"])
    four = pd.DataFrame(np.arange(12.0).reshape(3, 4)).iloc[:, :2]
    four.columns, four.loc[:] = ["a", "b"], one
    five = pd.concat([one[:1], one[1:]])
    assert len({hash_value(frame) for frame in (one, two, three, four, five)}) == 1


def test_what_is_under_a_missing_value_does_not_count():
    """A nullable column counts by its values, whatever stood where one is missing."""
    one, two = pd.Series([1, 2], dtype="Int64"), pd.Series([1, 3], dtype="Int64")
    assert hash_value(one) != hash_value(two)
    one[1] = two[1] = pd.NA
    assert hash_value(one) == hash_value(two)


def test_unused_levels_do_not_count():
    """A MultiIndex counts by its values, not by the levels that they are chosen from."""
    index = pd.MultiIndex.from_product([["a", "b"], [1, 2]])
    assert hash_value(index[:2]) == hash_value(pd.MultiIndex.from_product([["a"], [1, 2]]))


def test_display_options_do_not_count():
    """What pandas prints of a dtype, which depends on options, is not what is hashed."""
    value = pd.Series(range(100)).astype("category")
    before = hash_value(value)
    with pd.option_context("display.width", 20, "display.max_seq_items", 3):
        assert hash_value(value) == before


class Located(pd.DataFrame):
    """A frame that knows a coordinate system, in the way that pandas has for subclasses."""

    _metadata = ("crs",)
    crs = None

    @property
    def _constructor(self):
        return Located


def located(crs):
    frame = Located({"a": [1]})
    frame.crs = crs
    return frame


def carrying(**attrs):
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = attrs
    return frame


DISTINCT = [
    pd.DataFrame({"a": [1]}),
    pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
    carrying(unit="µm"),
    carrying(unit="mm"),
    carrying(unit="mm")["a"],
    pd.DataFrame({"a": [1]})["a"],
    pd.date_range("2024", periods=3),
    pd.date_range("2024", periods=3, freq="2D"),
    pd.DatetimeIndex(["2024-01-01", "2024-01-02", "2024-01-03"]),
    pd.timedelta_range("1h", periods=3),
    pd.TimedeltaIndex(pd.timedelta_range("1h", periods=3), freq=None),
    located("local"),
    located("EPSG:4326"),
    pd.array([1, None], "Int64"),
    pd.array([1, 2], "Int64"),
    pd.array([1, None], "Int32"),
    pd.array([1.0, None], "Float64"),
    pd.array([True, None], "boolean"),
    pd.array(["a", None], "string"),
    pd.array(["a", None], "str"),
    pd.Series([1, None], dtype="Int64"),
    pd.Series([None, 1], dtype="Int64"),
    pd.Series([1, 2], dtype="Int64"),
    pd.Series(["a", "nan"], dtype="str"),
    pd.Series(["a", None], dtype="string"),
    pd.Series(["a", None], dtype=object),
    pd.Series(["a", np.nan], dtype=object),
    pd.Series(["a", pd.NA], dtype=object),
    pd.Series(["a", pd.NaT], dtype=object),
    pd.Series(["a", None], dtype="category"),
    pd.Series(pd.Categorical(["a", "b"], ["a", "b"])),
    pd.Series(pd.Categorical(["a", "b"], ["b", "a"])),
    pd.Series(pd.Categorical(["a", "b"], ["a", "b", "c"])),
    pd.Series(pd.Categorical(["a", "b"], ["a", "b"], ordered=True)),
    pd.Series(pd.date_range("2024", periods=2)),
    pd.Series(pd.date_range("2024", periods=2, unit="s")),
    pd.Series(pd.date_range("2024", periods=2, tz="UTC")),
    pd.Series(pd.date_range("2024", periods=2, tz="UTC", unit="s")),
    pd.Series(pd.date_range("2024", periods=2, tz="Europe/Zurich")),
    pd.Series(pd.date_range("2024", periods=2, tz="UTC")).shift(1),
    pd.Series(pd.period_range("2024", periods=2, freq="D")),
    pd.Series(pd.period_range("2024", periods=2, freq="M")),
    pd.Series(pd.interval_range(0, 2)),
    pd.Series(pd.interval_range(0, 2, closed="left")),
    pd.Series(pd.arrays.SparseArray([0.0, 1.0])),
    pd.Series([[1], None], dtype=pd.ArrowDtype(pa.list_(pa.int8()))),
    pd.date_range("2024", periods=2, tz="UTC"),
    pd.period_range("2024", periods=2, freq="D"),
    pd.MultiIndex.from_product([["a"], [1, 2]]),
    pd.MultiIndex.from_product([["a"], [1, 3]]),
    pd.MultiIndex.from_product([["a"], [1, 2]], names=["x", None]),
    pd.MultiIndex([["a"], [1]], [[0, 0], [0, -1]]),
    pd.MultiIndex([["a"], [1.0]], [[0, 0], [0, -1]]),
    pd.CategoricalIndex(["a", "b"]),
    pd.CategoricalIndex(["a", "b"], ["b", "a"]),
]
if pd.Series(["a"], dtype="str").dtype != object:  # before pandas 3 that is another name of object
    DISTINCT.append(pd.Series(["a", None], dtype="str"))


def test_distinct_frames_have_distinct_hashes():
    """Dtypes, what is missing, categories and their order, time zones, units, attrs and freq count."""
    hashes = [hash_value(value) for value in DISTINCT]
    assert len(set(hashes)) == len(DISTINCT)
    assert hashes == [hash_value(value.copy()) for value in DISTINCT]


# ---- Arrow --------------------------------------------------------------------------------------


class Unit(pa.ExtensionType):
    """An extension type with a parameter."""

    def __init__(self, unit):
        self.unit = unit
        super().__init__(pa.int8(), "test.unit")

    def __arrow_ext_serialize__(self):
        return self.unit.encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        return cls(serialized.decode())


STRINGS = ["a", None, "", "é" * 20, "b"]
NUMBERS = [1, None, 2, 3, 0]

ARRAYS = {
    "null": pa.nulls(5),
    "bool": pa.array([True, None, False, True, True]),
    "float": pa.array([0.0, None, -0.0, float("nan"), 1.0]),
    "fixed_size_binary": pa.array([b"aa", None, b"bb", b"cc", b"dd"], pa.binary(2)),
    "no_binary": pa.array([b"", None, b"", b"", b""], pa.binary(0)),
    "list": pa.array([[1], None, [], [2, 3], [None]]),
    "large_list": pa.array([["a"], None, [], ["b", None], ["c"]], pa.large_list(pa.string())),
    "list_view": pa.array([[1], None, [], [2, 3], [None]], pa.list_view(pa.int64())),
    "fixed_size_list": pa.array([[1, 2], None, [3, None], [4, 5], [0, 0]], pa.list_(pa.int8(), 2)),
    "map": pa.array(
        [[("a", 1)], None, [], [("b", 2), ("c", None)], [("a", 1)]], pa.map_("string", "int8")
    ),
    "struct": pa.array([{"a": 1, "b": ["x"]}, None, {"a": None}, {"a": 3}, {"b": [None]}]),
    "no_struct": pa.array([{}, None, {}, {}, {}], pa.struct([])),
    "dictionary": pa.array(["a", None, "b", "a", "c"]).dictionary_encode(),
    "list_of_dictionary": pa.array(
        [["a"], None, [], ["b", "a"], ["c"]], pa.list_(pa.dictionary("int8", "string"))
    ),
    "run_end_encoded": pc.run_end_encode(pa.array([1, 1, None, None, 2])),
    "extension": pa.ExtensionArray.from_storage(Unit("m"), pa.array(NUMBERS, "int8")),
    "dense_union": pa.UnionArray.from_dense(
        pa.array([0, 1, 0, 0, 1], "int8"),
        pa.array([0, 0, 1, 2, 1], "int32"),
        [pa.array([1, 2, 3]), pa.array(["x", "y"])],
    ),
    "sparse_union": pa.UnionArray.from_sparse(
        pa.array([0, 1, 0, 0, 1], "int8"), [pa.array([1, 2, 3, 4, 5]), pa.array(list("abcde"))]
    ),
    **{name: pa.array(STRINGS, name) for name in ("string", "large_string", "string_view")},
    **{name: pa.array(STRINGS).cast(name) for name in ("binary", "large_binary", "binary_view")},
    **{name: pa.array(NUMBERS, name) for name in ("int8", "uint64", "float16", "date32", "duration[s]")},
    "decimal": pa.array(NUMBERS, pa.decimal128(5, 2)),
    "timestamp": pa.array(NUMBERS, pa.timestamp("ns", "UTC")),
    "interval": pa.array(
        [(1, 2, 3), None, (1, 2, 4), (0, 0, 0), (1, 0, 0)], pa.month_day_nano_interval()
    ),
}


def test_distinct_arrays_have_distinct_hashes():
    """The same values in arrays, chunked arrays, tables, batches and scalars of each type differ."""
    values = list(ARRAYS.values())
    values += [pa.chunked_array([array]) for array in ARRAYS.values()]
    values += [pa.table({"x": array}) for array in ARRAYS.values()]
    values += [pa.record_batch({"x": array}) for array in ARRAYS.values()]
    values += [array[3:4] for array in ARRAYS.values()]
    values += [array[3] for array in ARRAYS.values()]
    values += [array.type for array in ARRAYS.values()]
    values += [pa.field("x", array.type) for array in ARRAYS.values()]
    values += [pa.schema({"x": array.type}) for array in ARRAYS.values()]
    assert len({hash_value(value) for value in values}) == len(values)


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_chunks_do_not_count(array):
    """A column in other chunks, some empty, that are slices of something longer, has one hash."""
    longer = array if pa.types.is_run_end_encoded(array.type) else pa.concat_arrays([array, array])
    expected = hash_value(pa.chunked_array([array]))
    for cuts in itertools.combinations_with_replacement(range(6), 3):
        ends = itertools.pairwise([0, *cuts, 5])
        chunked = pa.chunked_array([longer[len(longer) - 5 :][i:j] for i, j in ends])
        assert hash_value(chunked) == expected
        assert hash_value(pa.table({"x": chunked})) == hash_value(pa.table({"x": array}))


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_slices_count_by_content(array):
    """Slices of an array, and its scalars, share their hash if they hold the same, and only then."""
    slices = [array[i:j] for i, j in itertools.combinations_with_replacement(range(6), 2)]
    for values in (slices, list(array)):
        contents = [
            repr(getattr(value, "to_pylist", getattr(value, "as_py", None))()) for value in values
        ]
        pairs = {(hash_value(value), content) for value, content in zip(values, contents, strict=True)}
        assert len(pairs) == len(set(contents)) == len({found for found, _ in pairs})


def test_borders_between_strings_and_lists():
    """The same characters, or items, in other pieces have another hash."""
    for one, two in ((["ab", "c"], ["a", "bc"]), ([[1, 2], [3]], [[1], [2, 3]])):
        assert hash_value(pa.array(one)) != hash_value(pa.array(two))


def with_second_missing(array):
    """The array with its second value marked as missing, but still there."""
    valid = pa.array([True, False]).buffers()[1]
    buffers = [valid, *array.buffers()[1 : array.type.num_buffers]]
    children = [array.values] if pa.types.is_list(array.type) else None
    return pa.Array.from_buffers(array.type, 2, buffers, children=children)


@pytest.mark.parametrize(
    ("one", "two"), [([1, 2], [1, 3]), (["a", "bc"], ["a", "d"]), ([[1], [2, 3]], [[1], [4]])]
)
def test_what_is_under_a_missing_value_is_not_read(one, two):
    """Numbers, characters and items that Arrow keeps under a missing value do not count."""
    assert hash_value(pa.array(one)) != hash_value(pa.array(two))
    expected = hash_value(pa.array([one[0], None]))
    assert hash_value(with_second_missing(pa.array(one))) == expected
    assert hash_value(with_second_missing(pa.array(two))) == expected


def test_dictionaries_of_chunks():
    """A dictionary counts, in its order; chunks with others count as what they are together."""
    words = [pa.array(["a", "b"]).dictionary_encode(), pa.array(["c", "a"]).dictionary_encode()]
    chunked = pa.chunked_array(words)
    assert hash_value(chunked) == hash_value(pa.chunked_array([chunked.combine_chunks()]))
    for places, values, ordered in (
        ([0, 1], ["a", "c"], False),
        ([1, 0], ["b", "a"], False),
        ([0, 1], ["a", "b"], True),
    ):
        places = pa.array(places, "int32")
        other = pa.DictionaryArray.from_arrays(places, values, ordered=ordered)
        assert hash_value(other) != hash_value(words[0])
    none = pa.chunked_array([], words[0].type)
    assert hash_value(none) == hash_value(pa.chunked_array([words[0][:0]]))


SCHEMAS = [
    pa.schema([]),
    pa.schema({"a": pa.int8()}),
    pa.schema({"a": pa.int8(), "b": pa.int8()}),
    pa.schema({"b": pa.int8(), "a": pa.int8()}),
    pa.schema([pa.field("a", pa.int8(), nullable=False)]),
    pa.schema([pa.field("a", pa.int8(), metadata={"unit": "m"})]),
    pa.schema([pa.field("a", pa.int8(), metadata={"unit": "s"})]),
    pa.schema([pa.field("a", pa.list_(pa.field("item", pa.int8(), metadata={"unit": "m"})))]),
    pa.schema([pa.field("a", pa.list_(pa.int8()))]),
    pa.schema([pa.field("a", pa.list_(pa.field("b", pa.int8(), nullable=False)))]),
    pa.schema({"a": pa.int8()}, metadata={"unit": "m"}),
    pa.schema({"s": pa.struct({"a": pa.int8(), "b": pa.int8()})}),
    pa.schema({"s": pa.struct({"a: int8, b": pa.int8()})}),
    pa.schema({"a": pa.dictionary("int8", "string")}),
    pa.schema({"a": pa.dictionary("int16", "string")}),
    pa.schema({"a": pa.dictionary("int8", "string", ordered=True)}),
    pa.schema({"a": pa.map_("int8", "int8")}),
    pa.schema({"a": pa.map_("int8", "int8", keys_sorted=True)}),
    pa.schema({"a": pa.timestamp("s")}),
    pa.schema({"a": pa.timestamp("s", "UTC")}),
    pa.schema({"a": Unit("m")}),
    pa.schema({"a": Unit("s")}),
]


def test_schemas_count_in_full():
    """Names, types, nullability, metadata and the parameters of extension types count."""
    values = [*SCHEMAS, *[schema.empty_table() for schema in SCHEMAS], pa.table([[], []], ["a", "b"])]
    assert len({hash_value(value) for value in values}) == len(values)
    twins = [schema.remove_metadata().with_metadata(schema.metadata) for schema in SCHEMAS]
    assert [hash_value(twin) for twin in twins] == [hash_value(schema) for schema in SCHEMAS]


def test_arrow_values_that_cannot_be_hashed():
    """What PyArrow can't take apart is refused, with the way out."""
    chunks = [pa.DictionaryArray.from_arrays([0], pa.array([{"a": n}])) for n in range(2)]
    with pytest.raises(UnhashableArgument, match="DictionaryArray") as caught:
        hash_value(pa.chunked_array(chunks))
    assert caught.value.hint
