"""Targets and sources: what each format gives back, what it refuses, and how suffixes find it."""

from __future__ import annotations

import datetime
import decimal
import io
import itertools
import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import daskcache as dc
from daskcache.errors import (
    DaskcacheError,
    FormatLimit,
    SourceChanged,
    SourceMissing,
    UnknownFormat,
    UntrustedPickle,
)
from daskcache.hashing.encoder import hash_value
from daskcache.targets.base import Source
from daskcache.targets.registry import suffix_of, target_class

MODEST = settings(max_examples=60, deadline=None)


def through(target, value):
    """The value, written and read back; the file must not depend on when it was written."""
    content = b"".join(target.encode_checked(value))
    assert content == b"".join(target.encode_checked(value))
    return target.decode(content)


def assert_same(got, value):
    """Equal, of the same type, and with the same data hash."""
    assert type(got) is type(value)
    assert hash_value(got) == hash_value(value)


# ---- what the contract (tests/targets) leaves to each format --------------------------------------


def test_options_stay_when_the_path_changes():
    """`at` keeps the options of a format; options tell targets apart."""
    target = dc.ImageTarget("a.tif", compression=None)
    assert target.at("b.tif").compression is None
    assert target != dc.ImageTarget("a.tif")
    assert "compression=None" in repr(target)


@pytest.mark.parametrize(
    ("target", "value", "names"),
    [
        (dc.NumpyTarget("a.npy"), [1, 2], "list"),
        (dc.NumpyTarget("a.npy"), np.str_("a"), "str_"),
        (dc.NumpyTarget("a.npy"), np.array([object()]), "object"),
        (dc.NumpyTarget("a.npy"), np.ma.masked_array([1, 2], [0, 1]), "MaskedArray"),
        (dc.NumpyTarget("a.npy"), pd.DataFrame({"a": [1]}), "DataFrame"),
        (dc.ImageTarget("a.tif"), [[1]], "list"),
        (dc.ImageTarget("a.tif"), np.zeros((4, 4), "V4"), r"\|V4"),
        (dc.ImageTarget("a.ome.tif"), np.zeros((4, 4), "f2"), "float16"),
        (dc.ImageTarget("a.ome.tif"), np.full((4, 4), 2**40), "int64"),
        (dc.ImageTarget("a.tif", format="imagej"), np.zeros((4, 4)), "float64"),
        (dc.ImageTarget("a.tif"), np.zeros((4, 4), ">u2"), ">u2"),
        (dc.ImageTarget("a.tif"), np.zeros(4, "u1"), r"\(4,\)"),
        (dc.ImageTarget("a.tif"), np.zeros((0, 4), "u1"), r"\(0, 4\)"),
        (dc.CSVTarget("a.csv"), {"a": [1]}, "dict"),
        (dc.CSVTarget("a.csv"), pd.Series([1], name="a"), "Series"),
        (dc.CSVTarget("a.csv"), pd.DataFrame({"a": [1]}, index=[5]), "index"),
        (dc.CSVTarget("a.csv"), pd.DataFrame({"id": ["01", "02"]}), "'id'"),
        (dc.CSVTarget("a.csv"), pd.DataFrame({"text": ["", "x"]}), "'text'"),
        (dc.CSVTarget("a.csv", dtype={"b": "u1"}), pd.DataFrame({"a": [1]}), "dtype= names.*'b'"),
        (dc.CSVTarget("a.csv", dtype={"a": "M8[s]"}), pd.DataFrame({"a": ["x"]}), "column 'a'"),
        (dc.CSVTarget("a.csv", index_col="id"), pd.DataFrame({"a": [1]}), r"\['id'\]"),
        (
            dc.CSVTarget("a.csv", index_col="id"),
            pd.DataFrame({"a": [1]}, index=pd.Index(["01"], name="id")),
            "'id'",
        ),
        (dc.ParquetTarget("a.parquet"), [1], "list"),
        (dc.ParquetTarget("a.parquet"), pd.DataFrame({"mixed": [1, "a"]}), "mixed"),
        (dc.NumpyTarget("a.npz"), [1, 2], "list"),
        (dc.NumpyTarget("a.npz"), {"a": [1]}, "item 'a' is a list"),
        (dc.NumpyTarget("a.npz"), {"a": np.array([None])}, "item 'a' is of dtype object"),
        (dc.NumpyTarget("a.npz"), {1: np.zeros(3)}, "key 1 is not a text"),
        (dc.TextTarget("a.txt"), "ab\ud800", "at 2"),
        (dc.JSONTarget("a.json"), [OrderedDict(a=1)], "OrderedDict"),
        (dc.JSONTarget("a.json"), [b""], "bytes"),
        (dc.JSONTarget("a.json"), np.zeros(3), "ndarray"),
    ],
)
def test_what_a_format_can_not_hold_is_refused(target, value, names, files):
    """A value that would come back changed is refused when saving, naming column, dtype or type."""
    with pytest.raises(FormatLimit, match=names) as caught:
        target.encode_checked(value)
    assert caught.value.hint
    node = dc.delayed(lambda: value, target=target, version=1)()
    with pytest.raises(FormatLimit, match=names) as caught:
        node.compute()
    assert caught.value.target == node.dc.path
    assert files() == []


