"""Dask's side of the graphs: the moment of its call, and the graphs that it composes of nodes.

Dask does not say where a verb begins and ends, which client sends, or that a graph is being composed.
The callers' frames do, which one walk of the stack finds.  `graph.verb`, `graph.late` and `graph.node`
ask here.  If Dask changes these functions, ``tests/integration/test_dask_internals.py`` says what broke.

A composed graph has nodes and plain Dask tasks.  Helpers find the recipes in it, split it, and make
plain layers for `graph.builder`, `graph.late` and `graph.verb`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from dask._task_spec import GraphNode, convert_legacy_graph
from dask.delayed import Delayed
from dask.highlevelgraph import MaterializedLayer

from ..calls.recipe import Recipe
from ..hashing.names import has


class DaskMoment(NamedTuple):
    """The facts about the innermost running call of Dask."""

    #: Identity of the verb's running step, which lives as long as the step; None outside of steps.  A
    #: step is the loop that calls ``HLGExpr.from_collection`` for all collections of a verb (its frame),
    #: ``HighLevelGraph.cull``, or ``Client._graph_to_futures``, which pickles (the set of wanted keys).
    step: Any = None
    #: Layers of the graph that is being culled.
    culled: Iterable[Any] = ()
    #: True while `dask.delayed` composes a graph of nodes in containers.
    is_composing: bool = False
    #: The distributed client to which the verb sends its graph, or None.
    client: Any = None
    #: True if the verb of a client names the workers for its graph.
    for_some_workers: bool = False
    #: True if the verb is ``Client.compute``, whose futures hold values or errors.
    makes_futures: bool = False
    #: While the client pickles the graph: its new futures by key, and the expression.
    futures: dict[str, Any] | None = None
    expr: Any = None

    @property
    def is_sending(self) -> bool:
        """True while a distributed client pickles a graph to send it to its scheduler."""
        return self.futures is not None


def dask_moment() -> DaskMoment:
    """Walk the stack as far as the function of Dask that composes, sends or runs a verb."""
    inner: FrameType | None = None  # of the innermost step
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_name
        if name in _FUNCTIONS:
            module = frame.f_globals.get("__name__")
            if name == "from_collection" or (name == "cull" and "keys_set" in frame.f_code.co_varnames):
                inner = inner or frame
            elif name == "unpack_collections":
                if module == "dask.delayed":  # without the locals of `cull`: this is asked for each task
                    if inner is not None and inner.f_code.co_name == "from_collection":
                        return DaskMoment(inner.f_back, is_composing=True)
                    return DaskMoment(is_composing=True)
            elif module in ("dask.base", "distributed.client"):
                return _of_verb(frame, inner)
        frame = frame.f_back
    return DaskMoment(*_step(inner))


def _step(inner):
    """Return the identity of a step, and the layers that it culls, by its frame."""
    if inner is None or inner.f_code.co_name == "from_collection":
        return inner and inner.f_back, ()
    return inner.f_locals["keys_set"], inner.f_locals["self"].layers.values()


def _of_verb(frame, inner):
    """Return the moment of a verb of Dask or of a client that runs in `frame`."""
    step, culled = _step(inner)
    known = frame.f_locals
    if frame.f_globals["__name__"] == "dask.base":
        return DaskMoment(step, culled, client=client_of(known.get("schedule")))
    moment = DaskMoment(step, culled, False, known["self"], bool(known.get("workers")))
    if frame.f_code.co_name != "_graph_to_futures":
        return moment._replace(makes_futures=frame.f_code.co_name == "compute")
    step = known["keyset"] if inner is None else step
    return moment._replace(step=step, futures=known["futures"], expr=known["expr"])


def blocking_verb() -> FrameType | None:
    """Return the frame of Dask's verb that waits in this thread for what it runs, or None."""
    waiting: FrameType | None = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_name
        if name in _WAITING:
            module = frame.f_globals.get("__name__")
            if module == "distributed.client":
                if name != "get" or not frame.f_locals["sync"]:
                    return None  # a verb of the client, which returns futures
                waiting = frame
            elif module == "dask.base":
                is_sent = name == "persist" and client_of(frame.f_locals.get("schedule")) is not None
                return None if is_sent else frame
        frame = frame.f_back
    return waiting


#: Names of the functions that `blocking_verb` looks at.
_WAITING = {"compute", "persist", "compute_as_if_collection", "get"}


def client_of(schedule: Any) -> Any:
    """Return the client whose method one of Dask's schedulers is, or None."""
    client = getattr(schedule, "__self__", None)
    return client if hasattr(client, "scheduler_info") else None


#: Names of the functions that the walk looks at.
_FUNCTIONS = {"from_collection", "cull", "unpack_collections", "_graph_to_futures", "compute", "persist"}


def is_read_for_composing(reader: FrameType) -> bool:
    """Return True if the frame `reader` reads ``node.dask`` for composing.

    This is faster than `dask_moment`, because it looks at fixed frames only.
    """
    if reader.f_code.co_name != "from_collection" or reader.f_back is None:
        return False
    caller = reader.f_back.f_back
    return (
        caller is not None
        and caller.f_code.co_name == "unpack_collections"
        and caller.f_globals.get("__name__") == "dask.delayed"
    )


# ---- composed graphs ------------------------------------------------------------------------------


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


def recipes_among(layers: Iterable[Any]) -> Iterator[Recipe]:
    """Yield the recipes whose values lazy layers, or late tasks in layers, stand for."""
    for layer in layers:
        for node in (layer, *getattr(layer, "mapping", {}).values()):
            yield from getattr(node, "recipes", ())


def composed_recipes(collections: Iterable[Any]) -> Iterator[Recipe]:
    """Yield the recipes in the graphs of composed collections.

    The graphs of expressions (data frames) are left out, because they are made when they are read.
    """
    for collection in collections:
        is_direct = recipe_of(collection) is not None or holds_nodes(collection)
        if not is_direct and not hasattr(type(collection), "expr"):
            graph = collection._dask if isinstance(collection, Delayed) else collection.dask
            yield from recipes_among(getattr(graph, "layers", {}).values())


def recipe_of(collection: Any) -> Recipe | None:
    """Return the recipe of a node that is still to be planned; None for any other collection."""
    recipe = getattr(collection, "_recipe", None)
    return recipe if isinstance(recipe, Recipe) and collection._dask is None else None


def recipes_of(collection: Any) -> list[Recipe]:
    """Return the recipes of a node, or of the nodes in `Nodes`, that are still to be planned."""
    nodes = collection.__daskcache_nodes__() if holds_nodes(collection) else [collection]
    return [recipe for recipe in map(recipe_of, nodes) if recipe is not None]


def holds_nodes(collection: Any) -> bool:
    """Return True for `Nodes`."""
    return has(type(collection), "__daskcache_nodes__")


def culled_graph(tasks, annotations):
    """Return the layer of `tasks` and the dependencies of each key, as `Layer.cull` does."""
    dependencies = {key: set(task.dependencies) for key, task in tasks.items()}
    return plain_layer(tasks, annotations), dependencies


def plain_layer(tasks, annotations):
    layer = MaterializedLayer(tasks)
    layer.annotations = annotations or None  # the constructor takes those of the context
    return layer
