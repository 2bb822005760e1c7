"""Arrays in NumPy's formats and in Zarr, images in OME-Zarr, JSON and texts: see `corpus`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import bioio
import bioio_ome_zarr
import numcodecs
import numpy as np
import ome_zarr.io
import ome_zarr.reader
import xarray
import zarr
from corpus import Kind

from daskcache import JSONSource, NumpySource, TextSource, ZarrSource

RNG = np.random.default_rng(3)
ARRAYS = [
    RNG.integers(0, 2**16, (20, 30)).astype("uint16"),
    RNG.normal(size=(7, 5)),
    np.arange(24).reshape(2, 3, 4),
]
STACKS = [
    RNG.integers(0, 2**16, shape).astype("uint16") for shape in ((4, 20, 30), (1, 9, 7), (2, 8, 8))
]


# ---- .npy and .npz ------------------------------------------------------------------------------------


def npy(version=None):
    def write(array, path):
        with open(path, "wb") as file:
            np.lib.format.write_array(file, array, version)

    return write


def npy_by_hand(array, path):
    """As other languages write it: the header in another order, with other spaces and padding."""
    head = f"{{'shape':{array.shape}, 'descr':'{array.dtype.str}',  'fortran_order':False, }}"
    head = head.ljust(256 - 11) + "\n"
    content = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + array.tobytes()
    Path(path).write_bytes(content)


def raw_npy(path):
    """Without NumPy's reader: the bytes behind the header."""
    content = Path(path).read_bytes()
    size = 10 + int.from_bytes(content[8:10], "little")
    head = eval(content[10:size], {"__builtins__": {}})
    order = "F" if head["fortran_order"] else "C"
    return np.frombuffer(content[size:], head["descr"]).reshape(head["shape"], order=order)


def npz_by_zip(arrays, path):
    """As an archive that another program has packed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(array))


def cut_npy(share, path):
    np.save(path, ARRAYS[0])
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: int(len(content) * share)])


# ---- Zarr ---------------------------------------------------------------------------------------------


def zarr_array(zarr_format, group="", **options: Any) -> Callable:
    """By zarr-python, with these options."""

    def write(array, path):
        root = zarr.open_group(path, mode="w", zarr_format=zarr_format) if group else None
        more = {"chunks": tuple(max(side // 2, 1) for side in array.shape), **options}
        if root is not None:
            made = root.create_array(group, shape=array.shape, dtype=array.dtype, **more)
        else:
            made = zarr.create_array(
                path, shape=array.shape, dtype=array.dtype, zarr_format=zarr_format, **more
            )
        made[...] = array

    return write


def zarr_by_hand(array, path):
    """Version 2, one chunk, not compressed: as a few lines of any language write it."""
    Path(path).mkdir()
    told = {"zarr_format": 2, "shape": array.shape, "chunks": array.shape, "dtype": array.dtype.str}
    told |= {"compressor": None, "filters": None, "fill_value": 0, "order": "C"}
    Path(path, ".zarray").write_text(json.dumps(told))
    Path(path, ".".join("0" * array.ndim)).write_bytes(array.tobytes())


def zarr_by_xarray(array, path):
    names = [f"d{i}" for i in range(array.ndim)]
    xarray.Dataset({"data": (names, array)}).to_zarr(path, zarr_format=2, consolidated=True)


def missing_chunks(array, path):
    """Chunks that hold the fill value are not written."""
    zarr_array(2, fill_value=7)(np.full_like(array, 7), path)
    assert not [each for each in Path(path).iterdir() if each.name[0].isdigit()]


def raw_zarr(path):
    told = json.loads(Path(path, ".zarray").read_text())
    (chunk,) = [each for each in Path(path).iterdir() if each.name[0].isdigit()]
    return np.frombuffer(chunk.read_bytes(), told["dtype"]).reshape(told["shape"])


def in_xarray(path, name="data"):
    return xarray.open_zarr(path, consolidated=False)[name].to_numpy()


def cut_zarr(which, path):
    """Metadata or a chunk that end early."""
    zarr_array(3)(ARRAYS[0], path)
    victim = Path(path, which)
    victim.write_bytes(victim.read_bytes()[:-9])


# ---- OME-Zarr -----------------------------------------------------------------------------------------

_AXES = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]


def ngff(version: str, levels: int = 2) -> Callable:
    """An image with a pyramid, by zarr-python and by hand."""

    def write(stack, path):
        group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
        datasets = []
        for level in range(levels):
            step = 2**level
            made = stack[:, ::step, ::step]
            group.create_array(str(level), shape=made.shape, dtype=made.dtype, chunks=made.shape)[
                ...
            ] = made
            scale = [{"type": "scale", "scale": [1.0, 0.5 * step, 0.5 * step]}]
            datasets.append({"path": str(level), "coordinateTransformations": scale})
        told = [{"axes": _AXES, "datasets": datasets, "version": version}]
        group.attrs.update(
            {"multiscales": told}
            if version == "0.4"
            else {"ome": {"version": "0.5", "multiscales": told}}
        )

    return write


def plate(stack, path):
    """A plate of one well with one field, as of NGFF 0.4."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    well = {"path": "A/1", "rowIndex": 0, "columnIndex": 0}
    told = {"version": "0.4", "rows": [{"name": "A"}], "columns": [{"name": "1"}], "wells": [well]}
    group.attrs["plate"] = told
    group.create_group("A").create_group("1").attrs["well"] = {
        "images": [{"path": "0"}],
        "version": "0.4",
    }
    ngff("0.4")(stack, f"{path}/A/1/0")


