"""Arrays: .npy and .npz files, what they declare and what they hold."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
import zipfile

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import daskcache as dc
from daskcache.errors import FormatLimit, TargetCorrupt, UntrustedPickle

MODEST = settings(max_examples=60, deadline=None)
NPZ = dc.NumpyTarget("a.npz")

_arrays = hnp.arrays(
    hnp.scalar_dtypes() | hnp.array_dtypes(max_size=3),
    hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
)


def saved(value, target=NPZ):
    return b"".join(target.encode_checked(value))


@MODEST
@given(st.dictionaries(st.text(max_size=5), _arrays, max_size=3), st.booleans())
def test_npz_gives_back_every_dict_of_arrays(arrays, compressed):
    """Keys, their order, dtypes, shapes and bits come back, whatever NumPy itself makes of the keys."""
    target = dc.NumpyTarget("a.npz", compressed=compressed)
    try:
        data = saved(arrays, target)
    except FormatLimit:
        return
    assert data == saved(arrays, target)
    got = target.decode(data)
    assert list(got) == list(arrays)
    for name, array in arrays.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
        assert got[name].tobytes() == array.tobytes()


def test_npz_files_are_numpys(tmp_path):
    """`numpy.load` reads what was saved; what `numpy.savez` saved arrives as a dict."""
    path = tmp_path / "a.npz"
    path.write_bytes(saved({"b": np.arange(3), "a": np.ones((2, 2), "f4")}))
    with np.load(path) as loaded:
        assert loaded.files == ["b", "a"]
        assert loaded["a"].tolist() == [[1, 1], [1, 1]]
    for save in (np.savez, np.savez_compressed):
        save(path, x=np.arange(5), y=np.eye(2))
        got = dc.delayed(lambda arrays: arrays)(dc.NumpySource(path)).compute()
        assert {name: array.tolist() for name, array in got.items()} == {
            "x": [0, 1, 2, 3, 4],
            "y": [[1, 0], [0, 1]],
        }


def test_npz_files_are_stored_or_deflated():
    """By default nothing is compressed; files say nothing of when and where they were made."""
    arrays = {"a": np.zeros(10_000)}
    with zipfile.ZipFile(io.BytesIO(saved(arrays))) as archive:
        (member,) = archive.infolist()
    assert member.compress_type == zipfile.ZIP_STORED
    assert (member.date_time, member.create_system) == ((1980, 1, 1, 0, 0, 0), 3)
    assert len(saved(arrays, dc.NumpyTarget("a.npz", compressed=True))) < 1000


@pytest.mark.parametrize(
    "array", [np.arange(12.0).reshape(3, 4), np.array(1.5), np.zeros((0, 3)), np.zeros(3, [("a", "?")])]
)
def test_npy_opens_as_a_read_only_memory_map(array):
    """`open` maps the file, whatever the shape; nothing can be written through it."""
    node = dc.delayed(lambda: array, target="a.npy")()
    node.compute()
    opened = node.dc.open()
    assert isinstance(opened, np.memmap)
    assert opened.tobytes() == array.tobytes()
    assert not opened.flags.writeable


def test_a_dtype_that_numpy_would_not_load_is_refused():
    """So many fields that `numpy.load` refuses the header are refused when saving."""
    many = np.zeros(1, [(f"field_{i:04d}", "f8") for i in range(1000)])
    with pytest.raises(FormatLimit, match="too many fields"):
        dc.NumpyTarget("a.npy").encode_checked(many)


def _npy(array, shape=None):
    """An .npy file whose header may declare another shape."""
    file = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": shape or array.shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + array.tobytes()


def _zip(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


@pytest.mark.parametrize("shape", [(10**12,), (2,), (4,), (10**6, 10**6, 10**6), (-3,)])
def test_a_header_that_lies(shape, tmp_path):
    """An array that is larger or smaller than declared is not read, mapped or unpacked."""
    data = _npy(np.arange(3), shape)
    (tmp_path / "a.npy").write_bytes(data)
    (tmp_path / "a.npz").write_bytes(_zip(x=data))
    target = dc.NumpyTarget("a.npy")
    for read in (target.read, target.open):
        with pytest.raises(TargetCorrupt, match="header") as caught:
            read(str(tmp_path / "a.npy"))
        assert caught.value.got == "24 bytes"
    with pytest.raises(TargetCorrupt, match=r"x\.npy in a\.npz"):
        NPZ.read(str(tmp_path / "a.npz"))


def test_archives_are_unpacked_up_to_a_limit():
    """Members that declare more than config daskcache.max-decoded, together, are not unpacked."""
    data = _zip(x=_npy(np.zeros(1000)), y=_npy(np.zeros(1000)))
    with dask.config.set({"daskcache.max-decoded": "16 kB"}), pytest.raises(FormatLimit):
        NPZ.decode(data)
    with dask.config.set({"daskcache.max-decoded": "17 kB"}):
        assert list(NPZ.decode(data)) == ["x", "y"]


@pytest.mark.parametrize("names", [["x.npy", "notes.txt"], ["x.npy", "x.npy"]])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_of_something_else(names):
    """Members that are no arrays, or two of one name, are not passed over."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, _npy(np.zeros(1)))
    with pytest.raises(TargetCorrupt, match=r"x\.npy|notes\.txt"):
        NPZ.decode(file.getvalue())


