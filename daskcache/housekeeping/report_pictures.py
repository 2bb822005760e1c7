"""Looks at the results of one function for a report: pictures, tables and texts.

Results with wells are in a plate map.  Wells are fields of nodes (``well``, or ``row`` and ``column``),
or parts of a target's path such as ``B07``.  `targets.thumbnail` makes the looks.  They are made smaller
here, and lose all metadata, which may name users and folders.
"""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from ..errors import DaskcacheError, require
from ..pages import picture_data
from ..planning.states import ADOPTED, COMPLETE, STATES
from ..targets.overview import in_order
from ..targets.preview import PIXELS
from .redaction import Redact, redacted_svg
from .report_results import Result

#: Pixels on the longer side of a thumbnail, of one in a plate, and of a figure.
_SMALL, _IN_WELL, _FIGURE = 144, 64, 640
#: Figures, tables and texts of a function that are shown.
_FIGURES, _TABLES, _TEXTS = 6, 3, 3
#: Plates of a function that are shown.
_PLATES = 12
#: Thumbnails of a function outside of plates.
_MOST = 60
#: Characters of a text that fits in a well.
_SHORT = 10
#: Rows A to AF and columns 1 to 48 of a plate, in a path.
_WELL = re.compile(r"(?<![A-Za-z0-9])(A[A-F]|[A-Z])(0?[1-9]|[1-3]\d|4[0-8])(?![A-Za-z0-9])")

#: Plate, row and column.
_Place: TypeAlias = tuple[str, str, int]


@dataclass
class Budget:
    """What is left for the pictures of a report."""

    pictures: int
    nbytes: int


class Look(NamedTuple):
    """What is shown of one result."""

    target: str
    state: str
    #: What the picture or table shows, or why there is none.
    summary: str
    #: A ``data:`` URI.
    picture: str = ""
    rows: list[dict[str, str]] | None = None
    text: str = ""
    is_figure: bool = False
    #: Number of other results in the same well.
    more: int = 0


class Plate(NamedTuple):
    """Looks by well."""

    title: str
    columns: list[int]
    #: Letters, and a look for each column, or None.
    rows: list[tuple[str, list[Look | None]]]


@dataclass
class Looks:
    """All that is shown of a function's results."""

    plates: list[Plate] = field(default_factory=list)
    thumbnails: list[Look] = field(default_factory=list)
    figures: list[Look] = field(default_factory=list)
    tables: list[Look] = field(default_factory=list)
    #: What is left out, and why.
    notes: list[str] = field(default_factory=list)


def looks_at(results: Sequence[Result], budget: Budget, share: int, redact: Redact) -> Looks:
    """Return looks at the results of one function.

    Parameters
    ----------
    results : sequence of Result
    budget : Budget
        What is left for pictures; it is reduced.
    share : int
        Number of results that are looked at, at most.
    redact : callable
        Takes names and paths out of texts.
    """
    found = Looks()
    wells = _by_well(results)
    shown = list(wells.values()) if wells else [[each] for each in results if each.place]
    there = [group for group in shown if group[0].place]
    chosen = _spread(there, share if wells else min(share, _MOST))
    pixels = _IN_WELL if wells else _SMALL
    looks: dict[str, Look] = {}
    unknown: Counter[str] = Counter()
    for group in chosen:
        look = _look(group[0], budget, pixels, redact, unknown)
        if look is not None:
            looks[group[0].place] = look
    if len(chosen) < len(there):
        found.notes.append(f"looked at {len(chosen):,} of {len(there):,} results, evenly spread")
    unread = sum(each.state in (COMPLETE, ADOPTED) and not each.place for each in results)
    if unread:
        unknown["tables in databases are not looked at"] = unread
    found.notes += [f"{count:,} without a look: {why}" for why, count in redact(unknown).items()]
    _sort(found, list(looks.values()), bool(wells))
    if wells:
        _add_plates(found, wells, looks, redact)
    return found


def _sort(found: Looks, looks: list[Look], has_wells: bool) -> None:
    """Put looks where their kinds are shown, and count what is left out."""
    figures = [each for each in looks if each.is_figure]
    found.figures = figures[:_FIGURES]
    tables = [each for each in looks if each.rows]
    texts = [each for each in looks if each.text and not (has_wells and len(each.text) <= _SHORT)]
    found.tables = [*tables[:_TABLES], *texts[:_TEXTS]]
    if not has_wells:
        found.thumbnails = [each for each in looks if not (each.is_figure or each.rows or each.text)]
    for name, all_of, most in (
        ("figures", figures, _FIGURES),
        ("tables", tables, _TABLES),
        ("texts", texts, _TEXTS),
    ):
        if len(all_of) > most:
            found.notes.append(f"shown: {most} of {len(all_of):,} {name}")


# ---- wells --------------------------------------------------------------------------------------


def _by_well(results: Sequence[Result]) -> dict[_Place, list[Result]]:
    """Return results by plate, row and column, those that are there first; empty without wells."""
    wells: dict[_Place, list[Result]] = {}
    told = [_of_fields(each) for each in results]
    for each, place in zip(results, _of_paths(results) if None in told else told, strict=True):
        if place is None:
            return {}
        wells.setdefault(place, []).append(each)
    plates = {plate for plate, _, _ in wells}
    if len(wells) < 2 or len(plates) * 2 > len(wells):
        return {}
    for group in wells.values():
        group.sort(key=lambda each: (not each.place, in_order(each.target)))
    return wells


