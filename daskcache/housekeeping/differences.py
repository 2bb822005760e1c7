"""`Difference`: how one value differs from another, as numbers, text and picture.

`diff` finds the values and calls `compare`.  `array_differences` compares arrays.  Tables, texts and
values that JSON can hold are compared here.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import pprint
from typing import Any

from .. import pages
from ..hashing.encoder import hash_value
from ..planning.display.tables import text_table
from ..printable import printable, printable_lines
from .array_differences import counted, picture

#: Cells of a table that are shown, and labels of rows and columns in a note.
MAX_CELLS, MAX_NAMES = 20, 5
#: Lines of a text that are compared and shown.
MAX_LINES, MAX_SHOWN = 10_000, 100
_CELL = 40


@dataclasses.dataclass(frozen=True, repr=False)
class Difference:
    """How one result, `a`, differs from another, `b`.

    ``str(difference)`` is a text.  In a notebook, images are shown with a picture: orange where `a` is
    higher, blue where it is lower.
    """

    #: True if nothing differs, neither values nor dtypes, shapes and labels.
    equal: bool
    #: Type and size of `a` and `b`, for example ``uint8 array, 512 × 512``.
    summaries: tuple[str, str]
    #: Names of `a` and `b`.
    names: tuple[str, str] = ("a", "b")
    #: Number of elements (of arrays) or cells (of tables) that differ; None if they can't be compared.
    differing: int | None = None
    #: Number of elements or cells that were compared.
    total: int | None = None
    #: Smallest, largest and mean difference `a` minus `b` of all finite elements of arrays.
    smallest: float | None = None
    largest: float | None = None
    mean: float | None = None
    #: The first cells that differ: row, column, content in `a` and content in `b`, as texts.
    cells: tuple[tuple[str, str, str, str], ...] = ()
    #: Unified diff from `b` to `a` of texts, and of values that are shown as texts.
    lines: tuple[str, ...] = ()
    #: A PNG file.
    picture: bytes | None = None
    #: Other differences, and remarks.
    notes: tuple[str, ...] = ()
    #: How the call that made `a` differs from the one that made `b`, if records tell: one text for each
    #: difference of code, arguments, inputs and format.
    made: tuple[str, ...] = ()
    #: The differences of the parts by their names, for several results and for dicts of arrays.
    parts: dict[str, Difference] = dataclasses.field(default_factory=dict)

    @property
    def share(self) -> float | None:
        """Share of the compared elements or cells that differ, from 0 to 1."""
        return self.differing / self.total if self.total and self.differing is not None else None

    @property
    def headline(self) -> str:
        """The difference in one line."""
        if self.equal:
            return "nothing differs"
        if self.parts:
            differing = sum(not part.equal for part in self.parts.values())
            return f"{differing} of {len(self.parts)} parts differ"
        if self.differing is None or self.total is None:
            return self.notes[0] if self.notes else "they differ"
        kind = "cells" if "table" in self.summaries[0] else "elements"
        told = f"{self.differing:,} of {self.total:,} {kind} differ"
        if not self.differing:
            return told
        told += f" ({_percent(self.share)})"
        if self.smallest is None:
            return told
        return f"{told}; a − b: {self.smallest:.4g} to {self.largest:.4g}, mean {self.mean:.4g}"

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as plain data for JSON, without the picture."""
        kept = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        kept.pop("picture")
        return kept | {"share": self.share, "parts": {n: p.to_dict() for n, p in self.parts.items()}}

    def __str__(self) -> str:
        return "\n".join([*map(printable, _heads(self)), *_body(self)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return pages.render("difference", text=str(self), pictures=_pictures(self))


def _heads(found):
    names, (a, b) = found.names, found.summaries
    return [f"a: {names[0]}{f' ({a})' if a else ''}", f"b: {names[1]}{f' ({b})' if b else ''}"]


def _body(found):
    headline = found.headline
    lines = [printable(headline), *(printable(note) for note in found.notes if note != headline)]
    lines += ["made by other calls, from b to a:"] if found.made else []
    lines += [f"    {line}" for each in found.made for line in printable_lines(each).split("\n")]
    if found.cells:
        lines.append(text_table([["row", "column", "a", "b"], *map(list, found.cells)]))
    if found.cells and found.differing and found.differing > len(found.cells):
        lines.append(f"… and {found.differing - len(found.cells):,} more cells")
    lines += map(printable_lines, found.lines[:MAX_SHOWN])
    if len(found.lines) > MAX_SHOWN:
        lines.append(f"… and {len(found.lines) - MAX_SHOWN:,} more lines")
    for name, part in found.parts.items():
        a, b = part.summaries
        sizes = f" ({a})" if a == b else f" (a: {a}; b: {b})"
        lines.append(printable(f"{name}{sizes}:"))
        lines += [f"    {line}" for text in _body(part) for line in text.split("\n")]
    return lines


def _pictures(found, name=""):
    """Yield the label and the address of each picture, those of parts too."""
    if found.picture is not None:
        yield f"difference {name}".strip(), pages.picture_data(found.picture)
    for part_name, part in found.parts.items():
        yield from _pictures(part, part_name)


def _percent(share):
    return "below 0.01 %" if share < 1e-4 else f"{share:.2%}".replace("%", " %")


# ---- comparison -----------------------------------------------------------------------------------


def compare(a: Any, b: Any) -> Difference:
    """Compare two values.

    Parameters
    ----------
    a, b : object
        Arrays are compared element by element, data frames cell by cell, dicts of arrays or frames part
        by part.  Other values are compared as texts: as JSON, or else by their representations.

    Returns
    -------
    Difference

    Raises
    ------
    UnhashableArgument
        If a value has no stable identity, so that equality can't be told.
    """
    if _is_frame(a) and _is_frame(b):
        return _tables(a, b)
    if _is_array(a) and _is_array(b):
        return _arrays(a, b)
    if isinstance(a, dict) and isinstance(b, dict) and any(map(_is_data, (*a.values(), *b.values()))):
        return in_parts({str(k): v for k, v in a.items()}, {str(k): v for k, v in b.items()})
    if isinstance(a, bytes) and isinstance(b, bytes):
        return _bytes(a, b)
    if _is_data(a) or _is_data(b):
        return Difference(False, (_summary(a), _summary(b)), notes=("they are of other types",))
    return _texts(a, b)


def in_parts(a: dict[str, Any], b: dict[str, Any]) -> Difference:
    """Compare the values of two dicts that have the same names, and tell the other names."""
    parts = {name: compare(a[name], b[name]) for name in a if name in b}
    notes = _only("parts", list(a), list(b))
    equal = not notes and all(part.equal for part in parts.values())
    summaries = (f"{len(a)} parts", f"{len(b)} parts")
    return Difference(equal, summaries, notes=tuple(notes), parts=parts)


def _is_array(value):
    return hasattr(value, "dtype") and hasattr(value, "shape") and hasattr(value, "ndim")


def _is_frame(value):
    return hasattr(value, "columns") and hasattr(value, "dtypes") and hasattr(value, "iloc")


def _is_data(value):
    return _is_frame(value) or _is_array(value)


def _summary(value):
    if _is_frame(value):
        return f"table, {len(value):,} rows × {len(value.columns)} columns"
    if _is_array(value):
        return f"{value.dtype} array, {' × '.join(map(str, value.shape)) or 'no axes'}"
    return type(value).__name__


def _only(what, a, b):
    """Return notes about the names that only one side has."""
    notes = []
    for side, names, others in (("a", a, b), ("b", b, a)):
        only = [name for name in names if name not in others]
        if only:
            more = f" and {len(only) - MAX_NAMES} more" if len(only) > MAX_NAMES else ""
            notes.append(f"{what} only in {side}: {', '.join(map(str, only[:MAX_NAMES]))}{more}")
    return notes


# ---- arrays ---------------------------------------------------------------------------------------


def _arrays(a, b):
    import numpy as np

    a, b = np.asarray(a), np.asarray(b)
    notes = [f"the dtypes differ: {a.dtype} in a, {b.dtype} in b"] if a.dtype != b.dtype else []
    summaries = _summary(a), _summary(b)
    if a.shape != b.shape:
        shapes = f"the shapes differ: {a.shape} in a, {b.shape} in b"
        return Difference(False, summaries, notes=(shapes, *notes))
    found = counted(a, b)
    shown = picture(a, b) if found.differing else None
    if shown is not None and shown.plane:
        notes.append(f"the picture shows plane {shown.plane}, where most elements differ")
    return Difference(
        not found.differing and a.dtype == b.dtype,
        summaries,
        total=a.size,
        **found._asdict(),
        picture=None if shown is None else shown.png,
        notes=tuple(notes),
    )


# ---- tables ---------------------------------------------------------------------------------------


def _tables(a, b):
    summaries = _summary(a), _summary(b)
    names, others = list(a.columns), list(b.columns)
    notes = _only("columns", names, others)
    if len(set(names)) < len(names) or len(set(others)) < len(others):
        equal = hash_value(a) == hash_value(b)
        notes.append("columns share a name, so the cells were not compared")
        return Difference(equal, summaries, notes=tuple(notes))
    shared = [name for name in names if name in set(others)]
    if not notes and names != others:
        notes.append("the order of the columns differs")
    for name in shared:
        if str(a[name].dtype) != str(b[name].dtype):
            notes.append(f"the dtypes of {name!r} differ: {a[name].dtype} in a, {b[name].dtype} in b")
    left, right, of_rows = _same_rows(a, b)
    notes += of_rows
    differing, cells, by_column = 0, [], []
    for name in shared:
        where = _differing_cells(left[name], right[name])
        differing += len(where)
        if len(where):
            by_column.append(f"{name}: {len(where):,}")
        for row in where[: MAX_CELLS - len(cells)]:
            content = left[name].iloc[row], right[name].iloc[row]
            cells.append((*(str(each)[:_CELL] for each in (left.index[row], name, *content)),))
    equal = not notes and not differing
    if by_column:
        notes.append(f"differing cells by column: {', '.join(by_column)}")
    return Difference(
        equal,
        summaries,
        differing=differing,
        total=len(left) * len(shared),
        cells=tuple(cells),
        notes=tuple(notes),
    )


def _same_rows(a, b):
    """Return the rows that both tables have, in one order, and notes about the others.

    Rows are matched by their labels if these are unique, or else by their positions.
    """
    if a.index.equals(b.index):
        return a, b, []
    is_labelled = "RangeIndex" not in (type(a.index).__name__, type(b.index).__name__)
    if is_labelled and a.index.is_unique and b.index.is_unique and a.index.nlevels == b.index.nlevels:
        both = a.index.intersection(b.index, sort=False)
        notes = _only("rows", _labels(a.index, b.index), _labels(b.index, a.index))
        return a.loc[both], b.loc[both], notes or ["the order of the rows differs"]
    count = min(len(a), len(b))
    notes = ["the labels of the rows differ"] if len(a) == len(b) else []
    if len(a) != len(b):
        notes = [f"a has {len(a):,} rows, b {len(b):,}; the first {count:,} were compared"]
    return a.iloc[:count], b.iloc[:count], notes


def _labels(index, other):
    """Return the labels that another index has not."""
    return list(index.difference(other, sort=False))


def _differing_cells(left, right):
    """Return the positions of the cells of two columns that differ; missing values are equal."""
    import numpy as np

    one, other = left.reset_index(drop=True), right.reset_index(drop=True)
    if one.equals(other):
        return []
    if all(isinstance(each.dtype, np.dtype) and each.dtype.kind in "biuf" for each in (one, other)):
        x, y = one.to_numpy(), other.to_numpy()
        return np.flatnonzero((x != y) & ~((x != x) & (y != y)))
    x, y = one.astype(object), other.astype(object)
    pairs = zip(x, y, x.isna(), y.isna(), strict=True)
    return [row for row, (v, w, gone, lost) in enumerate(pairs) if not _same(v, w, gone, lost)]


def _same(value, other, is_missing, other_missing):
    if is_missing or other_missing:
        return bool(is_missing and other_missing)
    try:
        return bool(value == other)
    except (TypeError, ValueError):  # arrays or lists in cells
        return hash_value(value) == hash_value(other)


# ---- texts and other values -----------------------------------------------------------------------


def _bytes(a, b):
    summaries = f"{len(a):,} bytes", f"{len(b):,} bytes"
    if a == b:
        return Difference(True, summaries)
    pairs = enumerate(zip(a, b, strict=False))
    first = next((place for place, (one, other) in pairs if one != other), min(len(a), len(b)))
    return Difference(False, summaries, notes=(f"they differ from byte {first:,} on",))


def _texts(a, b):
    summaries = _summary(a), _summary(b)
    if hash_value(a) == hash_value(b):
        return Difference(True, summaries)
    before, after = _as_text(b).splitlines(), _as_text(a).splitlines()
    if max(len(before), len(after)) > MAX_LINES:
        note = f"they have {len(after):,} and {len(before):,} lines, too many to compare"
        return Difference(False, summaries, notes=(note,))
    lines = tuple(difflib.unified_diff(before, after, "b", "a", lineterm=""))
    note = () if lines else ("they differ in what a text does not show, such as types or line breaks",)
    return Difference(False, summaries, lines=lines, notes=note)


def _as_text(value):
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, indent=1, ensure_ascii=False)
    except (TypeError, ValueError):
        return pprint.pformat(value, width=100)
