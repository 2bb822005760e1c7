"""Handles of tasks' results, finished or still to come.

`tasks` returns a `CachedResult` from a call in mode "cache", and `Done`, `Submitted` or `Futures` from
``submit`` and ``map``.  The latter have ``result()`` and ``wait()``, as Prefect's futures do.  The
functions at the end replace handles in arguments and results by nodes or data.
"""

from __future__ import annotations

import concurrent.futures
import threading
import weakref
from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from dask.delayed import Delayed

from ..calls.recipe import Recipe, flatten, recipes_before, unflatten
from ..calls.state import made
from ..clients import verb_client
from ..graph.node import Node, holding
from ..graph.nodes import Nodes
from ..graph.typed import T, T_co
from ..graph.verb import compute
from ..runtime.entry import Entry
from ..targets.source import AnyArgument


class CachedResult(Entry, Generic[T_co], AnyArgument):
    """Entry of a result that was made or found in this process.

    ``get_data()`` reads it.  It stands for its data as an argument of another task, and for its target
    in templates.
    """

    # recipes take an object with `_recipe` and `_dask` for a node
    __slots__ = ("_recipe", "_dask")

    def __init__(self, entry: Entry, recipe: Recipe):
        where = (entry.key, entry.root, entry.stored, entry.layout, entry.inline)
        super().__init__(*where, entry.label, entry.corrections)
        self.algorithm = entry.algorithm
        self._recipe = recipe
        self._dask = None
        _results[id(recipe)] = self

    if TYPE_CHECKING:

        def load(self) -> T_co: ...
        def get_data(self) -> T_co: ...

    @property
    def path(self) -> str | Any:
        """Absolute path of the target, or a tuple of paths for several results."""
        paths = tuple(f"{self.root}/{result.target.path}" for result in self.stored)
        return paths[0] if len(paths) == 1 else paths

    def bare(self) -> Entry:
        """Return the entry without its recipe, which is much smaller after a long chain of tasks."""
        where = (self.key, self.root, self.stored, self.layout, self.inline)
        entry = Entry(*where, self.label, self.corrections)
        entry.algorithm = self.algorithm
        return entry

    def __reduce__(self):
        return _result, (self.bare(), flatten(self._recipe))

    def __daskcache_path__(self):
        return self._recipe.__daskcache_path__()


def _result(entry, flat):
    return CachedResult(entry, unflatten(flat))


#: Results that are still referenced, by the ids of their recipes.
_results: weakref.WeakValueDictionary[int, CachedResult] = weakref.WeakValueDictionary()


def results_before(recipe: Recipe) -> list[tuple[Recipe, Entry]]:
    """Return the results at hand from which a recipe is made, each with its recipe."""
    found = [(before, _results.get(id(before))) for before in recipes_before(recipe)]
    return [(before, result) for before, result in found if result is not None]


class Handle(Generic[T_co], AnyArgument):
    """Base of handles of submitted calls, with the type of the value."""

    __slots__ = ()

    if TYPE_CHECKING:

        def result(self, timeout: float | None = None) -> T_co: ...
        def wait(self, timeout: float | None = None) -> None: ...


class Done(Handle):
    """Handle of a submitted call that is over.

    Parameters
    ----------
    returned : object
        Result of the call: a `CachedResult`, or a plain value.
    """

    def __init__(self, returned: Any):
        self.returned = returned

    def result(self, timeout: float | None = None) -> Any:
        """Return the value; `timeout` has no effect."""
        return self.returned.load() if isinstance(self.returned, CachedResult) else self.returned

    def wait(self, timeout: float | None = None) -> None:
        """Return at once."""

    def __daskcache_path__(self):
        return self.returned.__daskcache_path__()

    def __repr__(self):
        return f"Done({self.returned!r})"


