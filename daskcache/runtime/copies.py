"""Copies of the values that a function gets and could change.

`call` makes arguments of them, and `entry` lends them.  So the caller keeps what it gave, and other
functions get what this one got.  A run in the caller's process gives what a run on a worker gives.
Large arrays are not copied, but read-only.
"""

from __future__ import annotations

import io
import operator
import pickle
import random
import sys
import types
from collections.abc import Callable
from typing import Any

import dask

from ..calls.containers import MUTABLE, taken_apart
from ..calls.recipe import SCALARS, Ref
from ..errors import ArgumentChanged, UnhashableArgument
from ..hashing.encoder import hash_value
from ..hashing.names import class_name, has
from .work import Work

#: Bytes beyond which an array is not copied.
LARGE = 64 * 2**20


def filled(value: Any, copy: Callable[[Any], Any], data: Callable[[int], Any] | None = None) -> Any:
    """Return a container with ``data(ordinal)`` in place of each `Ref`, and with copies of other parts.

    Parameters
    ----------
    value : object
        A container, or any other value, which is copied.
    copy : callable
        `copy_of_data`, or `Copies.of`.
    data : callable, optional
        Returns the data of an input.  Not needed for a value without references.
    """
    typ = type(value)
    if typ in SCALARS:
        return value
    if typ is Ref and data is not None:
        return data(value.ordinal)
    parts, rebuild = taken_apart(value)
    # the class of a dataclass may not take all of its parts: another one is made only for references
    if rebuild is None or (has(typ, "__dataclass_fields__") and not _holds_reference(value)):
        return copy(value)
    new = [filled(part, copy, data) for part in parts]
    return value if typ not in MUTABLE and all(map(operator.is_, parts, new)) else rebuild(new)


def _holds_reference(value):
    return type(value) is Ref or any(map(_holds_reference, taken_apart(value)[0]))


def copy_of_data(value: Any) -> Any:
    """Return a copy of an array, a data frame or a random generator; any other value as it is."""
    copy = _copier_of_data(value)
    try:
        return value if copy is None else copy(value)
    except Exception:  # noqa: BLE001 (whatever the objects in an array raise)
        return value


class Copies:
    """Copies for one call, and the values that can't be copied."""

    def __init__(self):
        #: Values that could not be copied, with their hashes before the call.
        self._watched: list[tuple[Any, str]] = []

    def of(self, value: Any) -> Any:
        """Return a copy of a value, or the value itself if it can't be copied."""
        copy = _copier_of_data(value) or (_as_it_is if _is_shared(value) else _through_pickle)
        try:
            return copy(value)
        except Exception:  # noqa: BLE001 (whatever its class raises)
            self._watched.append((value, hash_value(value)))
            return value

    def check(self, work: Work) -> None:
        """Raise `ArgumentChanged` if the function changed a value that could not be copied."""
        for value, before in self._watched:
            if _hash_now(value) != before:
                raise ArgumentChanged(
                    f"{work.spec.name}() changed an argument of type {class_name(type(value))}, which "
                    "can't be copied for it",
                    node=work.title,
                    target=", ".join(work.paths) or None,
                    hint="let the function make a new object, or leave this one as it is",
                )


def _hash_now(value):
    try:
        return hash_value(value)
    except UnhashableArgument:
        return None


# ---- how a value is copied --------------------------------------------------------------------------


def _copier_of_data(value):
    """Return the function that copies an array, a data frame or a random generator; None for others."""
    if isinstance(value, _classes("numpy", "ndarray")):
        return _through_pickle if value.dtype.hasobject else _own_array
    if isinstance(value, _classes("pandas", "DataFrame", "Series")):
        dtypes = [value.dtype] if value.ndim == 1 else value.dtypes
        has_objects = any(dtype.kind == "O" for dtype in dtypes)
        return _through_pickle if has_objects else operator.methodcaller("copy")
    if isinstance(value, _classes("polars", "DataFrame", "Series")):
        return operator.methodcaller("clone")  # shares its columns, and neither's edit reaches the other
    # its state is part of the key, and the body must not advance it
    if isinstance(value, (random.Random, *_classes("numpy.random", "Generator", "RandomState"))):
        return _through_pickle
    return None


def _classes(module, *names):
    """Return classes of a module, without those that it doesn't have (yet)."""
    found = sys.modules.get(module)  # another thread may be importing it now
    return tuple([getattr(found, name) for name in names if hasattr(found, name)])


def _as_it_is(value):
    return value


def _own_array(array):
    if not array.flags.writeable:
        return array
    return _read_only(array) if _is_large(array) else array.copy(order="K")


def _is_large(array):
    """Test if an array is not copied.  A memory map isn't: its file is as good as a large one."""
    return array.nbytes > LARGE or isinstance(array, _classes("numpy", "memmap"))


def _read_only(array):
    view = array.view()
    view.flags.writeable = False
    return view


def _through_pickle(value):
    """Return a copy made by pickling, as on the way to a worker.

    Shared parts, see `_is_shared`, are not pickled, and no other process has to know their names.
    """
    file = io.BytesIO()
    shared: list[Any] = []
    buffers: list[pickle.PickleBuffer] = []
    _Pickler(file, shared, buffers.append).dump(value)
    file.seek(0)
    return _Unpickler(file, shared, [bytearray(buffer.raw()) for buffer in buffers]).load()


class _Pickler(pickle.Pickler):
    def __init__(self, file, shared, buffer_callback):
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self._shared = shared

    def persistent_id(self, obj):
        if type(obj) in _PICKLED:
            return None
        if isinstance(obj, _classes("numpy", "ndarray")) and not obj.dtype.hasobject and _is_large(obj):
            obj = _read_only(obj)
        elif not _is_shared(obj):
            return None
        self._shared.append(obj)
        return len(self._shared) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, shared, buffers):
        super().__init__(file, buffers=buffers)
        self._shared = shared

    def persistent_load(self, pid):
        return self._shared[pid]


_PICKLED = SCALARS | {tuple, list, dict}


def _is_shared(value):
    """Test if a value is code, a Dask collection or Arrow's: no function changes these in place."""
    return (
        isinstance(value, _CODE)
        or type(value).__module__.partition(".")[0] == "pyarrow"
        or (has(type(value), "__dask_graph__") and dask.is_dask_collection(value))
    )


_CODE = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)
