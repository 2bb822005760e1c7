"""A look at a stored result: a picture, first rows, statistics or the start of a text, by its format.

Pages of nodes and entries show it.  It is read from the target's file, a little of it if that is large,
and never by code that a file chooses: pickles are not read.  `planes` makes pictures of arrays, and
`preview` looks at values that a program holds.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import os
import zipfile
from collections.abc import Iterable
from typing import Any

from dask.utils import format_bytes

from .. import pages
from ..errors import LazyModule, require
from ..pages import Link
from ..printable import printable
from . import planes
from .arrays import NumpyTarget
from .base import Target
from .figures import FigureTarget
from .files import FileTarget, FolderTarget
from .hdf5 import HDF5Target
from .images.target import ImageTarget
from .json_lines import JSONLinesTarget
from .netcdf import NetCDFTarget
from .objects import JSONTarget, TextTarget
from .png import PNGTarget
from .preview import CELL, CHARACTERS, COLUMNS, NAMES, PICTURES, Preview, smaller, start
from .tables.csv_parquet import CSVTarget, ParquetTarget
from .tables.partitioned import PartitionedParquetTarget
from .zarr.ome import OMEZarrTarget
from .zarr.target import ZarrTarget

np = LazyModule("numpy", "numpy")
tifffile = LazyModule("tifffile", "image")

#: Rows of a table, and lines of a text.
ROWS, LINES = 5, 20
#: Bytes that are read of a text, and of a figure that is shown as it is.
HEAD, FIGURE = 2**14, 2**18
#: Results of one call that are looked at.
MAX_LOOKS = 4
#: Bytes of a file that is read as a whole, and pixels of a picture in it.
WHOLE, PIXELS = 2**23, 2**25


def thumbnail(target: Target, path: str) -> Preview | None:
    """Return a look at a stored result.

    Parameters
    ----------
    target : Target
        The format.
    path : str
        Absolute path of the file or folder.

    Returns
    -------
    Preview or None
        None if nothing is there, and for formats that are not looked at: pickles, tables in databases
        and users' own formats.  If the file can't be shown, the summary says why.

    Examples
    --------
    >>> from daskcache.targets.thumbnail import thumbnail
    >>> target = dc.TextTarget("words.txt")
    >>> target.write("a few words", "words.txt")
    >>> thumbnail(target, "words.txt").text
    'a few words'
    """
    look = next((look for kind, look in _LOOKS if isinstance(target, kind)), None)
    if look is None or target.runs_code or not os.path.exists(path):
        return None
    try:
        return look(target, path)
    except Exception as error:  # noqa: BLE001 (a file of any content; nothing but the look is lost)
        message = str(error).partition("\n")[0]
        return Preview(printable(f"not shown: {type(error).__name__}: {message}"[: 2 * CELL]))


def looks_at(results: Iterable[tuple[Target, str]]) -> list[Preview]:
    """Return looks at the first of several results, each a target and the path of its file."""
    found = [thumbnail(target, path) for target, path in itertools.islice(results, MAX_LOOKS)]
    return [look for look in found if look is not None]


def target_html(target: Target, path: str) -> str:
    """Return a target as HTML: its format, and a look at its file if that is there."""
    path = path if target.in_database else os.path.abspath(path)
    is_there = not target.in_database and os.path.exists(path)
    facts = [("file", Link.to(path))] if is_there else []
    looks = looks_at([(target, path)])
    return pages.render("result", title=repr(target), state="", reasons=(), facts=facts, looks=looks)


# ---- images and arrays ----------------------------------------------------------------------------


def _tiff(target, path):
    from .images import tiff
    from .images.whole import check_whole

    with tifffile.TiffFile(path) as tif:
        check_whole(tif, path)
        series, note = tif.series[0], tiff.note_of(tif)
        dtype, shape = (note.dtype, note.shape) if note else (series.dtype, series.shape)
        spatial = 3 if series.axes.endswith("S") else 2
        if series.dataoffset is not None:
            pixels = tifffile.memmap(path, mode="r").reshape(series.shape)
            plane = planes.first_plane(pixels, spatial, is_mapped=True)
        elif series.pages[0].nbytes <= planes.LIMIT:
            page = series.pages[0].asarray()
            plane = planes.first_plane(page, min(spatial, page.ndim), is_mapped=True)
        else:
            store = tifffile.imread(path, aszarr=True, level=0)
            plane = planes.first_plane(require("zarr", "zarr").open_array(store, mode="r"), spatial)
        count = len(series.pages)
    if count > 1 and "planes" not in plane.said:
        said = "; ".join(filter(None, [f"first of {count:,} planes", plane.said]))
        plane = plane._replace(said=said)
    return _shown_image(_summary(dtype, shape), plane, target, path)


def _png(target, path):
    if os.path.getsize(path) > WHOLE or _pixels_in(path) > PIXELS:
        return Preview(f"PNG, {format_bytes(os.path.getsize(path))}, too large for a look")
    array = target.read(path)
    if isinstance(array, os.PathLike):
        return _picture_file(target, path)
    plane = planes.first_plane(array, array.ndim, is_mapped=True)
    return _shown_image(_summary(array.dtype, array.shape), plane)


def _zarr(target, path):
    from .zarr import values

    top = values.open_node(path)
    array = target._value_in(top)
    if not hasattr(array, "shape"):
        names = sorted(array)
        lines = [f"{name}: {_member(array[name])}" for name in names[:NAMES]]
        return Preview(f"{len(names)} members", text=start("\n".join([*lines, *_more(names)])))
    summary = _summary(array.dtype, array.shape)
    if not planes.is_image(array):
        return _shown_numbers(summary, array[...]) if array.nbytes <= WHOLE else Preview(summary)
    level, factor = array, 1
    if isinstance(target, OMEZarrTarget):
        smaller = (top.get(str(number)) for number in itertools.count(1))
        for each in itertools.takewhile(lambda each: each is not None, smaller):
            if max(each.shape[-2:]) < planes.PIXELS:
                break
            level, factor = each, round(array.shape[-1] / each.shape[-1])
    plane = planes.first_plane(level, 3 if planes.has_colours(array) else 2, factor=factor)
    return _shown_image(summary, plane, target, path)


def _numpy(target, path):
    if target.is_archive:
        return _archive(path)
    array = target.open(path)
    if not hasattr(array, "ravel"):
        return Preview(type(array).__name__, text=start(str(array)))
    return _shown_numbers(_summary(array.dtype, array.shape), array)


def _archive(path):
    """Look at the heads of the arrays in an ``.npz`` file."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        lines = []
        for name in names[:NAMES]:
            with archive.open(name) as member:
                version = np.lib.format.read_magic(member)
                read = "read_array_header_1_0" if version == (1, 0) else "read_array_header_2_0"
                shape, _, dtype = getattr(np.lib.format, read)(member)
            lines.append(f"{name.removesuffix('.npy')}: {_summary(dtype, shape)}")
    return Preview(f"{len(names)} arrays", text=start("\n".join([*lines, *_more(names)])))


