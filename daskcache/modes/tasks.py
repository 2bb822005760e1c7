"""`task` and `flow`: decorators for which config ``daskcache.mode`` decides, at each call, what to do.

============== ========================================= =========================================
mode           a call of a task                          a call of a flow
============== ========================================= =========================================
dask           makes a lazy node, as `delayed` does      calls the function, computes every node
                                                         that it made, gives values for nodes
cache          runs now unless complete; gives an entry  calls the function
function       calls the function                        calls the function
prefect        runs as a task of Prefect                 runs as a flow of Prefect
prefect.cache  as prefect, and results are cached        runs as a flow of Prefect
prefect.skip   as prefect.cache, and complete tasks      runs as a flow of Prefect
               do not reach Prefect's engine
============== ========================================= =========================================

`task` is here, `flow` in `flows`.  `options` reads the mode and the parameters, `handles` has results of
tasks, and `plain` the calls in mode "function".  `daskcache.prefect` has the modes of Prefect.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Coroutine, Iterable, Mapping
from importlib import import_module
from typing import Any, Generic, Protocol, Self, overload

import dask

from ..aliases import names_of
from ..calls.state import inside_body
from ..errors import GraphError, MissingExtra
from ..graph.function import Function, delayed
from ..graph.node import Node
from ..graph.typed import P, T, T_co
from ..graph.verb import compute, make_now
from ..hashing.names import imported
from ..tracebacks import shortened
from .handles import (
    CachedResult,
    Done,
    Futures,
    Handle,
    Submitted,
    forget,
    lazy_values,
    results_before,
    unmapped,
    values_of,
    without_futures,
)
from .options import (
    DASK,
    FUNCTION,
    PREFECT,
    current_mode,
    resolved,
    split_options,
    with_defaults,
)
from .plain import call_plain

__getattr__ = names_of(__name__, "modes.flows")


class TaskDecorator(Protocol):
    """What `task` returns without a function."""

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, T]], /, **options: Any
    ) -> Task[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, T], /, **options: Any) -> Task[P, T]: ...
    @overload
    def __call__(self, **options: Any) -> TaskDecorator: ...


@overload
def task(**options: Any) -> TaskDecorator: ...
@overload
def task(function: Callable[P, Coroutine[Any, Any, T]], /, **options: Any) -> Task[P, T]: ...
@overload
def task(function: Callable[P, T], /, **options: Any) -> Task[P, T]: ...
@shortened
def task(function: Callable | None = None, /, **options: Any) -> Any:
    """Make a function a task, whose results are cached or recorded.

    Config ``daskcache.mode`` decides what a call of it does.  Use `task` as a decorator, with or without
    parameters.  ``task = task(target=…)`` gives a decorator with a project's defaults, which takes
    further parameters.

    Parameters
    ----------
    function : callable
        The function to decorate.
    target, store, save, version, ignore, check, on_modified, label, expires, tracked, isolate, timeout
        As for `daskcache.delayed`.  `store` may also be a class with ``save`` and ``load`` (see
        `daskcache.targets.stores.StoreTarget`).  ``store=None`` means ``save=False``.  If only the
        defaults of ``task(target=…)`` name the target, a function with ``save=False`` returns a value
        that is not stored, unless it takes a ``target_path``.
    corrections, pure, nout, traverse
        As for `daskcache.delayed`.
    name_template : str, optional
        Another name for `label`.
    skip : bool
        False to pass complete tasks on to Prefect in mode "prefect.skip", too.
    retries : int
        With Dask, the number of times that a cluster tries a node again.  Otherwise as in Prefect.
    **options
        Keyword arguments of `prefect.task`, without effect in the other modes.

    Returns
    -------
    Task
        The decorated function.  Without `function`, a decorator that makes one.

    Raises
    ------
    GraphError
        If a parameter is unknown.  When the task is called, if the mode is unknown.
    TemplateError, UnsafePath, UnknownFormat
        If a target can't work.
    MissingExtra
        When the task is called, if the mode needs Prefect and it is not installed.

    Examples
    --------
    >>> @dc.task(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> @dc.flow
    ... def squares(numbers):
    ...     return [square(n) for n in numbers]
    >>> squares([1, 2])
    [1, 4]
    """
    return _task(options, function)


def _task(defaults, function=None, /, **options):
    options = with_defaults(defaults, options)
    return functools.partial(_task, options) if function is None else Task(function, options)


class InModes(abc.ABC):
    """Base of tasks and flows, which in Prefect's modes act as tasks and flows of Prefect."""

    def __init__(self, function: Callable, options: Mapping[str, Any]):
        self.fn = function
        self._options = dict(options)
        self._prefects: dict[str, Any] = {}

    def with_options(self, **options: Any) -> Self:
        """Return a task or flow of the same function, with some options of its decorator changed."""
        return type(self)(self.fn, with_defaults(self._options, options))

    def _in_prefect(self, mode):
        if mode not in self._prefects:
            self._prefects[mode] = self._made_for(mode)
        return self._prefects[mode]

    @abc.abstractmethod
    def _made_for(self, mode):
        """Return the task or flow of Prefect for this mode."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or current_mode() not in PREFECT:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        return getattr(self._in_prefect(current_mode()), name)


class Task(InModes, Generic[P, T_co]):
    """A decorated function, made by `task`.

    A call does what the mode says, and so do `submit` and `map`.  Inside the body of another task, a
    call only calls the function.

    Attributes
    ----------
    fn : callable
        The function.
    """

    def __init__(self, function: Callable, options: Mapping[str, Any]):
        super().__init__(function, options)
        resolved_options = resolved(function, self._options)
        own, self._retries, self._of_prefect, self._skips = split_options(resolved_options)
        self._function: Function = delayed(function, **own)
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            if hasattr(function, name):
                setattr(self, name, getattr(function, name))

    @shortened
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Node[T_co]:
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

    @overload
    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Handle[T_co]: ...
    @overload
    def submit(self, *args: Any, wait_for: Any, **kwargs: Any) -> Handle[T_co]: ...
    @shortened
    def submit(self, *args: Any, **kwargs: Any) -> Any:
        """Submit a call, and return a handle with ``result()`` and ``wait()``.

        In Prefect's modes the handle is Prefect's future.  In mode "dask" it stands for a node.  With a
        distributed client, the node is sent to the cluster at once.  Without one, it waits until a
        result is wanted, and is then computed together with the other waiting nodes.  In the other
        modes, the call is over when `submit` returns.

        Parameters
        ----------
        *args, **kwargs
            Arguments of the function.  The handles and nodes in ``wait_for=[…]`` are finished first.

        Raises
        ------
        Exception
            In the modes "cache" and "function", any exception of the function.
        """
        mode = DASK if inside_body.get() else current_mode()
        if mode in PREFECT:
            return self._in_prefect(mode).submit(*args, **kwargs)
        if mode == DASK and not inside_body.get():
            _finish(kwargs.pop("wait_for", None))
            return Submitted(self._node(args, kwargs))
        return Done(self(*args, **kwargs))

    @shortened
    def map(self, *args: Any, **kwargs: Any) -> Futures[T_co]:
        """Submit a call for each item of the iterable arguments, which must have one length.

        Texts, bytes, arguments wrapped in `daskcache.modes.unmapped` (or Prefect's `unmapped`) and those
        that are not iterable go to every call.

        Returns
        -------
        list
            One handle per call.  The list has ``result()`` and ``wait()`` for all of them.

        Raises
        ------
        GraphError
            If none of the arguments is iterable, or their lengths differ.
        """
        mode = FUNCTION if inside_body.get() else current_mode()
        if mode in PREFECT:
            named = {name: _for_prefect(value) for name, value in kwargs.items()}
            return self._in_prefect(mode).map(*map(_for_prefect, args), **named)
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
        # a property of the class, by which other processes recognise a task that they find by its name
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
        return prefect_for(mode).task(self._function, mode=mode, **options)

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


# ---- running ------------------------------------------------------------------------------------


def _run_now(node):
    """Make a node in this process unless it is complete.  Return its entry, or a value not stored."""
    recipe = node._recipe
    if not recipe.paths:
        return compute((node,), scheduler="sync")[0]
    return CachedResult(make_now(recipe, results_before(recipe)), recipe)


def _finish(wait_for):
    """Compute the nodes and lazy values for which a call is to wait."""
    if wait_for is None:
        return
    waiting, _ = lazy_values(without_futures(wait_for))
    recipes = [each._recipe for each in waiting if isinstance(each, Node) and each._dask is None]
    compute(tuple(each for each in waiting if not isinstance(each, Node)), make=recipes)
    forget(recipes)


# ---- map ----------------------------------------------------------------------------------------


def _items(value):
    """Return the items of an iterable argument of `map` as a list, or any other one as `unmapped`."""
    typ = type(value)
    if typ is unmapped or (typ.__name__ == "unmapped" and typ.__module__.startswith("prefect.")):
        return unmapped(value.value)
    value = without_futures(value)
    held = value
    if isinstance(value, Node):
        (held,) = compute((value,))
    elif isinstance(value, CachedResult):
        held = value.load()
    if isinstance(held, (str, bytes)) or not isinstance(held, Iterable):
        return unmapped(value)
    return list(held)


def _item(items, position):
    return items.value if type(items) is unmapped else items[position]


# ---- Prefect ------------------------------------------------------------------------------------


def prefect_for(mode):
    """Return the module `daskcache.prefect`; raise MissingExtra if Prefect is not installed."""
    try:
        import_module("prefect")
    except ImportError as error:
        raise MissingExtra(
            f'the mode {mode!r} needs Prefect: pip install "daskcache[prefect]"'
        ) from error
    return import_module("..prefect", __package__)


def _for_prefect(value):
    from prefect import unmapped as prefects

    return prefects(value.value) if type(value) is unmapped else value
