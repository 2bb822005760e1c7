"""Fields: values by name that `sources` reads from the paths of files, for templates.

`source.Source` has them, and results of a sweep (`graph.sweep`).  They go on to the nodes that are made
from these (`calls.recipe`), and `template` fills paths and labels with them.  They name results and
nothing else: no key depends on them.  Functions do not get them either, since a result that depended on
them would be stale under a key that does not.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import GraphError

Fields = Mapping[str, str | float]

#: No fields; shared, and picklable, which a `MappingProxyType` is not.
NONE: Fields = {}


def agreed(inputs: Iterable[Fields]) -> Fields:
    """Return the fields of several inputs: those on which all agree that have them."""
    found: Fields = NONE
    differing: set[str] = set()
    for fields in inputs:
        if fields is found or not fields:
            continue
        if not found and not differing:
            found = fields  # shared by all nodes after a source
            continue
        new = {name: value for name, value in fields.items() if name not in differing}
        unequal = {name for name, value in new.items() if found.get(name, value) != value}
        if unequal or new.keys() - found.keys():
            differing |= unequal
            both = {**found, **new}
            found = {name: value for name, value in both.items() if name not in differing}
    return found


class _Found:
    """Descriptor for the fields of a source.  An attribute of that name of a user's class wins."""

    def __get__(self, instance: WithFields | None, owner: type) -> Any:
        if instance is None:
            return self
        if instance._fields_found is None:
            raise withheld(instance)
        return dict(instance._fields_found)


def withheld(source: Any) -> GraphError:
    """Return the error for a function that asks for the fields of its input."""
    return GraphError(
        f"a function does not get the fields of its inputs, as of {source.path}",
        expected="fields as arguments, so that they are part of the key",
        hint='make the node with f(image, well=image.fields["well"])',
    )


class WithFields:
    """Mixin of sources, which have fields if a pattern found them."""

    fields: Any = _Found()
    #: The fields; None in a function, which does not get them.
    _fields_found: Fields | None = NONE

    def __daskcache_fields__(self) -> Fields:
        """Return the fields for templates; of several files those on which all agree."""
        return self._fields_found or NONE

    def __daskcache_values__(self, name: str) -> list[str | float]:
        """Return the values that the files have for a field, each once."""
        fields = self.__daskcache_fields__()
        return [fields[name]] if name in fields else []

    def __daskcache_without_fields__(self) -> Any:
        """Return this source as functions get it."""
        if not self._fields_found:
            return self
        twin = copy.copy(self)
        vars(twin)["_fields_found"] = None
        return twin
