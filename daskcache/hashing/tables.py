"""Encoders of tables: pandas, polars and Arrow.

Dtypes and values are hashed column by column, whatever blocks or chunks they lie in.  The data that a
table carries beside them counts too: attrs, flags, an index's frequency, a coordinate reference system.
`encoder` loads a package's encoders when it meets the first value of the package.
"""

from __future__ import annotations

from .instances import no_identity
from .names import class_name
from .plain_values import clock, encode_str, marked

# ---- pandas -------------------------------------------------------------------------------------


def pandas_encoders():
    """Return encoders by class."""
    import pandas as pd

    return {
        pd.DataFrame: _frame,
        pd.Series: _series,
        pd.Index: _index,
        pd.api.extensions.ExtensionArray: _extension_array,
        pd.Timestamp: clock(b"zt"),
        type(pd.NA): marked(b"S", repr, encode_str),
        type(pd.NaT): marked(b"S", repr, encode_str),
    }


def _frame(value, encoder):
    encoder.parts.append(b"W")
    _carried(value, encoder)
    _index(value.index, encoder)
    _index(value.columns, encoder)
    for _, column in value.items():
        _values(column, encoder)


def _series(value, encoder):
    encoder.parts.append(b"v")
    _carried(value, encoder)
    encoder.add(value.name)
    _index(value.index, encoder)
    _values(value, encoder)


def _carried(value, encoder):
    """Add the class of a frame or series unless it is pandas' own, its attributes, attrs and flags."""
    cls = type(value)
    if cls.__module__.partition(".")[0] != "pandas":
        encoder.add((class_name(cls), {name: getattr(value, name, None) for name in cls._metadata}))
    if value.attrs:
        encoder.add(("attrs", value.attrs))
    if not value.flags.allows_duplicate_labels:
        encoder.add(("flags", "allows_duplicate_labels=False"))


def _index(value, encoder):
    import pandas as pd

    encoder.parts.append(b"I")
    encoder.add(class_name(type(value)))
    encoder.add(list(value.names))
    freq = getattr(value, "freq", None) if value.dtype.kind in "mM" else None
    if freq is not None:
        encoder.add(("freq", freq.freqstr))
    if isinstance(value, pd.RangeIndex):
        encoder.add((value.start, value.stop, value.step))
    elif isinstance(value, pd.MultiIndex):
        for position, level in enumerate(value.levels):
            values = value.get_level_values(position)
            if level.dtype != values.dtype:  # integers with missing ones among them look like floats
                encoder.add(repr(level.dtype))
            _index(values, encoder)
    else:
        _values(value, encoder)


def _extension_array(value, encoder):
    import pandas as pd

    encoder.parts.append(b"V")
    encoder.add(class_name(type(value)))
    _values(pd.Series(value, copy=False), encoder)


def _values(value, encoder):
    """Add the values of a column or index: as NumPy's bytes if they are plain, else one by one."""
    import numpy as np
    import pandas as pd

    if isinstance(value.dtype, pd.CategoricalDtype):
        encoder.add(f"category, ordered={value.dtype.ordered}")
        encoder.add(np.asarray(value.array.codes))
        _index(value.dtype.categories, encoder)
        return
    _dtype(value, encoder)
    if isinstance(value.dtype, np.dtype):
        encoder.add(value.to_numpy())
    elif isinstance(value.dtype, (pd.DatetimeTZDtype, pd.PeriodDtype)):
        encoder.add(value.array.asi8)
    else:
        missing = np.asarray(value.array.isna())
        encoder.add(missing)
        encoder.add((value[~missing] if missing.any() else value).tolist())


def _dtype(value, encoder):
    """Add the dtype of a column.

    For dtypes of other packages, add their parameters and the coordinate reference system as well.
    """
    dtype = value.dtype
    if type(dtype).__module__.partition(".")[0] in ("numpy", "pandas"):
        encoder.add(repr(dtype))
        return
    parameters = {name: getattr(dtype, name) for name in dtype._metadata}
    encoder.add((class_name(type(dtype)), str(dtype), parameters, getattr(value.array, "crs", None)))


# ---- polars -------------------------------------------------------------------------------------


def polars_encoders():
    """Return encoders by class."""
    import polars as pl

    return {pl.DataFrame: _polars_frame, pl.Series: _polars_series}


