"""The contents of callables that count: defaults, closures, and wrapped functions.

`reach` and `fingerprints` use this module, and `runtime.code_check` asks which code is followed.
`declarations` tells what counts of a class.
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
    """Test if a value is the user's own code, or a plain container of it."""
    if type(value) in (list, tuple, dict):
        items = value.values() if type(value) is dict else value
        return any(is_followed(item, depth + 1) for item in items)
    return is_followed(value, depth + 1)


def wrapped_by(func) -> Iterator[tuple[str, Any]]:
    """Yield name and value of the contents in which a wrapper may keep the function that it wraps."""
    if hasattr(func, "__wrapped__"):
        yield "__wrapped__", func.__wrapped__
    yield from closure_of(func).items()


def is_generated(func):
    """Test if a decorator made a function from generated text, as beartype's does."""
    return func.__code__.co_filename.startswith("<@") and hasattr(func, "__wrapped__")


def held_by(func) -> Iterator[tuple[str, str, Any]]:
    """Yield kind, name and value of a function's defaults and of the variables that it closes over."""
    for each in inspect.signature(func, follow_wrapped=False).parameters.values():
        # nodes are upstream of the call, not part of the code
        if each.default is not each.empty and not hasattr(type(each.default), "_recipe"):
            yield "default", each.name, each.default
    for name, value in closure_of(func).items():
        yield "closure variable", name, value


def closure_of(func) -> dict[str, Any]:
    """Return the variables that a function closes over, by name."""
    cells = zip(func.__code__.co_freevars, func.__closure__ or (), strict=True)
    return {name: contents(cell, "<empty>") for name, cell in cells}


def contents(cell: types.CellType, empty: Any) -> Any:
    """Return the value in the cell of a closure, or `empty`."""
    try:
        return cell.cell_contents
    except ValueError:
        return empty