# ---- NumPy ---------------------------------------------------------------------------------------


@MODEST
@given(
    hnp.arrays(
        hnp.scalar_dtypes() | hnp.array_dtypes(max_size=3),
        hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
    )
)
@example(np.zeros(1, [("Ā", "?")]))
def test_npy_gives_back_every_array(array):
    """Any array without objects comes back with dtype, byte order, shape and bits."""
    try:
        got = through(dc.NumpyTarget("a.npy"), array)
    except FormatLimit:
        assert np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(array.dtype)) != array.dtype
        return
    assert got.dtype == array.dtype
    assert got.shape == array.shape
    assert got.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(20).reshape(4, 5)[::-2, 1:4],
        np.broadcast_to(np.arange(3), (2, 3)),
    ],
)
def test_npy_files_do_not_depend_on_the_layout(array):
    """Fortran order, strides and broadcasting leave no trace in the file."""
    target = dc.NumpyTarget("a.npy")
    plain = np.ascontiguousarray(array)
    assert b"".join(target.encode(array)) == b"".join(target.encode(plain))
    assert np.load(io.BytesIO(b"".join(target.encode(array)))).tolist() == array.tolist()


def test_npy_with_pickled_objects_is_not_interpreted(tmp_path, root):
    """An .npy file of objects raises UntrustedPickle before any of it runs."""
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self):
            return Path.touch, (canary,)

    path = tmp_path / "objects.npy"
    np.save(path, np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(UntrustedPickle, match=r"objects\.npy"):
        dc.NumpyTarget(str(path)).read(str(path))
    with pytest.raises(UntrustedPickle):
        dc.delayed(lambda a: a)(dc.NumpySource(path)).compute()
    assert not canary.exists()


# ---- images --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize(
    "shape",
    [
        (20, 30),
        (1, 1),
        (1, 30),
        (30, 1),
        (3, 20, 30),
        (4, 20, 30),
        (20, 30, 3),
        (20, 30, 4),
        (1, 20, 30),
        (2, 1, 20, 30),
        (2, 3, 20, 30),
        (5, 20, 30, 3),
        (2, 3, 4, 5, 6),
        (3, 3, 3),
        (20, 3),
        (20, 30, 2),
    ],
)
def test_tiff_gives_back_dtype_shape_and_values(dtype, shape):
    """TIFF holds each dtype in each shape; a second reader sees the same."""
    values = np.random.default_rng(1).integers(0, 2 if dtype == "?" else 120, shape)
    image = values.astype(dtype)
    target = dc.ImageTarget("a.tif")
    got = through(target, image)
    assert (got.dtype, got.shape) == (image.dtype, image.shape)
    assert got.tobytes() == image.tobytes()


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_three_planes_are_not_a_colour_image(dtype):
    """A (3, H, W) stack is stored as three grey pages; (H, W, 3) of bytes is one RGB page."""
    target = dc.ImageTarget("a.tif")
    with tifffile.TiffFile(io.BytesIO(b"".join(target.encode(np.zeros((3, 40, 50), dtype))))) as f:
        assert len(f.pages) == 3
        assert {page.photometric.name for page in f.pages} == {"MINISBLACK"}
    with tifffile.TiffFile(io.BytesIO(b"".join(target.encode(np.zeros((40, 50, 3), dtype))))) as f:
        rgb = dtype != "f4"
        assert (f.pages[0].photometric.name == "RGB") == rgb


