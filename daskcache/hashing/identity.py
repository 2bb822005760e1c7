"""The identity of a function with a ``version``: its name, and the data that it holds.

The version stands for the function's code.  Two functions with the same version must not share a key.
Most functions differ in name.  Closures, partials and methods with the same name differ in their data,
and lambdas only in their code.  `calls.spec` and `graph.node` use `identity_of`.
"""

from __future__ import annotations

import os
import types
from typing import Any

from ..errors import UnhashableArgument
from .encoder import Encoder
from .functions import body_of


def identity_of(func: Any) -> str:
    """Return the hash of a callable's names and of the data that it holds.

    Returns
    -------
    str
        32 hex digits.
    """
    encoder = _NamingEncoder()
    encoder.add_checked(func)
    return encoder.digest()


class _NamingEncoder(Encoder):
    """Encode functions and classes by name, with the data in the closures of functions.

    Data without a stable identity counts by its type, because the version stands for it.
    """

    __slots__ = ("around",)

    def __init__(self, around: frozenset[int] = frozenset()):
        super().__init__()
        #: Ids of the functions whose closures are being encoded: a closure may hold its own function.
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
        except (UnhashableArgument, ValueError) as error:  # ValueError: an empty cell
            part = self.nested()
            part.add("" if isinstance(error, ValueError) else type(cell.cell_contents).__qualname__)
        self.add(variable)
        self.parts += part.parts


def _module_of(value):
    """Return the module name of a function or class; for a script, the name to import it by."""
    module = getattr(value, "__module__", None)
    told = getattr(value, "__globals__", {})
    if module not in ("__main__", "__mp_main__") or not told.get("__file__"):
        return module
    name = os.path.splitext(os.path.basename(told["__file__"]))[0]
    return f"{told['__package__']}.{name}" if told.get("__package__") else name
