"""Texts of values in records: short ones to read, and whole ones from which to restore the value.

A whole text is tagged JSON, see `targets.tagged`; it stands beside a short text that is not all of the
value.  No text is ever evaluated.  `runtime.work` and `runtime.facts` write the texts;
`planning.reasons`, `runtime.named` and `housekeeping.rebuild` read them.
"""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

from ..errors import DaskcacheError
from ..hashing.changes import Brief
from ..targets.base import CODEC_ERRORS
from ..targets.tagged import from_json, to_json
from .recipe import Ref

#: Replaces the parts that a short text leaves out.
CUT = "..."
#: Limit for a whole text: characters, upstream references not counted; and parts of the value.
LONGEST = 1000
#: Limit for a whole text: levels of containers.
DEEPEST = 20


class _InOrder(Brief):
    """Make texts of values; dicts keep their order."""

    def repr_dict(self, x, level):
        if x and level <= 0:
            return f"{{{CUT}}}"
        items = islice(x.items(), self.maxdict)
        pieces = [f"{self.repr1(k, level - 1)}: {self.repr1(v, level - 1)}" for k, v in items]
        return f"{{{', '.join(pieces + [CUT] * (len(x) > self.maxdict))}}}"


#: Makes short texts.
brief = _InOrder()
brief.maxstring = brief.maxother = 80


def texts_of(value: Any) -> list[str]:
    """Return the short text of a value, and the whole one if the short one may not restore the value.

    The last text is the one for `value_of`.  A whole text that would be too long is left out, as is that
    of a value with parts that aren't plain.
    """
    text = brief.repr(value)
    everything = whole(value) if _NOT_LITERAL.search(text) else None
    return [text, everything] if everything else [text]


def with_places(text: str, places: Sequence[str]) -> str:
    """Return a short text with places (such as paths) instead of the references to upstream results."""
    for ordinal, place in enumerate(places):
        text = text.replace(repr(Ref(ordinal)), place)
    return text


#: Found in every short text that leaves something out, or has other parts than literals and `Ref`, or
#: could be taken for tagged JSON.
_NOT_LITERAL = re.compile(r"\.\.\.|\w\(|<(?!upstream)|\b(np\.|(nan|inf)j?\b|Ellipsis|NaT)|\{\"\$")


def whole(value: Any) -> str | None:
    """Return the whole text of a value; None if it would be too long, or has parts that aren't plain."""
    try:
        text = json.dumps(_Parts()(value), ensure_ascii=False, separators=(",", ":"))
    except (*CODEC_ERRORS, DaskcacheError):
        return None
    return text if len(_UPSTREAM.sub("", text)) <= LONGEST else None


class _Parts:
    """Write the parts of a value for JSON.  Too many of them raise ValueError before all are seen."""

    def __init__(self):
        self.left, self.levels = LONGEST, DEEPEST

    def __call__(self, value):
        self.left -= 1
        self.levels -= 1
        is_long = isinstance(value, (str, bytes, set, frozenset)) and len(value) > LONGEST
        if is_long or self.left < 0 or self.levels < 0:
            raise ValueError("too large for a record")
        if write := _WRITERS.get(type(value)):
            tag, content = write(value)
            written = {tag: to_json(content, self)}
        else:
            written = to_json(value, self)
        self.levels += 1
        return written


#: Tags that only records have.
_WRITERS = {
    Ref: lambda ref: ("$upstream", ref.ordinal),
    bytes: lambda value: ("$bytes", value.decode("latin-1")),
    slice: lambda value: ("$slice", [value.start, value.stop, value.step]),
    range: lambda value: ("$range", [value.start, value.stop, value.step]),
    type(...): lambda value: ("$ellipsis", None),
}
_READERS = {
    "$upstream": lambda content: Ref(operator.index(content)),
    "$bytes": lambda content: content.encode("latin-1"),
    "$slice": lambda content: slice(*content),
    "$range": lambda content: range(*content),
    "$ellipsis": lambda content: ...,
}
_UPSTREAM = re.compile(r'\{"\$upstream":\d+\}')


def value_of(text: str) -> Any:
    """Return the value that the last of `texts_of` stands for, with a `Ref` for each upstream value.

    Raises
    ------
    ValueError
        If the text alone does not determine a plain value, or one that is too large for `whole`.
    """
    try:
        value = _value(text)
        _Parts()(value)  # whoever wrote the record: no value is so deep that hashing it fails
    except _NO_VALUE as error:
        raise ValueError(f"no plain value: {text[:80]}") from error
    return value


_NO_VALUE = (
    *CODEC_ERRORS,
    DaskcacheError,
    OSError,  # raised for some names of time zones
    SyntaxError,
    MemoryError,  # raised by the parser if parentheses are nested too deeply
)


def _value(text):
    try:
        return json.loads(text, object_hook=_from_json)
    except json.JSONDecodeError:  # a short text, or a whole one of an earlier version
        tree = ast.parse(_REF.sub(_call_of_ref, text), mode="eval")
        return ast.literal_eval(_Refs().visit(tree))


def _from_json(loaded):
    read = _READERS.get(next(iter(loaded))) if len(loaded) == 1 else None
    return read(*loaded.values()) if read else from_json(loaded)


class _Refs(ast.NodeTransformer):
    """Put references into the syntax tree of a literal, in place of calls of `Ref`."""

    def visit_Call(self, call):
        is_ref = isinstance(call.func, ast.Name) and call.func.id == "Ref"
        return ast.Constant(Ref(*map(ast.literal_eval, call.args))) if is_ref else call


def _call_of_ref(found):
    return found[0] if found[1] is None else f"Ref({found[1]})"


#: References, and literals of texts, which may look like references inside.
_REF = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|<upstream (\d+)>""")
