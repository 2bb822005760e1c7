"""`Pattern`: a path with fields, ``"{plate}/{well}_s{site:d}.tif"``, and their values in other paths.

`sources` finds files with it, and `near_misses` has the errors for files that don't fit.  `template` is
the other direction: paths filled with values.

A path must have a single reading.  Regular expressions try the longest text for each field first, or
the shortest first, from left to right.  So the first match of the greedy expression and that of the
lazy one are the two extremes of all readings, and a path has a single one if both are the same.
"""

from __future__ import annotations

import functools
import keyword
import re
import string
from typing import NamedTuple

from ..errors import PatternError
from ..hashing.names import imported
from .template import ATTRIBUTES

#: Names that a field can't have: the attributes of templates, and the columns of `Sources.to_frame` and
#: `Nodes.to_frame`.
RESERVED = (*ATTRIBUTES, "path", "state", "target")
#: What fields may hold, for errors.
SPECS = (
    "{well} for any text, {well:3} for three characters, {well:w} for letters and digits, {row:l} for "
    "letters, {site:d} for an integer, or {site:3d} for one of three digits"
)

_NAME = re.compile(r"[A-Za-z]\w*")
_SPEC = re.compile(r"(?P<width>[1-9]\d*)?(?P<kind>[wl]?)|(?:0?(?P<digits>[1-9]\d*))?d")
_CHARACTERS = {"": "[^/]", "w": r"[^\W_]", "l": r"[^\W\d_]", "d": "[0-9]"}


class Field(NamedTuple):
    """One place in a pattern that takes any text: a field, ``*`` or ``**``."""

    name: str
    #: ``d`` for an integer, ``w`` for letters and digits, ``l`` for letters, or empty.
    kind: str = ""
    #: Number of characters, without the sign of an integer; None for one or more.
    width: int | None = None

    @property
    def is_wildcard(self) -> bool:
        return self.name.startswith("*")

    def value(self, text: str) -> str | int:
        return int(text) if self.kind == "d" else text

    def expression(self, lazy: str) -> str:
        """Return a regular expression; `lazy` is ``"?"`` to try short texts first, else empty."""
        if self.name == "**":
            return f"((?:[^/]+/)*{lazy})"
        if self.name == "*":
            return f"([^/]*{lazy})"
        sign = f"-?{lazy}" if self.kind == "d" else ""
        count = f"{{{self.width}}}" if self.width else f"+{lazy}"
        return f"({sign}{_CHARACTERS[self.kind]}{count})"


class Pattern:
    """A pattern for the paths of files below a folder.

    Parameters
    ----------
    text : str
        The pattern, with ``/`` between names.  ``{{`` and ``}}`` stand for braces.

    Attributes
    ----------
    fields : tuple of str
        Names of the fields, in order.
    globs : tuple of str
        One shell pattern for each name in a path.  Every path that fits the pattern fits these.

    Raises
    ------
    PatternError
        If the pattern is malformed, a field's name is reserved, or its format is unknown.
    """

    def __init__(self, text: str):
        self.text = text
        self._names = _names_of(text)
        places = [piece for name in self._names for piece in name if isinstance(piece, Field)]
        self.places = tuple(places)
        self.fields = tuple(dict.fromkeys(place.name for place in places if not place.is_wildcard))
        self.globs = tuple(map(_glob, self._names))
        #: For each place, that of the first one of its name.
        self._firsts = [
            i if place.is_wildcard else [p.name for p in places].index(place.name)
            for i, place in enumerate(places)
        ]
        _check_formats(text, places, self._firsts)

    def __reduce__(self):
        return Pattern, (self.text,)

    def __repr__(self):
        return f"Pattern({self.text!r})"

    def read(self, path: str) -> tuple[str | int, ...] | None:
        """Return the values of the fields in a path; None if it does not fit.

        Raises
        ------
        PatternError
            If the path can be read in two ways.
        """
        readings = self.extremes(path)
        if not readings:
            return None
        if len(readings) > 1:
            two_readings = imported("daskcache.targets.near_misses:two_readings")  # which imports this
            raise two_readings(self, path, *readings)
        (texts,) = readings
        values = [place.value(text) for place, text in zip(self.places, texts, strict=True)]
        if any(values[first] != value for first, value in zip(self._firsts, values, strict=True)):
            return None
        return tuple([values[i] for i in self._own])

    def extremes(self, path: str) -> list[tuple[str, ...]]:
        """Return the texts of all places in the first and the last of a path's readings.

        The list is empty if the path does not fit, and has one item if it has a single reading.
        """
        longest = self._greedy.fullmatch(path)
        if longest is None:
            return []
        shortest = self._lazy.fullmatch(path)
        return [found.groups() for found in (longest, shortest)[: 1 + (shortest.regs != longest.regs)]]

    @functools.cached_property
    def _own(self):
        """Index of each field's first place."""
        return [i for i in dict.fromkeys(self._firsts) if not self.places[i].is_wildcard]

    @functools.cached_property
    def _greedy(self):
        return re.compile(self._expression(""))

    @functools.cached_property
    def _lazy(self):
        return re.compile(self._expression("?"))

    def _expression(self, lazy):
        pieces, number = [], 0
        for position, name in enumerate(self._names):
            for piece in name:
                if isinstance(piece, str):
                    pieces.append(re.escape(piece))
                    continue
                first = self._firsts[number]
                # integers are compared as numbers, texts as they are
                is_repeated = first < number and piece.kind != "d"
                pieces.append(f"(\\{first + 1})" if is_repeated else piece.expression(lazy))
                number += 1
            if position < len(self._names) - 1 and self.globs[position] != "**":
                pieces.append("/")
        return "".join(pieces)


