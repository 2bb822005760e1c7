"""Helpers for graphs that are composed of nodes and plain Dask tasks.

They find the recipes in such a graph, split it into nodes and plain tasks, and make plain layers.
`graph.builder`, `graph.late` and `graph.verb` use them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dask._task_spec import GraphNode, convert_legacy_graph
from dask.highlevelgraph import MaterializedLayer

from ..calls.recipe import Recipe


def node_annotations(key: str, recipe: Recipe, running: bool) -> Iterator[tuple[str, Any]]:
    """Yield the kinds and values of a node's annotations for one of its tasks.

    `running` is False for a task that only loads the node's value.
    """
    for kind, value in recipe.annotations.items():
        if running or kind not in _ONLY_FOR_RUNNING:
            yield kind, value(key) if callable(value) else value


#: Annotations for tasks that run a function, not for tasks that load its result.
_ONLY_FOR_RUNNING = ("resources", "retries")


def split_graph(graph: Any) -> tuple[list[Any], dict[Any, GraphNode]]:
    """Return the late keys of the nodes whose values a graph holds, and the plain tasks in it."""
    late: dict[Any, None] = {}
    plain: dict = {}
    for layer in getattr(graph, "layers", {"": graph}).values():
        if hasattr(layer, "recipe_keys"):  # a `RecipeLayer`: reading its tasks would plan it
            late[layer.key] = None
            continue
        for key, task in layer.items():
            if not hasattr(type(task), "late_key"):  # not a `LateTask`
                plain[key] = task
            elif task.late_key.is_value:
                late[task.late_key] = None
    return list(late), convert_legacy_graph(plain, {*plain, *late})


def values_among(graphs: Iterable[Any]) -> Iterator[str]:
    """Yield the identities of the recipes whose values lazy layers or late tasks of graphs stand for."""
    for graph in graphs:
        for layer in graph.layers.values():
            for node in (layer, *getattr(layer, "mapping", {}).values()):
                yield from (recipe.identity for recipe in getattr(node, "recipes", ()))


def recipe_of(collection: Any) -> Recipe | None:
    """Return the recipe of a node that is still to be planned; None for any other collection."""
    recipe = getattr(collection, "_recipe", None)
    return recipe if isinstance(recipe, Recipe) and collection._dask is None else None


def culled_graph(tasks, annotations):
    """Return the layer of `tasks` and the dependencies of each key, as `Layer.cull` does."""
    dependencies = {key: set(task.dependencies) for key, task in tasks.items()}
    return plain_layer(tasks, annotations), dependencies


def plain_layer(tasks, annotations):
    layer = MaterializedLayer(tasks)
    layer.annotations = annotations or None  # the constructor takes those of the context
    return layer
