"""The identity of a function whose code a ``version`` stands for: its name, and the data that it holds.

Two functions must not share a key because they have one version.  The names tell most of them apart;
closures, partials and methods of one name differ in their data, and lambdas only in their code.
"""

from __future__ import annotations

import os
import types
from typing import Any

from ..errors import UnhashableArgument
from .encoder import Encoder
from .functions import body_of


def identity_of(func: Any) -> str:
    """Hash of the names of a callable's code and of the data that it holds.

    Returns
    -------
    str
        32 hex digits.
    """
    encoder = _NamingEncoder()
    encoder.add_checked(func)
    return encoder.digest()


class _NamingEncoder(Encoder):
    """Encodes functions and classes by name, with the data in the closures of functions.

    Data that has no identity counts by its type: the version stands for it.
    """

    __slots__ = ("around",)

    def __init__(self, around: frozenset[int] = frozenset()):
        super().__init__()
        #: Functions that this is inside of.
        self.around = around

    def nested(self):
        return _NamingEncoder(self.around)

    def add_code(self, value):
        name = getattr(value, "__qualname__", None) or getattr(
            value, "__name__", type(value).__qualname__
        )
        self.parts.append(b"@")
        self.add((_module_of(value), name))
        if not isinstance(value, types.FunctionType) or id(value) in self.around:
            return
        if "<lambda>" in name:
            self.add(body_of(value.__code__).hash)
        for variable, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            self._add_held(variable, cell, value)

    def _add_held(self, variable, cell, function):
        part = _NamingEncoder(self.around | {id(function)})
        try:
            part.add(cell.cell_contents)
        except (UnhashableArgument, ValueError) as error:  # an empty cell
            part = self.nested()
            part.add("" if isinstance(error, ValueError) else type(cell.cell_contents).__qualname__)
        self.add(variable)
        self.parts += part.parts


def _module_of(value):
    """Name of the module of a function or class; of a script, the name by which it can be imported."""
    module = getattr(value, "__module__", None)
    told = getattr(value, "__globals__", {})
    if module not in ("__main__", "__mp_main__") or not told.get("__file__"):
        return module
    name = os.path.splitext(os.path.basename(told["__file__"]))[0]
    return f"{told['__package__']}.{name}" if told.get("__package__") else name