def _polars_frame(value, encoder):
    encoder.parts.append(b"L")
    encoder.add((class_name(type(value)), value.height))
    for column in value:
        _polars_series(column, encoder)


def _polars_series(value, encoder):
    encoder.parts.append(b"L")
    encoder.add((class_name(type(value)), value.name, repr(value.dtype)))
    column = value.cast(_plain_dtype(value.dtype, value)).to_arrow()
    _arrow_values(column.type, [column], encoder)


def _plain_dtype(dtype, series):
    """Return the dtype with which Arrow gets a column.

    The codes of categories depend on what the process has met before, and Arrow has no wide integers.
    """
    import polars as pl

    if dtype == pl.Object:  # Arrow gets their places in memory
        raise no_identity(series, "its values are Python objects")
    if dtype in (pl.Categorical, pl.Enum, pl.Int128):
        return pl.String
    if dtype == pl.List:
        return pl.List(_plain_dtype(dtype.inner, series))
    if dtype == pl.Array:
        return pl.Array(_plain_dtype(dtype.inner, series), dtype.size)
    if dtype == pl.Struct:
        return pl.Struct({field.name: _plain_dtype(field.dtype, series) for field in dtype.fields})
    return dtype


# ---- coordinate reference systems ---------------------------------------------------------------


def pyproj_encoders():
    """Return encoders by class."""
    import pyproj

    return {pyproj.CRS: marked(b"j", lambda value: value.to_wkt(), encode_str)}  # however it was named


# ---- Arrow --------------------------------------------------------------------------------------


def pyarrow_encoders():
    """Return encoders by class."""
    import pyarrow as pa

    return {
        pa.Table: _arrow_table,
        pa.RecordBatch: _arrow_table,
        pa.ChunkedArray: _column("ChunkedArray", lambda value: value.chunks),
        pa.Array: _column("Array", lambda value: [value]),
        pa.Scalar: _column("Scalar", lambda value: [pa.repeat(value, 1)]),
        pa.Schema: marked(b"U", lambda value: ("Schema", list(value), value.metadata or None)),
        pa.Field: marked(b"U", _parts_of_field),
        pa.DataType: marked(b"U", lambda value: ("DataType", str(value), _inner_types(value))),
    }


def _arrow_table(value, encoder):
    encoder.parts.append(b"U")
    encoder.add((type(value).__name__, value.schema, value.num_rows))
    for column in value.columns:
        _arrow_values(column.type, getattr(column, "chunks", [column]), encoder)


def _column(kind, chunks_of):
    """Return an encoder for values of one type, which `chunks_of` returns as arrays."""

    def encode(value, encoder):
        encoder.parts.append(b"U")
        encoder.add((kind, value.type))
        _arrow_values(value.type, chunks_of(value), encoder)

    return encode


def _parts_of_field(value):
    return "Field", value.name, value.type, value.nullable, value.metadata or None


def _inner_types(kind):
    """Return the parts of a type, because its `str` may leave some out."""
    import pyarrow as pa

    if isinstance(kind, pa.ExtensionType):
        return kind.storage_type, kind.__arrow_ext_serialize__()
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    if pa.types.is_dictionary(kind):
        return kind.index_type, kind.value_type
    return [kind.field(position) for position in range(kind.num_fields)]


def _arrow_values(kind, chunks, encoder):
    """Encode arrays of type `kind` as if they were one."""
    import pyarrow as pa

    try:
        _arrow_column(kind, chunks, encoder)
    except pa.ArrowNotImplementedError as error:
        raise no_identity(chunks[0], str(error)) from error


