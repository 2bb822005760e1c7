"""The border between the user's own code and that of Python and the installed packages.

`reach`, `contents`, `instances`, `names` and `functions` ask whether to look into code or to take its
name.  `runtime.code_check` and `prefect.sent_code` look at code as another process sees
it (`seen_as`).
"""

from __future__ import annotations

import functools
import importlib.util
import sys
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
    #: Bodies analysed from sources (`functions.Body`), by the hash of their bytecode.
    bodies: Mapping[str, Any]


_view: ContextVar[View | None] = ContextVar("view", default=None)


@contextmanager
def seen_as(view: View) -> Iterator[None]:
    """Take another process's view of the code within this context: its files may lie elsewhere."""
    token = _view.set(view)
    try:
        yield
    finally:
        _view.reset(token)


def is_user_code(obj) -> bool:
    """Test if a function or class is defined outside the standard library and the installed packages.

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
    """Return the name of the module that defines a function or class, or an empty text."""
    if isinstance(obj, types.FunctionType) and not obj.__code__.co_filename.startswith("<"):
        return obj.__globals__.get("__name__") or ""
    return getattr(obj, "__module__", None) or ""


def is_standard(func: types.FunctionType) -> bool:
    """Test if a function comes from the standard library."""
    return func.__code__.co_filename.startswith(("<frozen ", _python_paths()["stdlib"])) and not (
        {"site-packages", "dist-packages"} & set(Path(func.__code__.co_filename).parts)
    )


def is_user_module(module: types.ModuleType) -> bool:
    """Test if a module is the user's own."""
    view = _view.get()
    if view is not None:
        return module.__name__ in view.modules
    file = getattr(module, "__file__", None)
    if file is None:  # a package without an __init__.py has only folders
        file = next(iter(getattr(module, "__path__", ())), None)
    return module.__name__ == "__main__" if file is None else is_user_file(file)


def is_user_package(name: str) -> bool:
    """Test if a package or module is the user's own, whether it is imported yet or not."""
    view = _view.get()
    if view is not None:
        return any(module.partition(".")[0] == name for module in view.modules)
    if name in sys.modules:
        return is_user_module(sys.modules[name])
    spec = importlib.util.find_spec(name)
    if spec is None:
        return False
    place = spec.origin or next(iter(spec.submodule_search_locations or ()), None)
    return place is not None and is_user_file(place)


@functools.cache
def is_user_file(file: str) -> bool:
    """Test if a file is outside Python, the installed packages and daskcache."""
    path = Path(file)
    if file.startswith("<frozen ") or {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(folder) for folder in _installed_folders())


@functools.cache
def _python_paths():
    import sysconfig  # takes a millisecond

    return sysconfig.get_paths()


@functools.cache
def _installed_folders():
    paths = _python_paths()
    folders = [Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    ours = sys.modules[__name__.partition(".")[0]].__path__
    return {*folders, *map(Path, ours)}


@functools.cache
def package_version(module: str) -> str | None:
    """Return the version of an installed package, or None if it is not one.

    Parameters
    ----------
    module : str
        The distribution's name (``"scikit-image"``), or the name of a module in it (``"skimage"``,
        ``"skimage.filters"``).
    """
    import importlib.metadata

    top = module.partition(".")[0]
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        providers = None if top in sys.stdlib_module_names else _distributions().get(top)
    return importlib.metadata.version(providers[0]) if providers else None


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    """Return the installed packages by the modules in them, whose metadata take a second to read."""
    import importlib.metadata

    return importlib.metadata.packages_distributions()


def view_of_another() -> View | None:
    """Return the other process's view that `seen_as` set in this context, or None."""
    return _view.get()
