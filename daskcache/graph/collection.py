"""`NodesCollection`: the base of `nodes.Nodes`, as which Dask sees many nodes as one collection.

A Dask verb reads the graph of the collection once, however many nodes it has, and its value is one list.
Where it is composed (``dask.delayed(f)(nodes)``), its graph has the lazy layers of its nodes (`late`).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable
from threading import get_ident

from dask.base import DaskMethodsMixin
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from ..calls.recipe import Recipe, flatten_all, unflatten_all
from ..tracebacks import shorten
from . import verb
from .frames import dask_moment, is_read_for_composing
from .late import lazy_graph
from .node import Node, computed_node


class NodesCollection(DaskMethodsMixin):
    """Many nodes as a Dask collection whose value is a list.

    Parameters
    ----------
    nodes : iterable of Node
    """

    def __init__(self, nodes: Iterable[Node]):
        self._nodes = list(nodes)
        #: By thread, the keys of the values in the graph that it read last.
        self._planned_keys: dict[int, list] = {}

    @functools.cached_property
    def _recipes(self) -> list[Recipe]:
        return [node._recipe for node in self._nodes]

    @property
    def dask(self) -> HighLevelGraph:
        """The planned graph, with the tasks that are left to run for these nodes now.

        Raises
        ------
        DaskcacheError
            As ``node.dask``.
        RuntimeError
            If planning fails with an AttributeError, which Dask would take for a missing attribute.
        """
        if is_read_for_composing(sys._getframe(1)):  # a composed graph plans when it is computed
            return self.__dask_graph__()
        recipes = [node._recipe for node in self._nodes if node._dask is None]
        try:
            graph, keys = verb.planned_graph(recipes, jointly=True)
        except AttributeError as error:
            raise RuntimeError(f"planning {self!r} failed: {error}") from error
        except Exception as error:
            shorten(error)
            raise
        planned = iter(keys)
        self._planned_keys[get_ident()] = [
            next(planned) if node._dask is None else node._planned_key for node in self._nodes
        ]
        return self._with_held(graph)

    def __dask_graph__(self) -> HighLevelGraph:
        self._planned_keys.pop(get_ident(), None)
        return self._lazy_graph

    @functools.cached_property
    def _lazy_graph(self):  # kept, because Dask asks for it to see that this is a collection
        return self._with_held(lazy_graph(node._key for node in self._nodes if node._dask is None))

    def _with_held(self, graph):
        """Return a graph with those of persisted nodes."""
        held = {id(node._dask): node._dask for node in self._nodes if node._dask is not None}
        return HighLevelGraph.merge(graph, *held.values()) if held else graph

    def __dask_keys__(self) -> list:
        planned = self._planned_keys.get(get_ident())
        return planned or [node.__dask_keys__()[0] for node in self._nodes]

    def __dask_layers__(self):
        return tuple(dict.fromkeys(node._layer for node in self._nodes))

    def __dask_tokenize__(self):
        return type(self).__name__, "\n".join(str(node.__dask_tokenize__()) for node in self._nodes)

    def __dask_postcompute__(self):
        return list, ()

    def __dask_postpersist__(self):
        return _computed, (type(self), self._recipes, self.__dask_keys__())

    __dask_scheduler__ = staticmethod(Delayed.__dask_scheduler__)
    __dask_optimize__ = vars(Delayed)["__dask_optimize__"]

    def __daskcache_nodes__(self) -> list[Node]:
        return list(self._nodes)

    def __daskcache_encode__(self, encoder):
        encoder.add(self.__daskcache_nodes__())

    def __reduce__(self):
        if dask_moment().is_sending:  # the nodes become plain lazy values
            return list, (self._nodes,)
        if any(node._dask is not None for node in self._nodes):
            return type(self), (self._nodes,)
        keys = [str(node._key) for node in self._nodes]
        return _unpickled, (type(self), *flatten_all(self._recipes), keys)


def _unpickled(cls, flat, positions, keys):
    recipes = unflatten_all(flat)
    return cls([Node(recipes[i], key) for i, key in zip(positions, keys, strict=True)])


def _computed(graph, cls, recipes, keys, rename=None):
    """Return the nodes with another graph: of futures or values (persist), or of tasks (optimize)."""
    is_of_values = graph.keys() == set(keys)
    if not is_of_values and not isinstance(graph, HighLevelGraph):
        graph = HighLevelGraph.from_collections(f"nodes-{id(graph)}", graph)
    return cls(
        [
            computed_node({key: graph[key]} if is_of_values else graph, recipe, key, rename)
            for recipe, key in zip(recipes, keys, strict=True)
        ]
    )
