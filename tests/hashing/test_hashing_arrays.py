"""Hashes of arrays: what their memory looks like does not count, what they hold does."""

from __future__ import annotations

import tracemalloc

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from daskcache.hashing import arrays as array_hashing
from daskcache.hashing.encoder import hash_value


def peak_of_hashing(value):
    """Most bytes that hashing `value` takes at a time."""
    hash_value(value)
    tracemalloc.start()
    hash_value(value)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


# ---- memory -------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    hnp.arrays(st.sampled_from(["u1", "<f8", ">i4", "U3", "i4,f8"]), hnp.array_shapes(max_side=7)),
    st.randoms(),
    st.sampled_from([16, 64, 500]),
)
def test_arrays_that_are_copied_in_blocks(array, randomly, block):
    """However small the blocks and tiles, the hash is that of the array in C order."""
    axes = randomly.sample(range(array.ndim), array.ndim)
    views = [array.transpose(axes), array[::-1], array[..., ::2], np.asfortranarray(array)]
    views.append(np.broadcast_to(array, (3, *array.shape)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array_hashing, "BLOCK", block)
        patch.setattr(array_hashing, "_TILE", block // 4)
        found = [hash_value(view) for view in views]
    assert found == [hash_value(np.array(view, order="C")) for view in views]


def test_large_arrays_are_not_copied():
    """An array in C order is hashed where it lies, any other block by block."""
    array = np.arange(8 * 2**20, dtype="f8").reshape(2**10, -1)  # 64 MiB
    assert peak_of_hashing(array) < 2**20
    for other in (
        np.asfortranarray(array),
        array[:, ::-1],
        np.moveaxis(array.reshape(8, 64, -1), 0, -1),
    ):
        assert peak_of_hashing(other) < 40 * 2**20


# ---- bytes that belong to no value --------------------------------------------------------------


def filled(byte, size, dtype):
    return np.frombuffer(bytearray([byte]) * size, dtype)


def test_padding_of_structures_does_not_count():
    """Bytes between and after the fields of a structure may be anything."""
    for dtype in (
        np.dtype([("a", "i1"), ("b", "f8")], align=True),
        np.dtype([("a", "i1"), ("inner", np.dtype([("b", "f8"), ("c", "i1")], align=True))]),
        np.dtype([("a", np.dtype([("b", "f8"), ("c", "i1")], align=True), (2,))]),
    ):
        one, two = (filled(byte, 2 * dtype.itemsize, dtype) for byte in (0, 255))
        two[...] = one
        assert one.tobytes() != two.tobytes()
        assert hash_value(one) == hash_value(two)
        assert hash_value(one[0]) == hash_value(two[0])
        one["a"] = 1
        assert hash_value(one) != hash_value(two)


def test_fields_that_were_left_out_do_not_count():
    """Some fields of an array, as a view, count without those between them."""
    one, two = (np.full(2, n, [("x", "i4"), ("y", "i4"), ("z", "i4")]) for n in (1, 1))
    two["y"] = 5
    assert hash_value(one[["x", "z"]]) == hash_value(two[["x", "z"]])
    two["z"] = 5
    assert hash_value(one[["x", "z"]]) != hash_value(two[["x", "z"]])


@pytest.mark.needs("padded long doubles")
@pytest.mark.parametrize("dtype", ["g", "G", ">g"])
def test_padding_of_long_doubles_does_not_count(dtype):
    """Of the bytes that a long double takes, only those of the number count."""
    one, two = (filled(byte, 4 * np.dtype(dtype).itemsize, dtype) for byte in (0, 255))
    for array in (one, two):
        parts = (array.real, array.imag) if dtype == "G" else (array,)
        for part in parts:
            bytes_of = part.view(
                {"names": ["n"], "formats": ["V10"], "offsets": [6 * (dtype == ">g")], "itemsize": 16}
            )["n"]
            bytes_of[...] = np.frombuffer(np.array(1.5, dtype[-1].lower()).tobytes()[:10], "V10")
    assert one.tobytes() != two.tobytes()
    assert hash_value(one) == hash_value(two)
    assert hash_value(one) != hash_value(np.full(4, 2.5, dtype))


# ---- dtypes and classes -------------------------------------------------------------------------


def with_fill(value):
    return np.ma.masked_array([1, 2], [0, 1], fill_value=value)


class Quantity(np.ndarray):
    """An array with a unit."""


def quantity(unit):
    array = np.ones(2).view(Quantity)
    array.unit = unit
    return array


OFFSETS = {"names": ["a", "b"], "formats": ["i4", "i4"]}

DISTINCT = [
    np.dtype(("f8", (2,))),
    np.dtype(("i8", (2,))),
    np.dtype("V16"),
    np.dtype({**OFFSETS, "offsets": [4, 0]}),
    np.dtype({**OFFSETS, "offsets": [0, 4]}),
    np.dtype({**OFFSETS, "offsets": [0, 2]}),
    np.dtype({**OFFSETS, "offsets": [0, 8]}),
    np.zeros(2, {**OFFSETS, "offsets": [4, 0]}),
    np.zeros(2, {**OFFSETS, "offsets": [0, 2]}),
    np.zeros(3, "V0"),
    np.zeros(2, "V0"),
    np.zeros(2, np.dtype([])),
    np.array(["a"], np.dtypes.StringDType()),
    np.array(["a"], np.dtypes.StringDType(na_object=None)),
    np.array(["a", None], np.dtypes.StringDType(na_object=None)),
    np.array([1, [2]], object),
    np.array([[1], [2]], object),
    np.array([(1, "a")], [("n", "i4"), ("s", object)]),
    np.array([(1, "b")], [("n", "i4"), ("s", object)]),
    np.array((1, "b"), [("n", "i4"), ("s", object)]),
    np.matrix([[1.0]]),
    np.rec.array([(1, 2.0)]),
    with_fill(7),
    with_fill(8),
    np.ones(2),
    quantity("m"),
    quantity("s"),
    np.sin,
    np.cos,
]


def test_distinct_arrays_have_distinct_hashes():
    """Dtypes that share a name or a size, fill values and attributes of subclasses count."""
    assert len({hash_value(value) for value in DISTINCT}) == len(DISTINCT)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_attributes_of_a_matrix():
    """What NumPy keeps in its own subclasses for itself does not count."""
    matrix = np.matrix([[1.0, 2.0]])
    before = hash_value(matrix)
    matrix._getitem = True
    assert hash_value(matrix) == before


# ---- sparse -------------------------------------------------------------------------------------

FORMATS = ["bsr", "coo", "csc", "csr", "dia", "dok", "lil"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", [sp.coo_array, sp.coo_matrix])
def test_sparse_arrays_count_by_what_they_store(form, kind):
    """Format, class, shape, dtype, positions and values of a sparse array count."""

    def make(shape=(4, 4), value=3, column=2, dtype="f8"):
        return kind(([1, 2, value], ([0, 3, 1], [0, 1, column])), shape, dtype).asformat(form)

    different = [make(), make((4, 6)), make(value=4), make(column=3), make(dtype="f4")]
    assert len({hash_value(each) for each in different}) == len(different)
    assert hash_value(make()) == hash_value(make()) == hash_value(make().copy())


def test_formats_of_sparse_arrays_count():
    """One array in each format and class: no two share a hash."""
    arrays = [sp.eye_array(4).asformat(form) for form in FORMATS]
    matrices = [sp.eye(4).asformat(form) for form in FORMATS]
    dense = [np.eye(4), sp.coo_array([1.0, 0, 0, 1]), sp.coo_array([[1.0, 0, 0, 1]])]
    assert len({hash_value(each) for each in (*arrays, *matrices, *dense)}) == 2 * len(FORMATS) + 3


def test_the_order_of_a_sparse_array_does_not_count():
    """Unsorted indices and duplicates count by their sorted sums, and stay in the argument."""
    data, rows, columns = [1.0, 2.0, 4.0, 8.0], [1, 0, 1, 1], [2, 1, 0, 2]
    messy = sp.coo_array((data, (rows, columns)), (2, 3))
    tidy = sp.coo_array(([2.0, 4.0, 9.0], ([0, 1, 1], [1, 0, 2])), (2, 3))
    assert hash_value(messy) == hash_value(tidy)
    assert (messy.data.tolist(), messy.coords[0].tolist()) == (data, rows)

    unsorted = sp.csr_array(([1.0, 4.0, 8.0], [2, 0, 2], [0, 0, 3]), (2, 3))
    assert hash_value(unsorted) == hash_value(sp.csr_array([[0, 0, 0], [4.0, 0, 9.0]]))
    assert (unsorted.indices.tolist(), unsorted.data.tolist()) == ([2, 0, 2], [1.0, 4.0, 8.0])

    wide = sp.csr_array(tidy)
    wide.indices, wide.indptr = wide.indices.astype("i8"), wide.indptr.astype("i8")
    assert hash_value(wide) == hash_value(tidy.tocsr())


# ---- Zarr ---------------------------------------------------------------------------------------


def stored(data=None, store=None, chunks=(2, 3), attributes=None, **options):
    data = np.arange(24).reshape(4, 6) if data is None else data
    array = zarr.create_array({} if store is None else store, data=data, chunks=chunks, **options)
    array.attrs.update({"unit": "µm"} if attributes is None else attributes)
    return array


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_arrays_count_by_content(tmp_path, version):
    """A stored array counts by its data, shape, dtype, chunks and attributes, not by its place."""
    make = {"zarr_format": version}
    different = [
        stored(**make),
        stored(np.arange(24).reshape(4, 6) + 1, **make),
        stored(np.arange(24).reshape(4, 6).astype("i4"), **make),
        stored(np.arange(24).reshape(3, 8), **make),
        stored(chunks=(4, 6), **make),
        stored(attributes={"unit": "mm"}, **make),
        stored(attributes={}, **make),
        stored(np.array(1), chunks=(), **make),
        stored(np.zeros((0, 6)), **make),
        stored(np.array([["a", "b"]], np.dtypes.StringDType()), **make),
    ]
    assert len({hash_value(each) for each in different}) == len(different)
    on_disk = stored(store=str(tmp_path / "a.zarr"), compressors=None, **make)
    assert hash_value(on_disk) == hash_value(stored(**make))
    assert hash_value(zarr.open_array(tmp_path / "a.zarr", mode="r")) == hash_value(on_disk)
    on_disk[3, 5] = 0
    assert hash_value(on_disk) != hash_value(stored(**make))


def test_names_and_shards_of_zarr_arrays():
    """Names of dimensions count; an array in shards is read shard by shard."""
    assert hash_value(stored(dimension_names=["y", "x"])) != hash_value(stored())
    sharded = stored(shards=(4, 6))
    assert hash_value(sharded) == hash_value(stored(shards=(4, 6))) != hash_value(stored())
    sharded[0, 0] = 9
    assert hash_value(sharded) != hash_value(stored(shards=(4, 6)))


def test_zarr_groups():
    """A group counts by its attributes and by what is in it."""

    def make(name="image", value=1, unit="µm"):
        group = zarr.group({}, attributes={"unit": unit})
        group.create_group("inner").create_array(name, data=np.full(3, value))
        return group

    different = [make(), make(name="label"), make(value=2), make(unit="mm"), zarr.group({})]
    assert len({hash_value(each) for each in different}) == len(different)
    assert hash_value(make()) == hash_value(make())


def test_zarr_arrays_are_read_in_chunks():
    """No more than some chunks of a stored array are in memory at a time."""
    array = stored(np.zeros((64, 2**16)), chunks=(1, 2**16))  # 32 MiB in chunks of 512 KiB
    assert peak_of_hashing(array) < 8 * 2**20


def test_zarr_arrays_in_dask_graphs(tmp_path):
    """A Dask array that reads a stored array changes with what is stored."""
    array = stored(store=str(tmp_path / "a.zarr"))
    before = hash_value(da.from_zarr(array) + 1)
    assert hash_value(da.from_zarr(str(tmp_path / "a.zarr")) + 1) == before
    array[0, 0] = 9
    assert hash_value(da.from_zarr(array) + 1) != before
