"""Checks of documents: JSON objects that any program may have written.

The class of a document is a frozen dataclass.  It declares with each field the form that the value must
have: ``size: Annotated[int, COUNT]``.  A field with a default may be absent.  `record` declares records
so, `housekeeping.archive` the manifests of archives, and `targets.cpr.serializer` the JSON of sources
and targets.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, get_type_hints

from ..hashing.changes import brief
from .paths import UNSHOWN, why_unsafe


class Form(NamedTuple):
    """The form of a value in a document."""

    #: Description, for errors.
    text: str
    #: Test if a value has the form.
    fits: Callable[[Any], bool]

    def __or__(self, other: Form) -> Form:
        return Form(f"{self.text}, or {other.text}", lambda value: self.fits(value) or other.fits(value))


class Misfit(ValueError):
    """A document without a field that it must have, or with a value of another form."""

    def __init__(self, message: str, expected: str, got: str):
        super().__init__(message, expected, got)
        self.message, self.expected, self.got = message, expected, got

    def __str__(self):
        return f"{self.message}: expected {self.expected}"


def known_fields(cls: type, document: Any) -> dict[str, Any]:
    """Return the fields of a document that its class declares.

    Raises
    ------
    Misfit
        If a field is missing, or its value does not have the declared form.
    """
    if not isinstance(document, dict):
        raise Misfit("it holds no JSON object", "an object", brief.repr(document)[:80])
    found = {}
    for name, (text, fits), is_required in _declared(cls):
        if name in document:
            value = found[name] = document[name]
            if not fits(value):
                got = brief.repr(value)[:80]
                raise Misfit(f"its field {name!r} can't be {got}", text, got)
        elif is_required:
            raise Misfit(f"it has no field {name!r}", text, "nothing")
    return found


@functools.cache
def _declared(cls):
    """Return name and form of each field, and True if a document must have it."""
    hints = get_type_hints(cls, include_extras=True)
    return [
        (field.name, form, field.default is dataclasses.MISSING)
        for field in dataclasses.fields(cls)
        for form in getattr(hints[field.name], "__metadata__", ())
    ]


# ---- forms --------------------------------------------------------------------------------------


def list_of(form: Form, least: int = 0, most: float = math.inf) -> Form:
    """Return the form of a list of `least` to `most` values of one form."""

    def fits(value):
        return isinstance(value, list) and least <= len(value) <= most and all(map(form.fits, value))

    return Form(f"a list, each {form.text}", fits)


def dict_of(form: Form) -> Form:
    """Return the form of an object with values of one form, by any names."""

    def fits(value):
        return isinstance(value, dict) and all(map(form.fits, value.values()))

    return Form(f"an object, each value {form.text}", fits)


def object_of(optional: dict[str, Form] | None = None, /, **forms: Form) -> Form:
    """Return the form of an object with these fields, and maybe the optional ones, but no others."""
    known = {**forms, **(optional or {})}

    def fits(value):
        if not isinstance(value, dict) or not forms.keys() <= value.keys() <= known.keys():
            return False
        return all(known[name].fits(each) for name, each in value.items())

    return Form(f"an object with {' and '.join(forms)}", fits)


#: A text that a terminal can show in one line.
LINE = Form(
    "a text in one line",  # `isprintable` is true of most, and much faster
    lambda text: isinstance(text, str) and (text.isprintable() or not UNSHOWN.search(text)),
)
#: Names of files and results of `repr` may hold any character.
TEXT = Form("a text", lambda value: isinstance(value, str))
PATH = Form(
    "a path of a target, below the root",
    lambda value: isinstance(value, str) and why_unsafe(value) is None,
)
NULL = Form("null", lambda value: value is None)
COUNT = Form("a whole number, not negative", lambda value: type(value) is int and value >= 0)
