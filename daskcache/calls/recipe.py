"""`Recipe`: one call of a decorated function, with its arguments, parents, key and target paths.

A recipe is plain data, which `arguments` makes.  Users hold the `graph.node.Node` around it, and `spec`
describes its function.  `planning`, `graph` and `runtime` work on recipes.

A recipe's key and its trace are made by the same formula from its *static* hash.  The static hash covers
the code and the arguments, in which each parent counts by its place only.  Together with the parents'
keys it gives the key.  Together with the parents' data hashes it gives the trace.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dask.delayed import Delayed

from ..errors import ArgumentChanged, SourceMissing, TemplateError
from ..hashing.changes import Part, code_changes
from ..hashing.encoder import digest
from ..storage import code_store
from ..storage.roots import Root
from ..targets.base import Target
from ..targets.fields import NONE, Fields, agreed
from ..targets.source import Source
from .spec import Code, Spec


@dataclasses.dataclass(slots=True, weakref_slot=True, eq=False, repr=False)
class Recipe:
    """One call of a decorated function."""

    spec: Spec
    #: One value for each parameter.  A `Ref` replaces each argument that stands for data.
    values: tuple
    #: The parents, to which the `Ref` in `values` refer.
    upstream: tuple[Recipe | SourceInput | DaskInput, ...]
    #: Hash of code and arguments without the parents.
    static: str
    #: Hash of the recipe: 32 hex digits.
    key: str
    #: Text that tells equal recipes apart if they are impure or follow from impure ones; else empty.
    taint: str
    #: Paths of the targets, from the root; empty if nothing is cached.
    paths: tuple[str, ...]
    #: Absolute path of the root.
    root: str
    #: Display name.
    label: str
    #: Dask annotations in force when the node was made.
    annotations: dict
    #: Fingerprint of the code.
    code: str
    #: Of a node in a variant, the paths of the base's targets; else empty.
    base: tuple[str, ...] = ()
    #: Path, from the root, of the file that a user may put in place of the result; else empty.
    correction: str = ""
    #: Fields that a sweep gave to one of its results, besides those of the files.
    given: Fields = dataclasses.field(default_factory=lambda: NONE)
    #: The code's parts when the node was made; None if the recipe came from another process.
    parts: list[Part] | None = None
    #: Text that tells this recipe and its place from all others in this process.
    identity: str = dataclasses.field(init=False)
    #: True if an argument could be modified after the node was made.
    mutable: bool = dataclasses.field(init=False)
    #: The given fields, and those of the files that this is made from, on which its direct inputs agree.
    fields: Fields = dataclasses.field(init=False)

    def __post_init__(self):
        self.identity = self.key + self.taint + (f"{self.root}/{self.paths[0]}" if self.paths else "")
        self.mutable = not _IMMUTABLE.issuperset(map(type, self.values))
        self.fields = agreed([parent.fields for parent in self.upstream]) if self.upstream else NONE
        if self.given:
            self.fields = {**self.given, **self.fields}

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

    def at_base(self) -> Recipe:
        """Return the recipe of the base's node that equals this one of a variant."""
        folder = self.paths[0].removesuffix(self.base[0])
        correction = self.correction.removeprefix(folder)
        return dataclasses.replace(self, paths=self.base, base=(), correction=correction)

    def in_common(self, other: Recipe) -> Recipe:
        """Return this recipe with those given fields that it has in common with an equal one."""
        given = {k: v for k, v in self.given.items() if other.given.get(k) == v}
        return dataclasses.replace(self, given=given)

    def trace(self, data_hashes: list[str]) -> str:
        """Return the hash of the code, the arguments and the data that the parents hold."""
        return combine(self.static, data_hashes)

    def check_code(self, now: Code) -> None:
        """Raise `ArgumentChanged` if the code changed after the key was made."""
        if now.fingerprint != self.code:
            own = getattr(self.spec.func, "__qualname__", "")
            raise self._changed(
                f"the code of {self.name}(), or what it uses,",
                "make the node again: its key depends on the code",
                got="\n".join(code_changes(self.parts or [], now.parts, own)) or None,
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
            raise self._changed(
                f"an argument of {self.name}()",
                "make the node again, from values that are not modified in place",
            )

    def _revalidate_source(self, parent):
        try:
            current = parent.source.identity()
        except SourceMissing as error:
            error.node, error.target = self.title, ", ".join(self.paths) or None
            raise
        if current != parent.identity:
            raise self._changed(
                f"the source {parent.source.path}",
                "make the nodes again: their keys depend on the source's content",
                expected=parent.identity,
                got=current,
            )

    def _changed(self, what, hint, **found):
        return ArgumentChanged(
            f"{what} changed after the node was made",
            node=self.title,
            target=", ".join(self.paths) or None,
            hint=hint,
            **found,
        )

    def __daskcache_path__(self):
        if not self.paths:
            raise TemplateError(f"a template refers to the path of {self.name}(), which has no target")
        return (self.base or self.paths)[0]  # so that both places follow from one template


def flatten(recipe: Recipe) -> list[tuple]:
    """Return a recipe and all recipes before it as a flat list, parents first.

    Pickling such a list does not recurse.  Pickling a long chain of recipes would recurse too deep.
    """
    return flatten_all([recipe])[0]


def flatten_all(recipes: list[Recipe]) -> tuple[list[tuple], list[int]]:
    """Return recipes and all recipes before them as `flatten` does, and the places of the former."""
    positions: dict[int, int] = {}
    flat: list[tuple] = []
    stack = list(reversed(recipes))
    while stack:
        current = stack[-1]
        unseen = [r for r in recipes_before(current) if id(r) not in positions]
        if unseen:
            stack += unseen
            continue
        stack.pop()
        if id(current) not in positions:
            positions[id(current)] = len(flat)
            upstream = [_with(item, lambda recipe: positions[id(recipe)]) for item in current.upstream]
            state = [getattr(current, name) for name in _STATE]
            flat.append((current.spec, current.values, upstream, *state))
    return flat, [positions[id(recipe)] for recipe in recipes]


def unflatten(flat: list[tuple]) -> Recipe:
    """Return the recipe that `flatten` took apart."""
    return unflatten_all(flat)[-1]


def unflatten_all(flat: list[tuple]) -> list[Recipe]:
    """Return all recipes of a flat list, in its order."""
    recipes: list[Recipe] = []
    for spec, values, upstream, *state in flat:
        parents = tuple([_with(item, recipes.__getitem__) for item in upstream])
        recipes.append(Recipe(spec, values, parents, *state))
    return recipes


_STATE = (
    *("static", "key", "taint", "paths", "root", "label", "annotations", "code"),
    *("base", "correction", "given"),
)


def _with(item, change):
    """Return a parent with `change` applied to it, or to the recipes in it."""
    if isinstance(item, DaskInput):
        return item._replace(recipes=tuple(map(change, item.recipes)))
    return item if isinstance(item, SourceInput) else change(item)


def recipes_before(recipe: Recipe) -> list[Recipe]:
    """Return the recipes that a recipe is made from, directly or inside plain Dask values."""
    return list(recipes_in(recipe.upstream))


def recipes_in(parents: Iterable[Recipe | SourceInput | DaskInput]) -> Iterator[Recipe]:
    """Yield the recipes among parents, and those inside plain Dask values."""
    for item in parents:
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

    @property
    def fields(self) -> Fields:
        return self.source.__daskcache_fields__()


class DaskInput(NamedTuple):
    """A plain Dask value, and the recipes that its graph was composed from."""

    delayed: Delayed
    identity: str
    recipes: tuple[Recipe, ...]
    #: Fields on which the recipes agree.
    fields: Fields = NONE


def combine(static: str, identities: list[str]) -> str:
    """Return a key or trace: the static hash combined with the parents' keys or data hashes."""
    if not identities:
        return static
    return digest(f"{static}|{'|'.join(identities)}".encode("utf-8", "surrogatepass"))


def _same(value):
    """Return a future's value in the graph of a `DaskInput`.  Its module and name are part of keys."""
    return value


def title_of(label: str, spec: Spec, paths: tuple[str, ...], key: str) -> str:
    """Return a node's display name: its label, or its function and first target."""
    return label or f"{spec.name}({paths[0] if paths else key[:8]})"


#: Types whose values never change.
SCALARS = frozenset({int, str, float, bool, type(None), bytes, complex})
_IMMUTABLE = SCALARS | {Ref}
