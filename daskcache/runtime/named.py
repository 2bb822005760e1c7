"""Names in records, looked up among the modules that this program has imported itself.

A record can come from anybody, and names a function, a format and classes of sources.  Nothing is
imported because a record names it, but for daskcache's own classes; and a class whose reading runs code
counts only where the program itself says so, by the format of the function that the record is about.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ..calls.describe import value_of
from ..calls.spec import Spec
from ..targets.base import Source, Target
from .work import describe_format


class Unknown(LookupError):
    """A name that has no meaning here; the message says why."""


def function_named(name: str) -> Spec:
    """Return the decorated function of this name, as it is now.

    Parameters
    ----------
    name : str
        Its module and qualified name, as records have it.

    Raises
    ------
    Unknown
        If it is in no module that was imported here, or is not a decorated function.
    """
    if name.startswith("__main__."):
        raise Unknown("it is defined in a script or notebook (__main__), not in a module")
    module = name.rpartition(".")[0]
    home = next((module for module in _prefixes(name) if module in sys.modules), None)
    rest = name[len(home or "") + 1 :]
    top = home and _inside(sys.modules[home], rest.partition(".")[0])
    if home is None or (top is None and home != module):
        raise Unknown(f"its module is not imported here: name it with --module {module}")
    found: Any = _inside(sys.modules[home], rest)
    if found is None:
        raise Unknown(f"{home}, as it is imported here, has no {rest}")
    if isinstance(found, (classmethod, staticmethod)):
        found = found.__func__
    spec = found._spec if hasattr(type(found), "_spec") else None
    if not isinstance(spec, Spec):
        raise Unknown("it is not a decorated function any more")
    return spec


def target_of(record: Mapping[str, Any], spec: Spec | None = None) -> Target | None:
    """Return the target that a record is about; None if it can't be had from the record alone.

    Parameters
    ----------
    record : mapping
        Content of a record.
    spec : Spec, optional
        This program's function that the record is about: a format whose reading runs code must be its.
    """
    said = {field: record[field] for field in ("format", "options") if field in record}
    for own in spec.formats if spec is not None else ():
        if describe_format(own) == said:
            return own.at(record["target"])
    found = class_of(record["format"])
    if found is None or not issubclass(found, Target) or found.runs_code:
        return None
    try:
        return found(record["target"], **value_of(record.get("options", "{}")))
    except (TypeError, ValueError):
        return None


def source_class_named(name: str) -> type[Source]:
    """Return the class of sources of this name.

    Raises
    ------
    Unknown
        If it was not imported here, is not a class of sources, or runs code when it reads a file.
    """
    found = class_of(name)
    if found is None:
        raise Unknown("was not imported here")
    if not issubclass(found, Source):
        raise Unknown("is not a class of sources any more")
    if found.runs_code:
        raise Unknown("runs code when it reads a file: it is not chosen by a record")
    return found


def is_plain(name: str) -> bool:
    """Tell if a name is that of one of daskcache's own classes whose reading runs no code."""
    return _is_own(name) and not getattr(class_of(name), "runs_code", True)


def class_of(name: str) -> type | None:
    """Return the class ``"package.module:Class"`` that was imported here, or is daskcache's; or None."""
    module, _, qualified_name = name.partition(":")
    if _is_own(name):  # by its public name, wherever it is defined
        import daskcache

        found = getattr(daskcache, qualified_name) if qualified_name in daskcache.__all__ else None
    else:
        found = _inside(sys.modules.get(module), qualified_name)
    return found if isinstance(found, type) else None


def _is_own(name):
    return name.partition(":")[0].partition(".")[0] == __name__.partition(".")[0]


def _inside(module, qualified_name):
    """Return what a module, or a class in it, holds under a name, without running any code of theirs."""
    found = module
    for part in qualified_name.split("."):
        if not isinstance(found, (ModuleType, type)):
            return None
        found = vars(found).get(part)
    return found


def _prefixes(name):
    """Yield ``a.b`` and ``a`` for ``a.b.c``."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name
