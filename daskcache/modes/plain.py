"""Calls without caching, for the mode "function" of `tasks`.

A function that writes its target itself gets a path in a temporary folder.  The file is read back, so
that the function's value is the same in every mode.
"""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..calls.spec import Spec
from ..errors import ResultError
from ..runtime.entry import arrange


def call_plain(spec: Spec, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Call a task's function with data, and store nothing.

    Returns
    -------
    object
        The function's return value, or the values in the files that it wrote.  A coroutine for
        ``async def``.

    Raises
    ------
    ResultError
        If the function has a target, and didn't write to its ``target_path``.
    """
    if not spec.signature.takes_target_path or _target_path(spec, args, kwargs) is not None:
        return spec.func(*args, **kwargs)
    if inspect.iscoroutinefunction(spec.func):
        return _call_async(spec, args, kwargs)
    with _own_paths(spec) as paths:
        return _read_back(spec, paths, _called(spec, args, kwargs, paths))


async def _call_async(spec, args, kwargs):
    with _own_paths(spec) as paths:
        return _read_back(spec, paths, await _called(spec, args, kwargs, paths))


def _target_path(spec, args, kwargs):
    """Return the target path that the caller gave, or None."""
    position = spec.signature.names.index("target_path")
    return args[position] if len(args) > position else kwargs.get("target_path")


def _called(spec, args, kwargs, paths):
    values = list(spec.signature.bind(args, kwargs))
    values[spec.signature.names.index("target_path")] = arrange(paths, spec.layout) if paths else None
    args, kwargs = spec.signature.unbind(tuple(values))
    return spec.func(*args, **kwargs)


@contextmanager
def _own_paths(spec) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory(prefix="daskcache-") as folder:
        suffixes = [os.path.splitext(target.path)[1] for target in spec.formats]
        yield [f"{folder}/{position}{suffix}" for position, suffix in enumerate(suffixes)]


def _read_back(spec, paths, result):
    if not paths:
        return result
    written = list(zip(spec.formats, paths, strict=True))
    missing = [target.path for target, path in written if not os.path.lexists(path)]
    if missing:
        raise ResultError(
            f"{spec.name}() takes a target_path, so it writes its target itself, but did not",
            target=", ".join(missing),
        )
    return arrange([target.read(path) for target, path in written], spec.layout)
