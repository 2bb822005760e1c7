"""Moving arrays to Zarr and back, chunk by chunk, so that an array need not fit in memory.

`target` and `ome` use it to write, read and hash.  The stores below are in `store`.
"""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dask.system import CPU_COUNT

from ...errors import LazyModule, ResultError, SourceMissing
from ...hashing.arrays import Slabs
from ...storage.verified_folders import VerifiedFolder
from ..arrays import check_decoded

da = LazyModule("dask.array", "zarr")
np = LazyModule("numpy", "zarr")
zarr = LazyModule("zarr", "zarr")

#: Bytes of a chunk before compression, unless the user or a Dask array determines its shape.
CHUNK_BYTES = 4 * 2**20
#: Bytes of an array that are loaded at a time to be hashed.
_SLAB_BYTES = 32 * 2**20

#: Characters of the dtypes that Zarr 3 specifies and gives back unchanged.
DTYPES = frozenset("?bhilqBHILQefdFD")


def default_chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return the shape of chunks of at most 4 MiB.

    The leading axes are cut first, then the longer one of the last two.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array.
    itemsize : int
        Bytes per element.
    """
    chunks = [max(length, 1) for length in shape]
    leading = len(chunks) - 2
    while math.prod(chunks) * itemsize > CHUNK_BYTES and max(chunks) > 1:
        candidates = [axis for axis in range(max(leading, 0)) if chunks[axis] > 1]
        axes = candidates[:1] or range(max(leading, 0), len(chunks))
        longest = max(axes, key=chunks.__getitem__)
        chunks[longest] = -(-chunks[longest] // 2)
    return tuple(chunks)


def write_numpy(value: Any, stored: Any) -> None:
    """Write a NumPy array to an empty ``zarr.Array``, with about as many threads as processors.

    Zarr alone would compress ten chunks at a time, which crowd each other out of the processors' caches.
    """
    if not value.size and value.ndim > 0:
        return
    unit = getattr(stored, "shards", None) or stored.chunks
    regions = list(_regions(value.shape, unit, value.dtype.itemsize))
    if len(regions) == 1:
        stored[...] = value
        return

    def write(region):
        stored[region] = value[region]

    with ThreadPoolExecutor(CPU_COUNT + 1) as pool:
        list(pool.map(write, regions))


def _regions(shape, unit, itemsize):
    """Return slices that cut an array into whole units (chunks or shards).

    Small units are taken several at a time, up to 4 MiB.
    """
    lengths = list(unit)
    for axis in reversed(range(len(shape))):
        times = max(CHUNK_BYTES // (math.prod(lengths) * itemsize), 1)
        lengths[axis] = min(lengths[axis] * times, max(shape[axis], lengths[axis]))
    cuts = [
        [slice(start, start + length) for start in range(0, n, length)]
        for n, length in zip(shape, lengths, strict=True)
    ]
    return itertools.product(*cuts)


def write_dask(value: Any, stored: Any) -> None:
    """Compute a Dask array block by block into an empty ``zarr.Array``.

    The blocks are cut so that no two of them share a chunk or shard.  Threads of this process compute
    them, because a worker that waited for its own cluster might wait for ever.
    """
    if value.size:
        aligned = _aligned(value, getattr(stored, "shards", None) or stored.chunks)
        da.store(aligned, _Sink(stored), lock=False, scheduler="threads")


def _aligned(value, unit):
    """Return the Dask array in blocks whose lengths are multiples of `unit`, except the last ones."""
    blocks = []
    for sizes, length in zip(value.chunks, unit, strict=True):
        aligned = all(end % length == 0 for end in itertools.accumulate(sizes[:-1]))
        blocks.append(sizes if aligned else max(max(sizes) // length, 1) * length)
    return value.rechunk(tuple(blocks))


class _Sink:
    """A sink for the blocks of a Dask array, which checks their class, dtype and shape."""

    def __init__(self, stored):
        self.stored = stored

    def __setitem__(self, region, block):
        block, stored = np.asanyarray(block), self.stored
        shape = tuple(len(range(n)[cut]) for n, cut in zip(stored.shape, region, strict=True))
        plain = type(block) in (np.ndarray, np.memmap)
        if not plain or (block.dtype, block.shape) != (stored.dtype, shape):
            raise ResultError(
                "a block of a Dask array is not what the array said it would be",
                expected=f"a numpy.ndarray of {stored.dtype}, shape {shape}",
                got=f"a {type(block).__name__} of {block.dtype}, shape {block.shape}",
                hint="give map_blocks() or from_delayed() the dtype, meta and chunks of its result",
            )
        stored[region] = block

    def __dask_tokenize__(self):
        return uuid.uuid4().hex


# ---- reading ------------------------------------------------------------------------------------


def open_node(folder: VerifiedFolder | str) -> Any:
    """Open the Zarr array or group in a folder, read-only.

    Parameters
    ----------
    folder : VerifiedFolder or str
        The folder, or the path of one whose content is not verified.

    Raises
    ------
    SourceMissing
        If there is neither an array nor a group.
    UntrustedPickle
        If the data are pickled.  For an array in a group: when that array is opened.
    """
    from .store import GuardedStore, PlainFolder

    known = PlainFolder(folder) if isinstance(folder, str) else folder
    try:  # consolidated metadata may name arrays that are elsewhere or were deleted
        return zarr.open(store=GuardedStore(known), mode="r", use_consolidated=False)
    except FileNotFoundError as error:
        raise SourceMissing(
            f"{known.path} is neither a Zarr array nor a group",
            expected="zarr.json, .zarray or .zgroup",
        ) from error


def is_group(value: Any) -> bool:
    """Return True for a Zarr group, and for a dict that is to be one."""
    return type(value) is dict or isinstance(value, zarr.Group)


def dimension_names(array: Any) -> Any:
    """Return the names of a Zarr array's dimensions; in version 2, those that xarray gives them."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return names if names and len(names) == array.ndim else [None] * array.ndim


