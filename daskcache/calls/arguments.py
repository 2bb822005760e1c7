"""`make_recipe`: from the arguments of a call to its recipe.

Nodes, futures, sources and Dask collections in the arguments stand for data.  `_Upstream` collects them
as parents, and puts references in their place.  `graph.function` and `prefect` make recipes here.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import operator
import os
import pathlib
import uuid
import warnings

import dask
from dask._task_spec import TaskRef
from dask.delayed import Delayed
from dask.delayed import delayed as dask_delayed

from .. import config
from ..errors import (
    DaskcacheError,
    DaskcacheWarning,
    GraphError,
    TemplateError,
    UnhashableArgument,
    did_you_mean,
)
from ..hashing.collections import collection_hash
from ..hashing.encoder import canonical_order, digest
from ..hashing.names import has
from ..printable import printable
from ..storage import roots
from ..targets.fields import agreed
from ..targets.source import Source
from ..targets.template import ATTRIBUTES, context
from .containers import taken_apart, values_in
from .options import check_correction, check_suffixes
from .recipe import SCALARS, DaskInput, Recipe, Ref, SourceInput, _same, combine, recipes_in
from .spec import Spec, name_error
from .state import OUTSIDE, variant_block


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
    except TypeError as error:
        if inspect.isfunction(spec.func):
            raise _misfit(spec, kwargs, error) from None
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
    parents = upstream.parents()
    key = combine(static, [p.key if isinstance(p, Recipe) else p.identity for p in parents])
    lookup = functools.partial(_field, spec, values, key)
    field_of = functools.partial(_found_field, spec, values, bound, parents)
    label = printable(spec.label.fill(lookup, field_of)) if spec.label else ""
    paths = tuple([template.fill(lookup, field_of) for template in spec.templates]) if pure else ()
    if spec.ends_in_field and spec.options.target is not None:
        check_suffixes(spec.options, paths)
    correction = spec.correction.fill(lookup, field_of) if paths and spec.correction else ""
    if correction:
        check_correction(correction, paths[0])
    taint = _taint(parents) if pure else uuid.uuid4().hex
    base: tuple[str, ...] = ()
    if paths and (variant_block.get() is not OUTSIDE or config.get("variant") is not None):
        paths, base = _in_variant(key + taint, paths, spec.formats)
        if base and correction:
            correction = paths[0].removesuffix(base[0]) + correction
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
        base,
        correction,
        parts=code.parts,
    )


def _in_variant(key, paths, formats):
    """Return a node's paths in the variant in force, and those of the base; () for these in the base."""
    from .variants import folder_for, paths_in_variant  # most programs have no variants

    folder = folder_for(key)
    return (paths, ()) if folder is None else (paths_in_variant(folder, paths, formats), paths)


def _misfit(spec, kwargs, error):
    """Return the error for arguments that don't fit, with the names of function and argument."""
    names, takes_any = spec.signature.names, inspect.Parameter.VAR_KEYWORD in spec.signature.kinds
    unknown = [name for name in kwargs if name not in names and not takes_any]
    if not unknown:
        return TypeError(f"{spec.name}(): {error}")
    question = did_you_mean(unknown[0], names)
    return TypeError(
        f"{spec.name}() got an unexpected keyword argument {unknown[0]!r}: "
        + (question or f"it takes {', '.join(names) or 'none'}")
    )


def _taint(parents):
    """Return a text that tells what follows from impure nodes apart, as those are; else nothing."""
    taints = [recipe.taint for recipe in recipes_in(parents)]
    return digest("|".join(taints).encode()) if any(taints) else ""


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


def _found_field(spec, values, bound, parents, name, attribute):
    """Return a field, found by a pattern, of an argument's inputs; raise TemplateError without one."""
    if name in spec.signature.names:
        position = spec.signature.names.index(name)
        value = values[position]
        refs = [found.ordinal for found in values_in(bound[position]) if type(found) is Ref]
        inputs = [parents[ordinal] for ordinal in dict.fromkeys(refs)]
    else:
        value = context[name]
        inputs = [value._recipe] if has(type(value), "_recipe") else []
    if isinstance(value, Source):  # an equal one, under another pattern, may have the same reference
        inputs = [SourceInput(value, "", "")]
    fields = agreed([item.fields for item in inputs])
    try:
        return fields[attribute]
    except KeyError:
        raise _no_field(name, attribute, inputs, fields) from None


def _no_field(name, attribute, inputs, fields):
    made_from = [before for item in inputs if isinstance(item, Recipe) for before in item.upstream]
    values = dict.fromkeys(
        value
        for item in (*inputs, *made_from)
        if isinstance(item, SourceInput | Recipe)
        for value in _values(item, attribute)
    )
    if len(values) > 1:
        shown = ", ".join(map(repr, itertools.islice(values, 3)))
        agreeing = f", or use a field on which they agree: {', '.join(fields)}" if fields else ""
        return TemplateError(
            f"the files that {name} is made from differ in {attribute}",
            expected="one value",
            got=f"{shown} and {len(values) - 3} more" if len(values) > 3 else shown,
            hint=f'make a node for each: sources.group_by("{attribute}"){agreeing}',
        )
    known = [*ATTRIBUTES, *fields]
    return TemplateError(
        f"{name} has no field {attribute!r}",
        expected=f"one of .{', .'.join(known)}",
        hint=did_you_mean(attribute, known)
        or f'find the files with daskcache.sources("…{{{attribute}}}…"), or pass {attribute} as an '
        "argument if the result depends on it",
    )


