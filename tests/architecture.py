"""Read which file of the package imports which, and the room that each file is in.

Every import counts, at any depth: of modules, classes and functions.  Only those for type checkers
(``if TYPE_CHECKING``) do not, since they never run.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import daskcache

PACKAGE = Path(daskcache.__file__).parent

#: The rooms, from the ground up.  Rooms of one floor do not import each other.
FLOORS = [
    {"printable"},
    {"errors", "config", "aliases", "clients", "pages"},
    {"dataframes"},
    {"events", "hashing", "tracebacks"},
    {"storage"},
    {"targets"},
    {"calls"},
    {"runtime"},
    {"planning"},
    {"monitor"},
    {"cluster"},
    {"graph"},
    {"modes", "testing", "housekeeping"},
    {"prefect"},
]


def room_of(module: str) -> str:
    """Return the room that a module is in."""
    return module.partition(".")[0]


def files() -> dict[str, Path]:
    """Return the path of each module of the package by its dotted name, without ``daskcache.``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


@functools.cache
def imports() -> dict[str, set[str]]:
    """Return the modules that each module imports, at any depth of its code."""
    modules = files()
    return {name: set(imported_by(name, path, modules)) - {name} for name, path in modules.items()}


def imported_by(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Yield the modules that the module of this name, whose text is at `path`, imports."""
    here = ("daskcache", *name.split("."))
    package = here if path.stem == "__init__" else here[:-1]
    for statement in _statements(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            wanted = [alias.name for alias in statement.names]
        else:
            base = package[: len(package) - statement.level + 1] if statement.level else ()
            base += tuple((statement.module or "").split(".")) if statement.module else ()
            wanted = [".".join((*base, alias.name)) for alias in statement.names]
        for dotted in wanted:
            if (found := _module_of(dotted, modules)) is not None:
                yield found


def _statements(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            stack += node.orelse
        else:
            stack += ast.iter_child_nodes(node)


def _module_of(dotted: str, modules: dict[str, Path]) -> str | None:
    """Return the module that an imported name is, or that defines it."""
    top, _, rest = dotted.partition(".")
    if top != "daskcache":
        return None
    if rest in daskcache._HOMES:
        rest = daskcache._HOMES[rest]
    while rest and rest not in modules:
        rest = rest.rpartition(".")[0]
    return rest or None


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of two or more nodes that reach each other along the arrows."""
    import networkx

    graph = networkx.DiGraph((a, b) for a, targets in arrows.items() for b in targets)
    return sorted(sorted(g) for g in networkx.strongly_connected_components(graph) if len(g) > 1)
