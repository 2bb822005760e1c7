"""`Recipe`: one call of a decorated function, with its arguments, parents, key and target paths.

A recipe is plain data.  Users hold the `graph.node.Node` around it, and `spec` describes its function.
`planning`, `graph` and `runtime` work on recipes.

A recipe's key and its trace are made by the same formula from its *static* hash.  The static hash covers
the code and the arguments, in which each parent counts by its place only.  Together with the parents'
keys it gives the key.  Together with the parents' data hashes it gives the trace.
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
from collections.abc import Iterator
from typing import Any, NamedTuple

import dask
from dask._task_spec import TaskRef
from dask.delayed import Delayed
from dask.delayed import delayed as dask_delayed
from dask.utils import is_namedtuple_instance

from .. import config
from ..errors import (
    ArgumentChanged,
    DaskcacheError,
    DaskcacheWarning,
    GraphError,
    SourceMissing,
    TemplateError,
    UnhashableArgument,
)
from ..hashing.changes import code_changes
from ..hashing.collections import collection_hash
from ..hashing.encoder import canonical_order, digest
from ..storage import code_store, roots
from ..storage.roots import Root
from ..targets.base import Target
from ..targets.context import context
from ..targets.source import Source
from .spec import SCALARS, Code, Spec, all_scalars, name_error


class Recipe:
    """One call of a decorated function.

    Attributes
    ----------
    spec : Spec
        The function.
    values : tuple
        One value for each parameter.  A `Ref` replaces each argument that stands for data.
    upstream : tuple of Recipe, SourceInput or DaskInput
        The parents, to which the `Ref` in `values` refer.
    static : str
        Hash of code and arguments without the parents.
    key : str
        Hash of the recipe: 32 hex digits.
    taint : str
        Text that tells equal recipes apart if they are impure or follow from impure ones; else empty.
    paths : tuple of str
        Paths of the targets, from the root; empty if nothing is cached.
    root : str
        Absolute path of the root.
    label : str
        Display name.
    annotations : dict
        Dask annotations in force when the node was made.
    code : str
        Fingerprint of the code.
    parts : list of Part, or None
        What the code consisted of when the node was made; None if the recipe came from another process.
    """

    __slots__ = (
        "spec",
        "values",
        "upstream",
        "static",
        "key",
        "taint",
        "paths",
        "root",
        "label",
        "annotations",
        "code",
        "parts",
        "identity",
        "mutable",
        "__weakref__",
    )

    def __init__(
        self,
        spec,
        values,
        upstream,
        static,
        key,
        taint,
        paths,
        root,
        label,
        annotations,
        code,
        parts=None,
    ):
        self.spec = spec
        self.values = values
        self.upstream = upstream
        self.static = static
        self.key = key
        self.taint = taint
        self.paths = paths
        self.root = root
        self.label = label
        self.annotations = annotations
        self.code = code
        self.parts = parts
        #: Text that tells this recipe and its place from all others in this process.
        self.identity = f"{key}{taint}{root}/{paths[0]}" if paths else key + taint
        #: True if an argument could be modified after the node was made.
        self.mutable = not all(map(_IMMUTABLE.__contains__, map(type, values)))

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def title(self) -> str:
        """Display name of the node."""
        return title_of(self.label, self.spec, self.paths, self.key)

    @property
    def targets(self) -> tuple[Target, ...]:
        formats = self.spec.formats
        return tuple(f.at(path) for f, path in zip(formats, self.paths, strict=True))

    def trace(self, data_hashes: list[str]) -> str:
        """Return the hash of the code, the arguments and the data that the parents hold."""
        return combine(self.static, data_hashes)

    def check_code(self, now: Code) -> None:
        """Raise `ArgumentChanged` if the code changed after the key was made."""
        if now.fingerprint == self.code:
            return
        own = getattr(self.spec.func, "__qualname__", "")
        changes = code_changes(self.parts or [], now.parts, own)
        raise ArgumentChanged(
            f"the code of {self.name}(), or what it uses, changed after the node was made",
            node=self.title,
            target=", ".join(self.paths) or None,
            got="\n".join(changes) or None,
            hint="make the node again: its key depends on the code",
        )

    def keep_code(self) -> None:
        """Store the code's parts in the root, for users and for workers."""
        if self.parts is None:  # from another process, which has stored them
            return
        now = self.spec.code(glance=True)
        reach = now.reach if now.fingerprint == self.code else None
        function = self.spec.qualified_name
        code_store.remember(Root(self.root), self.code, function, self.parts, reach)

    def revalidate(self) -> None:
        """Raise `ArgumentChanged` if an argument or source changed after the key was made.

        Raise `SourceMissing` if a source is gone.
        """
        for parent in self.upstream:
            if isinstance(parent, SourceInput):
                self._revalidate_source(parent)
        if self.mutable and self.spec.static_hash(self.values, self.code) != self.static:
            raise ArgumentChanged(
                f"an argument of {self.name}() changed after the node was made",
                node=self.title,
                target=", ".join(self.paths) or None,
                hint="make the node again, from values that are not modified in place",
            )

    def _revalidate_source(self, parent):
        try:
            current = parent.source.identity()
        except SourceMissing as error:
            error.node, error.target = self.title, ", ".join(self.paths) or None
            raise
        if current != parent.identity:
            raise ArgumentChanged(
                f"the source {parent.source.path} changed after the node was made",
                node=self.title,
                target=", ".join(self.paths) or None,
                expected=parent.identity,
                got=current,
                hint="make the nodes again: their keys depend on the source's content",
            )

    def __daskcache_path__(self):
        if not self.paths:
            raise TemplateError(f"a template refers to the path of {self.name}(), which has no target")
        return self.paths[0]


