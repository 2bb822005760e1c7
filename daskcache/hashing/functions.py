"""Analysis of one function by itself: the hash of its code, and the names that it refers to.

Code counts by its normalised syntax tree.  Comments, docstrings, annotations, formatting, decorators,
the function's own name, file paths and line numbers are left out.  The source on disk counts only if it
compiles to the code in memory.  Otherwise (an edited file, no source) bytecode counts.

`reach` follows the names further.  `fingerprints`, `calls.spec` and `storage.code_store` use it too.
Next to it, `code_objects` finds a function's syntax tree, and reads the bytecode.
"""

from __future__ import annotations

import ast
import functools
import types
from typing import NamedTuple

from . import code_objects
from .code_objects import Import
from .encoder import hash_value
from .ownership import view_of_another

#: A name and the attributes taken of it, as in ``helpers.smooth``.
Chain = tuple[str, ...]


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
    there = code_objects.imports_made(code)
    # an import of "" fails, so `reach` imports nothing for it
    imports = {name: it if it in there else Import(0, "", None) for name, it in seen.imports.items()}
    return seen._replace(imports=imports)


@functools.cache
def _body_of(code, _file_name):
    globals_read, assigned = code_objects.global_names(code)
    tree = code_objects.syntax_tree(code)
    if tree is None:
        chains = tuple(sorted((name,) for name in globals_read))
        hashed, imports = code_objects.bytecode_hash(code), code_objects.imports_by_module(code)
        return Body(hashed, chains, imports, assigned, code_objects.names_in(code), "")
    visitor = _Names(globals_read)
    visitor.visit_body(tree)
    assigned |= visitor.filled & globals_read
    return Body(
        hash_value(("ast", _normalised(tree, top=True))),
        tuple(sorted(visitor.chains)),
        visitor.imports,
        assigned,
        None,
        code_objects.text_of(tree, code.co_filename),
    )


# ---- the syntax tree ---------------------------------------------------------------------------


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


_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


_NOT_CODE = {"ctx", "type_comment", "kind", "annotation", "returns", "type_params"}


def _is_bare_annotation(node):
    return isinstance(node, ast.AnnAssign) and node.value is None


def _without_docstring(body):
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
        return body[1:] or [ast.Pass()]
    return body
