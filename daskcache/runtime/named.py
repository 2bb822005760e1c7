"""Functions and classes that records name, looked up in modules that this program has imported.

`node`, `planning.corrections` and `housekeeping` use it.  A record may come from an untrusted source, so
its names import nothing but daskcache's own classes.  A class that runs code when it reads a file is not
chosen by a record: it counts only as a format of this program's function.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from ..calls.describe import value_of
from ..calls.spec import Spec
from ..storage.record import Record
from ..targets.base import Target
from ..targets.source import Source
from .work import describe_format


class Unknown(LookupError):
    """A name that can't be resolved in this program; the message says why."""


def function_named(name: str) -> Spec:
    """Return the decorated function of this name, as it is now.

    Parameters
    ----------
    name : str
        Module and qualified name, as in records.

    Returns
    -------
    Spec

    Raises
    ------
    Unknown
        If no imported module has it, or if it is not a decorated function.
    """
    if name.startswith("__main__."):
        raise Unknown("it is defined in a script or notebook (__main__), not in a module")
    module = home = name.rpartition(".")[0]
    while home and home not in sys.modules:
        home = home.rpartition(".")[0]
    rest = name[len(home) + 1 :]
    if not home or (home != module and _inside(sys.modules[home], rest.partition(".")[0]) is None):
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


def target_of(record: Record, spec: Spec | None = None) -> Target | None:
    """Return the target that a record is about, or None if the record is not enough to make it.

    Parameters
    ----------
    record : Record
    spec : Spec, optional
        This program's function that the record is about.  A format that runs code when it reads a file
        must be one of its formats.
    """
    for own in spec.formats if spec is not None else ():
        if has_format(record, own):
            return own.at(record.target)
    found = class_of(record.format)
    if found is None or not issubclass(found, Target) or found.runs_code:
        return None
    try:
        return found(record.target, **value_of("{}" if record.options is None else record.options))
    except (TypeError, ValueError):
        return None


def has_format(record: Record, target: Target) -> bool:
    """Return True if a record is about a target of the same format with the same options."""
    described = describe_format(target)
    return (record.format, record.options) == (described["format"], described.get("options"))


def source_class_named(name: str) -> type[Source]:
    """Return the source class of this name.

    Raises
    ------
    Unknown
        If it was not imported here, is not a source class, or runs code when it reads a file.
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
    """Return True if a name is that of a daskcache class that reads files without running code."""
    return _is_own(name) and not getattr(class_of(name), "runs_code", True)


def class_of(name: str) -> type | None:
    """Return the class named ``"package.module:Class"``, or None.

    It must be a public class of daskcache, or be in a module that was imported here.
    """
    module, _, qualified_name = name.partition(":")
    if _is_own(name):  # the public name counts, in whichever module the class is defined
        import daskcache

        found = getattr(daskcache, qualified_name) if qualified_name in daskcache.__all__ else None
    else:
        found = _inside(sys.modules.get(module), qualified_name)
    return found if isinstance(found, type) else None


def _is_own(name):
    return name.partition(":")[0].partition(".")[0] == __name__.partition(".")[0]


def _inside(module, qualified_name):
    """Return the object of a qualified name in a module, or None, without running the module's code.

    `vars` runs no ``__getattr__`` and no descriptor.
    """
    found = module
    for part in qualified_name.split("."):
        if not isinstance(found, (ModuleType, type)):
            return None
        found = vars(found).get(part)
    return found
