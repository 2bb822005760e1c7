"""Analysis of one function by itself: the hash of its code, and the names that it refers to.

Code counts by its normalised syntax tree.  Comments, docstrings, annotations, formatting, decorators,
the function's own name, file paths and line numbers are left out.  The source on disk counts only if it
compiles to the code in memory.  Otherwise (an edited file, no source) bytecode counts.

`reach` follows the names further.  `identity`, `calls.spec` and `storage.code_store` use it too.
Next to it, `source_code` finds a function's syntax tree, and `syntax` and `bytecode` read names.
"""

from __future__ import annotations

import functools
import types
from typing import NamedTuple

from .bytecode import Import, bytecode_hash, global_names, imports_by_module, imports_made, names_in
from .encoder import hash_value
from .ownership import view_of_another
from .source_code import syntax_tree, text_of
from .syntax import Chain, Names, normalised


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
    there = imports_made(code)
    # an import of "" fails, so `reach` imports nothing for it
    imports = {name: it if it in there else Import(0, "", None) for name, it in seen.imports.items()}
    return seen._replace(imports=imports)


@functools.cache
def _body_of(code, _file_name):
    globals_read, assigned = global_names(code)
    tree = syntax_tree(code)
    if tree is None:
        chains = tuple(sorted((name,) for name in globals_read))
        return Body(bytecode_hash(code), chains, imports_by_module(code), assigned, names_in(code), "")
    visitor = Names(globals_read)
    visitor.visit_body(tree)
    assigned |= visitor.filled & globals_read
    return Body(
        hash_value(("ast", normalised(tree, top=True))),
        tuple(sorted(visitor.chains)),
        visitor.imports,
        assigned,
        None,
        text_of(tree, code.co_filename),
    )
