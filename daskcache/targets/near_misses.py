"""Errors for files that a pattern matches in two ways, or almost; imported when one is raised.

`patterns` and `sources` raise them.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from itertools import islice

from ..errors import PatternError, SourceMissing
from ..printable import printable
from .patterns import SPECS, Field, Pattern

#: Number of files that are named.
_SHOWN = 3
#: Number of files that are compared with a pattern that matches none.
_COMPARED = 500


def two_readings(pattern: Pattern, path: str, one: tuple, other: tuple) -> PatternError:
    """Return the error for a path that can be read in two ways.

    Parameters
    ----------
    pattern : Pattern
    path : str
        The file's path, as it is matched.
    one, other : tuple of str
        Texts of the places in two readings.
    """
    differing = [i for i, texts in enumerate(zip(one, other, strict=True)) if texts[0] != texts[1]]
    readings = [
        ", ".join(f"{pattern.places[i].name}={texts[i]!r}" for i in differing) for texts in (one, other)
    ]
    cures = [_cure(pattern, path, differing, texts) for texts in (one, other)]
    hints = [f"{cure} for the {which}" for cure, which in zip(cures, _WHICH, strict=True) if cure]
    return PatternError(
        f"the pattern {pattern.text!r} matches a file in two ways",
        target=path,
        expected="one reading",
        got=" or ".join(f"({reading})" for reading in readings),
        hint=f"write {', or '.join(hints)}" if hints else f"say what the fields hold: {SPECS}",
    )


_WHICH = "first reading", "second"


def _cure(pattern, path, differing, texts):
    """Return a field with a format that leaves this reading alone, or None."""
    plain = [i for i in differing if pattern.places[i] == Field(pattern.places[i].name)]
    for i, spec in [(i, spec) for spec in ("w", "l", "") for i in plain]:
        name = pattern.places[i].name
        cure = f"{{{name}:{spec or len(texts[i])}}}"
        cured = Pattern(pattern.text.replace(f"{{{name}}}", cure))
        if cured.text != pattern.text and cured.extremes(path) == [texts]:
            return cure
    return None


def none_matches(folder: str, pattern: Pattern, left_out: tuple[str, ...]) -> SourceMissing:
    """Return the error for a pattern that matches no file, with the files that come closest.

    Parameters
    ----------
    folder : str
        Absolute path of the folder that the pattern begins with.
    pattern : Pattern
    left_out : tuple of str
        Paths that fit, but for the formats of fields.
    """
    hint = "correct the pattern; upper and lower case differ, and *, ** and {field} take any text"
    if left_out:
        got = [f"{name} ({misfit(pattern, name)})" for name in left_out[:_SHOWN]]
        hint = f"correct the fields' formats: {SPECS}"
    elif os.path.isdir(folder):
        files = list(islice(_files_below(folder), _COMPARED))
        got = difflib.get_close_matches(pattern.text, files, _SHOWN, cutoff=0)
    else:
        there = folder
        while not os.path.isdir(there):
            there = os.path.dirname(there)
        missing = folder[len(there) :].strip("/").partition("/")[0]
        with os.scandir(there) as entries:
            folders = sorted(entry.name for entry in entries if entry.is_dir())
        closest = difflib.get_close_matches(missing, folders, _SHOWN)
        got = [f"no folder {missing} in {there}", *(f"but {name}" for name in closest)]
        hint = "correct the folder; it is taken from the current one, and ~ is not replaced"
    return SourceMissing(
        f"no file matches {os.path.join(folder, pattern.text)}",
        expected="at least one file",
        got=printable(", ".join(got)) or f"no file at all in {folder}",
        hint=hint,
    )


def misfit(pattern: Pattern, path: str) -> str:
    """Return in words why a path fits only if each field may hold any text."""
    for place in pattern.places:
        spec = f"{place.width or ''}{place.kind}"
        for written in {spec, f"0{spec}"} - {""}:
            loose = Pattern(pattern.text.replace(f"{{{place.name}:{written}}}", f"{{{place.name}}}"))
            if loose.text != pattern.text and (readings := loose.extremes(path)):
                text = readings[0][[p.name for p in loose.places].index(place.name)]
                return f"{text!r} does not fit {{{place.name}:{written}}}"
    return "a field would be empty, or differ between its places"


def _files_below(folder) -> Iterator[str]:
    """Yield the paths of files below a folder, those with fewer folders in them first."""
    level = [""]
    while level:
        below = []
        for before in level:
            try:
                with os.scandir(os.path.join(folder, before)) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError:  # an error is on its way already: these names are a help only
                continue
            for entry in found:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append(f"{before}{entry.name}/")
                else:
                    yield before + entry.name
        level = below