class Submitted(Handle):
    """Handle of a submitted node.

    With a distributed client, the node is sent to the cluster at once.  Without one, it stays lazy.  As
    an argument of another task, the handle stands for the node's value.

    Attributes
    ----------
    node : Node
        The node.
    """

    __slots__ = ("node", "_recipe", "_dask", "_batch", "_future", "_making", "_outcome", "__weakref__")

    def __init__(self, node: Node):
        self.node = node
        self._recipe = node._recipe
        self._dask = None
        self._batch = _waiting.handles
        #: The thread that computes the node; None unless a caller waited with a timeout.
        self._making: concurrent.futures.Future[None] | None = None
        #: None until the node is over.  Then a tuple of its exception, or of None.
        self._outcome: tuple[Exception | None] | None = None
        client = verb_client(connect=True)
        self._future = client.compute(node) if client is not None else None
        if self._future is None:
            self._batch.add(self)

    def result(self, timeout: float | None = None) -> Any:
        """Return the node's value, and compute it if necessary.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait.

        Raises
        ------
        TimeoutError
            If the node is not over by then.
        Exception
            Any exception of the node.
        """
        try:
            if self._future is not None:
                return self._future.result(timeout)
            self.wait(timeout)
            error = self._outcome and self._outcome[0]
            if error is not None:
                raise error
            return compute((self.node,))[0]
        except Exception:
            forget([self._recipe])  # the caller gets the error, so the flow need not raise it again
            raise

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the node is over, without raising its exception.

        Without a distributed client, all waiting nodes that this thread submitted are computed with it.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait.  Nodes that are not over by then are computed on, in another thread.

        Raises
        ------
        TimeoutError
            If the node is not over by then.
        """
        if self._future is not None:
            from distributed import wait

            wait(self._future, timeout=timeout)
        elif self._outcome is None:
            if timeout is not None and self._making is None:
                _begin(_taken(self._batch))
            if self._making is None:
                _make_all(_taken(self._batch))
            elif not concurrent.futures.wait([self._making], timeout).done:
                raise TimeoutError(f"{self._recipe.title} is not over after {timeout} seconds")

    def __daskcache_path__(self):
        return self._recipe.__daskcache_path__()

    def __repr__(self):
        return f"Submitted({self._recipe.title!r})"


class _Waiting(threading.local):
    def __init__(self):
        self.handles: weakref.WeakSet[Submitted] = weakref.WeakSet()


#: Handles that each thread submitted, of nodes that have not begun.
_waiting = _Waiting()


def _taken(handles):
    waiting = list(handles)
    handles.clear()
    return waiting


def _begin(waiting):
    """Compute the submitted nodes in another thread."""
    pool = concurrent.futures.ThreadPoolExecutor(1)
    making = pool.submit(copy_context().run, _make_all, waiting)
    pool.shutdown(wait=False)
    for each in waiting:
        each._making = making


def _make_all(waiting):
    """Compute the submitted nodes together, or one by one if that fails, to find the causes."""
    error = _error_of(waiting)
    for each in waiting:
        each._outcome = (error and _error_of([each]),)
    forget([each._recipe for each in waiting])


def _error_of(waiting):
    """Compute some nodes, and return the exception, or None.

    The handles of nodes that aren't stored keep the values.
    """
    held = [each for each in waiting if not each._recipe.paths]
    stored = [each._recipe for each in waiting if each._recipe.paths]
    try:
        values = compute(tuple(each.node for each in held), make=stored)
    except Exception as error:  # noqa: BLE001 (`result` raises it)
        return error
    for each, value in zip(held, values, strict=True):
        each.node = holding(each.node, value)
    return None


def forget(recipes: list[Recipe]) -> None:
    """Remove nodes from the running flow's list of nodes to compute, by their recipes."""
    nodes, done = made.get(), {id(recipe) for recipe in recipes}
    if nodes is not None:
        nodes[:] = [node for node in nodes if id(node._recipe) not in done]


class Futures(list[Handle[T]]):
    """List of handles, as `map` returns it, one for each call that it submits."""

    def result(self, timeout: float | None = None) -> list[T]:
        """Return all values; `timeout` applies to each of them."""
        return [each.result(timeout) for each in self]

    def wait(self, timeout: float | None = None) -> None:
        """Wait until all calls are over; `timeout` applies to each of them."""
        for each in self:
            each.wait(timeout)


class unmapped(NamedTuple):
    """Wrapper of an argument of `map` that goes to every call as it is."""

    value: Any


def without_futures(value: Any) -> Any:
    """Return `value` with handles replaced: finished ones by their results, others by their nodes."""
    return _replaced(value, _without_future)


def values_of(value: Any) -> Any:
    """Return `value` with data in place of cached results and of handles of finished calls."""

    def data(item):
        if type(item) is Done:
            return values_of(item.returned)
        return item.load() if type(item) is CachedResult else _without_future(item)

    return _replaced(value, data)


def lazy_values(value: Any) -> tuple[list[Delayed], Callable[[Iterable[Any]], Any]]:
    """Find the lazy values in `value`, at any depth of lists, tuples, sets and dicts.

    Returns
    -------
    found : list
        The lazy values.
    fill_in : callable
        Takes the data of all values in `found`, in their order.  Returns `value` with data in place of
        lazy values.
    """
    found: list[Delayed] = []

    def find(item):
        if isinstance(item, Delayed):
            found.append(item)
        return item

    def fill_in(data):
        left = iter(data)
        return _replaced(value, lambda item: next(left) if isinstance(item, Delayed) else item)

    _replaced(value, find)
    return found, fill_in


def _without_future(item):
    if type(item) is Done:
        return item.returned
    return item.node if type(item) is Submitted else item


def _replaced(value, replace):
    """Return `value` with each item that is not a container replaced, or itself if none changes."""
    typ = type(value)
    if typ is dict:
        return {key: _replaced(item, replace) for key, item in value.items()}
    is_named = isinstance(value, tuple) and hasattr(typ, "_fields")
    if not is_named and typ not in (list, tuple, set, frozenset, Futures, Nodes):
        return replace(value)
    found = [_replaced(item, replace) for item in value]
    if all(a is b for a, b in zip(found, value, strict=True)):
        return value
    if is_named:
        return typ(*found)
    return found if typ in (Futures, Nodes) else typ(found)
