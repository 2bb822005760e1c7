"""Names of the objects in installed modules that count by name.

Most objects count by their contents, as any value does, so that a changed setting is noticed.  Two kinds
count by name:

- the state of a process, which differs in each (the global random generators, ``os.environ``),
- objects that can't be taken apart (many distributions of SciPy, functions of uarray).

`plain_values`, `instances`, `arrays` and `fingerprints` look the names up.
"""

from __future__ import annotations

import sys
import types
from typing import Any

from .ownership import is_user_module

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
    own = getattr(value, "__dict__", {})
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