def _hdf5(target, path):
    """Look at the names of datasets; links to other files are not followed."""
    h5py = require("h5py", "hdf5")
    lines = []

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            lines.append(f"{name}: {_summary(item.dtype, item.shape)}")
        return len(lines) > NAMES or None

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    more = ["…"] if len(lines) > NAMES else []
    size = format_bytes(os.path.getsize(path))
    return Preview(f"HDF5 file, {size}", text=start("\n".join([*lines[:NAMES], *more])))


def _member(member):
    return _summary(member.dtype, member.shape) if hasattr(member, "shape") else "group"


def _shown_image(summary, plane, target=None, path=""):
    metadata = target.read_metadata(path) if hasattr(target, "read_metadata") else None
    size = metadata.pixel_size.get("X") if metadata is not None else None
    content, said = planes.picture(plane, size, metadata.unit if metadata is not None else None)
    return Preview("; ".join([summary, said]) if said else summary, picture=content)


def _shown_numbers(summary, array):
    told, histogram = planes.statistics(array)
    return Preview("; ".join(filter(None, [summary, told])), picture=histogram)


def _summary(dtype, shape):
    return f"{dtype} array, {' × '.join(map(str, shape)) or 'no axes'}"


# ---- figures --------------------------------------------------------------------------------------


def _picture_file(target, path):
    """Look at a figure or photograph: as it is, or smaller if it is large."""
    suffix, size = os.path.splitext(path)[1].lower(), os.path.getsize(path)
    summary = f"{suffix[1:].upper() or 'file'}, {format_bytes(size)}"
    if suffix == ".svg" and size <= FIGURE:
        return Preview(summary, picture=_content(path), kind="image/svg+xml")
    if suffix not in PICTURES:
        return Preview(summary)
    if size > WHOLE or _pixels_in(path) > PIXELS:
        return Preview(f"{summary}, too large for a look")
    if size <= FIGURE:
        return Preview(
            summary, picture=_content(path), kind=f"image/{suffix[1:].replace('jpg', 'jpeg')}"
        )
    return Preview(f"{summary}, made smaller", picture=smaller(path))