def flatten(recipe: Recipe) -> list[tuple]:
    """Return a recipe and all recipes before it as a flat list, parents first.

    Pickling such a list does not recurse.  Pickling a long chain of recipes would recurse too deep.
    """
    positions: dict[int, int] = {}
    flat: list[tuple] = []
    stack = [recipe]
    while stack:
        current = stack[-1]
        unseen = [r for r in recipes_before(current) if id(r) not in positions]
        if unseen:
            stack += unseen
            continue
        stack.pop()
        if id(current) not in positions:
            positions[id(current)] = len(flat)
            upstream = [_to_positions(item, positions) for item in current.upstream]
            state = [getattr(current, name) for name in _STATE]
            flat.append((current.spec, current.values, upstream, *state))
    return flat


def unflatten(flat: list[tuple]) -> Recipe:
    """Return the recipe that `flatten` took apart."""
    recipes: list[Recipe] = []
    for spec, values, upstream, *state in flat:
        parents = tuple([_from_positions(item, recipes) for item in upstream])
        recipes.append(Recipe(spec, values, parents, *state))
    return recipes[-1]


_STATE = ("static", "key", "taint", "paths", "root", "label", "annotations", "code")


def _to_positions(item, positions):
    if isinstance(item, Recipe):
        return positions[id(item)]
    if isinstance(item, DaskInput):
        return item._replace(recipes=[positions[id(r)] for r in item.recipes])
    return item


def _from_positions(item, recipes):
    if isinstance(item, int):
        return recipes[item]
    if isinstance(item, DaskInput):
        return item._replace(recipes=tuple(recipes[position] for position in item.recipes))
    return item


def recipes_before(recipe: Recipe) -> Iterator[Recipe]:
    """Yield the recipes that a recipe is made from, directly or inside plain Dask values."""
    for item in recipe.upstream:
        if isinstance(item, Recipe):
            yield item
        elif isinstance(item, DaskInput):
            yield from item.recipes


class Ref:
    """Reference in the arguments to one of the parents, by its place in `Recipe.upstream`."""

    __slots__ = ("ordinal",)

    def __init__(self, ordinal: int):
        self.ordinal = ordinal

    def __daskcache_encode__(self, encoder):
        encoder.parts.append(b"@%d;" % self.ordinal)

    def __eq__(self, other):
        return type(other) is Ref and other.ordinal == self.ordinal

    def __hash__(self):
        return hash(("Ref", self.ordinal))

    def __reduce__(self):
        return Ref, (self.ordinal,)

    def __repr__(self):
        return f"<upstream {self.ordinal}>"


class SourceInput(NamedTuple):
    """A source as it was when the node was made."""

    source: Source
    identity: str
    content_hash: str


class DaskInput(NamedTuple):
    """A plain Dask value, and the recipes that its graph was composed from."""

    delayed: Delayed
    identity: str
    recipes: tuple[Recipe, ...]


_PARENTS = Recipe, SourceInput, DaskInput


def combine(static: str, identities: list[str]) -> str:
    """Return a key or trace: the static hash combined with the parents' keys or data hashes."""
    if not identities:
        return static
    return digest(f"{static}|{'|'.join(identities)}".encode("utf-8", "surrogatepass"))


def _same(value):
    return value


def title_of(label: str, spec: Spec, paths: tuple[str, ...], key: str) -> str:
    """Return a node's display name: its label, or its function and first target."""
    return label or f"{spec.name}({paths[0] if paths else key[:8]})"


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
    if not all_scalars(values):  # the usual call of plain scalars holds nothing to replace
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


_IMMUTABLE = SCALARS | {Ref}

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