def split(pattern: str) -> tuple[str, str]:
    """Return the folder that a pattern begins with, and the pattern below it."""
    names = pattern.split("/")
    fixed = 0
    while fixed < len(names) - 1 and not re.search("[{}*]", names[fixed]):
        fixed += 1
    folder = "/".join(names[:fixed])
    return folder or ("/" if fixed else "."), "/".join(names[fixed:])


def _names_of(text):
    """Return the names in a path, each as a list of texts and fields."""
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise PatternError(
            f"the pattern {text!r} is malformed: {error}", hint="write {{ and }} for braces in a name"
        ) from None
    names: list[list] = [[]]
    for literal, name, spec, conversion in parsed:
        first, *others = literal.split("/")
        names[-1] += _with_wildcards(first)
        names += [_with_wildcards(other) for other in others]
        if name is not None:
            names[-1].append(_field(text, name, spec, conversion))
    if names[-1] == [Field("**")]:
        names.append([Field("*")])
    _check_names(text, names)
    return names


def _with_wildcards(literal):
    pieces = re.split(r"(\*\*|\*)", literal)
    return [Field(piece) if piece.startswith("*") else piece for piece in pieces if piece]


def _field(text, name, spec, conversion):
    if not _NAME.fullmatch(name) or conversion:
        raise PatternError(
            f"the pattern {text!r} has the field {{{name}{'!' + conversion if conversion else ''}}}, "
            "which is not a plain name",
            expected="a name that begins with a letter, such as {well}",
            got=name or "no name",
        )
    if name in RESERVED or keyword.iskeyword(name):
        told = (
            "means something else in templates and data frames" if name in RESERVED else "is a keyword"
        )
        raise PatternError(
            f"the pattern {text!r} has a field {name!r}, which {told}",
            expected=f"any other name than {', '.join(RESERVED)}, and no keyword of Python",
            hint=f"call it {name}_ or by what it says, such as {{well}}",
        )
    found = _SPEC.fullmatch(spec)
    if not found:
        raise PatternError(
            f"the pattern {text!r} has a field of an unknown format",
            expected=SPECS,
            got=f"{{{name}:{spec}}}",
        )
    width = found["width"] or found["digits"]
    kind = "d" if spec.endswith("d") else found["kind"]
    return Field(name, kind, int(width) if width else None)


def _check_names(text, names):
    plain = ["".join(piece for piece in name if isinstance(piece, str)) for name in names]
    is_plain = [all(isinstance(piece, str) for piece in name) for name in names]
    if any(alone and name in ("", ".", "..") for alone, name in zip(is_plain, plain, strict=True)):
        raise PatternError(
            f"the pattern {text!r} does not say what to look for",
            expected="names and fields with single slashes between them, and .. only in front",
            got=repr(text),
        )
    deep = [name for name in names if Field("**") in name]
    if len(deep) > 1 or any(len(name) > 1 for name in deep):
        raise PatternError(
            f"the pattern {text!r} can be read in several ways",
            expected="** once, and alone between slashes: any number of folders",
            hint="write {name} or * for what is in between",
        )


def _check_formats(text, places, firsts):
    for place, first in zip(places, firsts, strict=True):
        before = places[first]
        if place.kind != before.kind or (place.width != before.width and place.kind != "d"):
            raise PatternError(
                f"the pattern {text!r} has the field {place.name!r} in two formats",
                expected="the same format wherever the field is",
                hint=f"write it alike, or give the second one another name, such as {place.name}_2",
            )


def _glob(name):
    """Return a shell pattern that fits whatever the fields in a name may hold, and more."""
    if name == [Field("**")]:
        return "**"
    pieces = [re.sub(r"([\[?])", r"[\1]", piece) if isinstance(piece, str) else "*" for piece in name]
    return re.sub(r"\*+", "*", "".join(pieces))
