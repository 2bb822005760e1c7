"""Units, sizes and names in the metadata of image files, and the warning for those not understood.

`tiff`, `ome_xml` and `targets.zarr.ngff` read files through these functions, so all formats understand
the same.  `metadata` hands the results on.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ...errors import DaskcacheWarning

#: Metres in each known unit of length.
METRES = {
    "pm": 1e-12,
    "Å": 1e-10,
    "nm": 1e-9,
    "µm": 1e-6,
    "mm": 1e-3,
    "cm": 1e-2,
    "m": 1.0,
    "inch": 0.0254,
}

_OTHER_NAMES = {
    **dict.fromkeys(("um", "micron", "microns", "micrometer", "micrometre", "μm"), "µm"),
    **dict.fromkeys(("å", "angstrom", "angstroms", "angström", "ångstrom", "ångström"), "Å"),
    **dict.fromkeys(("nanometer", "nanometre"), "nm"),
    **dict.fromkeys(("millimeter", "millimetre"), "mm"),
    **dict.fromkeys(("centimeter", "centimetre"), "cm"),
    **dict.fromkeys(("meter", "metre"), "m"),
    **dict.fromkeys(("in", "inches"), "inch"),
    **dict.fromkeys(("", "pixel", "pixels"), None),
}


def canonical_unit(text: str | None) -> str | None:
    """Return the standard name of a unit.

    Pixels and an empty text give None.  Unknown units stay unchanged.  A text in UTF-8 that a program
    read in another encoding is understood too: ``"Âµm"`` is µm.
    """
    text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), (text or "").strip())
    for form in (text, *_repaired(text)):
        if form in METRES:
            return form
        if form.lower() in _OTHER_NAMES:
            return _OTHER_NAMES[form.lower()]
    return text


#: A character in the form that Java gives it, as in ImageJ's descriptions.
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


def _repaired(text):
    for encoding in ("cp1252", "latin-1"):
        with suppress(UnicodeError):
            yield text.encode(encoding).decode()


def known_size(size: Any, name: str) -> float | None:
    """Return a pixel size as a positive number; without one, say so once and return None.

    Parameters
    ----------
    size : object
        A number, or its text.
    name : str
        Name of the file, for the warning.
    """
    try:
        number = float(size)
    except (TypeError, ValueError):
        number = math.nan
    if 0 < number < math.inf:
        return number
    not_understood(f"the pixel size {size!r}", name)
    return None


def known_names(names: Sequence[Any], name: str) -> tuple[str, ...]:
    """Return names of channels if all of them have one.  If only some have, say so once."""
    if all(isinstance(each, str) and each for each in names):
        return tuple(names)
    if any(names):
        not_understood(f"the names of channels {list(names)}, of which some are missing,", name)
    return ()


def check_unit(unit: str | None, name: str) -> None:
    """Say once that a unit of pixel sizes is unknown, so that no result can take the sizes over."""
    if unit is not None and unit not in METRES:
        not_understood(f"the unit {unit!r}", name)


def not_understood(what: str, name: str) -> None:
    """Warn that a part of an image's metadata is left out, once for all files with the same part."""
    say_once(
        what,
        f"in the metadata of {name} is not understood, and results don't take it over; it is said once, "
        "also of other files.  Give their targets pixel_size, unit or channels",
    )


def say_once(what: str, story: str) -> None:
    """Warn of something that metadata of images lack, once in a process."""
    if what not in _told:
        _told.add(what)
        warnings.warn(f"{what} {story}", DaskcacheWarning, stacklevel=3)


_told: set[str] = set()


def in_one_unit(
    given: dict[str, tuple[float, str | None] | None],
) -> tuple[dict[str, float], str | None]:
    """Return pixel sizes in the unit of the first, and this unit.

    Parameters
    ----------
    given : dict
        Size and unit by axis, or None if it is unknown.  Sizes that can't be converted are left out.
    """
    sizes = {axis: size for axis, size in given.items() if size is not None}
    unit = next((unit for _, unit in sizes.values()), None)
    in_unit = {axis: _converted(size, of, unit) for axis, (size, of) in sizes.items()}
    return {axis: size for axis, size in in_unit.items() if size is not None}, unit


def _converted(size, of, unit):
    """Return a size in another unit, or None if it can't be converted."""
    if of == unit:
        return size
    if of in METRES and unit in METRES:
        return short(size * METRES[of] / METRES[unit])
    return None


def short(size: float) -> float:
    """Return a size rounded to the digits that a fraction of 32-bit numbers holds."""
    return float(f"{size:.9g}")
