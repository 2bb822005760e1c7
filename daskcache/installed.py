"""Objects that installed modules give: they count by their names, never by the state of a process.

``scipy.stats.norm`` holds the global random state, ``numpy.random.rand`` is a method of it, and
``os.environ`` is another one in each process.  What a user's code refers to is the name.
"""

from __future__ import annotations

import functools
import sys
import types
from typing import Any

from .code import is_user_module


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
    found = functools.reduce(lambda o, part: getattr(o, part, None), name.split("."), sys.modules[module])
    return f"{module}:{name}" if found is value else None


def _name_near(module, value):
    while module:
        name = _names_in(module).get(id(value))
        if name is not None and vars(sys.modules[module]).get(name) is value:
            return f"{module}:{name}" if _is_installed(module) else None
        module = module.rpartition(".")[0]
    return None


def _names_in(module):
    """Names of a module's globals, by their addresses."""
    namespace = getattr(sys.modules.get(module), "__dict__", {})
    size, names = _known.get(module, (-1, {}))
    if size != len(namespace):
        names = {id(value): name for name, value in reversed(list(namespace.items()))}
        _known[module] = len(namespace), names
    return names


#: Of modules, how many names they had, and these.
_known: dict[str, tuple[int, dict[int, str]]] = {}


def _is_installed(module):
    return module != "__main__" and module in sys.modules and not is_user_module(sys.modules[module])