def value_of(node: Any, what: str) -> Any:
    """Load an array as a NumPy array, or a group as a dict of them, sorted by name.

    Parameters
    ----------
    node : zarr.Array or zarr.Group
    what : str
        Name of the folder, for the error.

    Raises
    ------
    FormatLimit
        If the value would not fit in memory.  Raised before anything is decoded.
    """
    check_decoded(_nbytes(node), what)
    return _map_arrays(node, lambda array: np.asarray(array[...], array.dtype).reshape(array.shape))


def dask_array_of(array: Any) -> Any:
    """Return a Dask array whose blocks are the chunks or shards of a ``zarr.Array``.

    Anything that is not a ``zarr.Array`` is returned unchanged.
    """
    if type(array).__module__ != "zarr.core.array":
        return array
    if array.ndim == 0:
        return da.from_array(array[...], name=False)
    return da.from_array(array, chunks=getattr(array, "shards", None) or array.chunks, name=False)


def slabs_of(node: Any) -> Any:
    """Return an object that hashes like the loaded value, but loads only a piece at a time.

    It is a `Slabs` for an array, and a dict of them for a group.
    """
    return _map_arrays(node, lambda array: _in_slabs(array, array.chunks, array.__getitem__))


def slabs_of_dask(array: Any) -> Slabs:
    """Return an object that hashes like the computed Dask array, but computes only a piece at a time."""

    def computed(region):
        return array[region].compute(scheduler="threads")

    return _in_slabs(array, tuple(map(max, array.chunks)), computed)


def _in_slabs(array, chunks, read):
    return Slabs(array.shape, array.dtype, _slabs(array, chunks, read))


def _map_arrays(node, function):
    if hasattr(node, "shape"):
        return function(node)
    return {name: _map_arrays(member, function) for name, member in sorted(node.members())}


def _nbytes(node):
    if hasattr(node, "shape"):
        return math.prod(node.shape) * node.dtype.itemsize
    return sum(_nbytes(member) for _, member in node.members())


def _slabs(array, chunks, read, before=()) -> Iterator[Any]:
    """Yield an array in pieces that, one after the other, are its data in C order.

    `read` returns a region of it.  A piece has at most 32 MiB.  An array is cut along its first axis.
    Where a single index of that axis has too much data, it is cut along the next axis, and so on.  For
    example, a stack of planes that are too large gives groups of rows, plane by plane.
    """
    axis = len(before)
    if axis == len(array.shape):
        yield np.asarray(read(before))
        return
    row = math.prod(array.shape[axis + 1 :]) * array.dtype.itemsize
    if row > _SLAB_BYTES:
        for i in range(array.shape[axis]):
            yield from _slabs(array, chunks, read, (*before, slice(i, i + 1)))
        return
    rows = max(_SLAB_BYTES // max(row, 1), 1)
    # whole chunks, if they fit, so that none is decoded twice
    rows = rows // chunks[axis] * chunks[axis] or rows
    for start in range(0, array.shape[axis], rows):
        yield np.asarray(read((*before, slice(start, start + rows))))
