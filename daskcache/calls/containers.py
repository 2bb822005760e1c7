"""Containers in arguments: the values in which nodes and other upstream values are found.

`arguments` puts references into them, and `runtime.call` data.  `spec` names the place of a node in any
other value, which is an error.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterator
from typing import Any

from dask.utils import is_namedtuple_instance

from ..hashing.instances import fields_of
from ..hashing.names import has

#: Containers that can be changed in place.
MUTABLE = (list, set, dict, OrderedDict, defaultdict, deque)


def taken_apart(value: Any) -> tuple[Collection, Callable | None]:
    """Return the parts of a value in which references may be, and a function that makes one of others.

    Such values are containers, slices, named tuples and dataclasses.  Any other has no parts and None.
    """
    typ = type(value)
    if typ in (list, tuple, set, frozenset):
        return value, typ
    if typ in (dict, OrderedDict, defaultdict):
        make: Callable[..., Any] = typ
        if typ is defaultdict:
            make = functools.partial(defaultdict, value.default_factory)
        # each key is followed by its value, as the references in them are numbered
        parts = [part for item in list(value.items()) for part in item]
        return parts, lambda new: make(zip(new[::2], new[1::2], strict=True))
    if typ is slice:
        return (value.start, value.stop, value.step), lambda new: slice(*new)
    if typ is deque:
        return value, lambda new: deque(new, value.maxlen)
    if is_namedtuple_instance(value):
        return value, lambda new: typ(*new)
    if has(typ, "__dataclass_fields__"):
        old = fields_of(value)
        return old.values(), lambda new: dataclasses.replace(value, **dict(zip(old, new, strict=True)))
    return (), None


def values_in(value: Any) -> Iterator[Any]:
    """Yield the values in a container, at any depth, that can't be taken apart."""
    parts, rebuild = taken_apart(value)
    if rebuild is None:
        yield value
    for part in parts:
        yield from values_in(part)
