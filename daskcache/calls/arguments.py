"""`make_recipe`: from the arguments of a call to its recipe.

Nodes, futures, sources and Dask collections in the arguments stand for data.  `_Upstream` collects them
as parents, and puts references in their place.  `graph.node` and `prefect` make recipes here.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
import os
import pathlib
import uuid
import warnings
from typing import Any

import dask
from dask._task_spec import TaskRef
from dask.delayed import Delayed
from dask.delayed import delayed as dask_delayed
from dask.utils import is_namedtuple_instance

from .. import config
from ..errors import DaskcacheError, DaskcacheWarning, GraphError, UnhashableArgument
from ..hashing.collections import collection_hash
from ..hashing.encoder import canonical_order, digest
from ..storage import roots
from ..targets.source import Source
from ..targets.context import context
from .recipe import SCALARS, DaskInput, Recipe, Ref, SourceInput, _same, combine
from .spec import Spec, name_error


def make_recipe(spec: Spec, args: tuple, kwargs: dict, pure: bool) -> Recipe:
    """Make the recipe of a call.

    Parameters
    ----------
    spec : Spec
        The function.
    args : tuple
    kwargs : dict
    pure : bool
        False to give this recipe a taint, so that it equals no other recipe, and to cache nothing.

    Raises
    ------
    TypeError
        If the arguments don't fit the function.
    UnhashableArgument, SourceMissing
        If a key can't be made from the arguments.
    TemplateError, UnsafePath
        If the arguments don't give a path.
    """
    try:
        return _make_recipe(spec, args, kwargs, pure)
    except RecursionError:
        raise UnhashableArgument(
            "an argument is cyclic or nested too deeply",
            node=spec.name,
            hint="pass a flatter value",
        ) from None
    except DaskcacheError as error:
        targets = ", ".join(target.path for target in spec.formats)
        name_error(error, spec.name, targets or None)
        raise


def _make_recipe(spec, args, kwargs, pure):
    try:
        values = spec.signature.bind(args, kwargs)
    except TypeError:
        if inspect.isfunction(spec.func):
            raise
        spec = spec.unsigned  # a call of another callable fails when it runs, as in Dask
        values = spec.signature.bind(args, kwargs)
    upstream = _Upstream()
    bound = values
    # the usual call of plain scalars holds nothing to replace
    if not SCALARS.issuperset(map(type, values)):
        bound = tuple([upstream.substitute(value) for value in values])
    if spec.hints_left:
        spec.hints_left -= 1
        _hint_at_plain_paths(spec, values)
    code = spec.code(glance=True)
    static = spec.static_hash(bound, code.fingerprint)
    parents = upstream.finish()
    key = combine(static, upstream.identities())
    taint = upstream.taint()
    if not pure:
        taint = uuid.uuid4().hex
    cached = pure and bool(spec.formats)
    label = ""
    paths: tuple[str, ...] = ()
    if cached or spec.label:
        lookup = functools.partial(_field, spec, values, key)
        label = spec.label.fill(lookup) if spec.label else ""
        if cached:
            paths = tuple([template.fill(lookup) for template in spec.templates])
    return Recipe(
        spec,
        bound,
        parents,
        static,
        key,
        taint,
        paths,
        _root(),
        label,
        dask.get_annotations(),
        code.fingerprint,
        code.parts,
    )


def _field(spec, values, key, name):
    """Return the value of a template's field: key, function name, argument or context variable."""
    if name == "key":
        return key
    if name == "funcname":
        return spec.name
    try:
        return values[spec.signature.names.index(name)]
    except ValueError:
        return context[name]


def _root():
    configured = config.get("root")
    return _absolute_root(configured, "" if os.path.isabs(configured) else os.getcwd())


# a relative root depends on the current folder, so the folder is part of the cache's key
@functools.lru_cache(maxsize=256)
def _absolute_root(configured, _current_folder):
    return roots.local_root(configured)


def _hint_at_plain_paths(spec, values):
    """Warn, in one call per function, that a plain path to an existing file is not tracked."""
    for name, value in zip(spec.signature.names, values, strict=True):
        if isinstance(value, (str, pathlib.Path)) and _is_existing_file(value):
            spec.hints_left = 0
            warnings.warn(
                f"the argument {name!r} of {spec.name}() is the path of an existing file, whose "
                f"content does not count: daskcache.FileSource({str(value)!r}) would track it",
                DaskcacheWarning,
                stacklevel=5,
            )


def _is_existing_file(path):
    try:
        return os.path.isfile(path)
    except ValueError:  # a text with a NUL character
        return False


