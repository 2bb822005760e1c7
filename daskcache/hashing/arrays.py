"""Encoders of arrays: NumPy's, SciPy's sparse ones, xarray's and Zarr's.

The data is hashed in C order, whatever its layout in memory or in a store.  `encoder` loads a package's
encoders when it meets the first value of the package.  `targets.zarr.values` hashes stored arrays piece
by piece (`Slabs`).  Tables have their encoders in `tables`.
"""

from __future__ import annotations

import itertools
import sys

from .algorithms import hasher
from .instances import encode_state, no_identity
from .names import class_name, package_giving
from .plain_values import encode_str, marked

#: Bytes of an array that are copied at a time, where its memory isn't in C order.
BLOCK = 16 * 2**20
#: Bytes that are moved at a time within a block: fits a processor's caches.
_TILE = 64 * 2**10
#: Bytes of a long double that count, of 12 or 16, where it is the x87's format.
_X87_BYTES = 10


class Slabs:
    """An array that comes in pieces.  Its hash is that of the NumPy array with the same data.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy.dtype
        A dtype without padding or Python objects.
    pieces : iterable of numpy.ndarray
        The data in C order, one piece after the other.  The pieces are taken once.
    """

    def __init__(self, shape, dtype, pieces):
        self.shape = tuple(map(int, shape))
        self.dtype = dtype
        self.pieces = pieces

    def __daskcache_encode__(self, encoder):
        encoder.parts.append(b"A")
        _dtype(self.dtype, encoder)
        encoder.add(self.shape)
        encoder.add_blocks(b"a", (block for piece in self.pieces for block in _blocks(piece)))


# ---- NumPy --------------------------------------------------------------------------------------


def numpy_encoders():
    """Return encoders by class."""
    import numpy as np

    return {
        np.ndarray: _array,
        np.generic: marked(b"x", np.asarray, _array),
        np.dtype: _dtype,
        np.ufunc: _ufunc,
        type(np.ma.masked): marked(b"g", lambda value: "numpy.ma:masked", encode_str),
    }


def _array(value, encoder):
    import numpy as np

    encoder.parts.append(b"A")
    plain = type(value) in (np.ndarray, np.memmap)
    if not plain:
        encoder.add(class_name(type(value)))
    _dtype(value.dtype, encoder)
    encoder.add(value.shape)
    _data(np.asarray(value), encoder)
    if isinstance(value, np.ma.MaskedArray):
        encoder.add(np.ma.getmaskarray(value))
        encoder.add(np.asarray(value.fill_value))
    # NumPy's own subclasses keep attributes that say nothing about the data (a matrix: `_getitem`)
    elif class_name(type(value)).partition(".")[0] != "numpy" and getattr(value, "__dict__", None):
        encode_state(vars(value), encoder)  # the unit of a quantity, say


def _ufunc(value, encoder):
    """Encode a ufunc by its name and its package.

    Refuse one that no package has: `numpy.frompyfunc` makes such ufuncs of any Python function.
    """
    import numpy as np

    if getattr(np, value.__name__, None) is not value:
        package = package_giving(value, value.__name__)
        if package is None:
            raise no_identity(value, "it is made of a Python function, which it doesn't give away")
        encoder.add(package)
    encoder.add_code(value)


def _description(dtype):
    if dtype.subdtype is not None or dtype.kind == "T":  # `dtype.str` would leave out part of these
        return repr(dtype)
    if dtype.names is None:
        added = class_name(dtype.type) if dtype.type.__module__ != "numpy" else ""  # bfloat16, say
        return added + dtype.str
    try:
        return repr(dtype.descr)
    except ValueError:  # fields that overlap or aren't in the order of their offsets
        return repr(dtype)


_dtype = marked(b"y", _description, encode_str)


def _data(array, encoder):
    dtype = array.dtype
    if dtype.hasobject:
        encoder.add(list((array if dtype.names else array.ravel()).tolist()))
    elif _is_padded(dtype):
        for part in _unpadded(array):
            _data(part, encoder)
    else:
        encoder.add_blocks(b"a", _blocks(array))


def _is_padded(dtype):
    """Test if items hold bytes that belong to no value, and so may be anything."""
    if dtype.subdtype is not None:
        return _is_padded(dtype.base)
    if dtype.names is None:
        return dtype.char in "gG" and _long_doubles_are_x87()
    fields = [dtype[name] for name in dtype.names]
    return sum(field.itemsize for field in fields) != dtype.itemsize or any(map(_is_padded, fields))