@pytest.mark.parametrize("compression", ["zlib", "zstd", None])
@pytest.mark.parametrize("dtype", ["?", "u1", "u2", "i4", "f4", "f8"])
def test_tiff_compressions_are_lossless(compression, dtype):
    """Every compression gives back the bits; NaN, infinities and -0.0 too."""
    image = np.random.default_rng(2).integers(0, 200, (33, 47)).astype(dtype)
    if image.dtype.kind == "f":
        image[0, :4] = np.nan, np.inf, -np.inf, -0.0
    got = through(dc.ImageTarget("a.tif", compression=compression), image)
    assert got.dtype == image.dtype
    assert got.tobytes() == image.tobytes()


def test_tiff_files_do_not_depend_on_the_layout():
    """Strided and Fortran-ordered images give the same file as contiguous ones."""
    target = dc.ImageTarget("a.tif")
    image = np.arange(1200, dtype="u2").reshape(30, 40)
    for view in (np.asfortranarray(image), image[::2, ::-3], image.T):
        plain = np.ascontiguousarray(view)
        assert b"".join(target.encode(view)) == b"".join(target.encode(plain))


def test_image_sources(tmp_path):
    """ImageSource reads TIFF and what imageio reads."""
    image = np.arange(64 * 3, dtype="u1").reshape(8, 8, 3)
    import imageio.v3 as iio

    iio.imwrite(tmp_path / "a.png", image)
    tifffile.imwrite(tmp_path / "b.TIF", image[..., 0], photometric="minisblack")
    assert dc.ImageSource(tmp_path / "a.png").get_data().tolist() == image.tolist()
    assert dc.ImageSource(tmp_path / "b.TIF").get_data().tolist() == image[..., 0].tolist()


# ---- tables --------------------------------------------------------------------------------------

_texts = st.text(max_size=6) | st.sampled_from(
    ["", "NA", "nan", "None", "1", "01", "1.0", "True", " x ", 'a"b', "a,b", "a\nb", "a\r\nb", "é"]
)
_columns = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3),
    st.lists(st.floats(), min_size=3, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.lists(_texts, min_size=3, max_size=3),
    st.lists(_texts | st.none(), min_size=3, max_size=3),
    st.lists(st.integers(0, 255), min_size=3, max_size=3).map(lambda v: np.array(v, "u1")),
    st.lists(st.floats(width=32), min_size=3, max_size=3).map(lambda v: np.array(v, "f4")),
    st.lists(
        st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)),
        min_size=3,
        max_size=3,
    ),
    st.lists(st.sampled_from("ab"), min_size=3, max_size=3).map(pd.Categorical),
)
_frames = st.dictionaries(_texts | st.integers(), _columns, max_size=3).map(pd.DataFrame)


@settings(max_examples=150, deadline=None)
@given(_frames, st.booleans())
@example(pd.DataFrame({"": [0], "\r": [0], "0": [0]}), False)
def test_csv_is_exact_or_refuses(frame, as_index):
    """Any frame either comes back from CSV as it was, or is refused when saving."""
    if as_index:
        frame.index = [3, 1, 2][: len(frame)]
    try:
        got = through(dc.CSVTarget("a.csv"), frame)
    except FormatLimit:
        return
    pd.testing.assert_frame_equal(got, frame, check_exact=True)
    assert_same(got, frame)


@MODEST
@given(_frames, st.booleans())
@example(pd.DataFrame({-(2**63) - 1: [0]}), False)
def test_parquet_is_exact_or_refuses(frame, as_index):
    """Any frame either comes back from Parquet as it was, or is refused when saving."""
    if as_index:
        frame.index = [3, 1, 2][: len(frame)]
    try:
        got = through(dc.ParquetTarget("a.parquet"), frame)
    except FormatLimit:
        return
    pd.testing.assert_frame_equal(got, frame, check_exact=True)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"n": [1, -(2**63), 2**63 - 1]}),
        pd.DataFrame({"x": [0.1, 1e-300, 1 / 3]}),
        pd.DataFrame({"x": [1.0, np.nan, np.inf]}),
        pd.DataFrame({"ok": [True, False]}),
        pd.DataFrame({"name": ["a", "NA", "None", 'q"q', "a,b", "line\nbreak"]}),
        pd.DataFrame({"é": ["ü", "日本"]}),
        pd.DataFrame({"a": [1], "b": [2.5], "c": ["x"]}),
    ],
)
def test_csv_holds_ordinary_tables(frame):
    """Integers, floats, booleans and texts survive CSV exactly."""
    pd.testing.assert_frame_equal(through(dc.CSVTarget("a.csv"), frame), frame, check_exact=True)


