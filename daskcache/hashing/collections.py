"""Hash Dask collections by their graphs, whatever the names of the Dask keys in them.

`encoder` imports this module when it meets a collection.  `calls.arguments` hashes the Dask collections
among a call's arguments with it.
"""

from __future__ import annotations

from dask._task_spec import Alias, DataNode, GraphNode, TaskRef, convert_legacy_graph
from dask.core import flatten
from dask.delayed import Delayed

from .encoder import Encoder, register


def collection_hash(collection) -> str:
    """Return the hash of a Dask collection: of its graph, whatever the names of its Dask keys.

    The step that turns the graph's results into a value (``__dask_postcompute__``) counts too.
    """
    graph, known = _materialised(collection)
    encoder = _GraphEncoder(graph, known)
    finish, extra = collection.__dask_postcompute__()
    for key in flatten(collection.__dask_keys__()):
        encoder.add_key(key)
    encoder.add(finish)
    encoder.add(tuple(extra))
    return encoder.digest()


def add_collection(collection, encoder):
    """Add a Dask collection.  A `Delayed` is only a handle; others can be used as they are."""
    if isinstance(collection, Delayed):
        encoder.add_upstream(collection, collection_hash(collection))
    else:
        encoder.add_stand_in(collection_hash(collection))


def _materialised(collection):
    """Return a collection's tasks by Dask key, and the known hashes of Dask keys without a task.

    A node counts by the key of its recipe, because the plan makes its tasks later.  A future counts by
    its own Dask key.
    """
    graph = collection.__dask_graph__()
    tasks, known = {}, {}
    for layer in getattr(graph, "layers", {"": graph}).values():
        if hasattr(layer, "recipe_keys"):
            known.update(layer.recipe_keys)
            continue
        for key, task in layer.items():
            if hasattr(task, "recipe_keys"):
                known.update(task.recipe_keys)
            elif isinstance(task, TaskRef):  # a future, of a persisted collection
                known[key] = str(task.key)
            else:
                tasks[key] = task
    return convert_legacy_graph(tasks, {*tasks, *known}), known


class _GraphEncoder(Encoder):
    """Encode tasks; a reference to another task counts by that task's hash."""

    __slots__ = ("graph", "hashes")

    def __init__(self, graph, hashes):
        super().__init__()
        self.graph = graph
        self.hashes = hashes

    def nested(self):
        return _GraphEncoder(self.graph, self.hashes)

    def add_key(self, key):
        for task_key in self._dependencies_first(key):
            part = self.nested()
            part.add(self.graph[task_key])
            self.hashes[task_key] = part.digest()
        self.add_stand_in(self.hashes[key])

    def _dependencies_first(self, key):
        stack = [(key, False)]  # recursion would go too deep in a long chain of tasks
        while stack:
            current, expanded = stack.pop()
            if current in self.hashes or current not in self.graph:
                continue
            if expanded:
                yield current
            else:
                stack.append((current, True))
                stack += [(key, False) for key in self.graph[current].dependencies]

    def add_reference(self, key):
        self.add_stand_in(self.hashes.get(key, str(key)))


# futures, which derive from references
register(TaskRef, subclasses=True)(lambda value, encoder: encoder.add_upstream(value, str(value.key)))
register(TaskRef)(lambda value, encoder: encoder.add_reference(value.key))
register(Alias)(lambda value, encoder: encoder.add_reference(value.target))
register(DataNode)(lambda value, encoder: encoder.add(value.value))


@register(GraphNode, subclasses=True)
def _task(value, encoder):
    encoder.parts.append(b"G")
    encoder.add(value.func)
    encoder.add(value.args)
    encoder.add(value.kwargs)