def series(stack, path):
    """The layout of bioformats2raw: each image of a file in a group of its own."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    ngff("0.4")(stack, f"{path}/0")


def with_labels(stack, path):
    ngff("0.4")(stack, path)
    group = zarr.open_group(path, mode="a")
    group.create_group("labels").attrs["labels"] = ["nuclei"]
    ngff("0.4")((stack > 9).astype("int32"), f"{path}/labels/nuclei")


def in_ome_zarr(path, level=0):
    (node, *_) = ome_zarr.reader.Reader(ome_zarr.io.parse_url(path))()
    return np.asarray(node.data[level])


def in_bioio(path):
    data = bioio.BioImage(path, reader=bioio_ome_zarr.Reader).data
    return data.reshape(data.shape[2:])


# ---- JSON and texts -----------------------------------------------------------------------------------


def raw(text, path, encoding="utf-8"):
    Path(path).write_bytes(text.encode(encoding))


# ---- the kinds ----------------------------------------------------------------------------------------


def _npy(name, values, write, *others, suffix=".npy", **more):
    return Kind(f"NumPy: {name}", suffix, values, write, NumpySource, others=others, **more)


def _zarr(name, values, write, *others, group="", suffix=".zarr", **more):
    read = partial(ZarrSource, group=group)
    return Kind(f"Zarr: {name}", suffix, values, write, read, others=others, **more)


def _json(name, *pairs, **more):
    values = dict(pairs)
    return Kind(f"JSON: {name}", ".json", [*values], raw, JSONSource, values.__getitem__, **more)


ROWS = np.array([(1, 2.5, b"a"), (2, 3.5, b"b")], [("n", "i4"), ("x", "f8"), ("k", "S1")])
ZIPPED = [{"a": ARRAYS[0], "b": ARRAYS[1]}, {"x": np.array(1.5)}, {"a": np.zeros((0, 3)), "c": ROWS}]
MASKS = [each % 2 == 0 for each in STACKS]
SHARDED = [STACKS[0], STACKS[0][:3, :19, :7], np.zeros_like(STACKS[0])]
_COMPRESSORS = {
    "Zlib": numcodecs.Zlib(),
    "Blosc": numcodecs.Blosc(),
    "Zstandard": numcodecs.Zstd(),
    "LZ4": numcodecs.LZ4(),
    "bzip2": numcodecs.BZ2(),
}

KINDS = [
    _npy("version 1", ARRAYS, npy((1, 0)), raw_npy),
    _npy("version 2", ARRAYS, npy((2, 0))),
    _npy("version 3", [*ARRAYS[:2], np.zeros(2, [("µ", "f4")])], npy((3, 0))),
    _npy("of another program", ARRAYS, npy_by_hand, raw_npy),
    _npy("Fortran's order", [np.asfortranarray(each) for each in ARRAYS], npy(), raw_npy),
    _npy("big-endian", [each.astype(each.dtype.newbyteorder(">")) for each in ARRAYS], npy(), raw_npy),
    _npy("no dimension", [np.array(5), np.array(0.5), np.array(True)], npy()),
    _npy("nothing in it", [np.zeros((0, 4)), np.zeros(0, "u1"), np.zeros((3, 0, 2))], npy()),
    _npy("truth values", MASKS, npy(), raw_npy),
    _npy("records", [ROWS, ROWS[:1], ROWS[:0]], npy()),
    _npy("texts", [np.array(texts) for texts in (["a", "Äb"], ["x"], ["", "yy"])], npy()),
    _npy("complex", [each.astype("c8") * 1j for each in ARRAYS], npy(), raw_npy),
    _npy("times", [np.array(["2026-01-01", "NaT"], f"M8[{unit}]") for unit in ("D", "s", "ns")], npy()),
    _npy("cut", (0.05, 0.5, 0.99), cut_npy, refused="cut short|does not hold"),
    _npy(
        "pickled objects",
        [np.array([each], object) for each in ({}, "a", None)],
        npy(),
        refused="object|pickle",
    ),
    _npy(".npz", ZIPPED, lambda arrays, path: np.savez(path, **arrays), suffix=".npz"),
    _npy(".npz, deflated", ZIPPED, lambda a, path: np.savez_compressed(path, **a), suffix=".npz"),
    _npy(".npz of another program", ZIPPED, npz_by_zip, suffix=".npz"),
    _zarr("version 2", ARRAYS, zarr_array(2)),
    _zarr("version 2 by hand", ARRAYS, zarr_by_hand, raw_zarr),
    _zarr("version 2, big-endian", [each.astype(">i8") for each in ARRAYS], zarr_by_hand, raw_zarr),
    _zarr("version 2, Fortran's order", ARRAYS, zarr_array(2, order="F")),
    _zarr(
        "version 2, nested chunks",
        ARRAYS,
        zarr_array(2, chunk_key_encoding={"name": "v2", "separator": "/"}),
    ),
    _zarr("version 2, delta", [ARRAYS[0], *STACKS[:2]], zarr_array(2, filters=numcodecs.Delta("u2"))),
    *(
        _zarr(f"version 2, {name}", ARRAYS, zarr_array(2, compressors=each))
        for name, each in _COMPRESSORS.items()
    ),
    _zarr(
        "version 2, chunks that are not there",
        ARRAYS,
        missing_chunks,
        expected=lambda array: np.full_like(array, 7),
    ),
    _zarr("version 2, of xarray", ARRAYS, zarr_by_xarray, in_xarray, group="data"),
    _zarr("truth values", MASKS, zarr_array(2)),
    _zarr("version 3", ARRAYS, zarr_array(3)),
    _zarr("version 3, shards", SHARDED, zarr_array(3, chunks=(1, 10, 15), shards=(2, 20, 30))),
    _zarr("version 3, not compressed", ARRAYS, zarr_array(3, compressors=None)),
    _zarr("version 3, gzip", ARRAYS, zarr_array(3, compressors=zarr.codecs.GzipCodec())),
    _zarr(
        "version 3, turned", STACKS, zarr_array(3, filters=zarr.codecs.TransposeCodec(order=(2, 1, 0)))
    ),
    _zarr("version 3, an array of a group", ARRAYS, zarr_array(3, group="a/b"), group="a/b"),
    _zarr("version 3, cut", ("zarr.json", "c/0/0", "c/1/1"), cut_zarr, refused="can't be read|damaged"),
    _zarr("OME-Zarr 0.4", STACKS, ngff("0.4"), in_ome_zarr, in_bioio, group="0", suffix=".ome.zarr"),
    _zarr("OME-Zarr 0.5", STACKS, ngff("0.5"), in_ome_zarr, in_bioio, group="0", suffix=".ome.zarr"),
    _zarr(
        "OME-Zarr, a smaller level",
        STACKS,
        ngff("0.4"),
        lambda path: in_ome_zarr(path, level=1),
        group="1",
        suffix=".ome.zarr",
        expected=lambda stack: stack[:, ::2, ::2],
    ),
    _zarr("OME-Zarr, a field of a plate", STACKS, plate, group="A/1/0/0"),
    _zarr("OME-Zarr of bioformats2raw", STACKS, series, group="0/0"),
    _zarr(
        "OME-Zarr, labels",
        STACKS,
        with_labels,
        group="labels/nuclei/0",
        expected=lambda stack: (stack > 9).astype("int32"),
    ),
    _json(
        "values", ('{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}), ("[]", []), ('"x"', "x")
    ),
    _json("letters", ('"Ä µ"', "Ä µ"), ('"\\u00e4"', "ä"), ('"\\ud83d\\ude00"', "😀")),
    _json(
        "large integers",
        ("18446744073709551616", 2**64),
        ("-1", -1),
        ("[9007199254740993]", [2**53 + 1]),
    ),
    _json("spaces and lines", ("\n{ }\n", {}), ("[\r\n1\r\n]", [1]), ("\t1 ", 1)),
    _json("cut", ('{"a": [1', 0), ('"abc', 0), ("", 0), refused="JSON|empty"),
    Kind("Text: UTF-8", ".txt", ["a\nb\n", "Ä µ", "\r\n"], raw, TextSource),
    Kind(
        "Text: a code page",
        ".txt",
        ["Zürich\n", "µ", "Å"],
        partial(raw, encoding="cp1252"),
        partial(TextSource, encoding="cp1252"),
    ),
    Kind(
        "Text: a code page that nobody told of",
        ".txt",
        ["Zürich\n", "µ", "Å"],
        partial(raw, encoding="cp1252"),
        TextSource,
        refused="cp1252",
    ),
]