def _arrow_column(kind, chunks, encoder):
    """Encode which values are present, then those values.

    Arrow's buffers can't be hashed as they are: they have undefined bytes where values are missing, and
    more items than a slice.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    chunks = [chunk for chunk in chunks if len(chunk)]
    if isinstance(kind, pa.BaseExtensionType):
        _arrow_column(kind.storage_type, [chunk.storage for chunk in chunks], encoder)
    elif pa.types.is_run_end_encoded(kind):
        _arrow_column(kind.value_type, [pc.run_end_decode(chunk) for chunk in chunks], encoder)
    elif pa.types.is_map(kind):
        entries = pa.list_(kind.field(0))
        _arrow_column(entries, [chunk.cast(entries) for chunk in chunks], encoder)
    else:
        encoder.add_blocks(b"m", (_memory(chunk.is_valid()) for chunk in chunks))
        _present_values(kind)(kind, chunks, encoder)


def _present_values(kind):
    """Return the encoder for the values of a column that aren't missing."""
    import pyarrow.types as arrow

    encoders = {
        arrow.is_dictionary: _dictionaries,
        arrow.is_union: _unions,
        arrow.is_struct: _structs,
        arrow.is_primitive: _numbers,
        arrow.is_decimal: _numbers,
        arrow.is_fixed_size_binary: _numbers,
        arrow.is_null: lambda kind, chunks, encoder: None,
    }
    others = _lists if hasattr(kind, "value_field") else _strings
    return next((encode for is_of, encode in encoders.items() if is_of(kind)), others)


def _numbers(kind, chunks, encoder):
    encoder.add_blocks(b"a", (_memory(chunk.drop_null()) for chunk in chunks))


def _strings(kind, chunks, encoder):
    import pyarrow.compute as pc

    present = [chunk.cast("large_binary").drop_null() for chunk in chunks]
    encoder.add_blocks(b"l", (_memory(pc.binary_length(chunk)) for chunk in present))
    encoder.add_blocks(b"a", map(_characters, present))


def _lists(kind, chunks, encoder):
    import pyarrow.compute as pc

    lengths = [pc.list_value_length(chunk).cast("int64").drop_null() for chunk in chunks]
    encoder.add_blocks(b"l", map(_memory, lengths))
    _arrow_column(kind.value_type, [chunk.flatten() for chunk in chunks], encoder)


def _structs(kind, chunks, encoder):
    flat = [chunk.flatten() for chunk in chunks]
    for position in range(kind.num_fields):
        _arrow_column(kind.field(position).type, [fields[position] for fields in flat], encoder)


def _dictionaries(kind, chunks, encoder):
    import pyarrow as pa

    # indices of different dictionaries can't be compared
    if len({encoder.encoded(chunk.dictionary) for chunk in chunks}) > 1:
        chunks = pa.chunked_array(chunks).unify_dictionaries().chunks
    _arrow_column(kind.value_type, [chunk.dictionary for chunk in chunks[:1]], encoder)
    _arrow_column(kind.index_type, [chunk.indices for chunk in chunks], encoder)


def _unions(kind, chunks, encoder):
    """Encode values child by child.

    Type codes and offsets are read from the buffers: PyArrow's `type_codes` and `offsets` ignore where a
    slice starts.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = [_integers(pa.int8(), len(chunk), chunk.buffers()[1], chunk.offset) for chunk in chunks]
    encoder.add_blocks(b"a", map(_memory, codes))
    for position, code in enumerate(kind.type_codes):
        inner = [
            _child(chunk, position, pc.equal(of_chunk, code))
            for chunk, of_chunk in zip(chunks, codes, strict=True)
        ]
        _arrow_column(kind.field(position).type, inner, encoder)


def _child(union, position, here):
    """Return the values of a union that its child at `position` holds."""
    import pyarrow as pa

    values = union.field(position)
    if union.type.mode == "sparse":
        return values.filter(here)
    places = _integers(pa.int32(), len(union), union.buffers()[2], union.offset)
    return values.take(places.filter(here))


def _integers(kind, length, buffer, start):
    import pyarrow as pa

    return pa.Array.from_buffers(kind, length, [None, buffer], offset=start)


def _memory(array):
    """Return the bytes of the values in an array of fixed width without missing values."""
    import pyarrow as pa

    if pa.types.is_boolean(array.type):
        array = array.cast("uint8")
    width = array.type.bit_width // 8
    if len(array) * width == 0:
        return b""
    return array.buffers()[1].slice(array.offset * width, len(array) * width)


def _characters(array):
    """Return the bytes of all values in a large_binary array without missing values."""
    import pyarrow as pa

    _, offsets, data = array.buffers()
    if len(array) == 0 or data is None:
        return b""
    ends = _integers(pa.int64(), len(array) + 1, offsets, array.offset)
    start, stop = ends[0].as_py(), ends[-1].as_py()
    return data.slice(start, stop - start)
