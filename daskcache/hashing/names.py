"""Stable names: of classes and functions, and of the objects in installed modules that count by name.

A class that moves to another module keeps its name, so nothing made with it has to run again.
daskcache's own classes are named as users import them (``daskcache:CSVTarget``).  Any other class can
set its name in the class attribute ``public_name``::

    class MeshTarget(daskcache.Target):
        public_name = "meshtools:MeshTarget"

Most objects in installed modules count by their contents, as any value does, so that a changed setting
is noticed.  Two kinds count by name:

- the state of a process, which differs in each (the global random generators, ``os.environ``),
- objects that can't be taken apart (many distributions of SciPy, functions of uarray).

The encoders and `fingerprints` use the names, and so do `storage` and `targets`.
"""

from __future__ import annotations

import operator
import sys
import types
from importlib import import_module
from typing import Any

from .ownership import is_user_module

_PACKAGE = __name__.partition(".")[0]


def public_name(obj: Any) -> str:
    """Return the stable name of a class or function, wherever it is defined.

    Returns
    -------
    str
        ``"package:Class"`` if it has a public name, else ``"package.module:Class"``.
    """
    given = getattr(obj, "__dict__", {}).get("public_name")  # not inherited: a subclass is another class
    if isinstance(given, str):
        return given
    return current_name(f"{obj.__module__}:{obj.__qualname__}")


def class_name(cls: type) -> str:
    """Return the name of a class with its module or package."""
    return public_name(cls).replace(":", ".")


def current_name(name: str) -> str:
    """Return the public name for one of daskcache's module paths, or any other name unchanged.

    Older records hold module paths.
    """
    module, _, qualified_name = name.partition(":")
    if module.startswith(f"{_PACKAGE}.") and qualified_name in sys.modules[_PACKAGE].__all__:
        return f"{_PACKAGE}:{qualified_name}"
    return name


def look_up(obj: Any, name: str, default: Any = None) -> Any:
    """Return an attribute, or `default` if it is missing.

    A ``__getattr__`` of the object's class, or of its metaclass, may raise any error for a name that it
    doesn't know.
    """
    try:
        return getattr(obj, name, default)
    except Exception:  # noqa: BLE001
        return default


def has(cls: type, name: str) -> bool:
    """Test if a class defines or inherits an attribute, without asking its metaclass."""
    for each in cls.__mro__:  # noqa: SIM110 (it is asked for each node, and a generator takes longer)
        if name in each.__dict__:
            return True
    return False


def imported(name: str) -> Any:
    """Import the object that a name stands for.

    Importing runs code, so pass only names from the program's own text.

    Raises
    ------
    ImportError, AttributeError
        If the module, or the name in it, doesn't exist.
    """
    module, _, qualified_name = name.partition(":")
    return operator.attrgetter(qualified_name)(import_module(module))


# ---- objects in installed modules ---------------------------------------------------------------

#: Globals that hold the state of a process.
_OF_PROCESS = (
    "os:environ",
    "os:environb",
    "sys:modules",
    "sys:path",
    "copyreg:dispatch_table",
    "random:_inst",
    "numpy.random.mtrand:_rand",
    "dask.config:config",
    "zarr.core.config:config",  # holds a copy of os.environ
)


def process_name_of(value: Any) -> str | None:
    """Return the name (``module:name``) of a global that holds process state; None for other values."""
    global _names_of_process
    size, names = _names_of_process
    if size != len(sys.modules):
        found = {name: _global(name) for name in _OF_PROCESS}
        names = {id(known): name for name, known in found.items() if known is not None}
        _names_of_process = len(sys.modules), names
    return names.get(id(value))


#: Number of loaded modules, and `_OF_PROCESS` by id.  Both are renewed when that number changes.
_names_of_process: tuple[int, dict[int, str]] = (-1, {})


def _global(name):
    module, _, name = name.partition(":")
    return getattr(sys.modules.get(module), name, None)


def name_of(value: Any) -> str | None:
    """Return the name (``module:name``) of a global of an installed module; None for other values.

    The search starts at the place that the object itself names.  It goes on in the module of the
    object's class (or of a function), and in the packages around that module.
    """
    home = value if isinstance(value, types.FunctionType) else type(value)
    return _name_given_by_itself(value) or _name_near(home.__module__, value)


def _name_given_by_itself(value):
    own = look_up(value, "__dict__", {})
    module, name = own.get("__module__"), own.get("__qualname__")
    if not isinstance(module, str) or not isinstance(name, str) or not _is_installed(module):
        return None
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is value else None


def _name_near(module, value):
    while module:
        for name, known in list(vars(sys.modules.get(module, _NO_MODULE)).items()):
            if known is value:
                return f"{module}:{name}" if _is_installed(module) else None
        module = module.rpartition(".")[0]
    return None


_NO_MODULE = types.ModuleType("none")


def package_giving(value: Any, name: str) -> str | None:
    """Return an installed package in which a module has `value` under `name`, or None."""
    for module, found in list(sys.modules.items()):
        if vars(found or _NO_MODULE).get(name) is value and _is_installed(module):
            return module.partition(".")[0]
    return None


def _is_installed(module):
    return module != "__main__" and module in sys.modules and not is_user_module(sys.modules[module])
