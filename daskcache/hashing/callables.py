"""The contents of callables that count: defaults, closures, and wrapped functions.

`reach` and `fingerprints` use this module.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from typing import Any

from .ownership import is_user_code


def is_followed(obj, depth=0):
    """Test if a callable or class is the user's own, or an installed wrapper around the user's own."""
    if isinstance(obj, type):
        return is_user_code(obj)
    if not isinstance(obj, types.FunctionType) or depth > 3:
        return False
    return is_user_code(obj) or any(holds_followed(value, depth) for _, value in wrapped_by(obj))


def holds_followed(value, depth=0):
    if type(value) in (list, tuple, dict):
        items = value.values() if type(value) is dict else value
        return any(is_followed(item, depth + 1) for item in items)
    return is_followed(value, depth + 1)


def wrapped_by(func) -> Iterator[tuple[str, Any]]:
    if hasattr(func, "__wrapped__"):
        yield "__wrapped__", func.__wrapped__
    yield from closure_of(func).items()


def is_generated(func):
    """Test if a decorator made a function from generated text, as beartype's does."""
    return func.__code__.co_filename.startswith("<@") and hasattr(func, "__wrapped__")


def defaults_of(func) -> dict[str, Any]:
    """Return defaults by name, without nodes: those are upstream of the call, not part of the code."""
    found = inspect.signature(func, follow_wrapped=False).parameters.values()
    return {
        p.name: p.default
        for p in found
        if p.default is not p.empty and not hasattr(type(p.default), "_recipe")
    }


def closure_of(func) -> dict[str, Any]:
    cells = zip(func.__code__.co_freevars, func.__closure__ or (), strict=True)
    return {name: cell.cell_contents if is_filled(cell) else "<empty>" for name, cell in cells}


def is_filled(cell):
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
