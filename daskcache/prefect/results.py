"""Results and recipes: match an entry with its recipe, and make a node from a recipe."""

from __future__ import annotations

from typing import Any

from ..calls.recipe import Recipe
from ..graph.node import Node
from ..modes.handles import CachedResult
from ..runtime.entry import Entry
from ..storage.paths import located

__all__ = ["CachedResult", "as_node", "is_of"]


def is_of(entry: Entry, root: str, key: str, paths: tuple[str, ...]) -> bool:
    """Return True if `entry` is the result of the recipe with this root, key and target paths."""
    if (entry.root, entry.key, len(entry.stored)) != (root, key, len(paths)):
        return False
    return all(
        located(path, result.data_hash) == result.target.path
        for path, result in zip(paths, entry.stored, strict=True)
    )


def as_node(recipe: Recipe) -> Any:
    """Return the node of a recipe, to stand for its result in the arguments of another recipe."""
    return Node(recipe)
