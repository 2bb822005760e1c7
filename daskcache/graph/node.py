"""`delayed` and `Node`: calls of decorated functions as lazy Dask values.

A node is a `dask.delayed.Delayed` around a `Recipe`.  It stands for the value, so its attributes are
the value's (``node.columns`` is a lazy ``value.columns``), and it adds one public name, ``node.dc``.

Dask reads a collection's graph in two ways, and a node answers each as it should:

- the verbs (``dask.compute``, ``Client.persist`` …) read ``node.dask``: that is the moment to plan, and
  what they get is the planned graph, in which finished work does not appear;
- composing (``dask.delayed(f)(node)``, ``node + 1``) reads ``node.__dask_graph__()``: it gets a lazy
  layer, which plans when the composed graph is computed in turn.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from threading import get_ident
from typing import Any

import dask
from dask._task_spec import DataNode
from dask.base import replace_name_in_key
from dask.delayed import Delayed, DelayedLeaf, single_key
from dask.delayed import delayed as dask_delayed
from dask.highlevelgraph import HighLevelGraph

from ..calls.recipe import Recipe, flatten, make_recipe, unflatten
from ..calls.spec import Options, Spec
from ..calls.state import inside_body, made
from ..targets.base import Target
from .frames import is_read_for_composing, is_sending
from .late import LateKey, lazy_graph

_MISSING: Any = object()


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
    label: str | None = None,
    expires: str | None = None,
    tracked: str | tuple[str, ...] | list[str] = "user",
    isolate: bool = False,
) -> Any:
    """Make a function lazy, and its results cached.  A drop-in for `dask.delayed`.

    Use it as a decorator, with or without parameters, or call it.  Values and objects that can't be
    called become plain Dask values, as with `dask.delayed`; they are never cached.

    Parameters
    ----------
    obj : callable or object
        What to wrap.
    name, nout, traverse
        As in `dask.delayed`.
    pure : bool, optional
        Decorated functions are pure unless this (or config ``delayed_pure``) is False; what an impure
        function returns is never cached.
    target : str, Target, or tuple or mapping of them, optional
        Path template, relative to the root.  A tuple or mapping has one for each of several results.
        Default: ``"{funcname}/{key}{ext}"``, where the return annotation chooses the suffix.
    store : subclass of Target, optional
        The format, when the suffix should not decide it.
    save : bool
        False without a target: the node is not cached.  False with a target: the function writes the
        file itself, at the path that its parameter ``target_path`` receives.
    version : object, optional
        Stands for the body of the function and all that it reaches: "I say when this changed".  Module
        and qualified name stay in the key, and so does the data that a closure or partial holds.
    ignore : str or sequence of str
        Names of arguments that are not part of the key.
    check : {"record", "exists", "content"}
        When a target counts as complete: its record and its size and mtime agree; the file is there,
        whoever made it; or its bytes still have the recorded hash.
    on_modified : {"error", "adopt", "recompute"}
        What to do about a target that a person edited, or corrected and adopted for another recipe.
        "error": verbs raise before anything runs.  "adopt": the edit stands, whatever the recipe, and
        what follows runs again.  "recompute": the edited file goes to the root's trash.
    label : str, optional
        Template of the display name.
    expires : str, optional
        Age after which a result is stale, e.g. ``"7 days"``.
    tracked : {"user", "function"}, or sequence of str
        Which code counts: the function and every function, class and constant of the user's own modules
        that it reaches; the function alone, with its defaults and its closure; or as "user", and the
        versions of these installed packages too.
    isolate : bool
        Run the body in a process of its own, which dies with its worker: for what holds the
        interpreter's lock (GIL) for long, or crashes.  Arguments and result are pickled on their way
        between the processes, and starting one takes a moment.  Not part of the key.

    Returns
    -------
    Function
        Call it to make a `Node`.  For what can't be called, a plain `dask.delayed.Delayed`.

    Raises
    ------
    TemplateError, UnsafePath, UnknownFormat
        If a target can't work.

    Examples
    --------
    >>> from scipy.ndimage import gaussian_filter                  # doctest: +SKIP
    >>> @delayed(target="denoised/{image.stem}.tif")               # doctest: +SKIP
    ... def denoise(image, sigma):
    ...     return gaussian_filter(image, sigma)
    >>> denoise(ImageSource("raw/a.tif"), sigma=2).compute()        # doctest: +SKIP
    """
    if obj is _MISSING:
        given = {k: v for k, v in locals().items() if k != "obj"}
        return functools.partial(delayed, **given)
    if isinstance(obj, Delayed):
        return obj
    if not callable(obj) or dask.is_dask_collection(obj):
        return dask_delayed(obj, name, pure, nout, traverse)
    if not (nout is None or (type(nout) is int and nout >= 0)):
        raise ValueError(f"nout must be None or a non-negative integer, got {nout}")
    options = Options(
        pure=pure,
        nout=nout,
        target=target,
        store=store,
        save=save,
        version=version,
        ignore=(ignore,) if isinstance(ignore, str) else tuple(ignore),
        check=check,
        on_modified=on_modified,
        label=label,
        expires=expires,
        tracked=tuple(tracked) if isinstance(tracked, list) else tracked,
        isolate=isolate,
    )
    return Function(Spec(obj, options), name)


class Function(DelayedLeaf):
    # A decorated function.  No docstring: `help` and IDEs shall find the wrapped function's.

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

    def __call__(self, *args, **kwargs):
        spec = self._spec
        if inside_body.get():
            return spec.func(*args, **kwargs)
        key, pure = None, spec.options.pure
        if kwargs:
            key = kwargs.pop("dask_key_name", None)
            pure = kwargs.pop("pure", pure)
        if pure is None:
            pure = dask.config.get("delayed_pure", True)
        node = Node(make_recipe(spec, args, kwargs, pure), key)
        collected = made.get()
        if collected is not None:
            collected.append(node)
        return node

    @property
    def __doc__(self):
        return self._spec.func.__doc__

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
        from ..hashing.identity import identity_of

        encoder.add(("version", version, identity_of(func)))


def _function(spec):
    return Function(spec)


def _teach_autoreload():
    """Let %autoreload, if it is in use, update decorated functions that were imported by name."""
    rules = getattr(sys.modules.get("IPython.extensions.autoreload"), "UPDATE_RULES", None)
    if rules is not None and _AUTORELOAD_RULE not in rules:
        rules.append(_AUTORELOAD_RULE)


_AUTORELOAD_RULE = (
    lambda old, new: isinstance(old, Function) and isinstance(new, Function),
    lambda old, new: old.__init__(new._spec, new._key),
)


class Node(Delayed):
    """One call of a decorated function: a lazy Dask value with a key and a target.

    Made by calling what `delayed` returns.  It computes, composes and persists like any `Delayed`;
    what daskcache knows of it is behind the accessor ``node.dc``.
    """

    __slots__ = (
        "_recipe",
        "_planned_key",  # of a computed node the key; else the key in the graph last read, by thread
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
    def dc(self):
        """What daskcache knows of this node: ``.key``, ``.target``, ``.state``, ``.why()`` …"""
        from .accessor import Accessor

        return Accessor(self._recipe)

    @property
    def dask(self):
        """The planned graph: what is left to do for this node, as of now."""
        if self._dask is not None:
            return self._dask
        from .verb import planned_graph

        if is_read_for_composing(sys._getframe(1)):
            return self.__dask_graph__()
        try:
            graph, key = planned_graph(self._recipe)
        except AttributeError as error:  # would turn `node.dask` into a lazy attribute of the value
            raise RuntimeError(f"planning {self._recipe.title} failed: {error}") from error
        self._planned_key[get_ident()] = key
        return graph

    def __dask_graph__(self):
        if self._dask is not None:
            return self._dask
        self._planned_key.pop(get_ident(), None)
        return lazy_graph(self._recipe, self._key)

    def __dask_keys__(self):
        return [self._key_here()]

    def _key_here(self):
        """Key of the value in the graph that this thread read last."""
        planned = self._planned_key
        return planned.get(get_ident(), self._key) if type(planned) is dict else planned

    def compute(self, **kwargs):
        """Compute the value; if it is complete, read it here without any task.

        Parameters
        ----------
        **kwargs
            As in `dask.compute`.
        """
        from .verb import compute

        return compute((self,), **kwargs)[0]

    def __dask_tokenize__(self):
        return self._planned_key if self._dask is not None else self._recipe.identity

    def __dask_postcompute__(self):
        return single_key, ()

    def __dask_postpersist__(self):
        return _computed, (self._recipe, self._key_here())

    def __repr__(self):
        return f"Node({self._recipe.title!r})"

    def __reduce__(self):
        from .verb import sent_graph

        if self._dask is not None:
            return _computed_again, (self._dask, flatten(self._recipe), self._planned_key)
        if is_sending():  # inside an expression of a data frame, say, where it could not plan any more
            graph, key = sent_graph(self._recipe)
            return Delayed, (key, graph, self._length)
        return _node, (flatten(self._recipe), str(self._key))

    def __daskcache_path__(self):
        return self._recipe.__daskcache_path__()

    def __daskcache_encode__(self, encoder):
        encoder.add_stand_in(self._recipe.key)


def holding(node: Node, value: Any) -> Node:
    """A node that has its value, as `persist` would give it."""
    key = str(node._key)
    return _computed({key: DataNode(key, value)}, node._recipe, key)


def _node(flat, key):
    return Node(unflatten(flat), key)


def _computed_again(graph, flat, key):
    return _computed(graph, unflatten(flat), key)


def _computed(graph, recipe, key, rename=None):
    """The node with its graph replaced: by futures, by values (persist), or by tasks (optimize)."""
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


# `Delayed.__setattr__` is written in Python; nodes are made by the hundred thousand.
_set_key = vars(Delayed)["_key"].__set__
_set_dask = vars(Delayed)["_dask"].__set__
_set_length = vars(Delayed)["_length"].__set__
_set_layer = vars(Delayed)["_layer"].__set__
_set_recipe = vars(Node)["_recipe"].__set__
_set_planned_key = vars(Node)["_planned_key"].__set__
