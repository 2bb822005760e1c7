"""CPR's module names as aliases of daskcache's classes, where CPR is not installed.

Results that Prefect stored for CPR name their serializer by path, ``cpr.Serializer.target_decoder``.
The aliases exist only in a process that calls `install`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

from . import OF_CPR


def install() -> bool:
    """Make ``import cpr`` and imports of its modules give daskcache's classes.

    Returns
    -------
    bool
        False if nothing was done, because CPR itself is installed or the aliases exist already.

    Examples
    --------
    >>> from daskcache.cpr import alias
    >>> installed = alias.install()
    >>> from cpr.image.ImageTarget import ImageTarget                  # doctest: +SKIP
    """
    if is_installed() or _has_cpr():
        return False
    for name in ("cpr", *_HOMES):
        parent, _, _ = name.rpartition(".")
        while parent and parent not in sys.modules:
            sys.modules[parent] = ModuleType(parent, "Stands for a package of CPR; made by daskcache.")
            vars(sys.modules[parent])["__path__"] = []
            parent = parent.rpartition(".")[0]
        module = sys.modules.setdefault(name, _Alias(name))
        vars(module).setdefault("__path__", [])
    for name in [known for known in sys.modules if known.startswith("cpr.")]:
        parent, _, short = name.rpartition(".")
        setattr(sys.modules[parent], short, sys.modules[name])
    return True


def is_installed() -> bool:
    """Return True if CPR's module names are aliases of daskcache's in this process."""
    return isinstance(sys.modules.get("cpr.Serializer"), _Alias)


def _has_cpr():
    spec = importlib.util.find_spec("cpr")
    if spec is None or spec.origin is not None:
        return spec is not None
    # a folder named cpr, which need not be the package
    return any(
        os.path.exists(f"{folder}/Serializer.py") for folder in spec.submodule_search_locations or ()
    )


class _Alias(ModuleType):
    """A stand-in for a module of CPR, which gives daskcache's classes under CPR's names."""

    def __init__(self, name):
        super().__init__(name, "Stands for a module of CPR; made by daskcache.")

    def __getattr__(self, name: str) -> Any:
        home = _HOMES.get(self.__name__, {}).get(name)
        if home is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(home), name)


_SERIALIZER = "daskcache.cpr.serializer"
#: Modules of CPR, each with its names and the modules of daskcache that have them.
_HOMES: dict[str, dict[str, str]] = {
    "cpr.Resource": {"Resource": "daskcache"},
    "cpr.Target": {"Target": "daskcache"},
    "cpr.Serializer": {
        "target_encoder": _SERIALIZER,
        "target_decoder": _SERIALIZER,
        "cpr_serializer": "daskcache.prefect",
    },
    "cpr.utilities.utilities": {"hash_objects": _SERIALIZER, "task_input_hash": "daskcache.prefect"},
    "cpr.image.Metadata": {"Metadata": "daskcache"},
    **{
        f"cpr.{folder}.{name}": {name: "daskcache.cpr"}
        for folder, names in OF_CPR.items()
        for name in names
    },
}
