"""`task` and `flow`: decorators whose meaning config ``daskcache.mode`` chooses, at each call.

============== ========================================= =========================================
mode           a call of a task                          a call of a flow
============== ========================================= =========================================
dask           makes a lazy node, as `delayed` does      calls the function, computes every node
                                                         that it made, gives values for nodes
cache          runs now, unless complete; gives entries  calls the function
function       calls the function                        calls the function
prefect        a task of Prefect                         a flow of Prefect
prefect.cache  as prefect, and results are cached        a flow of Prefect
prefect.skip   as prefect.cache, and what is complete    a flow of Prefect
               does not reach Prefect's engine
============== ========================================= =========================================
"""

from __future__ import annotations

import abc
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

import dask
from dask.delayed import Delayed

from ..calls.state import inside_body, made
from ..errors import GraphError, MissingExtra
from ..graph.node import Function, Node, delayed
from ..hashing.names import imported
from .handles import (
    CachedResult,
    Done,
    Futures,
    Submitted,
    forget,
    lazy_values,
    results_before,
    unmapped,
    values_of,
    without_futures,
)
from .options import DASK, FUNCTION, OF_FLOWS, PREFECT, check_known, current_mode, split_options
from .plain import call_plain


def task(function: Callable | None = None, /, **options: Any) -> Any:
    """Make a function a task: what a call does is up to config ``daskcache.mode``.

    Use it as a decorator, with or without parameters.  ``task = task(target=…)`` gives a decorator with
    a project's defaults, to which more parameters can be given.

    Parameters
    ----------
    function : callable
        What to decorate.
    target, store, save, version, ignore, check, on_modified, label, expires, tracked, pure, nout
        As of `daskcache.delayed`.  `store` may also be a class with ``save`` and ``load`` (see
        `daskcache.targets.stores.StoreTarget`); None, if it is said, means ``save=False``.
    name_template : str, optional
        Another name for `label`.
    skip : bool
        False: with "prefect.skip", complete tasks go to Prefect, too.
    retries : int
        With Dask, how often a node is tried again on a cluster; else as in Prefect.
    **options
        Keyword arguments of `prefect.task`, which mean nothing in the other modes.

    Returns
    -------
    Task

    Raises
    ------
    GraphError
        If there is no such parameter, or mode.

    Examples
    --------
    >>> @task(target="denoised/{image.stem}.tif")                     # doctest: +SKIP
    ... def denoise(image, sigma):
    ...     return gaussian_filter(image, sigma)
    >>> futures = denoise.map(images, sigma=2)                        # doctest: +SKIP
    """
    if function is None:
        return functools.partial(task, **options)
    return Task(function, options)


def flow(function: Callable | None = None, /, **options: Any) -> Any:
    """Make a function a flow, which calls tasks: what it does is up to config ``daskcache.mode``.

    Parameters
    ----------
    function : callable
        What to decorate.
    **options
        Keyword arguments of `prefect.flow`, which mean nothing in the other modes.

    Returns
    -------
    Flow

    Raises
    ------
    GraphError
        If there is no such parameter.
    """
    if function is None:
        return functools.partial(flow, **options)
    return Flow(function, options)


class _InModes(abc.ABC):
    """What tasks and flows have in common: in Prefect's modes they are tasks and flows of Prefect."""

    def __init__(self, function: Callable, options: Mapping[str, Any]):
        self.fn = function
        self._options = dict(options)
        self._prefects: dict[str, Any] = {}

    def with_options(self, **options: Any) -> Any:
        """The same function with other options, of those that its decorator takes."""
        return type(self)(self.fn, {**self._options, **options})

    def _in_prefect(self, mode):
        if mode not in self._prefects:
            self._prefects[mode] = self._made_for(mode)
        return self._prefects[mode]

    @abc.abstractmethod
    def _made_for(self, mode):
        """The task or flow of Prefect in this mode."""

    def __getattr__(self, name):
        if name.startswith("_") or current_mode() not in PREFECT:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        return getattr(self._in_prefect(current_mode()), name)


