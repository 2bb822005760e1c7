"""`delayed` and `Function`: functions whose calls are nodes.

`delayed` makes a `Spec` of a function and its options.  A call of a `Function` makes a `Recipe` of the
spec and the arguments, and a `Node` (in `node`) around it.  `mapping` makes many calls at once.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NoReturn, ParamSpec, TypeVar, overload

import dask
from dask.delayed import Delayed, DelayedLeaf
from dask.delayed import delayed as dask_delayed

from ..calls.arguments import make_recipe
from ..calls.options import check_parameters, unknown_parameter
from ..calls.spec import Options, Spec
from ..calls.state import inside_body, made
from ..hashing.fingerprints import identity_of
from ..hashing.names import has, imported
from ..targets.base import Target
from ..tracebacks import shorten, shortened
from .node import Node
from .typed import Decorator, P, T, T_co

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .nodes import Nodes
    from .typed import DecoratorOptions

_Q = ParamSpec("_Q")
_D = TypeVar("_D", bound=Delayed)

_MISSING: Any = object()


@overload
def delayed(*, name: str | None = None, **options: Unpack[DecoratorOptions]) -> Decorator: ...
@overload
def delayed(obj: _D) -> _D: ...  # type: ignore[overload-overlap]  # can be called, too
@overload
def delayed(
    obj: Callable[P, Coroutine[Any, Any, T]],
    name: str | None = None,
    **options: Unpack[DecoratorOptions],
) -> Function[P, T]: ...
@overload
def delayed(
    obj: Callable[P, T], name: str | None = None, **options: Unpack[DecoratorOptions]
) -> Function[P, T]: ...
@overload
def delayed(
    obj: object,
    name: str | None = None,
    pure: bool | None = None,
    nout: int | None = None,
    traverse: bool = True,
) -> Any: ...
@shortened
def delayed(
    obj: Any = _MISSING,
    name: str | None = None,
    pure: bool | None = None,
    nout: int | None = None,
    traverse: bool = True,
    *,
    target: str | Target | tuple | Mapping | None = None,
    store: type[Target] | None = None,
    save: bool = True,
    version: object = None,
    ignore: str | tuple[str, ...] | list[str] = (),
    check: str = "record",
    on_modified: str = "error",
    corrections: str | os.PathLike | None = None,
    label: str | None = None,
    expires: str | None = None,
    tracked: str | tuple[str, ...] | list[str] = "user",
    isolate: bool = False,
    retries: int = 0,
    timeout: str | float | None = None,
    **unknown: NoReturn,
) -> Any:
    """Make a function lazy, and its results cached.  A drop-in for `dask.delayed`.

    Use it as a decorator, with or without parameters, or call it.  Objects that can't be called become
    plain Dask values, as with `dask.delayed`.  Those are never cached.

    Parameters
    ----------
    obj : callable or object
        The function or object to wrap.  Without it, a decorator with the other parameters is returned.
    name, traverse
        As in `dask.delayed`.
    pure : bool, optional
        False if the function is impure.  The results of an impure function are never cached.  Default:
        Dask's config ``delayed_pure``, or True if that is not set.
    nout : int, optional
        Number of results, as in `dask.delayed`.  Default: the number of targets if they are a tuple.
    target : str, Target, or tuple or mapping of them, optional
        Path template, relative to the root.  A tuple or mapping has one for each of several results.
        Default: ``"{funcname}/{key}{ext}"``, where the return annotation chooses the suffix.
    store : subclass of Target, optional
        The target's format.  Default: the format registered for the path's suffix.
    save : bool
        False without a target: the node is not cached.  False with a target: the function writes the
        file itself, at the path that its parameter ``target_path`` receives.  With a suffix that no
        format has, the value is then the target's path, see `daskcache.FileTarget`.
    version : object, optional
        Version that stands in the key for the function's body and for the code that it reaches.  Change
        it when the code changes.  Module, qualified name, and the data in a closure or partial still
        count.
    ignore : str or sequence of str
        Names of arguments that are not part of the key.
    check : {"record", "exists", "content"}
        Evidence that a target is complete.  "record": its size and mtime agree with its record.
        "exists": the file exists, whichever program made it.  "content": as "record", and its bytes
        still have the recorded hash.
    on_modified : {"error", "adopt", "recompute"}
        Response to a target that a user edited, or to an adopted result that was made for another
        recipe.  "error": verbs raise an error before anything runs.  "adopt": the edited file is the
        result, whatever the recipe, and downstream nodes run again.  "recompute": the edited file goes
        to the root's trash, and the node runs again.
    corrections : str or os.PathLike, optional
        Path template of files that users put in place of results, relative to the root and with the
        target's suffix, e.g. ``"corrected/{image.stem}.tif"``.  A file that is new there is copied to
        the target, and adopted for the recipe that the node has then.  For another recipe, `on_modified`
        decides.  Only for functions with one target.  Not part of the key.
    label : str, optional
        Template of the display name.
    expires : str, optional
        Age after which a result is stale, e.g. ``"7 days"``.  A number without a unit means seconds.
    tracked : {"user", "function"}, or sequence of str
        The code that is part of the key.  "user": the function, and every function, class and constant
        of the user's own modules that it reaches.  "function": the function alone, with its defaults
        and its closure.  A sequence of package names: as "user", with the versions of these packages.
    isolate : bool
        True to run the body in a separate process, which dies with its worker.  This suits functions
        that hold the interpreter's lock (GIL) for long, or that crash.  Arguments and results are
        pickled on their way between the processes, and the start of a process takes a moment.  Not part
        of the key.
    retries : int
        Number of times that the function is called again after an error, on any scheduler.  Not part of
        the key.
    timeout : str or float, optional
        Longest time that a run of the function may take, e.g. ``"10 min"``; a number without a unit
        means seconds.  The function runs in a separate process, as with `isolate`, which is ended then.
        Not part of the key.
    **unknown
        Misspelt parameters, which are an error.

    Returns
    -------
    Function or Delayed
        A decorated function.  A call of it makes a `Node`; inside the body of another decorated
        function, it runs at once.  A `dask.delayed.Delayed` is returned as it is.  Dask collections and
        objects that can't be called become a plain `dask.delayed.Delayed`.

    Raises
    ------
    TemplateError
        If a template has a bad field, or `corrections` has the target's path or another suffix.
    UnsafePath
        If a target's path can't be used.
    UnknownFormat
        If no format is registered for a target's suffix, or another one than the target's class.
    GraphError
        If `check`, `on_modified`, `tracked`, `retries` or `timeout` has another value than those above.
        If it has `corrections` without a single target that is a file or folder.
        If the function has a parameter ``pure`` or ``dask_key_name``, which Dask takes for itself.
    TypeError
        If a parameter is unknown.
    ValueError
        If `nout` is not a non-negative integer.

    Examples
    --------
    >>> @dc.delayed(target="smooth/{image.stem}.tif")
    ... def smooth(image, width):
    ...     kernel = np.ones(width) / width
    ...     return np.apply_along_axis(np.convolve, 1, image, kernel, "same").astype("float32")
    >>> @dc.delayed(target="smooth/{smooth.stem}.json")
    ... def brightest(smooth):
    ...     return float(smooth.max())
    >>> dc.ImageTarget("cells.tif").write(np.eye(4, dtype="float32"), "cells.tif")
    >>> image = dc.ImageSource("cells.tif")
    >>> node = brightest(smooth(image, width=2))
    >>> node.compute()
    0.5
    >>> dc.plan(node).counts
    {'run': 0, 'decide': 0, 'blocked': 0, 'load': 1, 'skip': 1}
    """
    given = {k: v for k, v in locals().items() if k not in ("obj", "unknown")}
    if unknown:
        raise unknown_parameter(next(iter(unknown)), given)
    if obj is _MISSING:
        return functools.partial(delayed, **given)
    if isinstance(obj, Delayed):
        return obj
    if not callable(obj) or (has(type(obj), "__dask_graph__") and dask.is_dask_collection(obj)):
        return dask_delayed(obj, name, pure, nout, traverse)
    if not (nout is None or (type(nout) is int and nout >= 0)):
        raise ValueError(f"nout must be None or a non-negative integer, got {nout}")
    del given["name"], given["traverse"]
    check_parameters(obj)
    given["ignore"] = (ignore,) if isinstance(ignore, str) else tuple(ignore)
    given["tracked"] = tuple(tracked) if isinstance(tracked, list) else tracked
    return Function(Spec(obj, Options(**given)), name)


class _OwnMethod(Generic[_Q, T_co]):
    """Descriptor of a method, unless the decorated object has an attribute of its name, which wins."""

    def __init__(self, method: Callable[Concatenate[Any, _Q], T_co]):
        self._method = method

    def __get__(self, function: Any, owner: type | None = None) -> Callable[_Q, T_co]:
        name = self._method.__name__
        if function is None:
            return self._method  # type: ignore[return-value]  # called with the function
        if hasattr(function.__wrapped__, name):
            return function.__getattr__(name)  # lazy, as all attributes of a `Delayed`
        return MethodType(self._method, function)


class Function(DelayedLeaf, Generic[P, T_co]):
    # A decorated function.  It has no docstring, so that `help` and IDEs find the wrapped function's.

    __slots__ = ("__dict__", "_spec")

    def __init__(self, spec: Spec, name: str | None = None):
        super().__init__(
            spec.func,
            name or f"{spec.name}-{dask.base.tokenize(id(spec))}",
            pure=spec.options.pure,
            nout=spec.nout,
        )
        self._spec = spec
        vars(self).clear()
        for attribute in ("__module__", "__qualname__", "__annotations__"):
            if hasattr(spec.func, attribute):
                vars(self)[attribute] = getattr(spec.func, attribute)
        _teach_autoreload()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Node[T_co]:
        spec = self._spec
        if inside_body.get():  # a body gets values, not nodes
            return spec.func(*args, **kwargs)
        key: Any = None
        pure: Any = spec.options.pure
        if kwargs:  # see `OF_DASK`
            key = kwargs.pop("dask_key_name", None)
            pure = kwargs.pop("pure", pure)
        if pure is None:
            pure = dask.config.get("delayed_pure", True)
        try:
            recipe = make_recipe(spec, args, kwargs, pure)
        except Exception as error:
            shorten(error)
            raise
        node = Node(recipe, key)
        collected = made.get()
        if collected is not None:
            collected.append(node)
        return node

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type) -> Function[P, T_co]: ...
        @overload
        def __get__(
            self: Function[Concatenate[Any, _Q], T], instance: object, owner: type
        ) -> Callable[_Q, Node[T]]: ...
        def __get__(self, instance: Any, owner: Any) -> Any: ...

    @property
    def __doc__(self):
        return self._spec.func.__doc__

    @_OwnMethod
    @shortened
    def map(self, /, *args: Iterable[Any], **kwargs: Any) -> Nodes[T_co]:
        """Call the function for each item of the positional arguments.

        Keyword arguments are the same for each call, whatever they are.  Inside the body of another
        decorated function, the calls run at once, and give a list of values.

        Parameters
        ----------
        *args : sources, nodes, list, tuple, range, Series, or other iterable
            One or more, of one length.  A text, a path, an array, a frame, a single node or another
            single value is an error: it is the same for each call, and is passed by name.
        **kwargs : object
            Arguments that are the same for each call.

        Returns
        -------
        Nodes
            One node for each item, in order.

        Raises
        ------
        GraphError
            If there are no positional arguments, one has no items to map, or their lengths differ.
        TypeError
            If the arguments don't fit the function.

        Examples
        --------
        >>> @dc.delayed(target="powers/{n}_{power}.json")
        ... def power(n, power):
        ...     return n**power
        >>> power.map([1, 2, 3], power=2).compute()
        [1, 4, 9]
        >>> power.map([1, 2, 3], [3, 2, 1]).compute()
        [1, 4, 3]
        """
        return imported("daskcache.graph.mapping:map_calls")(self, args, kwargs)

    @_OwnMethod
    @shortened
    def gather(self, nodes: Any, /, *names: str, **kwargs: Any) -> Nodes[T_co]:
        """Call the function for each group of nodes, or of sources, with the same values of fields.

        It is short for ``function.map(nodes.group_by(*names).values(), **kwargs)``.  To gather all nodes
        in one call, pass them: ``function(nodes)``.

        Parameters
        ----------
        nodes : Nodes, Sources, or list of nodes
            The function's first argument gets a list of the values in a group.
        *names : str
            One or more fields.
        **kwargs : object
            Arguments that are the same for each call.

        Returns
        -------
        Nodes
            One node for each group, in the order of the values.  A node has the fields on which all
            members of its group agree.

        Raises
        ------
        GraphError
            If no field is given, or a node does not have it.
        NotANode
            If `nodes` holds something other than nodes.

        Examples
        --------
        >>> Path("raw").mkdir()
        >>> for name in ("p1_A01", "p1_B02", "p2_A01"):
        ...     _ = Path(f"raw/{name}.txt").write_text(name)
        >>> @dc.delayed(target="size/{text.plate}_{text.well}.json")
        ... def size(text):
        ...     return len(text)
        >>> @dc.delayed(target="total/{sizes.plate}.json")
        ... def total(sizes):
        ...     return sum(sizes)
        >>> sizes = size.map(dc.sources("raw/{plate}_{well}.txt"))
        >>> total.gather(sizes, "plate").compute()
        [12, 6]
        """
        return imported("daskcache.graph.mapping:gather_calls")(self, nodes, names, kwargs)

    def __repr__(self):
        return f"<daskcache function {self._spec.qualified_name}>"

    def __reduce__(self):
        return _function, (self._spec,)

    def __daskcache_encode__(self, encoder):
        version = self._spec.options.version
        func = self._spec.func
        if version is None:
            encoder.add(func)
            return
        encoder.add(("version", version, identity_of(func)))


def _function(spec):
    return Function(spec)


def _teach_autoreload():
    """Let IPython's %autoreload, if loaded, update decorated functions that were imported by name."""
    rules = getattr(sys.modules.get("IPython.extensions.autoreload"), "UPDATE_RULES", None)
    if rules is not None and _AUTORELOAD_RULE not in rules:
        rules.append(_AUTORELOAD_RULE)


_AUTORELOAD_RULE = (
    lambda old, new: isinstance(old, Function) and isinstance(new, Function),
    lambda old, new: old.__init__(new._spec, new._key),
)
