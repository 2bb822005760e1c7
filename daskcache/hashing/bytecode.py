"""The globals and imports of a code object, and what runs of it, read from its bytecode.

`functions` uses this module.  `source_code` finds a function's source with it.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
import types
from collections.abc import Iterator
from typing import NamedTuple

from .encoder import hash_value


class Import(NamedTuple):
    """An import in a function's body."""

    level: int
    module: str
    #: Name imported from the module; None for the module itself.
    name: str | None


def bytecode_hash(code: types.CodeType) -> str:
    """Return the hash of a code object's bytecode, without looking at its source."""
    return hash_value(("bytecode", sys.version_info[:2], runnable(code)))


def runnable(code):
    """Return the code that runs, as nested tuples in which equal constants of different types differ."""
    constants = [runnable(c) if isinstance(c, types.CodeType) else hash_value(c) for c in code.co_consts]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount
    kind = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    return code.co_code, code.co_exceptiontable, tuple(constants), *names, *counts, kind


@functools.cache
def names_in(code: types.CodeType) -> frozenset[str]:
    """Return the names of globals, attributes and imports in a code object."""
    return frozenset(name for inner in nested(code) for name in inner.co_names)


def global_names(code):
    """Return the global names that a code object reads and those that it assigns.

    Inner functions count too.
    """
    steps = [(step.opname, step.argval) for each in nested(code) for step in dis.get_instructions(each)]
    read = frozenset(name for operation, name in steps if operation in _READING)
    return read, frozenset(name for operation, name in steps if operation == "STORE_GLOBAL")


_READING = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")


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


def nested(code) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from nested(constant)
