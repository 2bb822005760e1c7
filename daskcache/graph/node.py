"""`Node`: a call of a decorated function as a lazy Dask value.

`function` makes nodes.  A node wraps a `Recipe` as a `dask.delayed.Delayed`.  Its attributes are lazy
attributes of the value, such as ``node.columns``.  Dask reads a node's graph in two ways:

- Verbs (``dask.compute``, ``Client.persist`` …) read ``node.dask``: the graph planned at this moment.
- Composing (``dask.delayed(f)(node)``, ``node + 1``) reads ``node.__dask_graph__()``: a lazy layer,
  which plans when the composed graph is computed.
"""

from __future__ import annotations

import os
import sys
from threading import get_ident
from typing import TYPE_CHECKING, Any, Literal, overload

from dask._task_spec import DataNode
from dask.base import replace_name_in_key
from dask.delayed import Delayed, single_key
from dask.highlevelgraph import HighLevelGraph

from ..aliases import names_of
from ..calls.recipe import Recipe, flatten, unflatten
from ..errors import NodeFailed
from ..hashing.names import imported
from ..targets.source import AnyArgument
from ..tracebacks import shorten, shortened
from .frames import dask_moment, is_read_for_composing
from .late import LateKey, lazy_graph
from .typed import Lazy, LazyOperators, One, T_co
from .uncomputed import Uncomputed

if TYPE_CHECKING:
    from .accessor import Accessor

__getattr__ = names_of(__name__, "graph.function")