def test_saving_csv_warns_of_nothing(recwarn):
    """Saving and reading an ordinary table emits no warning of pandas."""
    through(dc.CSVTarget("a.csv"), pd.DataFrame({"x": [1.5, 2]}))
    assert [str(w.message) for w in recwarn] == []


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="id")),
        pd.DataFrame({"a": pd.Categorical(["x", "y"])}),
        pd.DataFrame({"a": np.array([1, 2], "u1"), "b": np.array([1, 2], "f4")}),
        pd.DataFrame({"t": pd.to_datetime(["2024-01-01", None])}),
        pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}),
        pd.DataFrame(
            {"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["p", "q"])
        ),
    ],
)
def test_parquet_keeps_dtypes_and_index(frame):
    """Parquet gives back dtypes, categories and indexes."""
    got = through(dc.ParquetTarget("a.parquet"), frame)
    pd.testing.assert_frame_equal(got, frame, check_exact=True)


# ---- plain values --------------------------------------------------------------------------------


def test_json_is_readable():
    """A JSON file is indented text with real characters."""
    (data, end) = dc.JSONTarget("a.json").encode({"é": [1]})
    assert (data + end).decode() == '{\n "é": [\n  1\n ]\n}\n'
    assert json.loads(data) == {"é": [1]}


@pytest.mark.parametrize(
    "value",
    [
        None,
        {1, 2, 3},
        (1, [2, {3: 4}]),
        decimal.Decimal("1.10"),
        datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
        np.arange(3),
        pd.DataFrame({"a": [1]}),
        Path("a/b"),
    ],
)
def test_pickle_holds_anything(value):
    """Whatever pickles comes back from a pickle."""
    target = dc.PickleTarget("a.pkl")
    assert_same(target.decode(b"".join(target.encode(value))), value)


def test_pickle_holds_functions_and_local_classes():
    """Lambdas, closures and instances of local classes come back too."""
    factor = 3

    class Local:
        def __init__(self, x):
            self.x = x

        def scaled(self):
            return self.x * factor

    target = dc.PickleTarget("a.pkl")
    assert target.decode(b"".join(target.encode(lambda x: x * factor)))(2) == 6
    assert target.decode(b"".join(target.encode(Local(2)))).scaled() == 6


@MODEST
@given(st.sets(st.text(max_size=5) | st.integers()), st.randoms())
def test_the_data_hash_does_not_depend_on_the_pickle(value, randomly):
    """Equal values have one data hash, in whatever order they were put together."""
    items = list(value)
    randomly.shuffle(items)
    target = dc.PickleTarget("a.pkl")
    assert target.hash(set(items)) == target.hash(value)


# ---- suffixes and classes of third parties -------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "cls"),
    [
        ("a.npy", "NumpyTarget"),
        ("a.npz", "NumpyTarget"),
        ("a.txt", "TextTarget"),
        ("a.tif", "ImageTarget"),
        ("a.tiff", "ImageTarget"),
        ("a.TIF", "ImageTarget"),
        ("a.b.c.csv", "CSVTarget"),
        ("dir.with.dots/a.json", "JSONTarget"),
        ("a.parquet", "ParquetTarget"),
        ("a.pkl", "PickleTarget"),
        ("a.pickle", "PickleTarget"),
        ("a", "PickleTarget"),
        ("dir.tif/a", "PickleTarget"),
    ],
)
def test_the_suffix_decides_the_format(path, cls):
    """A path's suffix finds its class; no suffix means pickle."""
    assert target_class(path).__name__ == cls


@pytest.mark.parametrize("path", ["a.xyz", "a.tif.gz", "a.", "a.npy2", "x/.tif.bak"])
def test_an_unknown_suffix_is_refused(path):
    """An unknown suffix raises when decorating, naming it and what can be done."""
    with pytest.raises(UnknownFormat, match="register_suffix"):
        target_class(path)
    with pytest.raises(DaskcacheError):
        dc.delayed(lambda: 1, target=path)


