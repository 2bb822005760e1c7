"""Analysis of one function by itself: the hash of its code, and the names that it refers to.

Code counts by its normalised syntax tree.  Comments, docstrings, annotations, formatting, decorators,
the function's own name, file paths and line numbers are left out.  The source on disk counts only if it
compiles to the code in memory.  Otherwise (an edited file, no source) bytecode counts.

`reach` follows the names further.  `identity`, `calls.spec` and `storage.code_store` use it too.
"""

from __future__ import annotations
import __future__

import ast
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
from .ownership import view_of_another

#: A name and the attributes taken of it, as in ``helpers.smooth``.
Chain = tuple[str, ...]


class Import(NamedTuple):
    """An import in a function's body."""

    level: int
    module: str
    #: Name imported from the module; None for the module itself.
    name: str | None


class Body(NamedTuple):
    """The hash of a code object, and the names that it refers to."""

    #: 32 hex digits.
    hash: str
    #: Names read that are global or imported in the body, with the attributes taken of them.
    chains: tuple[Chain, ...]
    #: Imports in the body, by local name.
    imports: dict[str, Import]
    #: Global names that the code assigns, or whose values it fills (``CACHE[key] = value``).
    assigned: frozenset[str]
    #: All names that may be attributes, without source; None with source.
    attributes: frozenset[str] | None
    #: Text of the function, without decorators; empty without source.
    source: str


def body_of(code: types.CodeType) -> Body:
    """Return the analysis of a code object, which is made once per process.

    Code without source takes the analysis of a process that had the source, if there is one.  That is
    the process that sent the function (`learn_bodies`), or the one whose view is taken (`seen_as`).
    """
    body = _body_of(code, code.co_filename)
    if body.attributes is None:
        return body
    view = view_of_another()
    if view is None:
        return _travelled.get(body.hash, body)
    return _importing_no_more(view.bodies.get(body.hash, body), code)


@functools.cache
def names_in(code: types.CodeType) -> frozenset[str]:
    """Return the names of globals, attributes and imports in a code object."""
    return frozenset(name for inner in _nested(code) for name in inner.co_names)


def learn_bodies(bodies: dict[str, Body]) -> None:
    """Take over another process's analyses of functions that travel without their sources.

    Parameters
    ----------
    bodies : dict of str to Body
        Analyses by the hash of the functions' bytecode.
    """
    _travelled.update(bodies)


_travelled: dict[str, Body] = {}


def _importing_no_more(seen, code):
    """Return another process's body without the imports that the code does not make.

    The body was read from a file in the root, and other users may have written that file.
    """
    there = _imported_by(code)
    # an import of "" fails, so `reach` imports nothing for it
    imports = {name: it if it in there else Import(0, "", None) for name, it in seen.imports.items()}
    return seen._replace(imports=imports)


def bytecode_hash(code: types.CodeType) -> str:
    """Return the hash of a code object's bytecode, without looking at its source."""
    return hash_value(("bytecode", sys.version_info[:2], _bytecode(code)))


@functools.cache
def _body_of(code, _file_name):
    globals_read, assigned = _global_names(code)
    tree = _syntax_tree(code)
    if tree is None:
        chains = tuple(sorted((name,) for name in globals_read))
        return Body(
            bytecode_hash(code), chains, _imports_in_bytecode(code), assigned, names_in(code), ""
        )
    visitor = _Names(globals_read)
    visitor.visit_body(tree)
    assigned |= visitor.filled & globals_read
    return Body(
        hash_value(("ast", _normalised(tree, top=True))),
        tuple(sorted(visitor.chains)),
        visitor.imports,
        assigned,
        None,
        _text_of(tree, code.co_filename),
    )


# ---- names --------------------------------------------------------------------------------------


