"""Texts of values in records: short ones to read, and whole ones from which to restore the value.

A text is never evaluated.  `value_of` knows literals, and the few calls that stand for plain values.
`runtime.work` and `runtime.facts` write the texts; `planning.reasons`, `runtime.named` and
`housekeeping.rebuild` read them.
"""

from __future__ import annotations

import ast
import math
import re
import reprlib
from collections.abc import Callable
from importlib import import_module
from itertools import islice
from numbers import Number
from pathlib import Path, PurePath
from typing import Any

from .recipe import Ref

#: Replaces the parts that a short text leaves out.
CUT = "..."
#: Limit for a whole text: characters, upstream references not counted; and parts of the value.
LONGEST = 1000


class _InOrder(reprlib.Repr):
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


def whole(value: Any) -> str | None:
    """Return the whole text of a value, from which `value_of` may restore it.

    Return None for a text that would be too long, and for a value with parts that aren't plain.
    """
    maker = _Whole()
    text = maker.repr(value)
    return text if maker.left >= 0 and len(_REF.sub("", text)) <= LONGEST else None


class _Whole(_InOrder):
    def __init__(self):
        super().__init__()
        for limit in [name for name in vars(self) if name.startswith("max")]:
            setattr(self, limit, LONGEST + 1)
        self.maxlevel = 20
        #: Number of parts that may still follow; negative once something was left out.
        self.left = LONGEST

    def repr1(self, x, level):
        self.left -= 1
        return super().repr1(x, level) if self.left >= 0 else CUT

    def repr_instance(self, x, level):
        if isinstance(x, _PLAIN) and not (isinstance(x, bytes) and len(x) > LONGEST):
            return repr(x)
        self.left = -1
        return CUT


_PLAIN = (Number, bytes, type(None), slice, range, PurePath, Ref)
_REF = re.compile(r"<upstream (\d+)>")


def value_of(text: str) -> Any:
    """Return the value that a text stands for, with a `Ref` for each ``<upstream 0>``.

    Raises
    ------
    ValueError
        If the text alone does not determine a plain value.
    """
    try:
        return _value(ast.parse(_REF.sub(r"Ref(\1)", text), mode="eval").body)
    except _NO_VALUE as error:
        raise ValueError(f"no plain value: {text[:80]}") from error


_NO_VALUE = (
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RecursionError,
    MemoryError,  # raised by the parser if parentheses are nested too deeply
)


def _value(node):
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return _SEQUENCES[type(node)](map(_value, node.elts))
    if isinstance(node, ast.Dict):
        return dict(zip(map(_value, node.keys), map(_value, node.values), strict=True))
    if isinstance(node, ast.Call) and not node.keywords:
        return _maker(ast.unparse(node.func))(*map(_value, node.args))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.Name):
        return _NAMES[node.id]
    return ast.literal_eval(node)


_SEQUENCES: dict[type, type] = {ast.List: list, ast.Tuple: tuple, ast.Set: set}
_NAMES = {"inf": math.inf, "nan": math.nan, "Ellipsis": Ellipsis}
_MAKERS: dict[str, Callable] = {
    "Ref": Ref,
    "set": set,
    "frozenset": frozenset,
    "slice": slice,
    "range": range,
    "PosixPath": Path,
    "WindowsPath": Path,
}


def _maker(name):
    """Return the type that makes a plain value: one of `_MAKERS`, or a number type of NumPy."""
    if not name.startswith("np."):
        return _MAKERS[name]
    numpy = import_module("numpy")
    found = getattr(numpy, name[3:], None)
    if isinstance(found, type) and issubclass(found, numpy.number):
        return found
    raise LookupError(name)
