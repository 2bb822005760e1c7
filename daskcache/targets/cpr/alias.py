"""CPR's module names as aliases of daskcache's classes, where CPR is not installed.

Results that Prefect stored for CPR name their serializer by path, ``cpr.Serializer.target_decoder``.
The aliases exist only in a process that calls `install`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
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
    sys.meta_path.insert(0, _Finder())
    return True


def is_installed() -> bool:
    """Return True if CPR's module names are aliases of daskcache's in this process."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


def _has_cpr():
    spec = importlib.util.find_spec("cpr")
    if spec is None or spec.origin is not None:
        return spec is not None
    # a folder named cpr, which need not be the package
    return any(
        os.path.exists(f"{folder}/Serializer.py") for folder in spec.submodule_search_locations or ()
    )


class _Finder(MetaPathFinder, Loader):
    """Find modules with CPR's names, and the packages that they are in."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        is_known = any(f"{name}.".startswith(f"{fullname}.") for name in _HOMES)
        return ModuleSpec(fullname, self, is_package=True) if is_known else None

    def exec_module(self, module: Any) -> None:
        homes = _HOMES.get(module.__name__, {})

        def __getattr__(name: str) -> Any:
            if name not in homes:
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            return getattr(importlib.import_module(homes[name]), name)

        module.__getattr__ = __getattr__


_SERIALIZER = "daskcache.cpr.serializer"
#: Modules of CPR, each with its names and the modules of daskcache that have them.
_HOMES: dict[str, dict[str, str]] = {
    "cpr.Resource": {"Resource": "daskcache.cpr"},
    "cpr.Target": {"Target": "daskcache.cpr"},
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
