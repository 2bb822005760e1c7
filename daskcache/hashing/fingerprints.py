"""Fingerprints of callables and classes that occur in values, such as arguments.

`encoder` and `runtime.code_check` use this module.  The user's own code counts by its reach (`reach`),
and installed code by its name.
"""

from __future__ import annotations

import types
from typing import Any

from ..errors import UnhashableArgument
from .contents import closure_of, is_followed
from .encoder import hash_value
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