class Node(LazyOperators, Lazy[T_co, T_co | NodeFailed, One], Uncomputed, Delayed, AnyArgument):
    """One call of a decorated function: a lazy Dask value with a key and a target.

    Calls of decorated functions make nodes; see `delayed`.  A node computes, composes and persists like
    any `dask.delayed.Delayed`.  Its one additional public name is the accessor ``node.dc``, which has
    the node's key, target and state.

    In a notebook, a node shows its state, its call, a link to its target and a look at the result, of
    which only a little is read.  ``print(node.dc)`` has the same as text, without the look.

    Parameters
    ----------
    recipe : Recipe
        The call, with its key and target paths.
    key : str, optional
        Dask key of the value.  Default: the function's name and the recipe's key.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> node = square(2)
    >>> node.dc.key == square(2).dc.key != square(3).dc.key
    True
    >>> (node + 1).compute()
    5
    """

    __slots__ = (
        "_recipe",
        "_planned_key",  # key of a computed node; else, by thread, the key in the graph it read last
    )

    def __init__(self, recipe: Recipe, key: str | None = None):
        if key is None:
            key = f"{recipe.spec.name}-{recipe.key}"
            if recipe.taint:
                key += f"-{recipe.taint}"
        key = LateKey(key, recipe)
        _set_key(self, key)
        _set_dask(self, None)
        _set_length(self, recipe.spec.nout)
        _set_layer(self, key)
        _set_recipe(self, recipe)
        _set_planned_key(self, {})

    @property
    def dc(self) -> Accessor[T_co]:
        """The node's `Accessor`, with ``.key``, ``.target``, ``.state``, ``.why()`` …"""
        from .accessor import Accessor

        return Accessor(self._recipe)

    @property
    def dask(self) -> HighLevelGraph:
        """The planned graph, with the tasks that are left to run for this node now.

        Raises
        ------
        ForeignTarget, TargetModified
            If a node can't run because of a user's file at its target.
        TargetCollision
            If two nodes claim one target.
        ArgumentChanged, SourceMissing
            If an argument, a source or the code changed after a node was made, or a source is gone.
        RuntimeError
            If planning fails with an AttributeError, which Dask would take for a missing attribute.
        """
        if self._dask is not None:
            return self._dask
        from .verb import planned_graph

        if is_read_for_composing(sys._getframe(1)):  # a composed graph plans when it is computed
            return self.__dask_graph__()
        try:
            graph, (key,) = planned_graph([self._recipe])
        except AttributeError as error:  # would turn `node.dask` into a lazy attribute of the value
            raise RuntimeError(f"planning {self._recipe.title} failed: {error}") from error
        except Exception as error:
            shorten(error)
            raise
        self._planned_key[get_ident()] = key
        return graph

    def __dask_graph__(self):
        if self._dask is not None:
            return self._dask
        self._planned_key.pop(get_ident(), None)
        return lazy_graph([self._key])

    def __dask_keys__(self):
        return [self._key_here()]

    def _key_here(self):
        """Return the value's key in the graph that this thread read last."""
        planned = self._planned_key
        return planned.get(get_ident(), self._key) if type(planned) is dict else planned

    @overload
    def compute(
        self,
        progress: bool | float | str | None = None,
        *,
        errors: Literal["raise"] | None = None,
        force: bool = False,
        **kwargs: Any,
    ) -> T_co: ...
    @overload
    def compute(
        self,
        progress: bool | float | str | None = None,
        *,
        errors: Literal["collect"],
        force: bool = False,
        **kwargs: Any,
    ) -> T_co | NodeFailed: ...
    @shortened
    def compute(
        self,
        progress: bool | float | str | None = None,
        *,
        errors: str | None = None,
        force: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Compute the value.  If the node is complete, read it in this process, without a task.

        Parameters
        ----------
        progress, errors, force
            As in `daskcache.compute`.
        **kwargs
            As in `dask.compute`.

        Returns
        -------
        object
            The function's result; with ``errors="collect"``, a `NodeFailed` if the node failed.

        Raises
        ------
        ForeignTarget, TargetModified
            If a node can't run because of a user's file at its target.
        TargetCollision
            If two nodes claim one target.
        ArgumentChanged, SourceMissing
            If an argument, a source or the code changed after a node was made, or a source is gone.
        Exception
            Any error of a function that runs.

        Examples
        --------
        >>> @dc.delayed(target="squares/{n}.json")
        ... def square(n):
        ...     return n * n
        >>> square(2).compute()
        4
        """
        from .layer import collects
        from .verb import compute

        return compute((self,), force, collects(errors), progress=progress, **kwargs)[0]

    def _node_title(self):
        return self._recipe.title

    def visualize(
        self,
        filename: str | os.PathLike[str] | None = "mydask",
        format: str | None = None,
        optimize_graph: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Draw the plan of the node.  It needs no other program.

        Parameters
        ----------
        filename : str, path or None, optional
            Path of the file.  Its suffix decides the format, as in `Plan.visualize`.  With None, no file
            is written.
        format : str, optional
            Format of a file without a suffix, such as "png".  Default: "svg".
        optimize_graph : bool, optional
            True to draw the optimized graph of Dask's tasks, with Dask's own method.
        **kwargs
            Options of `dask.visualize`, such as ``engine="graphviz"``.  Dask's own method draws if there
            is one, and for the formats "pdf" and "jpg".

        Returns
        -------
        Picture
            Notebooks show it.  Its attribute ``path`` is that of the file.

        Raises
        ------
        UnknownFormat, MissingExtra, ForeignTarget, StorageError
            As `Plan.visualize`.

        Examples
        --------
        >>> @dc.delayed(target="squares/{n}.json")
        ... def square(n):
        ...     return n * n
        >>> square(2).visualize("squares.svg")
        <Picture of 1 node: squares.svg>
        """
        draw = imported("daskcache.graph.drawing:draw")
        return draw([self], super().visualize, filename, format, optimize_graph, kwargs)

    def __dask_tokenize__(self):
        return self._planned_key if self._dask is not None else self._recipe.identity

    def __dask_postcompute__(self):
        return single_key, ()

    def __dask_postpersist__(self):
        return computed_node, (self._recipe, self._key_here())

    def __repr__(self):
        return f"Node({self._recipe.title!r})"

    def _repr_pretty_(self, printer, cycle):
        is_alone = len(getattr(printer, "stack", ())) < 2  # not one of many in a list
        printer.text(str(self.dc) if is_alone else repr(self))

    def _repr_html_(self):
        return self.dc._repr_html_()

    def __reduce__(self):
        from .verb import sent_graph

        if self._dask is not None:
            return _computed_again, (self._dask, flatten(self._recipe), self._planned_key)
        if dask_moment().is_sending:
            # e.g. inside a data frame's expression: it can't plan after it was sent
            graph, key = sent_graph(self._recipe)
            return Delayed, (key, graph, self._length)
        return _node, (flatten(self._recipe), str(self._key))

    def __daskcache_path__(self):
        return self._recipe.__daskcache_path__()

    def __daskcache_encode__(self, encoder):
        encoder.add_upstream(self, self._recipe.key)


def with_recipe(node: Node, recipe: Recipe) -> Node:
    """Return a node with an equal recipe, such as one with other fields."""
    if node._dask is None:
        return Node(recipe, str(node._key))
    return computed_node(node._dask, recipe, node._planned_key)


def holding(node: Node, value: Any) -> Node:
    """Return the node with its value in its graph, as `persist` would return it."""
    key = str(node._key)
    return computed_node({key: DataNode(key, value)}, node._recipe, key)


def _node(flat, key):
    return Node(unflatten(flat), key)


def _computed_again(graph, flat, key):
    return computed_node(graph, unflatten(flat), key)


def computed_node(graph, recipe, key, rename=None):
    """Return the node with another graph: of futures or values (persist), or of tasks (optimize)."""
    if not isinstance(graph, HighLevelGraph):
        graph = HighLevelGraph.from_collections(key, graph)
    if rename:
        key = replace_name_in_key(key, rename)
    node = Node(recipe, key)
    _set_key(node, str(key))
    _set_dask(node, graph)
    _set_layer(node, next(iter(graph.layers)))
    _set_planned_key(node, key)
    return node


# Slots are set directly, because `Delayed.__setattr__` is written in Python and graphs may have hundreds
# of thousands of nodes.
_set_key = vars(Delayed)["_key"].__set__
_set_dask = vars(Delayed)["_dask"].__set__
_set_length = vars(Delayed)["_length"].__set__
_set_layer = vars(Delayed)["_layer"].__set__
_set_recipe = vars(Node)["_recipe"].__set__
_set_planned_key = vars(Node)["_planned_key"].__set__
