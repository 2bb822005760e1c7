"""`flow`: a function that calls tasks, and computes the nodes that they made.

`tasks` describes what a call of it does in each mode.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, Protocol, overload

from ..calls.recipe import recipes_before
from ..calls.state import inside_body, made
from ..graph.node import Node
from ..graph.typed import Lazy, P, T, T_co
from ..graph.verb import compute
from ..tracebacks import shortened
from .handles import lazy_values, without_futures
from .options import DASK, OF_FLOWS, PREFECT, check_known, current_mode
from .tasks import InModes, prefect_for


class FlowDecorator(Protocol):
    """What `flow` returns without a function."""

    @overload
    def __call__(self, function: Callable[P, Lazy[T]], /) -> Flow[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, list[Node[T]]], /) -> Flow[P, list[T]]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> Flow[P, T]: ...


@overload
def flow(**options: Any) -> FlowDecorator: ...
@overload
def flow(function: Callable[P, Lazy[T]], /, **options: Any) -> Flow[P, T]: ...
@overload
def flow(function: Callable[P, list[Node[T]]], /, **options: Any) -> Flow[P, list[T]]: ...
@overload
def flow(function: Callable[P, T], /, **options: Any) -> Flow[P, T]: ...
def flow(function: Callable | None = None, /, **options: Any) -> Any:
    """Make a function a flow, which calls tasks.

    Config ``daskcache.mode`` decides what a call of it does.  Use `flow` as a decorator, with or without
    parameters.

    Parameters
    ----------
    function : callable
        The function to decorate.
    **options
        Keyword arguments of `prefect.flow`, without effect in the other modes.

    Returns
    -------
    Flow
        The decorated function.  Without `function`, a decorator that makes one.

    Raises
    ------
    GraphError
        If a parameter is unknown.  When the flow is called, if the mode is unknown.
    MissingExtra
        When the flow is called, if the mode needs Prefect and it is not installed.

    Examples
    --------
    >>> @dc.task(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> @dc.flow
    ... def total(numbers):
    ...     return sum(square(n) for n in numbers)
    >>> total([1, 2])
    5
    """
    if function is None:
        return functools.partial(flow, **options)
    return Flow(function, options)


class Flow(InModes, Generic[P, T_co]):
    """A decorated function that calls tasks, made by `flow`.

    Attributes
    ----------
    fn : callable
        The function.
    """

    def __init__(self, function: Callable, options: Mapping[str, Any]):
        check_known(options, OF_FLOWS, "flow")
        functools.update_wrapper(self, function)
        super().__init__(function, options)

    @shortened
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co:
        if inside_body.get():
            return self.fn(*args, **kwargs)
        mode = current_mode()
        if mode in PREFECT:
            return self._in_prefect(mode)(*args, **kwargs)
        if mode != DASK:
            return self.fn(*args, **kwargs)
        if inspect.iscoroutinefunction(self.fn):
            return self._run_async(args, kwargs)  # type: ignore[return-value]  # T is a coroutine
        with _collected() as nodes:
            result = self.fn(*args, **kwargs)
        return _computed(result, nodes)

    async def _run_async(self, args, kwargs):
        with _collected() as nodes:
            result = await self.fn(*args, **kwargs)
        return _computed(result, nodes)

    def _made_for(self, mode):
        return prefect_for(mode).flow(self.fn, mode=mode, **self._options)

    def __repr__(self):
        return f"<daskcache flow {self.fn.__module__}.{self.fn.__qualname__}>"

    def __reduce__(self):
        return Flow, (self.fn, self._options)


@contextmanager
def _collected() -> Iterator[list[Node]]:
    """Yield a list, to which the nodes that are made in this context are appended."""
    nodes: list[Node] = []
    token = made.set(nodes)
    try:
        yield nodes
    finally:
        made.reset(token)


def _computed(result, nodes):
    """Return a flow's result with values in place of nodes, and compute all nodes that the flow made."""
    wanted, fill_in = lazy_values(without_futures(result))
    # a node with a `_dask` was persisted or optimized, or holds its value
    recipes = {node._recipe.identity: node._recipe for node in nodes if node._dask is None}
    # making the nodes that no other one needs makes all the others, too
    needed = {before.identity for recipe in recipes.values() for before in recipes_before(recipe)}
    needed |= {node._recipe.identity for node in wanted if isinstance(node, Node)}
    last = [recipe for identity, recipe in recipes.items() if identity not in needed]
    return fill_in(compute(tuple(wanted), make=last))
