"""Zarr targets: chunked, compressed arrays, and groups of them.

`values` moves the arrays and `store` reads and writes the objects.  `ome` extends `ZarrTarget` for
images.  `source` has existing arrays as inputs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ...aliases import names_of
from ...errors import GraphError, LazyModule
from ...storage import files as storage
from ..arrays import check_extras
from ..base import UNKNOWN, FolderFormat, comes_back_as_it_is
from ..beside import MetadataBeside
from ..images.options import checked_like
from . import values

np = LazyModule("numpy", "zarr")
zarr = LazyModule("zarr", "zarr")

__getattr__ = names_of(__name__, "targets.zarr.source")

#: Placeholder for the compressor that this module chooses.
AUTO = "auto"


class ZarrTarget(MetadataBeside, FolderFormat):
    """An array in a Zarr v3 folder, or a group that holds a dict of arrays (and of such dicts).

    It takes NumPy, Dask and Zarr arrays, and Zarr groups.  Dask and Zarr arrays are written chunk by
    chunk, in threads of the worker.  A result comes back as a NumPy array, or as a dict of them.  A
    parameter annotated with ``zarr.Array``, ``zarr.Group`` or ``dask.array.Array`` gets it open instead,
    as ``node.dc.open()`` does.  Each object is verified by the read that uses it.  A chunk that is
    missing, damaged, exchanged or foreign is never served.

    The record keeps axes, pixel sizes and names of channels that an array inherits from the node's
    inputs, as results in TIFF do (see `ImageTarget`).  They count as part of the data.  `OMEZarrTarget`
    writes them into the folder.

    Parameters
    ----------
    path : str
        Path template ending in ``.zarr``.
    chunks : tuple of int, optional
        Shape of a chunk; -1 stands for a whole axis.  A Zarr array keeps its chunks by default.  NumPy
        arrays and the blocks of Dask arrays are cut to at most 4 MiB, the leading axes first.
    shards : tuple of int, optional
        Shape of the files that hold many chunks each: a multiple of `chunks`, which must be given.
    compressors : optional
        Lossless codecs, as `zarr.create_array` takes them; None stores plain bytes.  Default: Blosc with
        LZ4 and bit shuffling.
    attributes : dict, optional
        Attributes of the array or group, as JSON.  They count in the node's key and in the data hash.
    like : str, optional
        Name of the parameter whose image has the axes of the result, in the same order.

    Raises
    ------
    GraphError
        If `attributes` are not JSON, or `shards` are given without `chunks`.
    FormatLimit
        When saving a value that Zarr would not give back unchanged.  Allowed dtypes are booleans,
        integers (8 to 64 bits), floats (16 to 64 bits) and complex numbers, in this machine's byte
        order.  Also when saving a Zarr array or group with other attributes, or a Zarr array whose names
        of dimensions would be lost.
    TargetCorrupt
        When reading a file that is not as it was written.

    Notes
    -----
    Format: the `Zarr specification, version 3 <https://zarr-specs.readthedocs.io>`_, written with
    `zarr <https://zarr.dev>`_.  Every chunk is stored, even one of zeros only.  Equal values and options
    give equal bytes.

    Examples
    --------
    >>> @dc.delayed(target=dc.ZarrTarget("stack.zarr", chunks=(1, 2, 2)))
    ... def stack():
    ...     return np.zeros((3, 2, 2), "uint8")
    >>> node = stack()
    >>> node.compute().shape
    (3, 2, 2)
    >>> node.dc.open().chunks
    (1, 2, 2)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        chunks: Sequence[int] | None = None,
        shards: Sequence[int] | None = None,
        compressors: Any = AUTO,
        attributes: Mapping[str, Any] | None = None,
        *,
        like: str | None = None,
    ):
        super().__init__(path)
        self.like = checked_like(like)
        self.chunks = _lengths(chunks)
        self.shards = _lengths(shards)
        self.compressors = compressors
        self.attributes = _json(attributes)
        if shards is not None and chunks is None:
            raise GraphError(f"{path}: shards hold chunks", hint="give ZarrTarget chunks=..., too")

    def write(self, value, path):
        self._check(value, "the result")
        from .store import HashingStore

        store = HashingStore(path)
        try:
            self._write_store(value, store)
            return store.part()
        except OSError as error:
            if error.filename is not None and not str(error.filename).startswith(path):
                raise  # raised by the computation of a Dask array
            raise storage.storage_error(error, path) from error

    def read(self, path):
        return values.value_of(self.open(path), path)

    def open(self, path):
        return self._value_in(values.open_node(path))

    def read_folder(self, folder):
        return values.value_of(self.open_folder(folder), folder.path)

    def open_folder(self, folder):
        return self._value_in(values.open_node(folder))

    def hash(self, value):
        return self._joint_hash(_hashed(value), value, self._top_attributes(value))

    def hash_result(self, value, path):
        return self.hash_file(path) if _is_lazy(value) else self.hash(value)

    def read_back(self, value, path):
        return value if comes_back_as_it_is(value) else UNKNOWN

    def hash_file(self, path):
        top = values.open_node(path)
        value = self._value_in(top)
        return self._joint_hash(values.slabs_of(value), value, self._counted(top.attrs.asdict()))

    def hash_read(self, value, path):
        attributes = self._counted(values.open_node(path).attrs.asdict())
        return self._joint_hash(_hashed(value), value, attributes)

    def counted_options(self) -> dict[str, Any]:
        told = {"attributes": self.attributes or None, "like": self.like}
        return {name: option for name, option in told.items() if option is not None}

    def _joint_hash(self, content, value, attributes):
        """Return the data hash: of the value and of its attributes, which are visible when it is open.

        `content` hashes as the value does, but piece by piece.
        """
        return self._hash_beside(("attributes", content, attributes) if attributes else content, value)

    def _value_in(self, top):
        """Return the array or group that holds the value, from the top of a store."""
        return top

    def _top_attributes(self, value):
        return self.attributes

    def _names_of(self, value):
        """Return the names that the array's dimensions will have, or None."""
        return None

    def _counted(self, attributes):
        """Return those of a store's attributes that `_top_attributes` gives."""
        return attributes

    def _write_store(self, value, store):
        self._write_node(value, store, "", self.attributes)

    def _write_node(self, value, store, name, attributes, dimensions=None):
        if values.is_group(value):
            zarr.create_group(store, path=name, zarr_format=3, attributes=attributes)
            for key, member in sorted(_members(value)):
                self._write_node(member, store, f"{name}/{key}" if name else key, {})
            return
        stored = self._create(value, store, name, attributes, dimensions)
        if _is_lazy(value):
            values.write_dask(values.dask_array_of(value), stored)
        else:
            values.write_numpy(value, stored)

    def _layout(self, value):
        """Return the shapes of chunks and shards: the user's, or else those that suit the array."""
        shape = value.shape
        if self.chunks is None:
            if _is_lazy(value) and not _is_dask(value):
                return value.chunks, value.shards
            block = tuple(map(max, value.chunks)) if _is_dask(value) else shape
            return values.default_chunks(block, value.dtype.itemsize), None
        if len(self.chunks) != len(shape) or (self.shards and len(self.shards) != len(shape)):
            raise self.limit(
                value,
                f"chunks {self.chunks} and shards {self.shards} don't fit an array of shape {shape}",
                "give one number for each axis",
            )
        return _fill(self.chunks, shape), _fill(self.shards, shape) if self.shards else None

    def _create(self, value, store, name, attributes, dimensions):
        chunks, shards = self._layout(value)
        try:
            return zarr.create_array(
                store,
                name=name or None,
                shape=value.shape,
                dtype=value.dtype,
                chunks=chunks,
                shards=shards,
                filters=None,
                compressors=_fast(value.dtype) if self.compressors == AUTO else self.compressors,
                fill_value=0,
                zarr_format=3,
                attributes=attributes,
                dimension_names=dimensions,
                # values that equal the fill value may still differ from it (-0.0, the payload of a NaN)
                config={"write_empty_chunks": True},
            )
        except (ValueError, TypeError) as error:
            raise self.limit(value, f"Zarr refuses the options ({error})", "mend them") from error

    def _check(self, value, what):
        """Raise `FormatLimit` unless the value will come back unchanged.

        `what` names the value, or the array in it that is checked.
        """
        if getattr(value, "attrs", None) and dict(value.attrs) != self.attributes:
            raise self.limit(
                value,
                f"{what} is in Zarr already and has attributes, which would be lost",
                "return a Dask array of it, or give them to ZarrTarget(attributes=...)",
            )
        if self._lost_names(value):
            raise self.limit(
                value,
                f"{what} is in Zarr already and has names of dimensions, which would be lost",
                "return a Dask array of it",
            )
        if values.is_group(value):
            for key, member in _members(value):
                if not _is_name(key):
                    raise self.limit(
                        value, f"{key!r} can't name an array in a group", "use plain texts without '/'"
                    )
                self._check(member, f"the array {key!r}")
            return
        if not _is_array(value):
            raise self.limit(
                value,
                f"{what} is a {type(value).__name__}, not an array or a dict of arrays",
                "return an array, or use a path that ends in .pkl",
            )
        if value.dtype.char not in values.DTYPES or not value.dtype.isnative:
            raise self.limit(
                value,
                f"Zarr would not give back the dtype {value.dtype.str} of {what}",
                "convert it, or use a path that ends in .npy",
            )
        check_extras(self, value, what)
        if _is_dask(value):
            self._check_dask(value, what)

    def _lost_names(self, value):
        """Test if a Zarr array has names of dimensions that its copy will not have."""
        names = values.dimension_names(value) if type(value).__module__ == "zarr.core.array" else ()
        return any(names) and tuple(names) != self._names_of(value)

    def _check_dask(self, value, what):
        if any(length != length for length in value.shape):  # NaN is Dask's unknown length
            raise self.limit(
                value, f"the shape of {what} is unknown", "call compute_chunk_sizes() on it"
            )
        if type(value._meta) is not np.ndarray:
            raise self.limit(
                value,
                f"the blocks of {what} are not plain arrays but {type(value._meta).__name__}",
                "convert them with map_blocks(np.asarray)",
            )


