"""The stable names of classes and functions, which keys, records and archives hold.

A class that moves to another module keeps its name, so nothing that was made with it runs again:
daskcache's own are named as users import them (``daskcache:CSVTarget``), and any other class says
its name itself, in the class attribute ``public_name``::

    class MeshTarget(daskcache.Target):
        public_name = "meshtools:MeshTarget"
"""

from __future__ import annotations

import operator
import sys
from importlib import import_module
from typing import Any

_PACKAGE = __name__.partition(".")[0]


def public_name(obj: Any) -> str:
    """Return the name that stands for a class or function, wherever it is defined.

    Returns
    -------
    str
        ``"package:Class"`` if it has a public name, else ``"package.module:Class"``.
    """
    given = getattr(obj, "__dict__", {}).get("public_name")  # its own: a subclass is another class
    if isinstance(given, str):
        return given
    return current_name(f"{obj.__module__}:{obj.__qualname__}")


def current_name(name: str) -> str:
    """Return the public name for one by module, as older records have it; any other name as it is."""
    module, _, qualified_name = name.partition(":")
    if module.startswith(f"{_PACKAGE}.") and qualified_name in sys.modules[_PACKAGE].__all__:
        return f"{_PACKAGE}:{qualified_name}"
    return name


def imported(name: str) -> Any:
    """Import what a name stands for.  For names in the program's own text: importing runs code.

    Raises
    ------
    ImportError, AttributeError
        If there is no such module, or nothing of this name in it.
    """
    module, _, qualified_name = name.partition(":")
    return operator.attrgetter(qualified_name)(import_module(module))
