"""Hashes of callables and classes: fingerprints of those in values, identities of those with a version.

In a value, such as an argument, the user's own code counts by its reach (`reach`), and installed code by
its name (`fingerprint`).  Beside a ``version``, all code counts by its name (`identity_of`).  `encoder`,
`calls.spec`, `graph.function` and `runtime.code_check` use this module.
"""

from __future__ import annotations

import os
import types
from typing import Any

from ..errors import UnhashableArgument
from .contents import closure_of, in_cell, is_followed
from .encoder import Encoder, hash_value
from .functions import body_of
from .names import current_name, name_of, public_name
from .ownership import package_version
from .reach import Reach


def fingerprint(obj: Any) -> str:
    """Return the fingerprint of a callable or class that occurs in a value, such as an *argument*.

    Returns
    -------
    str
        32 hex digits.

    Raises
    ------
    UnhashableArgument
        If one of its defaults or closure values has no stable identity.
    """
    if is_followed(obj):
        return reach_of(obj).fingerprint
    if isinstance(obj, (types.BuiltinFunctionType, types.MethodWrapperType)):
        owner = getattr(obj, "__self__", None)
        if owner is not None and not isinstance(owner, types.ModuleType):
            return hash_value(("method", obj.__name__, owner))
    return hash_value(("installed", *_installed_name(obj), *_held_by(obj)))


def reach_of(obj: Any) -> Reach:
    """Return the reach of a callable or class.

    The reach of a function or class is kept, and made again when something in it was replaced.
    """
    if not isinstance(obj, (types.FunctionType, type)):
        return Reach(obj, is_within=True)
    known = _known.get(obj)
    if known is None or not known.holds():
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        known = _known[obj] = Reach(obj, is_within=True)
    return known


_known: dict[Any, Reach] = {}
_MAX_KNOWN = 1024


def identity_of(func: Any) -> str:
    """Return the hash of a callable's names and of the data that it holds, for one with a ``version``.

    The version stands for the code.  Two functions with the same version must not share a key.  Most
    differ in name.  Closures, partials and methods with the same name differ in their data, and lambdas
    only in their code.

    Returns
    -------
    str
        32 hex digits.
    """
    encoder = _NamingEncoder()
    encoder.add_checked(func)
    return encoder.digest()


def _installed_name(obj):
    module = getattr(obj, "__module__", None) or type(obj).__module__
    name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
    if name is None:
        raise UnhashableArgument(f"a callable of type {type(obj).__name__} has no name")
    version = None if isinstance(obj, (types.FunctionType, type)) else package_version(module)
    known = public_name(obj) if isinstance(obj, type) else current_name(f"{module}:{name}")
    module, _, name = known.partition(":")
    return module, name, version


def _held_by(obj) -> list[Any]:
    """Return the data in a function without a global name: a lambda, or one made in a function."""
    if not isinstance(obj, types.FunctionType) or "<" not in obj.__qualname__:
        return []
    return [name_of(obj) or (list(closure_of(obj).items()), obj.__defaults__, obj.__kwdefaults__)]


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
        self.add((import_name(value), name))
        if not isinstance(value, types.FunctionType) or id(value) in self.around:
            return
        if "<lambda>" in name:
            self.add(body_of(value.__code__).hash)
        for variable, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            self._add_held(variable, cell, value)

    def _add_held(self, variable, cell, function):
        part = _NamingEncoder(self.around | {id(function)})
        value = in_cell(cell, empty="")
        try:
            part.add(value)
        except UnhashableArgument:
            part = self.nested()
            part.add(type(value).__qualname__)
        self.add(variable)
        self.parts += part.parts


def import_name(value):
    """Return the module name of a function or class; for a script, the name to import it by."""
    module = getattr(value, "__module__", None)
    told = getattr(value, "__globals__", {})
    if module not in ("__main__", "__mp_main__") or not told.get("__file__"):
        return module
    name = os.path.splitext(os.path.basename(told["__file__"]))[0]
    return f"{told['__package__']}.{name}" if told.get("__package__") else name
