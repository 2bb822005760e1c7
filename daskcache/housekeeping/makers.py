"""`Makers`: the functions of a graph, and the question whether one of them made a recorded result.

`prune` asks it.  Records name a function by its module, and every script and notebook is the module
``__main__``.  A script is known by its file's name, as in keys: what ``python analysis.py`` made was
made by the functions of ``analysis``, also when that is imported.  Functions of notebooks and of
interactive Python are known by their names alone, because their cells have no file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from ..calls.spec import Spec
from ..hashing.fingerprints import import_name
from ..storage import code_store
from ..storage.record import Record
from ..storage.roots import Root

_MAIN = "__main__"
#: Files that IPython and Python make up for cells, and those of Jupyter's kernel.
_CELL = re.compile(r"<|.*[/\\]ipykernel_\d+[/\\]")


class Makers:
    """The functions of a graph, and others that the user names.

    Parameters
    ----------
    root : Root
        The root of the records.
    specs : iterable of Spec
        The functions of the graph.
    functions : iterable of str
        Names of other functions, with or without their modules.
    """

    def __init__(self, root: Root, specs: Iterable[Spec], functions: Iterable[str] = ()):
        self._root = root
        self._own = {(import_name(spec.func) or spec.module, _name_of(spec)) for spec in specs}
        #: Last parts of modules' names, which are the names of scripts, with names of functions.
        self._in_scripts = {(module.rpartition(".")[2], name) for module, name in self._own}
        self._full_names = {f"{module}.{name}" for module, name in self._own}
        self._others = tuple(functions)
        self._scripts: dict[str, str | None] = {}

    def made(self, record: Record) -> bool:
        """Return True if one of the functions made a result."""
        if any(has_name(record, name) for name in self._others):
            return True
        module, _, name = record.function.partition(".")
        if module != _MAIN:
            return record.function in self._full_names
        if record.code not in self._scripts:
            self._scripts[record.code] = _script_of(self._root, record.code, name)
        return (self._scripts[record.code], name) in self._in_scripts


def has_name(record: Record, name: str) -> bool:
    """Return True if a function of this name, with or without its module, made a result."""
    return f".{record.function}".endswith(f".{name}")


def _name_of(spec):
    return spec.qualified_name.removeprefix(f"{spec.module}.")


def _script_of(root, code, name):
    """Return the name of the script with a function, ``__main__`` for cells, or None if unknown."""
    for part in code_store.recall(root, code) or ():
        if part.kind == "function" and (part.module, part.name) == (_MAIN, name) and part.place:
            file = part.place.rpartition(":")[0]
            return _MAIN if _CELL.match(file) else os.path.splitext(re.split(r"[/\\]", file)[-1])[0]
    return None