class _Names(ast.NodeVisitor):
    """Collect the names in a function's body that refer to something outside it."""

    def __init__(self, globals_read):
        self.globals_read = globals_read
        self.imports: dict[str, Import] = {}
        self.chains: set[Chain] = set()
        self.filled: set[str] = set()

    def visit_body(self, tree):
        """Visit the code that runs in a call: neither the defaults nor the decorators."""
        body = tree.body if isinstance(tree.body, list) else [tree.body]
        for statement in body:  # first: an import binds its name anywhere in the body
            for node in ast.walk(statement):
                self._note_imports(node)
        for statement in body:
            self.visit(statement)

    def _note_imports(self, node):
        if isinstance(node, ast.Import):
            for alias in node.names:
                module = alias.name if alias.asname else alias.name.partition(".")[0]
                self.imports[alias.asname or module] = Import(0, module, None)
                # `import a.b` binds `a`, and loads `a.b` as well
                self.imports[alias.name] = Import(0, alias.name, None)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found = Import(node.level, node.module or "", alias.name)
                self.imports[alias.asname or alias.name] = found

    def visit_Name(self, node):
        self._add((node.id,))

    def visit_Attribute(self, node):
        chain: Chain = ()
        inner = node
        while isinstance(inner, ast.Attribute):
            chain = (inner.attr, *chain)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self._add((inner.id, *chain))
        else:
            self.visit(inner)

    def visit_Subscript(self, node):
        if not isinstance(node.ctx, ast.Load) and isinstance(node.value, ast.Name):
            self.filled.add(node.value.id)
        self.generic_visit(node)

    def visit_Call(self, node):
        method = node.func
        if isinstance(method, ast.Attribute) and method.attr in _FILLING:
            self.filled.add(getattr(method.value, "id", ""))
        chain = _constant_getattr(node)
        if chain:
            self._add(chain)
        else:
            self.generic_visit(node)

    def visit_arg(self, node):
        pass  # annotations of arguments do not count

    def visit_FunctionDef(self, node):
        self.visit(node.args)
        for part in (*node.decorator_list, *node.body):
            self.visit(part)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_AnnAssign(self, node):
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    def _add(self, chain):
        if chain[0] in self.globals_read or chain[0] in self.imports:
            self.chains.add(chain)


#: Methods that change a container in place.
_FILLING = {
    *("append", "extend", "insert", "appendleft", "extendleft", "add", "update", "setdefault"),
    *("pop", "popitem", "popleft", "remove", "discard", "clear"),
}


def _constant_getattr(node):
    """Return the chain of names in ``getattr(helpers, "smooth")``, or None for other calls."""
    if isinstance(node.func, ast.Name) and node.func.id == "getattr" and len(node.args) == 2:
        owner, name = node.args
        if isinstance(owner, ast.Name) and isinstance(name, ast.Constant) and type(name.value) is str:
            return owner.id, name.value
    return None


def _global_names(code):
    """Return the global names that a code object reads and those that it assigns.

    Inner functions count too.
    """
    read, assigned = set(), set()
    for inner in _nested(code):
        for instruction in dis.get_instructions(inner):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
                read.add(instruction.argval)
            elif instruction.opname == "STORE_GLOBAL":
                assigned.add(instruction.argval)
    return frozenset(read), frozenset(assigned)


def _imports_in_bytecode(code):
    """Return the imports of a code object without source, by module instead of local name."""
    found = _import_statements(code)
    return {"." * level + module: Import(level, module, None) for level, module, _ in found}


def _imported_by(code):
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


# ---- syntax trees -------------------------------------------------------------------------------

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_NOT_CODE = {"ctx", "type_comment", "kind", "annotation", "returns", "type_params"}
_FUTURE = functools.reduce(
    lambda flags, name: flags | getattr(__future__, name).compiler_flag, __future__.all_feature_names, 0
)


def _syntax_tree(code):
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


def _place_in(text, flags, code):
    """Return the code object equal to `code` in a compiled source text, or None.

    The text is compiled as a whole, then statement by statement, as notebooks compile a cell.  The
    results differ: CPython 3.11 emits other bytecode for attributes of a module if it compiles the
    module's import together with them.
    """
    for compiled in (_compiled, _compiled_by_statement):
        place = _same_code(code, compiled(text, flags).get(code.co_name, []))
        if place is not None:
            return place
    return None


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