def test_pickled_objects_in_archives_and_maps_are_not_interpreted(tmp_path):
    """Arrays of objects raise UntrustedPickle, in an archive and when mapped too."""
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object))
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object))
    for read, name in ((NPZ.read, "a.npz"), (dc.NumpyTarget("a.npy").open, "a.npy")):
        with pytest.raises(UntrustedPickle):
            read(str(tmp_path / name))


def test_bombs_take_no_memory(tmp_path):
    """A header of 10^12 numbers and an archive of 300 MB are refused within 100 MB of memory."""
    (tmp_path / "a.npy").write_bytes(_npy(np.arange(3), (10**12,)))
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as member,
    ):
        member.write(_npy(np.zeros(0, "u1"), (3 * 10**8,)))
        for _ in range(3):
            member.write(bytes(10**8))
    code = """
        import resource, sys, dask, daskcache as dc
        import numpy
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 10**8, used + 10**8))
        dask.config.set({"daskcache.max-decoded": "200 MB"})
        for name in ("a.npy", "a.npz"):
            try:
                dc.NumpyTarget(name).read(name)
            except Exception as error:
                print(type(error).__name__)
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["TargetCorrupt", "FormatLimit"], done.stderr


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_array_in_an_archive_is_an_array(tmp_path, save):
    """What ``numpy.savez(path, array)`` wrote arrives as an array, other archives as a dict."""
    array = np.arange(6.0).reshape(2, 3)
    save(tmp_path / "one.npz", array)
    save(tmp_path / "two.npz", array, array)
    save(tmp_path / "named.npz", image=array)
    assert np.array_equal(dc.NumpySource(tmp_path / "one.npz").get_data(), array)
    assert list(dc.NumpySource(tmp_path / "two.npz").get_data()) == ["arr_0", "arr_1"]
    assert list(dc.NumpySource(tmp_path / "named.npz").get_data()) == ["image"]
    assert dc.delayed(lambda image: image.shape)(dc.NumpySource(tmp_path / "one.npz")).compute() == (
        2,
        3,
    )


def test_an_array_and_a_dict_with_its_name_are_two_values(root):
    """A function that returns either gets the same back, cold and warm, and `numpy.load` reads both."""
    array = np.arange(3)
    for name, value in (("array", array), ("dict", {"arr_0": array})):
        node = dc.delayed(lambda value: value, target="{name}.npz".replace("{name}", name))(value)
        for got in (node.compute(), node.compute(), node.dc.load()):
            assert type(got) is type(value)
        with np.load(node.dc.path) as archive:
            assert np.array_equal(archive["arr_0"], array)


def test_an_archive_of_an_earlier_version_is_a_dict():
    """A stored dict with the key ``arr_0`` has its earlier bytes, and comes back as a dict."""
    target = dc.NumpyTarget("a.npz")
    content = b"".join(target.encode({"arr_0": np.arange(3)}))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.comment == b""
        assert archive.infolist()[0].external_attr == 0o644 << 16
    assert type(target.decode(content)) is dict


def test_an_adopted_archive_is_an_array(root):
    """A correction that was saved by ``numpy.savez(path, array)`` stands for the array."""
    node = dc.delayed(lambda: np.zeros(3, "u1"), target="a.npz", version=1)()
    node.compute()
    np.savez(node.dc.path, np.array([0, 1, 2]))
    dc.adopt(node)
    got = node.compute()
    assert (got.tolist(), got.dtype) == ([0, 1, 2], "u1")


def test_sources_of_archives_have_another_identity(tmp_path):
    """Results that were made of an archive as a dict are made once more."""
    for name in ("a.npz", "a.npy"):
        (tmp_path / name).write_bytes(b"")
    plain = dc.Source.identify
    for name, same in (("a.npz", False), ("a.npy", True)):
        source = dc.NumpySource(tmp_path / name)
        assert (source.identity() == plain(source, source.content_hash())) is same