class _Upstream:
    """Collect the stand-ins for data in arguments, and put references in their place.

    Stand-ins are nodes, futures, sources and Dask collections.  Equal ones get the same reference.
    """

    def __init__(self):
        self.found: dict[str, tuple[int, Any]] = {}
        self.collections: list = []

    def substitute(self, value):
        """Return `value` with references in place of stand-ins; the same object if it holds none.

        Containers, named tuples and dataclasses are searched at any depth.  Iterators over lists, tuples
        and sets become lists, tuples and sets.
        """
        typ = type(value)
        if typ in SCALARS:
            return value
        if hasattr(typ, "_recipe"):
            return self._refer_to_node(value)
        if isinstance(value, TaskRef):  # a future
            return self._refer(f"future {value.key}", dask_delayed(_same, pure=True)(value))
        if isinstance(value, Source):  # read now: the key depends on the content
            content_hash = value.content_hash()
            identity = value.identify(content_hash)
            return self._refer(f"{value.path}:{identity}", SourceInput(value, identity, content_hash))
        if hasattr(typ, "_spec"):
            return value._spec.func  # a decorated function as an argument is that function
        if hasattr(typ, "__dask_graph__") and dask.is_dask_collection(value):
            return self._refer(f"collection {id(value)}", value)
        if typ in _ITERATORS:
            value = _ITERATORS[typ](value)
            typ = type(value)
        if typ in (list, tuple):
            return self._unless_same(value, typ([self.substitute(item) for item in value]))
        if typ in (set, frozenset):
            # references are numbered as they are met, so the order must not depend on the process
            items = {self.substitute(item) for item in canonical_order(value)}
            return typ(items) if items != value else value
        if typ is dict:
            return self._substitute_dict(value)
        if typ is slice:
            bounds = value.start, value.stop, value.step
            replaced = self._unless_same(bounds, tuple([self.substitute(b) for b in bounds]))
            return value if replaced is bounds else slice(*replaced)
        if is_namedtuple_instance(value):
            items = tuple([self.substitute(item) for item in value])
            return value if self._unless_same(tuple(value), items) is not items else typ(*items)
        if dataclasses.is_dataclass(typ):
            return self._substitute_dataclass(value)
        return value

    def finish(self) -> tuple:
        """Return the parents to which the references refer, in order."""
        joint = _joint(
            [item for _, item in self.found.values() if not isinstance(item, (*_PARENTS, Delayed))]
        )
        self.parents = tuple(
            [
                item if isinstance(item, _PARENTS) else _dask_input(item, joint)
                for _, item in self.found.values()
            ]
        )
        return self.parents

    def identities(self) -> list[str]:
        return [p.key if isinstance(p, Recipe) else p.identity for p in self.parents]

    def taint(self) -> str:
        taints = [p.taint for p in self.parents if isinstance(p, Recipe)]
        for parent in self.parents:
            if isinstance(parent, DaskInput):
                taints += [recipe.taint for recipe in parent.recipes]
        return digest("|".join(taints).encode()) if any(taints) else ""

    def _refer_to_node(self, node):
        recipe = node._recipe
        if node._dask is not None and not recipe.paths:  # its value exists only where it was persisted
            held = DaskInput(Delayed(node._key, node._dask), recipe.key + recipe.taint, ())
            return self._refer(f"held {node._key}", held)
        return self._refer(recipe.identity, recipe)

    def _refer(self, identity, item):
        known = self.found.get(identity)
        if known is None:
            known = self.found[identity] = len(self.found), item
        return Ref(known[0])

    def _unless_same(self, old, new):
        return old if all(map(operator.is_, old, new)) else new

    def _substitute_dict(self, value):
        replaced = {self.substitute(key): self.substitute(item) for key, item in value.items()}
        is_same = all(map(operator.is_, replaced, value))
        is_same = is_same and all(map(operator.is_, replaced.values(), value.values()))
        return value if is_same else replaced

    def _substitute_dataclass(self, value):
        names = [f.name for f in dataclasses.fields(value) if hasattr(value, f.name)]
        old = [getattr(value, name) for name in names]
        new = [self.substitute(item) for item in old]
        if self._unless_same(old, new) is old:
            return value
        try:
            return dataclasses.replace(value, **dict(zip(names, new, strict=True)))
        except (TypeError, ValueError) as error:
            raise GraphError(
                f"can't put data in place of the nodes in a {type(value).__name__}: {error}",
                hint="pass the nodes as arguments of their own",
            ) from error


_PARENTS = Recipe, SourceInput, DaskInput

_ITERATORS: dict[type, type] = {type(iter([])): list, type(iter(())): tuple, type(iter(set())): set}


def _joint(collections):
    """Return plain Dask values by collection id, optimised together as Dask does within one call."""
    if len(collections) < 2:
        return {id(c): dask_delayed(c) for c in collections}
    together = dask_delayed(collections)
    return {id(c): together[i] for i, c in enumerate(collections)}


def _dask_input(collection, joint):
    delayed = collection if isinstance(collection, Delayed) else joint[id(collection)]
    found: dict[str, Recipe] = {}
    for layer in getattr(delayed.__dask_graph__(), "layers", {}).values():
        for part in [layer] if hasattr(layer, "recipes") else layer.values():
            found.update((recipe.identity, recipe) for recipe in getattr(part, "recipes", ()))
    return DaskInput(delayed, collection_hash(collection), tuple(found.values()))