def _hashed(value):
    """Return the value with each lazy array replaced by one that hashes alike, piece by piece."""
    if values.is_group(value):
        return {key: _hashed(member) for key, member in sorted(_members(value))}
    if _is_dask(value):
        return values.slabs_of_dask(value)
    return values.slabs_of(value) if _is_lazy(value) else value


def _is_lazy(value):
    if type(value) is dict:
        return any(map(_is_lazy, value.values()))
    return _is_dask(value) or type(value).__module__.partition(".")[0] == "zarr"


def _members(group):
    return group.items() if type(group) is dict else group.members()


def _is_array(value):
    return type(value) in (np.ndarray, np.memmap) or isinstance(value, zarr.Array) or _is_dask(value)


def _is_dask(value):
    return type(value).__module__ == "dask.array.core" and type(value).__name__ == "Array"


def _is_name(key):
    """Test if Zarr can have a node of this name, on any file system."""
    return (
        type(key) is str
        and key.isprintable()
        and not any(c in key for c in '/\\:*?"<>|')
        and key.strip(". ") == key != ""
        and not key.startswith("__")
        and key != "zarr.json"
    )


def _fast(dtype):
    return zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=dtype.itemsize)


def _lengths(shape):
    return None if shape is None else tuple(int(length) for length in shape)


def _fill(lengths, shape):
    return tuple(max(n, 1) if k == -1 else k for k, n in zip(lengths, shape, strict=True))


def _json(attributes):
    try:
        return json.loads(json.dumps(attributes or {}, sort_keys=True))
    except (TypeError, ValueError) as error:
        raise GraphError(f"the attributes of a ZarrTarget can't be written as JSON: {error}") from error