def _unpadded(array):
    """Split an array with padding into parts that have less of it, or none."""
    dtype = array.dtype
    if dtype.names is not None:
        return [array[name] for name in dtype.names]
    if dtype.char == "G":
        return [array.real, array.imag]
    # swapped items begin with the padding: see `_X87_BYTES`
    start = 0 if dtype.isnative else dtype.itemsize - _X87_BYTES
    number = {"names": ["number"], "formats": [f"V{_X87_BYTES}"], "offsets": [start]}
    return [array.view({**number, "itemsize": dtype.itemsize})["number"]]


def _long_doubles_are_x87():
    import numpy as np

    return np.finfo(np.longdouble).nmant == 63 and sys.byteorder == "little"


def _blocks(array):
    """Yield the bytes of an array in C order: in one piece if it lies so, else in copied blocks."""
    if array.nbytes == 0:
        return
    if not array.flags.c_contiguous and array.nbytes > BLOCK:
        rows = BLOCK * len(array) // array.nbytes
        for start in range(0, len(array), max(rows, 1)):
            yield from _blocks(array[start : start + rows] if rows else array[start, ...])
        return
    if not array.flags.c_contiguous:
        import numpy as np

        copy = np.empty(array.shape, array.dtype)
        _move(array, copy)
        array = copy
    yield array.reshape(-1).view("u1")


def _move(source, destination):
    """Copy tile by tile, so that neither side's cache lines are fetched more than once."""
    if source.nbytes <= _TILE or source.size == 1:
        destination[...] = source
        return
    axis = source.shape.index(max(source.shape))
    middle = source.shape[axis] // 2
    for half in (slice(None, middle), slice(middle, None)):
        index = (slice(None),) * axis + (half,)
        _move(source[index], destination[index])


# ---- SciPy --------------------------------------------------------------------------------------


def scipy_encoders():
    """Return encoders by class."""
    import scipy.sparse

    sparse = marked(b"J", _parts_of_sparse)
    return {scipy.sparse.sparray: sparse, scipy.sparse.spmatrix: sparse}


def _parts_of_sparse(value):
    """Return the format, shape and stored values of a sparse array.

    Values are sorted by position and duplicates are summed, so the order in memory does not count.
    """
    import scipy.sparse

    stored = value.tocoo(copy=True)
    stored.sum_duplicates()
    kind = "matrix" if isinstance(value, scipy.sparse.spmatrix) else "array"
    positions = [axis.astype("i8") for axis in stored.coords]
    return value.format, kind, value.shape, positions, stored.data


# ---- xarray -------------------------------------------------------------------------------------


def xarray_encoders():
    """Return encoders by class."""
    import xarray as xr

    return {
        # not `value.encoding`, which says how the variable is stored
        xr.Variable: marked(b"X", lambda value: (value.dims, value.data, dict(value.attrs))),
        xr.DataArray: marked(b"Y", lambda value: (value.name, value.variable, _variables(value.coords))),
        xr.Dataset: marked(b"Z", _parts_of_dataset),
    }


def _parts_of_dataset(value):
    return _variables(value.data_vars), _variables(value.coords), dict(value.attrs)


def _variables(labelled):
    return {name: each.variable for name, each in labelled.items()}


# ---- Zarr ---------------------------------------------------------------------------------------


def zarr_encoders():
    """Return encoders by class."""
    import zarr

    return {zarr.Array: _stored_array, zarr.Group: marked(b"H", _parts_of_group)}


def _stored_array(value, encoder):
    """Encode an array in a store by its contents, not by its place.

    The data is read chunk by chunk (or shard by shard), so the shape of the chunks counts.
    """
    chunks = getattr(value, "shards", None) or value.chunks
    starts = [range(0, length, max(chunk, 1)) for length, chunk in zip(value.shape, chunks, strict=True)]
    data = hasher()
    for corner in itertools.product(*starts):
        region = tuple(slice(start, start + size) for start, size in zip(corner, chunks, strict=True))
        data.update(encoder.encoded(value[region]))
    names = getattr(getattr(value, "metadata", None), "dimension_names", None)
    encoder.parts.append(b"H")
    encoder.add(("array", value.shape, value.dtype, chunks, names, value.attrs.asdict()))
    encoder.add(data.hexdigest())


def _parts_of_group(value):
    return "group", value.attrs.asdict(), {name: value[name] for name in sorted(value)}
