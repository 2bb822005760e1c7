"""Code objects: the globals and imports in their bytecode, and the source that they were compiled from.

A source on disk counts only if it compiles to the code in memory, which tells an edited file.
`functions` uses this module, and reads the names in the syntax trees found here.
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import dis
import functools
import inspect
import linecache
import sys
import textwrap
import threading
import types
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import DaskcacheWarning
from .encoder import hash_value

# ---- bytecode ----------------------------------------------------------------------------------


class Import(NamedTuple):
    """An import in a function's body."""

    level: int
    module: str
    #: Name imported from the module; None for the module itself.
    name: str | None


def bytecode_hash(code: types.CodeType) -> str:
    """Return the hash of a code object's bytecode, without looking at its source."""
    return hash_value(("bytecode", sys.version_info[:2], _runnable(code)))


@functools.cache
def names_in(code: types.CodeType) -> frozenset[str]:
    """Return the names of globals, attributes and imports in a code object."""
    return frozenset(name for inner in _nested(code) for name in inner.co_names)


def global_names(code):
    """Return the global names that a code object reads and those that it assigns.

    Inner functions count too.
    """
    steps = [(step.opname, step.argval) for each in _nested(code) for step in dis.get_instructions(each)]
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
    for inner in _nested(code):
        before = [0, None]  # the level and the names to import are pushed before
        for instruction in dis.get_instructions(inner):
            if instruction.opname == "IMPORT_NAME":
                yield before[0] or 0, instruction.argval, before[1] or ()
            if instruction.opname != "EXTENDED_ARG":
                before = [before[1], instruction.argval]


def _nested(code) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)


def _runnable(code):
    """Return the code that runs, as nested tuples in which equal constants of different types differ."""
    constants = [
        _runnable(c) if isinstance(c, types.CodeType) else hash_value(c) for c in code.co_consts
    ]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount
    kind = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    return code.co_code, code.co_exceptiontable, tuple(constants), *names, *counts, kind


# ---- source ------------------------------------------------------------------------------------


def syntax_tree(code):
    """Return the node of the syntax tree that `code` was compiled from, or None without its source."""
    linecache.checkcache(code.co_filename)  # the file may have been edited since it was read
    text = "".join(linecache.getlines(code.co_filename))
    if not text:
        return None
    flags = code.co_flags & _FUTURE | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        trees = _trees_in(text)
        # rewritten code can't equal its source: trust the line
        place = code if _is_rewritten(code) else _place_in(text, flags, code)
    except (SyntaxError, ValueError):
        place = None
    if place is None:
        if not code.co_filename.startswith("<"):  # exec, eval and -c all name their files "<string>"
            _warn_of_edit(code)
        return None
    candidates = trees.get((place.co_firstlineno, place.co_name), [])
    if len(candidates) > 1:  # several lambdas on one line
        candidates = _around(place, candidates)
    return candidates[0] if candidates else None


_FUTURE = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)


def _place_in(text, flags, code):
    """Return the code object equal to `code` in a compiled source text, or None.

    The text is compiled as a whole, then statement by statement, as notebooks compile a cell.  The
    results differ: CPython 3.11 emits other bytecode for attributes of a module if it compiles the
    module's import together with them.
    """
    for by_statement in (False, True):
        place = _same_code(code, _compiled(text, flags, by_statement).get(code.co_name, []))
        if place is not None:
            return place
    return None


def _same_code(code, compiled):
    """Return the compiled code object equal to `code`, or None.

    Parameters
    ----------
    code : types.CodeType
    compiled : list of types.CodeType
        Candidates with the same name from the source.  One on the same line comes first (there, one with
        equal positions), then one on another line.
    """

    def distance(other):
        if other.co_firstlineno != code.co_firstlineno:
            return 2
        both = zip(other.co_positions(), code.co_positions(), strict=False)
        return int(any(there != here for there, here in both))

    wanted = _runnable(code)
    return next((c for c in sorted(compiled, key=distance) if _runnable(c) == wanted), None)


def _around(code, candidates):
    """Return the functions that contain `code`, of several on one line, innermost first."""
    # some instructions have no position of their own: None, or columns 0 to 0
    places = [p for p in code.co_positions() if None not in p and p[2:] != (0, 0)]
    if not places:
        return []
    first = min((line, column) for line, _, column, _ in places)
    last = max((line, column) for _, line, _, column in places)

    def span(tree):
        body = tree.body if isinstance(tree.body, list) else [tree.body]
        start, end = body[0], body[-1]
        return (start.lineno, start.col_offset), (end.end_lineno, end.end_col_offset)

    found = [tree for tree in candidates if span(tree)[0] <= first and last <= span(tree)[1]]
    return sorted(found, key=span, reverse=True)


def _is_rewritten(code):
    """Test if pytest rewrote the assertions in the code, which then differs from its source."""
    return any("@pytest_ar" in inner.co_names for inner in _nested(code))


def _warn_of_edit(code):
    warnings.warn(
        f"the source of {code.co_name}() at {code.co_filename}:{code.co_firstlineno} is not what this "
        "process runs: the file was edited after it was imported, and the code in memory counts; reload "
        "the module (%autoreload, or a fresh interpreter) to run what the file says",
        DaskcacheWarning,
        stacklevel=2,
    )


@functools.lru_cache(maxsize=64)
def _trees_in(text):
    """Return the syntax trees of the functions in a source text, by first line and name."""
    trees: dict[tuple[int, str], list] = {}
    for node in ast.walk(_parsed(text)):
        if isinstance(node, _FUNCTIONS):
            decorators = getattr(node, "decorator_list", [])
            line = min([node.lineno, *(d.lineno for d in decorators)])
            trees.setdefault((line, getattr(node, "name", "<lambda>")), []).append(node)
    return trees


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@functools.lru_cache(maxsize=128)
def _compiled(text, flags, by_statement):
    """Return the code objects of a source text by name; compile it as a whole or by statement."""
    wholes = [ast.Module([each], []) for each in _parsed(text).body] if by_statement else [text]
    found: dict[str, list] = {}
    for whole in wholes:
        for inner in _nested(compile(whole, "<source>", "exec", flags, dont_inherit=True)):
            found.setdefault(inner.co_name, []).append(inner)
    return found


def _parsed(text):
    """Return the syntax tree of a source text.

    Python 3.11 counts the depth of trees in the making for all threads together.  It raises SystemError
    if another thread changes the count meanwhile (python/cpython#106905).  So threads take turns here,
    and a failed attempt is repeated.
    """
    with _parsing:  # threads that parse outside daskcache may still get in between
        for _ in range(_MAX_ATTEMPTS - 1):
            with contextlib.suppress(SystemError):
                return ast.parse(text)
        return ast.parse(text)


_parsing = threading.Lock()


_MAX_ATTEMPTS = 20


def text_of(tree, file):
    lines = linecache.getlines(file)[tree.lineno - 1 : tree.end_lineno]
    return textwrap.dedent("".join(lines))