def _pixels_in(path):
    with require("PIL.Image", "image").open(path) as image:  # reads the head only
        return image.width * image.height


def _content(path):
    with open(path, "rb") as file:
        return file.read()


# ---- tables and texts -----------------------------------------------------------------------------


def _csv(target, path):
    text, is_all = _head(path)
    delimiter = "\t" if ".tsv" in path.lower() else ","
    rows = list(itertools.islice(csv.reader(io.StringIO(text), delimiter=delimiter), ROWS + 1))
    if not is_all and len(rows) <= ROWS:
        rows = rows[:-1]  # the last one may be cut
    if not rows:
        return Preview("empty table")
    return _shown_rows(f"table, {len(rows[0])} columns", rows[0], rows[1:])


def _parquet(target, path):
    pq = require("pyarrow.parquet", "table")
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        summary = f"table, {file.metadata.num_rows:,} rows × {len(names)} columns"
        if not file.num_row_groups:
            return _shown_rows(summary, names, [])
        group = file.metadata.row_group(0)
        leaves = range(min(COLUMNS, group.num_columns))
        if sum(group.column(each).total_uncompressed_size for each in leaves) > planes.LIMIT:
            return Preview(f"{summary}; the first rows are not read, as they lie in large blocks")
        batch = next(file.iter_batches(ROWS, row_groups=[0], columns=names[:COLUMNS]), None)
        columns = [column.to_pylist() for column in batch.columns] if batch is not None else []
    return _shown_rows(summary, names, zip(*columns, strict=True))


def _partitions(target, path):
    names = sorted(name for name in os.listdir(path) if name.endswith(".parquet"))
    if not names:
        return Preview("table without parts")
    first = _parquet(target, os.path.join(path, names[0]))
    return first._replace(summary=f"first of {len(names)} parts: {first.summary}")


def _shown_rows(summary, names, rows):
    heads = [_cell(name) for name in names[:COLUMNS]]
    heads = [f"{name} ({i})" if heads.count(name) > 1 else name for i, name in enumerate(heads)]
    shown = [dict(zip(heads, map(_cell, row), strict=False)) for row in rows]
    return Preview(summary, rows=shown or [dict.fromkeys(heads, "")])


def _cell(value):
    return printable(str(value)[:CELL])


def _text(target, path):
    text, is_all = _head(path)
    size = format_bytes(os.path.getsize(path))
    lines = text.split("\n", LINES)
    is_all = is_all and len(lines) <= LINES
    text = "\n".join(lines[:LINES])
    return Preview(f"text, {size}", text=start(text if is_all else f"{text[: CHARACTERS - 2]} …"))


def _file(target, path):
    """Look at a file that a function wrote itself: a picture or a text by its suffix."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix in (*PICTURES, ".svg"):
        return _picture_file(target, path)
    if suffix in (".txt", ".csv", ".tsv", ".json", ".md", ".log", ".xml", ".yaml", ".yml", ".html"):
        return _text(target, path)
    return Preview(f"{suffix or 'file'}, {format_bytes(os.path.getsize(path))}")


def _folder(target, path):
    names = sorted(os.listdir(path))
    text = "\n".join([*names[:NAMES], *_more(names)])
    return Preview(f"folder, {len(names)} entries", text=start(text))


def _head(path):
    """Return the start of a text, decompressed, and whether it is all of it."""
    with gzip.open(path) if path.lower().endswith(".gz") else open(path, "rb") as file:
        content = file.read(HEAD + 1)
    return content[:HEAD].decode("utf-8", "replace"), len(content) <= HEAD


def _more(names: Iterable[Any]) -> list[str]:
    count = len(list(names)) - NAMES
    return [f"and {count} more"] if count > 0 else []


#: The look at each kind of target, the most special kinds first.
_LOOKS: tuple[tuple[type[Target], Any], ...] = (
    (PNGTarget, _png),
    (FigureTarget, _picture_file),
    (PartitionedParquetTarget, _partitions),
    (FileTarget, _file),
    (FolderTarget, _folder),
    (ImageTarget, _tiff),
    (ZarrTarget, _zarr),
    (NumpyTarget, _numpy),
    (HDF5Target, _hdf5),
    (NetCDFTarget, _hdf5),
    (CSVTarget, _csv),
    (ParquetTarget, _parquet),
    (JSONTarget, _text),
    (JSONLinesTarget, _text),
    (TextTarget, _text),
)