def test_the_longest_registered_suffix_counts(monkeypatch):
    """`.ome.json` can be a format of its own beside `.json`."""
    from daskcache.targets import registry

    monkeypatch.setattr(registry, "_TARGETS", dict(registry._TARGETS))
    dc.register_suffix(".OME.json", "daskcache.targets.objects:PickleTarget")
    assert target_class("a.ome.json").__name__ == "PickleTarget"
    assert target_class("a.JSON").__name__ == "JSONTarget"
    assert suffix_of("x.y.ome.json") == ".ome.json"


@pytest.mark.parametrize(("suffix", "target"), [("ply", "a:B"), (".ply", "a.B"), ("", "a:B")])
def test_bad_registrations_are_refused(suffix, target):
    """A suffix starts with a dot, and a class is named as "package.module:Class"."""
    with pytest.raises(UnknownFormat, match=r"package\.module:Class"):
        dc.register_suffix(suffix, target)


def test_registered_sources(tmp_path, monkeypatch):
    """A suffix may have a source class of its own, alone or beside a target class."""
    from daskcache.targets import registry

    for table in ("_TARGETS", "_SOURCES"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    dc.register_suffix(".ome.RAW", source="daskcache:TextSource")
    dc.register_suffix(".pts", "daskcache:JSONTarget", source="daskcache:JSONSource")
    for name, source in (("a.ome.raw", "Text"), ("a.raw", "File"), ("a.pts", "JSON"), ("a.csv", "CSV")):
        (tmp_path / name).write_text("1")
        assert type(next(iter(dc.FolderSource(tmp_path, name)))).__name__ == f"{source}Source"
    assert target_class("a.pts").__name__ == "JSONTarget"
    with pytest.raises(UnknownFormat, match="no target class"):
        target_class("a.ome.raw")
    for options in ({}, {"source": "a.B"}, {"target": "a:B", "source": "a.B"}):
        with pytest.raises(UnknownFormat, match=r"package\.module:Class"):
            dc.register_suffix(".ply", **options)


class PointsTarget(dc.Target):
    """Somebody's own format: a folder-less text file of points.  What `write` returns means nothing."""

    def write(self, value, path):
        return Path(path).write_text("\n".join(f"{x} {y}" for x, y in value))

    def read(self, path):
        lines = Path(path).read_text().splitlines()
        return [tuple(map(int, line.split())) for line in lines]


class FolderTarget(dc.Target):
    """A format whose targets are folders."""

    def write(self, value, path):
        os.makedirs(path)
        for name, text in value.items():
            Path(path, name).write_text(text)

    def read(self, path):
        return {p.name: p.read_text() for p in sorted(Path(path).iterdir())}


@pytest.fixture
def third_party(monkeypatch):
    from daskcache.targets import registry

    monkeypatch.setattr(registry, "_TARGETS", dict(registry._TARGETS))
    dc.register_suffix(".pts", f"{__name__}:PointsTarget")
    dc.register_suffix(".folder", f"{__name__}:FolderTarget")


def test_a_third_party_format(third_party, runs, root):
    """A class with `write` and `read`, registered by suffix, is a full target."""

    @dc.delayed(target="{n}.pts")
    def points(n):
        runs.note("points")
        return [(i, i * i) for i in range(n)]

    assert points(3).compute() == [(0, 0), (1, 1), (2, 4)]
    assert points(3).compute() == [(0, 0), (1, 1), (2, 4)]
    assert runs.take() == ["points"]
    assert (root / "3.pts").read_text() == "0 0\n1 1\n2 4"
    assert isinstance(points(3).dc.target, PointsTarget)
    assert [p.name for p in root.iterdir() if p.name != ".daskcache"] == ["3.pts"]


def test_a_third_party_format_of_folders(third_party, runs, root):
    """A format may write folders; a missing, extra or changed file in one is found."""

    @dc.delayed(target="{n}.folder", check="content")
    def parts(n):
        runs.note("parts")
        return {f"part{i}": str(i) for i in range(n)}

    expected = {"part0": "0", "part1": "1"}
    assert parts(2).compute() == parts(2).compute() == expected
    assert runs.take() == ["parts"]
    (root / "2.folder" / "part1").unlink()
    assert parts(2).dc.state in ("modified", "corrupt")
    (root / "2.folder" / "part1").write_text("1")
    (root / "2.folder" / "extra").write_text("")
    assert parts(2).dc.state in ("modified", "corrupt")


def test_a_folder_whose_files_were_swapped_is_not_a_value(third_party, root):
    """Two files of a folder that changed places leave sizes and times alike, and are found."""

    @dc.delayed(target="swap.folder")
    def parts():
        return {"a": "1", "b": "2"}

    node = parts()
    node.compute()
    folder = root / "swap.folder"
    (folder / "a").rename(folder / "c")
    (folder / "b").rename(folder / "a")
    (folder / "c").rename(folder / "b")
    with pytest.raises(dc.errors.TargetCorrupt):
        node.dc.load()


# ---- sources -------------------------------------------------------------------------------------


def test_sources_are_identified_by_name_and_content(tmp_path):
    """Folder and times of a source don't count; its name, content and class do."""
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.csv").write_text("n\n1\n")
    here, there = tmp_path / "a" / "x.csv", tmp_path / "b" / "x.csv"
    assert dc.FileSource(here).identity() == dc.FileSource(there).identity()
    os.utime(there, (1, 1))
    assert dc.FileSource(here).identity() == dc.FileSource(there).identity()
    renamed = there.rename(tmp_path / "b" / "y.csv")
    assert dc.FileSource(here).identity() != dc.FileSource(renamed).identity()
    assert dc.FileSource(here).identity() != dc.CSVSource(here).identity()
    before = dc.FileSource(here).identity()
    here.write_text("n\n2\n")
    assert dc.FileSource(here).identity() != before


def test_the_memo_notices_edits_of_the_same_size(tmp_path):
    """Edits within one clock tick, at the same size, change the identity."""
    path = tmp_path / "x.bin"
    source = dc.FileSource(path)
    seen = set()
    for i in range(20):
        path.write_bytes(b"%02d" % i)
        seen.add(source.content_hash())
    assert len(seen) == 20


def test_the_memo_notices_a_replaced_file_with_old_times(tmp_path):
    """A file put in place of another, with its size and mtime, is another file."""
    path, other = tmp_path / "x.bin", tmp_path / "y.bin"
    path.write_bytes(b"11")
    os.utime(path, (1, 1))
    first = dc.FileSource(path).content_hash()
    assert dc.FileSource(path).content_hash() == first
    other.write_bytes(b"22")
    os.utime(other, (1, 1))
    os.replace(other, path)
    assert dc.FileSource(path).content_hash() != first


def test_read_options_are_part_of_a_csv_source(tmp_path):
    """CSVSource hands its options to pandas, and they count."""
    path = tmp_path / "t.csv"
    path.write_text("a;b\n01;2\n")
    plain = dc.CSVSource(path)
    options = dc.CSVSource(path, sep=";", dtype={"a": str})
    assert list(plain.get_data()) == ["a;b"]
    assert options.get_data().a.tolist() == ["01"]
    assert plain.identity() != options.identity()
    again = dc.CSVSource(path, dtype={"a": str}, sep=";")
    assert options.identity() == again.identity()
    assert dc.delayed(lambda t: t.b.tolist())(options).compute() == [2]


def test_read_options_without_a_stable_text_have_a_stable_identity(tmp_path):
    """Options that are functions count by what they do, not by where they lie in memory."""
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")

    def source(shift):
        return dc.CSVSource(path, converters={"a": lambda text: int(text) + shift})

    assert source(1).identity() == source(1).identity() != source(2).identity()


def test_sources_with_different_options_are_different_values(tmp_path):
    """Two CSV sources of one file with other options are not equal."""
    path = tmp_path / "t.csv"
    assert dc.CSVSource(path) == dc.CSVSource(path)
    assert dc.CSVSource(path, sep=";") != dc.CSVSource(path)
    assert dc.CSVSource(path) != dc.FileSource(path)


def test_the_parts_of_a_sources_path(tmp_path):
    """A source knows file name, stem, suffix and the name of its folder."""
    source = dc.FileSource(tmp_path / "day1" / "a.ome.tif")
    parts = source.filename, source.stem, source.suffix, source.parent
    assert parts == ("a.ome.tif", "a.ome", ".tif", "day1")
    assert source.path == str(tmp_path / "day1" / "a.ome.tif")


def test_relative_sources_are_of_the_current_folder(tmp_path, monkeypatch):
    """A relative path is made absolute when the source is made."""
    monkeypatch.chdir(tmp_path)
    source = dc.FileSource("x.bin")
    monkeypatch.chdir("/")
    assert source.path == str(tmp_path / "x.bin")


@pytest.mark.parametrize("cls", [dc.FileSource, dc.CSVSource, dc.NumpySource, dc.ImageSource])
def test_a_missing_source(cls, tmp_path):
    """A source that is not there raises SourceMissing, naming the file, when it is used."""
    source = cls(tmp_path / "gone")
    with pytest.raises(SourceMissing, match="gone"):
        source.content_hash()


@pytest.mark.parametrize("cls", [dc.FileSource, dc.CSVSource])
def test_a_source_that_changed_is_not_read(cls, tmp_path):
    """A source whose content is no longer what was hashed raises SourceChanged."""
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    source = cls(path)
    expected = source.content_hash()
    source.load_verified(expected)
    path.write_text("a\n2\n")
    with pytest.raises(SourceChanged, match=r"t\.csv"):
        source.load_verified(expected)


def test_a_third_party_source(tmp_path):
    """A subclass of Source that decodes bytes works like the others."""

    class Lines(Source):
        def decode(self, data):
            return data.decode().split()

    (tmp_path / "words.txt").write_text("a b c")
    assert Lines(tmp_path / "words.txt").get_data() == ["a", "b", "c"]
    assert dc.delayed(len)(Lines(tmp_path / "words.txt")).compute() == 3


def test_sources_travel_and_compare(tmp_path):
    """Sources pickle, and are equal by class and path."""
    source = dc.FileSource(tmp_path / "x")
    twin = pickle.loads(pickle.dumps(source))
    assert twin == source
    assert len({twin, source, dc.FileSource(tmp_path / "y")}) == 2
    for one, two in itertools.combinations([source, dc.CSVSource(tmp_path / "x"), "x"], 2):
        assert one != two


OWN_FORMAT = """
from daskcache.targets.base import BytesTarget

class Lines(BytesTarget):
    def encode(self, value):
        return ["\\n".join(value).encode()]

    def decode(self, data):
        return data.decode().split()  # changed later
"""


def test_the_code_of_a_users_format_counts(define):
    """A node reruns when the class that writes and reads its result is edited, and not before."""

    def node(source):
        return dc.delayed(lambda: ["a b", "c"], target=define(source).Lines("own.lines"))()

    source = OWN_FORMAT.replace(".split()", '.split("\\n")')
    assert node(source).compute() == ["a b", "c"]
    assert node(source).dc.state == "complete"
    edited = node(source.replace("return data.decode()", "return data.decode().upper()"))
    assert edited.dc.state == "stale"


@pytest.mark.parametrize(
    ("kind", "path", "named"),
    [
        (dc.ImageTarget, "a.png", "PNGTarget"),
        (dc.ImageTarget, "a.JPG", "JPG files"),
        (dc.NumpyTarget, "{i}/a.csv", "CSVTarget"),
        (dc.PickleTarget, "a.h5", "HDF5Target"),
        (dc.ZarrTarget, "a.ome.zarr", "OMEZarrTarget"),
        (dc.TextTarget, "a.npy", "NumpyTarget"),
    ],
)
def test_no_format_takes_the_suffix_of_another(kind, path, named):
    """Programs would take TIFF in ``a.png`` for a damaged PNG."""
    for options in ({"target": kind(path)}, {"target": path, "store": kind}):
        with pytest.raises(UnknownFormat, match=f"{kind.__name__} would write .* suffix of {named}"):
            dc.delayed(lambda i: i, **options)


@pytest.mark.parametrize(
    "target",
    [
        dc.ImageTarget("a.lsm2"),
        dc.ImageTarget("{name}"),
        dc.ImageTarget("a.ome.tif"),
        dc.OMEZarrTarget("a.zarr"),
        dc.TextTarget("a.csv"),
        dc.CSVTarget("a.txt"),
        dc.FigureTarget("a.png"),
        dc.FileTarget("a.tif"),
    ],
)
def test_suffixes_that_a_format_may_have(target):
    """Unknown ones, those of texts for any text, and any for what the function writes itself."""
    node = dc.delayed(lambda name: name, target=target)("b")
    assert node.dc.path.endswith(f"/{target.path.format(name='b')}")
