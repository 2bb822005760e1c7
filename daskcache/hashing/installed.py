"""Objects that installed modules give: when they count by their names.

Most count by what they hold, as any value does, so that a changed setting is noticed.  Two kinds don't:

- the state of a process, which is another one in each (the global random generators, ``os.environ``),
- what can't be taken apart (many distributions of SciPy, functions of uarray).
"""

from __future__ import annotations

import sys
import types
from typing import Any

from .ownership import is_user_module

#: Globals that are the state of a process.
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
    """Name of a global that is the state of a process, as ``module:name``; None for any other value."""
    global _names_of_process
    size, names = _names_of_process
    if size != len(sys.modules):
        found = {name: _global(name) for name in _OF_PROCESS}
        names = {id(known): name for name, known in found.items() if known is not None}
        _names_of_process = len(sys.modules), names
    return names.get(id(value))


#: How many modules there were, and `_OF_PROCESS` by address.
_names_of_process: tuple[int, dict[int, str]] = (-1, {})


def _global(name):
    module, _, name = name.partition(":")
    return getattr(sys.modules.get(module), name, None)


def name_of(value: Any) -> str | None:
    """Name of a global of an installed module, as ``module:name``; None for any other value.

    It is looked for where the object says that it is, in the module of its class (or of a function), and
    in the packages around that.
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
    """The installed package a module of which has `value` under `name`; None if there is none."""
    for module, found in list(sys.modules.items()):
        if vars(found or _NO_MODULE).get(name) is value and _is_installed(module):
            return module.partition(".")[0]
    return None


def _is_installed(module):
    return module != "__main__" and module in sys.modules and not is_user_module(sys.modules[module])
