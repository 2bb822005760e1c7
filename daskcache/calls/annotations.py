"""The dtype that the return annotation of a function names.

`planning.correction_folders` reads a user's file in it if the function has made no result yet.
"""

from __future__ import annotations

import typing
from collections.abc import Callable

from ..errors import LazyModule

np = LazyModule("numpy", "numpy")


def dtype_of_result(func: Callable) -> str | None:
    """Return the dtype that a function's return annotation names, e.g. ``NDArray[np.bool_]``, or None.

    Parameters
    ----------
    func : callable
        An annotation that can't be evaluated, such as a name imported for type checkers only, counts as
        none.
    """
    try:
        annotation = typing.get_type_hints(func).get("return")
    except Exception:  # noqa: BLE001 (whatever evaluating a text raises)
        return None
    for part in typing.get_args(annotation):
        if typing.get_origin(part) is np.dtype:
            (scalar,) = typing.get_args(part)
            is_one = isinstance(scalar, type) and issubclass(scalar, np.generic)
            return str(np.dtype(scalar)) if is_one and not _is_abstract(scalar) else None
    return None


def _is_abstract(scalar):
    """Return True for a class of several dtypes, such as ``np.floating``."""
    return bool(scalar.__subclasses__())