class Task(_InModes):
    """A decorated function.  Made by `task`.

    A call does what the mode says, and so do `submit`, whose result has ``result()`` and ``wait()``, and
    `map`.  Inside of the body of another task, a call is a plain call.

    Attributes
    ----------
    fn : callable
        The function.
    """

    def __init__(self, function: Callable, options: Mapping[str, Any]):
        super().__init__(function, options)
        own, self._retries, self._of_prefect, self._skips = split_options(self._options)
        self._function: Function = delayed(function, **own)
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            if hasattr(function, name):
                setattr(self, name, getattr(function, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if inside_body.get():
            return self.fn(*args, **kwargs)
        mode = current_mode()
        if mode in PREFECT:
            return self._in_prefect(mode)(*args, **kwargs)
        _finish(kwargs.pop("wait_for", None))
        if mode == FUNCTION:
            return call_plain(self._spec, values_of(args), values_of(kwargs))
        node = self._node(args, kwargs)
        return node if mode == DASK else _run_now(node)

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, and return something with ``result()`` and ``wait()``.

        Prefect's future; in mode "dask", the node, which is under way if there is a distributed client,
        and else computed with all that is submitted as soon as a result is wanted; in other modes, what
        is over.  ``wait_for=[…]`` is finished before.

        Raises
        ------
        Exception
            In the modes "cache" and "function", what the function raises.
        """
        mode = DASK if inside_body.get() else current_mode()
        if mode in PREFECT:
            return self._in_prefect(mode).submit(*args, **kwargs)
        if mode == DASK and not inside_body.get():
            _finish(kwargs.pop("wait_for", None))
            return Submitted(self._node(args, kwargs))
        return Done(self(*args, **kwargs))

    def map(self, *args: Any, **kwargs: Any) -> Any:
        """`submit` it for each of the items of iterable arguments, all of one length.

        Texts, `daskcache.modes.unmapped` (or Prefect's) and what is not iterable go to every call.

        Returns
        -------
        list
            With ``result()`` and ``wait()`` for all.

        Raises
        ------
        GraphError
            If nothing is iterable, or lengths differ.
        """
        mode = FUNCTION if inside_body.get() else current_mode()
        if mode in PREFECT:
            return self._in_prefect(mode).map(*_for_prefect(args), **_for_prefect(kwargs))
        wait_for = kwargs.pop("wait_for", None)
        _finish(wait_for)
        positional = [_items(value) for value in args]
        named = {name: _items(value) for name, value in kwargs.items()}
        lengths = {len(items) for items in (*positional, *named.values()) if type(items) is list}
        if len(lengths) != 1:
            raise GraphError(
                f"{self.fn.__name__}.map() needs iterable arguments of one length",
                got=f"lengths {sorted(lengths)}" if lengths else "none",
                hint="wrap what every call gets in daskcache.modes.unmapped",
            )
        return Futures(
            self.submit(
                *[_item(items, i) for items in positional],
                **{name: _item(items, i) for name, items in named.items()},
            )
            for i in range(lengths.pop())
        )

    @property
    def _spec(self):
        # how functions are found by name, in other processes
        return self._function._spec

    def _node(self, args, kwargs):
        args, kwargs = without_futures(args), without_futures(kwargs)
        if self._retries and "retries" not in dask.get_annotations():
            with dask.annotate(retries=self._retries):
                return self._function(*args, **kwargs)
        return self._function(*args, **kwargs)

    def _made_for(self, mode):
        if mode == PREFECT[2] and not self._skips:
            mode = PREFECT[1]
        options = {"results": "data", **self._of_prefect}
        return _prefect(mode).task(self._function, mode=mode, **options)

    def __repr__(self):
        return f"<daskcache task {self._spec.qualified_name}>"

    def __reduce__(self):
        if self._spec.is_importable:
            return _task_by_name, (self._spec.module, self.fn.__qualname__)
        return Task, (self.fn, self._options)

    def __daskcache_encode__(self, encoder):
        encoder.add(self._function)


def _task_by_name(module, qualified_name):
    return imported(f"{module}:{qualified_name}")


class Flow(_InModes):
    """A decorated function that calls tasks.  Made by `flow`.

    Attributes
    ----------
    fn : callable
        The function.
    """

    def __init__(self, function: Callable, options: Mapping[str, Any]):
        check_known(options, OF_FLOWS, "flow")
        functools.update_wrapper(self, function)
        super().__init__(function, options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if inside_body.get():
            return self.fn(*args, **kwargs)
        mode = current_mode()
        if mode in PREFECT:
            return self._in_prefect(mode)(*args, **kwargs)
        if mode != DASK:
            return self.fn(*args, **kwargs)
        if inspect.iscoroutinefunction(self.fn):
            return self._run_async(args, kwargs)
        nodes: list[Node] = []
        token = made.set(nodes)
        try:
            result = self.fn(*args, **kwargs)
        finally:
            made.reset(token)
        return _computed(result, nodes)

    async def _run_async(self, args, kwargs):
        nodes: list[Node] = []
        token = made.set(nodes)
        try:
            result = await self.fn(*args, **kwargs)
        finally:
            made.reset(token)
        return _computed(result, nodes)

    def _made_for(self, mode):
        return _prefect(mode).flow(self.fn, mode=mode, **self._options)

    def __repr__(self):
        return f"<daskcache flow {self.fn.__module__}.{self.fn.__qualname__}>"

    def __reduce__(self):
        return Flow, (self.fn, self._options)


# ---- running ------------------------------------------------------------------------------------


def _run_now(node):
    """Make a node in this process, unless it is complete; return its entry, or what isn't stored."""
    from ..graph import verb

    recipe = node._recipe
    if not recipe.paths:
        return verb.compute((node,), scheduler="sync")[0]
    return CachedResult(verb.make_now(recipe, results_before(recipe)), recipe)


def _computed(result, nodes):
    """The result of a flow with values in place of nodes; all that it made is made."""
    from ..calls.recipe import recipes_before
    from ..graph.verb import compute

    wanted: list[Delayed] = []
    put_in = lazy_values(without_futures(result), wanted)
    recipes = {node._recipe.identity: node._recipe for node in nodes if node._dask is None}
    needed = {before.identity for recipe in recipes.values() for before in recipes_before(recipe)}
    needed |= {node._recipe.identity for node in wanted if isinstance(node, Node)}
    last = [recipe for identity, recipe in recipes.items() if identity not in needed]
    return put_in(compute(tuple(wanted), make=last))


def _finish(wait_for):
    """Make what a call is to wait for."""
    from ..graph.verb import compute

    if wait_for is None:
        return
    waiting: list[Delayed] = []
    lazy_values(
        without_futures(wait_for if isinstance(wait_for, (list, tuple)) else [wait_for]), waiting
    )
    recipes = [each._recipe for each in waiting if isinstance(each, Node) and each._dask is None]
    compute(tuple(each for each in waiting if not isinstance(each, Node)), make=recipes)
    forget(recipes)


# ---- map ----------------------------------------------------------------------------------------


def _items(value):
    """The items of an iterable argument of `map`, or `unmapped`."""
    if _is_unmapped(value):
        return unmapped(value.value)
    value = without_futures(value)
    held = value
    if isinstance(value, Node):
        held = value.compute()
    elif isinstance(value, CachedResult):
        held = value.load()
    if isinstance(held, (str, bytes)) or not isinstance(held, Iterable):
        return unmapped(value)
    return list(held)


def _item(items, position):
    return items.value if type(items) is unmapped else items[position]


def _is_unmapped(value):
    prefects = type(value).__name__ == "unmapped" and type(value).__module__.startswith("prefect.")
    return prefects or type(value) is unmapped


# ---- Prefect ------------------------------------------------------------------------------------


def _prefect(mode):
    """`daskcache.prefect`, which needs Prefect."""
    try:
        import_module("prefect")
    except ImportError as error:
        raise MissingExtra(
            f'the mode {mode!r} needs Prefect: pip install "daskcache[prefect]"'
        ) from error
    return import_module("..prefect", __package__)


def _for_prefect(values):
    from prefect import unmapped as prefects

    def own(value):
        return prefects(value.value) if type(value) is unmapped else value

    if isinstance(values, dict):
        return {name: own(value) for name, value in values.items()}
    return [own(value) for value in values]
