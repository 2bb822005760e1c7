"""The imports in functions' bodies: as the bytecode states them, and what they give.

`functions` reads the imports of a code object here.  `reach` finds the modules and objects behind them,
and the modules that code names as attributes of a package.
"""

from __future__ import annotations

import dis
import importlib
import importlib.util
import types
from typing import Any, NamedTuple

from .ownership import is_user_package
from .source_code import nested

MISSING: Any = object()


class Import(NamedTuple):
    """An import in a function's body."""

    level: int
    module: str
    #: Name imported from the module; None for the module itself.
    name: str | None


def resolved(found: Import, namespace):
    """Return the module of an import in a function's body, and the object that the import binds.

    The object is `MISSING` if the import fails, or if the package is not the user's own.
    """
    name = found.module
    try:
        if found.level:
            name = importlib.util.resolve_name("." * found.level + name, namespace.get("__package__"))
        if not is_user_package(name.partition(".")[0]):
            return None, MISSING  # imported yet or not, it counts by its name in the code
        module = importlib.import_module(name)
        if found.name is None:
            return module, module
        if not hasattr(module, found.name):
            return module, importlib.import_module(f"{name}.{found.name}")
        return module, getattr(module, found.name)
    except (ImportError, ValueError, TypeError):
        return None, MISSING  # the import may still succeed when the function runs


def load_submodule(module, name):
    """Import a package's submodule that code names as an attribute, as in ``pkg.sub.area(x)``.

    The function, or something that it calls, imports it before it runs.  Without this, the key would
    depend on what the process has imported by now, and an edit of a submodule not yet loaded would pass.
    """
    if hasattr(module, "__path__") and not hasattr(module, name):
        resolved(Import(0, module.__name__, name), {})


def names_used(module, body):
    """Return the names that count in a module used as a whole.

    With source these are all its names.  Without source they are the names that the code may mean.
    """
    for name in sorted(body.attributes or ()):
        load_submodule(module, name)

    def counts(name, value):
        if body.attributes and name not in body.attributes:
            return False
        if isinstance(value, types.ModuleType):
            return value.__name__.startswith(f"{module.__name__}.") and body.attributes is not None
        return not name.startswith("__")

    return [name for name, value in sorted(vars(module).items()) if counts(name, value)]


def imports_by_module(code):
    """Return the imports of a code object without source, by module instead of local name."""
    found = _import_statements(code)
    return {"." * level + module: Import(level, module, None) for level, module, _ in found}


def imports_made(code):
    """Return the imports of a code object: modules, their packages, and names from them."""
    found = set()
    for level, module, names in _import_statements(code):
        found |= {Import(level, module, name) for name in (*names, None)}
        while "." in module:
            module = module.rpartition(".")[0]
            found.add(Import(level, module, None))
    return found


def _import_statements(code):
    """Yield level, module and names of each import statement in a code object."""
    for inner in nested(code):
        before = [0, None]  # the level and the names to import are pushed before
        for instruction in dis.get_instructions(inner):
            if instruction.opname == "IMPORT_NAME":
                yield before[0] or 0, instruction.argval, before[1] or ()
            if instruction.opname != "EXTENDED_ARG":
                before = [before[1], instruction.argval]
