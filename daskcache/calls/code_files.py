"""The files of functions that travel by value: of scripts, notebooks and functions made in functions.

cloudpickle names all their code ``<dynamic-code>``, so tracebacks and logs of workers don't say where a
line is.  `spec` sends the names along.  They stand in angle brackets, as Python names code without a
file: on a worker the path may lead to another file, which must not count as the function's source.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

from ..hashing.code_objects import names_in

_UNKNOWN = "<dynamic-code>"
#: First line and name of a code object.
Place = tuple[int, str]


def files_of(func: Any) -> dict[Place, str]:
    """Return the name of the file of each function that would travel with `func`, by its place."""
    return {
        (code.co_firstlineno, code.co_name): _bracketed(code.co_filename)
        for code in (each.__code__ for each in _functions(func))
    }


def name_files(func: Any, files: dict[Place, str]) -> None:
    """Name the files in the code of a function that was sent, and of those that came with it."""
    for each in _functions(func):
        code = each.__code__
        name = files.get((code.co_firstlineno, code.co_name))
        if name is not None and code.co_filename == _UNKNOWN:
            each.__code__ = _renamed(code, name)


def _bracketed(name):
    return name if name.startswith("<") else f"<{os.path.abspath(name)}>"


def _renamed(code: CodeType, name: str) -> CodeType:
    constants = [_renamed(c, name) if isinstance(c, CodeType) else c for c in code.co_consts]
    return code.replace(co_filename=name, co_consts=tuple(constants))


def _functions(func: Any) -> Iterator[FunctionType]:
    """Yield a function, and those of its module that it reaches by global names and closures."""
    left, seen, module = [func], set(), None
    while left:
        found = left.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, functools.partial):
            left.append(found.func)
        elif isinstance(found, MethodType):
            left.append(found.__func__)
        elif isinstance(found, FunctionType) and found.__module__ == (module or found.__module__):
            module = found.__module__
            yield found
            named = map(found.__globals__.get, sorted(names_in(found.__code__)))
            left += [each for each in named if isinstance(each, FunctionType)]
            left += [each.cell_contents for each in found.__closure__ or () if _is_filled(each)]


def _is_filled(cell):
    try:
        return isinstance(cell.cell_contents, FunctionType)
    except ValueError:
        return False