def _values(item, attribute):
    """Return the values that the files of a direct input have for a field."""
    if isinstance(item, SourceInput):
        return item.source.__daskcache_values__(attribute)
    return [item.fields[attribute]] if attribute in item.fields else []


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
        if isinstance(value, (str, pathlib.Path)) and os.path.isfile(value):
            spec.hints_left = 0
            warnings.warn(
                f"the argument {name!r} of {spec.name}() is the path of an existing file, whose "
                f"content does not count: daskcache.FileSource({str(value)!r}) would track it",
                DaskcacheWarning,
                stacklevel=5,
            )


class _Upstream:
    """Collect the stand-ins for data in arguments, and put references in their place.

    Stand-ins are nodes, futures, sources and Dask collections.  Equal ones get the same reference.
    """

    def __init__(self):
        self._found: list = []
        self._refs: dict[str, Ref] = {}

    def substitute(self, value):
        """Return `value` with references in place of stand-ins; the same object if it holds none.

        Containers, named tuples and dataclasses are searched at any depth.  Iterators over lists, tuples
        and sets become lists, tuples and sets.
        """
        typ = type(value)
        if typ in SCALARS:
            return value
        # stand-ins come first, and nodes before other Dask collections, because they are both
        if has(typ, "_recipe"):
            return self._refer_to_node(value)
        if isinstance(value, TaskRef):  # a future, whose value only a task of Dask gets
            return self._refer(f"future {value.key}", dask_delayed(_same, pure=True)(value))
        if isinstance(value, Source):  # read now: the key depends on the content
            content_hash = value.content_hash()
            identity = value.identify(content_hash)
            return self._refer(f"{value.path}:{identity}", SourceInput(value, identity, content_hash))
        if has(typ, "_spec"):
            return value._spec.func  # a decorated function as an argument is that function
        if has(typ, "__daskcache_nodes__"):  # `Nodes` stand for a list of nodes
            value = value.__daskcache_nodes__()
        elif has(typ, "__dask_graph__") and dask.is_dask_collection(value):
            return self._refer(f"collection {id(value)}", value)
        if typ in _ITERATORS:  # read now: the key, the body and a retry of it all need the items
            value = _ITERATORS[typ](value)
        parts, rebuild = taken_apart(value)
        if isinstance(parts, (set, frozenset)):
            # references are numbered as they are met, so the order must not depend on the process
            parts = canonical_order(parts)
        replaced = [self.substitute(part) for part in parts]
        if all(map(operator.is_, parts, replaced)):
            return value  # it holds no stand-in, and is not copied: it may be large
        try:
            return rebuild(replaced)
        except (TypeError, ValueError) as error:
            raise GraphError(
                f"can't put data in place of the nodes in a {typ.__name__}: {error}",
                hint="pass the nodes as arguments of their own",
            ) from error

    def parents(self) -> tuple:
        """Return the parents to which the references refer, in order."""
        if all(isinstance(item, _PARENTS) for item in self._found):
            return tuple(self._found)
        collections = [item for item in self._found if not isinstance(item, (*_PARENTS, Delayed))]
        delayed = dict(zip(map(id, collections), _delayed_jointly(collections), strict=True))
        return tuple(
            [
                item if isinstance(item, _PARENTS) else _dask_input(item, delayed.get(id(item), item))
                for item in self._found
            ]
        )

    def _refer_to_node(self, node):
        recipe = node._recipe
        if node._dask is not None and not recipe.paths:  # its value exists only where it was persisted
            value = Delayed(node._key, node._dask)
            held = DaskInput(value, recipe.key + recipe.taint, (), recipe.fields)
            return self._refer(f"held {node._key}", held)
        ref = self._refer(recipe.identity, recipe)
        first = self._found[ref.ordinal]
        if first is not recipe and first.fields != recipe.fields:  # in two combinations of a sweep
            self._found[ref.ordinal] = first.in_common(recipe)
        return ref

    def _refer(self, identity, item):
        if identity not in self._refs:
            self._refs[identity] = Ref(len(self._found))
            self._found.append(item)
        return self._refs[identity]


_PARENTS = Recipe, SourceInput, DaskInput

_ITERATORS: dict[type, type] = {type(iter([])): list, type(iter(())): tuple, type(iter(set())): set}


def _delayed_jointly(collections):
    """Return plain Dask values of collections, optimised together as Dask does within one call."""
    if len(collections) < 2:
        return [dask_delayed(collection) for collection in collections]
    together = dask_delayed(collections)
    return [together[i] for i in range(len(collections))]


def _dask_input(collection, delayed):
    found: dict[str, Recipe] = {}
    for layer in getattr(delayed.__dask_graph__(), "layers", {}).values():
        for part in [layer] if hasattr(layer, "recipes") else layer.values():
            found.update((recipe.identity, recipe) for recipe in getattr(part, "recipes", ()))
    recipes = tuple(found.values())
    fields = agreed([recipe.fields for recipe in recipes])
    return DaskInput(delayed, collection_hash(collection), recipes, fields)
