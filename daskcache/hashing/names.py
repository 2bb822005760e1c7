"""The stable names of classes and functions in keys, records and archives.

The encoders, `fingerprints`, `targets` and `storage` use them.  A class that moves to another module
keeps its name, so nothing made with it has to run again.  daskcache's own classes are named as users
import them (``daskcache:CSVTarget``).  Any other class can set its name in the class attribute
``public_name``::

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