def _of_fields(result: Result) -> _Place | None:
    fields = {name.lower(): value for name, value in result.fields.items()}
    well = str(fields.get("well", ""))
    row, column = fields.get("row"), fields.get("column", fields.get("col"))
    if not well and row is not None and column is not None:
        letter = chr(ord("A") + int(row) - 1) if str(row).isdigit() and 0 < int(row) < 27 else row
        well = f"{letter}{column}"
    found = _WELL.fullmatch(well)
    if found is None:
        return None
    others = [str(value) for name, value in fields.items() if name in ("plate", "barcode")]
    return " ".join(others), found[1], int(found[2])


def _of_paths(results: Sequence[Result]) -> list[_Place | None]:
    """Return the plate, row and column in each path; the plate is what stands before the well.

    Channels and times look like wells, too, as in ``P1_B07_C2_T01``.  The part with most rows is the
    well, and parts with one row are none.
    """
    found = [list(_WELL.finditer(each.target)) for each in results]
    rows = [len({wells[i][1] for wells in found}) for i in range(min(map(len, found)))]
    if max(rows, default=0) < 2:
        return [None] * len(results)
    best = [wells[rows.index(max(rows))] for wells in found]
    return [
        (each.target[: well.start()].rstrip("_-. /"), well[1], int(well[2]))
        for each, well in zip(results, best, strict=True)
    ]


def _add_plates(found: Looks, wells, looks: dict[str, Look], redact: Redact) -> None:
    names = list(dict.fromkeys(plate for plate, _, _ in wells))
    for name in sorted(names, key=in_order)[:_PLATES]:
        own = {(row, column): group for (plate, row, column), group in wells.items() if plate == name}
        columns = list(range(1, max(column for _, column in own) + 1))
        last = max((row for row, _ in own), key=lambda row: (len(row), row))
        rows = [
            (letter, [_in_well(own.get((letter, column)), looks, redact) for column in columns])
            for letter in _letters(last)
        ]
        found.plates.append(Plate(redact(name), columns, rows))
    if len(names) > _PLATES:
        found.notes.append(f"shown: {_PLATES} of {len(names):,} plates")


def _in_well(group: list[Result] | None, looks: dict[str, Look], redact: Redact) -> Look | None:
    if not group:
        return None
    worst = max((each.state for each in group), key=STATES.index)
    look = looks.get(group[0].place)
    if look is None:
        summary = redact("; ".join(group[0].reasons)) or worst
        look = Look(redact(group[0].target), worst, summary)
    text = look.text if len(look.text) <= _SHORT else ""
    return look._replace(state=worst, text=text, more=len(group) - 1)


def _letters(last: str) -> list[str]:
    letters = [chr(ord("A") + i) for i in range(26)]
    letters += [f"A{letter}" for letter in letters[:6]]
    return letters[: letters.index(last) + 1]


# ---- looks --------------------------------------------------------------------------------------


def _spread(groups: list, most: int) -> list:
    if len(groups) <= most:
        return groups
    return [groups[i * len(groups) // most] for i in range(most)] if most > 0 else []


def _look(
    result: Result, budget: Budget, pixels: int, redact: Redact, unknown: Counter[str]
) -> Look | None:
    """Look at a result; count it under the reason if its format is not looked at."""
    from ..targets.thumbnail import thumbnail  # imports all formats

    if result.format is None:
        unknown[f"{result.record.format if result.record else 'the format'} is not read here"] += 1
        return None
    preview = thumbnail(result.format.at(result.place), result.place)
    if preview is None:
        is_gone = not os.path.exists(result.place)
        unknown["gone meanwhile" if is_gone else f"{type(result.format).__name__} is not looked at"] += 1
        return None
    summary, target = redact(preview.summary), redact(result.target)
    if preview.picture is None:
        text = redact((preview.text or "").strip("\n"))
        return Look(target, result.state, summary, "", redact(preview.rows), text)
    if not budget.pictures:
        unknown["there are enough pictures"] += 1
        return None
    try:
        content, kind, is_figure = _cleaned(preview.picture, preview.kind, pixels, redact)
    except (OSError, ValueError, SyntaxError, DaskcacheError) as error:
        reason = str(getattr(error, "message", error)).partition("\n")[0]
        return Look(target, result.state, redact(f"not shown: {type(error).__name__}: {reason}"))
    if len(content) > budget.nbytes:
        unknown["the report would be too large"] += 1
        return None
    budget.pictures -= 1
    budget.nbytes -= len(content)
    return Look(target, result.state, summary, picture_data(content, kind), is_figure=is_figure)


def _cleaned(picture: bytes, kind: str, pixels: int, redact: Redact) -> tuple[bytes, str, bool]:
    """Return a smaller picture without metadata, its media type, and whether it is a figure."""
    if kind == "image/svg+xml":
        return redacted_svg(picture, redact), kind, True
    images = require("PIL.Image", "image")
    with images.open(io.BytesIO(picture)) as opened:
        is_figure = max(opened.size) > PIXELS
        has_alpha = "A" in opened.getbands() or "transparency" in opened.info
        mode = opened.mode if opened.mode in ("L", "RGB") else "RGBA" if has_alpha else "RGB"
        image = opened.convert(mode)
    image.thumbnail((_FIGURE, _FIGURE) if is_figure else (pixels, pixels))
    image.info.clear()
    best, kind = _saved(image, "PNG", optimize=True), "image/png"
    if mode != "RGBA" and not is_figure:
        smaller = _saved(image, "JPEG", quality=85)
        if len(smaller) < len(best):
            best, kind = smaller, "image/jpeg"
    return best, kind, is_figure


def _saved(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()
