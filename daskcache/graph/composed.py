"""Graphs that are composed from nodes and plain tasks: what they hold, and how their layers are made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dask._task_spec import GraphNode, convert_legacy_graph
from dask.highlevelgraph import MaterializedLayer

from ..calls.recipe import Recipe


def node_annotations(key: str, recipe: Recipe, running: bool) -> Iterator[tuple[str, Any]]:
    """Annotations of a node's creation for one of its tasks; `running` is False if it only reads."""
    for kind, value in recipe.annotations.items():
        if running or kind not in _ONLY_FOR_RUNNING:
            yield kind, value(key) if callable(value) else value


#: Annotations that concern running, not reading what has run.
_ONLY_FOR_RUNNING = ("resources", "retries")


def split_graph(graph: Any) -> tuple[list[Any], dict[Any, GraphNode]]:
    """Keys of the nodes that a graph was composed from, and the plain tasks in it."""
    late: dict[Any, None] = {}
    plain: dict = {}
    for layer in getattr(graph, "layers", {"": graph}).values():
        if hasattr(layer, "recipe_keys"):
            late[layer.key] = None
            continue
        for key, task in layer.items():
            if not hasattr(type(task), "late_key"):
                plain[key] = task
            elif task.late_key.is_value:
                late[task.late_key] = None
    return list(late), convert_legacy_graph(plain, {*plain, *late})


def values_among(graphs: Iterable[Any]) -> Iterator[str]:
    """Identities of the recipes whose values are in graphs of layers, by lazy layers or late tasks."""
    for graph in graphs:
        for layer in graph.layers.values():
            for node in (layer, *getattr(layer, "mapping", {}).values()):
                yield from (recipe.identity for recipe in getattr(node, "recipes", ()))


def recipe_of(collection: Any) -> Recipe | None:
    """Return the recipe of a node that is still to be planned; None for any other collection."""
    recipe = getattr(collection, "_recipe", None)
    return recipe if isinstance(recipe, Recipe) and collection._dask is None else None


def culled_graph(tasks, annotations):
    """What `Layer.cull` returns: the layer, and the dependencies of each key."""
    dependencies = {key: set(task.dependencies) for key, task in tasks.items()}
    return plain_layer(tasks, annotations), dependencies


def plain_layer(tasks, annotations):
    layer = MaterializedLayer(tasks)
    layer.annotations = annotations or None  # not those of the context, which the constructor takes
    return layer
