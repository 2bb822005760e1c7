"""What a cached task returns: a handle of its result, which further tasks take as an argument."""

from __future__ import annotations

from typing import Any

from ..entry import Entry
from ..node import Node
from ..recipe import Recipe, flatten, unflatten
from ..targets.template import located


class CachedResult(Entry):
    """Handle of a task's result: where it is, what is in it, and what made it.

    ``get_data()`` reads the value.  Passed to a further task, or to a function that is decorated with
    `daskcache.delayed`, it stands for the value, as a node does.
    """

    __slots__ = ("_recipe", "__weakref__")
    #: As of a node that has no graph of its own: see `daskcache.recipe`.
    _dask = None

    def __init__(self, entry: Entry, recipe: Recipe):
        super().__init__(entry.key, entry.root, entry.stored, entry.layout, entry.inline, entry.label)
        self.algorithm = entry.algorithm
        self._recipe = recipe

    @property
    def path(self) -> str | tuple[str, ...]:
        """Absolute path of the target; a tuple for several results."""
        paths = tuple(f"{self.root}/{result.target.path}" for result in self.stored)
        return paths[0] if len(paths) == 1 else paths

    def bare(self) -> Entry:
        """The same without what made it: much smaller, after a long chain of tasks."""
        entry = Entry(self.key, self.root, self.stored, self.layout, self.inline, self.label)
        entry.algorithm = self.algorithm
        return entry

    def __daskcache_path__(self):
        return self._recipe.__daskcache_path__()

    def __reduce__(self):
        return _result, (self.bare(), flatten(self._recipe))


def _result(entry, flat):
    return CachedResult(entry, unflatten(flat))


def is_of(entry: Entry, root: str, key: str, paths: tuple[str, ...]) -> bool:
    """Whether `entry` is the result of the recipe with this root, key and target paths."""
    if (entry.root, entry.key, len(entry.stored)) != (root, key, len(paths)):
        return False
    return all(
        located(path, result.data_hash) == result.target.path
        for path, result in zip(paths, entry.stored, strict=True)
    )


def as_node(recipe: Recipe) -> Any:
    """What stands for a recipe among the arguments of another one."""
    return Node(recipe)