@functools.lru_cache(maxsize=64)
def _compiled(text, flags):
    """Return the code objects of a source text by name."""
    return _by_name([compile(text, "<source>", "exec", flags, dont_inherit=True)])


@functools.lru_cache(maxsize=64)
def _compiled_by_statement(text, flags):
    """Return the code objects of a source text by name, with each statement compiled separately."""
    modules = [ast.Module([statement], []) for statement in _parsed(text).body]
    return _by_name([compile(m, "<source>", "exec", flags, dont_inherit=True) for m in modules])


def _by_name(codes):
    found: dict[str, list] = {}
    for code in codes:
        for inner in _nested(code):
            found.setdefault(inner.co_name, []).append(inner)
    return found


_parsing = threading.Lock()


def _parsed(text):
    """Return the syntax tree of a source text.

    Python 3.11 counts the depth of trees in the making for all threads together.  It raises SystemError
    if another thread changes the count meanwhile (python/cpython#106905).  So threads take turns here,
    and a failed attempt is repeated.
    """
    with _parsing:  # threads that parse outside daskcache may still get in between
        for _ in range(_MAX_ATTEMPTS - 1):
            try:
                return ast.parse(text)
            except SystemError:
                continue
        return ast.parse(text)


_MAX_ATTEMPTS = 20


def _same_code(code, compiled):
    """Return the compiled code object equal to `code`, or None.

    Parameters
    ----------
    code : types.CodeType
    compiled : list of types.CodeType
        Candidates with the same name from the source.  One on the same line comes first (there, one with
        equal positions), then one on another line.
    """
    there = [c for c in compiled if c.co_firstlineno == code.co_firstlineno]
    elsewhere = [c for c in compiled if c.co_firstlineno != code.co_firstlineno]
    there.sort(key=lambda c: not _equal_positions(c, code))
    wanted = _bytecode(code)
    return next((c for c in (*there, *elsewhere) if _bytecode(c) == wanted), None)


def _equal_positions(one, other):
    return all(a == b for a, b in zip(one.co_positions(), other.co_positions(), strict=False))


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
    return sorted(found, key=lambda tree: (span(tree)[0], span(tree)[1]), reverse=True)


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


def _normalised(node, top=False):
    """Return a syntax tree as nested tuples, without the parts that don't change the code's effect."""
    if isinstance(node, list):
        return tuple(_normalised(item) for item in node if not _is_bare_annotation(item))
    if not isinstance(node, ast.AST):
        return node
    if isinstance(node, ast.AnnAssign):
        node = ast.Assign(targets=[node.target], value=node.value)
    if isinstance(node, ast.Constant):
        return ("Constant", node.value)
    fields = []
    for name, value in ast.iter_fields(node):
        if name in _NOT_CODE or value is None or value == []:
            continue
        if name == "body" and isinstance(node, _NAMED):
            value = _without_docstring(value)
        if isinstance(node, ast.JoinedStr):  # some Python versions end f-strings with an empty text
            value = [part for part in value if getattr(part, "value", None) != ""]
        if top and name in ("name", "decorator_list"):
            continue  # the decorated function is analysed itself
        fields.append((name, _normalised(value)))
    return (type(node).__name__, *fields)


def _is_bare_annotation(node):
    return isinstance(node, ast.AnnAssign) and node.value is None


def _without_docstring(body):
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
        return body[1:] or [ast.Pass()]
    return body


def _text_of(tree, file):
    lines = linecache.getlines(file)[tree.lineno - 1 : tree.end_lineno]
    return textwrap.dedent("".join(lines))


def _bytecode(code):
    """Return the code that runs, as nested tuples in which equal constants of different types differ."""
    constants = [
        _bytecode(c) if isinstance(c, types.CodeType) else hash_value(c) for c in code.co_consts
    ]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount
    kind = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    return code.co_code, code.co_exceptiontable, tuple(constants), *names, *counts, kind
