"""Input files that can't be decoded: one error for all sources, which names file, format and cause."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import daskcache as dc
from daskcache import delayed
from daskcache.errors import SourceUnreadable, StorageError, TargetError, UntrustedPickle

HTML = b"\n<!DOCTYPE html>\n<html><body>404 Not Found</body></html>"


def png():
    file = io.BytesIO()
    Image.fromarray(np.arange(4096, dtype="u1").reshape(64, 64)).save(file, "PNG")
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def parquet():
    file = io.BytesIO()
    pd.DataFrame({"a": range(1000)}).to_parquet(file)
    return file.getvalue()


LATIN = "name,area\nZürich,2\n".encode("cp1252")
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"

#: Name of the file, its content, its source, and words of the error.
CASES = [
    ("page.tif", HTML, dc.ImageSource, ["HTML", "download"]),
    ("page.png", HTML, dc.ImageSource, ["HTML"]),
    ("page.csv.parquet", HTML, dc.ParquetSource, ["HTML"]),
    ("page.npy", HTML, dc.NumpySource, ["HTML"]),
    ("page.json", HTML, dc.JSONSource, ["HTML"]),
    ("lfs.tif", LFS, dc.ImageSource, ["git lfs pull"]),
    ("empty.tif", b"", dc.ImageSource, ["empty"]),
    ("empty.npy", b"", dc.NumpySource, ["empty"]),
    ("empty.csv", b"", dc.CSVSource, ["empty"]),
    ("empty.json", b"", dc.JSONSource, ["empty"]),
    ("png.tif", png(), dc.ImageSource, ["PNG", ".png"]),
    ("tif.npy", b"II*\0" + b"\0" * 99, dc.NumpySource, ["TIFF", ".tif"]),
    ("excel.csv", b"PK\3\4\xff\xfe" + b"\0" * 99, dc.CSVSource, ["Excel"]),
    ("cut.png", png()[:90], dc.ImageSource, ["PNG", "cut short"]),
    ("header.png", png()[:12], dc.ImageSource, ["PNG", "cut short"]),
    ("cut.npy", npy(np.arange(99))[:300], dc.NumpySource, ["shape (99,)"]),
    ("header.npy", b"\x93NUMPY\x01\x00", dc.NumpySource, ["NumPy", "cut short"]),
    ("cut.npz", b"PK\3\4", dc.NumpySource, ["zip", "cut short"]),
    ("cut.parquet", parquet()[:700], dc.ParquetSource, ["Parquet", "cut short"]),
    ("tiny.parquet", b"PAR1xxx", dc.ParquetSource, ["Parquet", "cut short"]),
    ("cut.json", b'{"a": [1, 2', dc.JSONSource, ["JSONDecodeError", "b'{\"a\": [1, 2'"]),
    ("latin.csv", LATIN, dc.CSVSource, ["cp1252"]),
    ("latin.txt", LATIN, dc.TextSource, ["cp1252"]),
    ("utf16.csv", "a,b\n1,2\n".encode("utf-16"), dc.CSVSource, ["utf-16"]),
    ("scan.czi", b"ZISRAWFILE" + b"\0" * 99, dc.ImageSource, ["czifile", "FileSource"]),
    ("scan.nd2", b"\xda\xce\xbe\n" + b"\0" * 99, dc.ImageSource, ["nd2", "FileSource"]),
    ("scan.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 99, dc.ImageSource, ["h5py", "FileSource"]),
]


@delayed(target="seen.json")
def seen(data):
    return str(type(data))


@pytest.mark.parametrize(("name", "content", "source", "words"), CASES, ids=[c[0] for c in CASES])
def test_an_unreadable_file_is_explained(name, content, source, words, tmp_path):
    """The error names the file and the likely cause, whether a node reads it or the user does."""
    path = tmp_path / name
    path.write_bytes(content)
    for use in (source(path).get_data, seen(source(path)).compute):
        with pytest.raises(SourceUnreadable) as caught:
            use()
        text = str(caught.value)
        assert str(path) in caught.value.message
        assert "<Buffer>" not in text
        assert "<bytes>" not in text
        assert [word for word in words if word not in text] == []
        assert source.__name__ in text or "shape" in text
        assert isinstance(caught.value, (TargetError, ValueError))


class Points(dc.Source):
    """A reader of another package, which decodes the bytes."""

    def decode(self, data):
        return [int(line) for line in data.split()]


class Slides(dc.Source):
    """A reader of another package, which opens the file itself, and fails as its library does."""

    error: Exception

    def get_data(self, cache=False):
        raise self.error

    def load_verified(self, expected):
        raise self.error

    def open_verified(self, expected):
        raise self.error


def test_readers_of_other_packages(tmp_path):
    """The rule holds for source classes that know nothing of it."""
    path = tmp_path / "points.xyz"
    path.write_bytes(b"1 2 x")
    for use in (Points(path).get_data, seen(Points(path)).compute):
        with pytest.raises(SourceUnreadable, match="ValueError: invalid literal") as caught:
            use()
        assert str(path) in str(caught.value)
        assert "b'1 2 x'" in str(caught.value)
        assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    "error", [IndexError("list index out of range"), SyntaxError("not a TIFF"), OSError("no backend")]
)
def test_any_error_of_a_reader(error, tmp_path, monkeypatch):
    """Whatever a library raises, the file is named; the library's error is the cause."""
    path = tmp_path / "slide.svs"
    path.write_bytes(b"content")
    monkeypatch.setattr(Slides, "error", error, raising=False)
    with pytest.raises(SourceUnreadable, match=r"slide\.svs") as caught:
        seen(Slides(path)).compute()
    assert caught.value.__cause__ is error
    assert type(error).__name__ in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no memory"),
        OSError(5, "Input/output error"),
        ModuleNotFoundError("No module named 'openslide'"),
        UntrustedPickle("not yours"),
        StorageError("gone"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_the_files_fault_keeps_its_type(error, tmp_path, monkeypatch):
    """Lack of memory, disks, missing packages and refusals are reported as what they are."""
    path = tmp_path / "slide.svs"
    path.write_bytes(b"content")
    monkeypatch.setattr(Slides, "error", error, raising=False)
    with pytest.raises(type(error)) as caught:
        seen(Slides(path)).compute()
    assert caught.value is error


def test_notes_name_sources_and_nodes_by_their_paths(tmp_path, root):
    """The note on an error has the paths of the inputs, also within containers."""
    (tmp_path / "a.txt").write_text("a")

    @delayed(target="made/a.json")
    def make():
        return 1

    @delayed
    def passed():
        return 2

    @delayed(target="out.json")
    def fail(text, numbers, loose):
        raise ValueError("no cells")

    with pytest.raises(ValueError, match="no cells") as caught:
        fail(dc.TextSource(tmp_path / "a.txt"), [make(), 3], passed()).compute()
    (note,) = [note for note in caught.value.__notes__ if note.startswith("in the node")]
    assert f"text={tmp_path}/a.txt" in note
    assert "numbers=[made/a.json, 3]" in note
    assert "upstream" not in note


def test_a_cut_image_beside_a_whole_one(tmp_path):
    """The whole files of a folder are computed, the cut one is named, with ``errors="collect"``."""
    for name, content in (("a", png()), ("b", png()[:90])):
        (tmp_path / f"{name}.png").write_bytes(content)

    @delayed(target="sums/{image.stem}.json")
    def total(image):
        return int(image.sum())

    sources = map(dc.ImageSource, sorted(tmp_path.glob("*.png")))
    found, failed = dc.compute(*map(total, sources), errors="collect")
    assert found == int(np.arange(4096, dtype="u1").sum())
    assert "b.png" in str(failed)
