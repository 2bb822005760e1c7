"""What `daskcache.modes.tasks.Task` returns: results that are there, or to come, by one interface.

``submit`` gives something with ``result()`` and ``wait()`` in every mode.
"""

from __future__ import annotations

import sys
import threading
import weakref
from typing import Any, NamedTuple

import dask
from dask.delayed import Delayed

from ..calls.recipe import Recipe, flatten, recipes_before, unflatten
from ..calls.state import made
from ..graph.node import Node, holding
from ..runtime.entry import Entry


class CachedResult(Entry):
    """Entry of a result that was made, or found, in this process.

    ``get_data()`` reads it.  As an argument of another task it stands for its data, and in templates for
    its target.
    """

    # recipes take what has these two for a node
    __slots__ = ("_recipe", "_dask", "__weakref__")

    def __init__(self, entry: Entry, recipe: Recipe):
        super().__init__(entry.key, entry.root, entry.stored, entry.layout, entry.inline, entry.label)
        self.algorithm = entry.algorithm
        self._recipe = recipe
        self._dask = None
        _results[id(recipe)] = self

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

    def __reduce__(self):
        return _result, (self.bare(), flatten(self._recipe))

    def __daskcache_path__(self):
        return self._recipe.__daskcache_path__()


def _result(entry, flat):
    return CachedResult(entry, unflatten(flat))


#: The results that somebody still has, by their recipes.
_results: weakref.WeakValueDictionary[int, CachedResult] = weakref.WeakValueDictionary()


def results_before(recipe: Recipe) -> list[tuple[Recipe, Entry]]:
    """Results that a recipe is made from and that are at hand, with their recipes."""
    found = [(before, _results.get(id(before))) for before in recipes_before(recipe)]
    return [(before, result) for before, result in found if result is not None]


class Done:
    """A submitted call that is over.

    Parameters
    ----------
    returned : object
        What the call returned: a `CachedResult`, or a plain value.
    """

    def __init__(self, returned: Any):
        self.returned = returned

    def result(self, timeout: float | None = None) -> Any:
        """The value."""
        return self.returned.load() if isinstance(self.returned, CachedResult) else self.returned

    def wait(self, timeout: float | None = None) -> None:
        """Returns at once."""

    def __daskcache_path__(self):
        return self.returned.__daskcache_path__()

    def __repr__(self):
        return f"Done({self.returned!r})"


class Submitted:
    """A submitted node: lazy, or, with a distributed client, under way.

    As an argument of another task it stands for the node's value.
    """

    __slots__ = ("_node", "_recipe", "_dask", "_batch", "_future", "_outcome", "__weakref__")

    def __init__(self, node: Node):
        self._node = node
        self._recipe = node._recipe
        self._dask = None
        self._batch = _waiting.handles
        #: What it raised, or None, once it is over.
        self._outcome: tuple[Exception | None] | None = None
        client = _client()
        self._future = client.compute(node) if client is not None else None
        if self._future is None:
            self._batch.add(self)

    @property
    def node(self) -> Node:
        """The node."""
        return self._node

    def result(self, timeout: float | None = None) -> Any:
        """Its value, which is computed if it has to be.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait for a distributed client.

        Raises
        ------
        Exception
            What the node raised.
        """
        try:
            if self._future is not None:
                return self._future.result(timeout)
            self.wait()
            error = self._outcome and self._outcome[0]
            if error is not None:
                raise error
            return self._node.compute()
        except Exception:
            forget([self._recipe])  # who asked for it knows
            raise

    def wait(self, timeout: float | None = None) -> None:
        """Return when it is over; `result` says how it ended.

        What else was submitted and has not begun is computed with it.
        """
        if self._future is not None:
            from distributed import wait

            wait(self._future, timeout=timeout)
        elif self._outcome is None:
            _make_all(self._batch)

    def __daskcache_path__(self):
        return self._recipe.__daskcache_path__()

    def __repr__(self):
        return f"Submitted({self._recipe.title!r})"


class _Waiting(threading.local):
    def __init__(self):
        self.handles: weakref.WeakSet[Submitted] = weakref.WeakSet()


#: What each thread submitted that has not begun.
_waiting = _Waiting()


def _make_all(handles):
    """Make what was submitted, in one go; if something fails, one after the other, to know what."""
    waiting = list(handles)
    handles.clear()
    error = _error_of(waiting)
    for each in waiting:
        each._outcome = (error and _error_of([each]),)
    forget([each._recipe for each in waiting])


def _error_of(waiting):
    """Make some nodes, and keep the values of those that aren't stored; return what is raised."""
    from ..graph.verb import compute

    held = [each for each in waiting if not each._recipe.paths]
    stored = [each._recipe for each in waiting if each._recipe.paths]
    try:
        values = compute(tuple(each._node for each in held), make=stored)
    except Exception as error:  # noqa: BLE001 (`result` raises it)
        return error
    for each, value in zip(held, values, strict=True):
        each._node = holding(each._node, value)
    return None


def forget(recipes: list[Recipe]) -> None:
    """The flow that made these nodes need not compute them any more."""
    nodes, done = made.get(), {id(recipe) for recipe in recipes}
    if nodes is not None:
        nodes[:] = [node for node in nodes if id(node._recipe) not in done]


def _client():
    """The distributed client that Dask's verbs would use now, if there is one."""
    distributed = sys.modules.get("distributed")
    if distributed is None or dask.config.get("scheduler", None) not in (
        None,
        "distributed",
        "dask.distributed",
    ):
        return None
    try:
        return distributed.get_client()
    except ValueError:
        return None


class Futures(list):
    """What `map` gives: a list of what `submit` gives."""

    def result(self, timeout: float | None = None) -> list:
        """All values."""
        return [each.result(timeout) for each in self]

    def wait(self, timeout: float | None = None) -> None:
        """Return when all are over."""
        for each in self:
            each.wait(timeout)


class unmapped(NamedTuple):
    """An argument of `map` that every call gets as it is."""

    value: Any


def without_futures(value: Any) -> Any:
    """`value` with what they returned in place of calls that are over, and nodes in place of others."""
    typ = type(value)
    if typ is Done:
        return value.returned
    if typ is Submitted:
        return value._node
    if typ in (list, tuple, set, frozenset, Futures):
        items = [without_futures(item) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else _like(typ)(items)
    if typ is dict:
        return {key: without_futures(item) for key, item in value.items()}
    return value


def _like(typ):
    return list if typ is Futures else typ


def values_of(value: Any) -> Any:
    """`value` with data in place of results and of calls that are over."""
    value = without_futures(value)
    typ = type(value)
    if typ is CachedResult:
        return value.load()
    if typ in (list, tuple, set, frozenset):
        return typ([values_of(item) for item in value])
    if typ is dict:
        return {key: values_of(item) for key, item in value.items()}
    return value


def lazy_values(value: Any, found: list[Delayed]) -> Any:
    """Append the lazy values in `value` to a list; return a function that puts data in their place."""
    typ = type(value)
    if isinstance(value, Delayed):
        found.append(value)
        position = len(found) - 1
        return lambda data: data[position]
    if typ in (list, tuple, set, frozenset):
        parts = [lazy_values(item, found) for item in value]
        return lambda data: typ([part(data) for part in parts])
    if isinstance(value, tuple) and hasattr(typ, "_fields"):
        parts = [lazy_values(item, found) for item in value]
        return lambda data: typ(*[part(data) for part in parts])
    if typ is dict:
        pairs = {key: lazy_values(item, found) for key, item in value.items()}
        return lambda data: {key: part(data) for key, part in pairs.items()}
    return lambda data: value
