"""Whose code it is: the user's own, or that of Python and the installed packages."""

from __future__ import annotations

import functools
import importlib.util
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple


class View(NamedTuple):
    """The user's code as another process sees it."""

    #: Names of the modules that are the user's own.
    modules: frozenset[str]
    #: What is known from sources, by the hash of the bytecode.
    bodies: Mapping[str, Any]


_view: ContextVar[View | None] = ContextVar("view", default=None)


@contextmanager
def seen_as(view: View) -> Iterator[None]:
    """Within, code is looked at with the eyes of another process, which may have it elsewhere."""
    token = _view.set(view)
    try:
        yield
    finally:
        _view.reset(token)


def is_user_code(obj) -> bool:
    """Whether a function or class is defined outside the standard library and the installed packages.

    Editable installs, scripts and notebook cells are user code.
    """
    view = _view.get()
    if view is not None:
        return home_of(obj) in view.modules
    if home_of(obj) == "__main__":  # of this program, or of the one that sent it
        return True
    if isinstance(obj, types.FunctionType) and not obj.__code__.co_filename.startswith("<"):
        return is_user_file(obj.__code__.co_filename)
    module = sys.modules.get(home_of(obj))
    return module is None or is_user_module(module)


def home_of(obj) -> str:
    """Name of the module in whose file a function or class is defined."""
    if isinstance(obj, types.FunctionType) and not obj.__code__.co_filename.startswith("<"):
        return obj.__globals__.get("__name__") or ""
    return getattr(obj, "__module__", None) or ""


def is_standard(func: types.FunctionType) -> bool:
    """Whether a function comes from the standard library."""
    return func.__code__.co_filename.startswith(("<frozen ", sysconfig.get_path("stdlib"))) and not (
        {"site-packages", "dist-packages"} & set(Path(func.__code__.co_filename).parts)
    )


def is_user_module(module: types.ModuleType) -> bool:
    """Whether a module is the user's own."""
    view = _view.get()
    if view is not None:
        return module.__name__ in view.modules
    file = getattr(module, "__file__", None)
    if file is None:
        folders = list(
            getattr(module, "__path__", ())
        )  # a package without an __init__.py has only these
        return is_user_file(folders[0]) if folders else module.__name__ == "__main__"
    return is_user_file(file)


def is_user_package(name: str) -> bool:
    """Whether a package, or module, is the user's own, be it imported yet or not."""
    view = _view.get()
    if view is not None:
        return any(module.partition(".")[0] == name for module in view.modules)
    if name in sys.modules:
        return is_user_module(sys.modules[name])
    spec = importlib.util.find_spec(name)
    if spec is None:
        return False
    folders = list(spec.submodule_search_locations or ())
    return is_user_file(spec.origin or (folders[0] if folders else "<frozen "))


@functools.cache
def is_user_file(file: str) -> bool:
    """Whether a file belongs neither to Python, nor to an installed package, nor to daskcache."""
    path = Path(file)
    if file.startswith("<frozen ") or {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(folder) for folder in _installed_folders())


@functools.cache
def _installed_folders():
    paths = sysconfig.get_paths()
    folders = [Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    ours = sys.modules[__name__.partition(".")[0]].__path__
    return {*folders, *map(Path, ours)}


@functools.cache
def package_version(module: str) -> str | None:
    """Version of the distribution that `module` belongs to; None for the standard library."""
    import importlib.metadata

    try:
        return importlib.metadata.version(module.partition(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return None


def view_of_another() -> View | None:
    """Return the view of another process that is taken in this thread, see `seen_as`; or None."""
    return _view.get()
