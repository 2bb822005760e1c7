"""`map` and `gather` of decorated functions: a node for each item, or for each group of nodes.

`function.Function` has the methods.  `nodes.Nodes` is what they return.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dask.delayed import Delayed

from ..calls.state import inside_body
from ..errors import GraphError
from ..hashing.names import has
from ..targets.source import Source
from ..targets.sources import Sources
from .nodes import Nodes

if TYPE_CHECKING:
    from .function import Function


def map_calls(function: Function, args: tuple, kwargs: dict[str, Any]) -> Any:
    # `Function.map`, which has the docstring
    spec = function._spec
    if not args:
        raise GraphError(
            f"{spec.name}.map() got nothing to map",
            expected="one positional argument or more, such as a list or dc.sources(…)",
            got=f"only {', '.join(kwargs)}" if kwargs else "no argument",
            hint="arguments that are passed by name are the same for each call",
        )
    if "dask_key_name" in kwargs:
        raise GraphError(
            f"{spec.name}.map() can't give all its nodes one dask_key_name",
            hint=f"call {spec.name}(…, dask_key_name=…) for each",
        )
    columns = [_items(spec, position, value) for position, value in enumerate(args)]
    _check_instances(spec, columns[0])
    if len({len(items) for items in columns}) > 1:
        lengths = [f"{_name(spec, i)}: {len(items)}" for i, items in enumerate(columns)]
        raise GraphError(
            f"{spec.name}.map() got arguments of different lengths",
            expected="positional arguments of one length",
            got=", ".join(lengths),
            hint="pass what is the same for each call by name",
        )
    calls = [function(*each, **kwargs) for each in zip(*columns, strict=True)]
    return calls if inside_body.get() else Nodes(calls)


def gather_calls(function: Function, nodes: Any, names: tuple[str, ...], kwargs: dict[str, Any]) -> Any:
    # `Function.gather`, which has the docstring
    if not isinstance(nodes, (Nodes, Sources)):
        nodes = Nodes(nodes)
    return map_calls(function, (nodes.group_by(*names).values(),), kwargs)


def _check_instances(spec, items):
    """Raise an error if a method would get the mapped items for its instance.

    ``thing.method.map`` is ``Class.method.map``: Python does not say that it was looked up on a thing.
    """
    if spec.signature.names[:1] != ("self",):
        return
    for item in items:
        if not hasattr(type(item), spec.name):
            raise GraphError(
                f"{spec.name}.map() can't bind a method to an instance",
                expected=f"instances with a method {spec.name}",
                got=f"a {type(item).__name__} in their place",
                hint=f"write the loop: daskcache.Nodes(thing.{spec.name}(item) for item in items)",
            )


def _items(spec, position, value):
    """Return the items of an argument of `map` as something with a length."""
    if isinstance(value, (list, tuple, range, Nodes, Sources)):
        return value
    single = why_single(value)
    if single is None:
        return list(value)
    what, cure = single
    name = _name(spec, position)
    raise GraphError(
        f"{spec.name}.map() can't go through {name}, which is {what}",
        expected="a list, a tuple, a range, a Series, sources or nodes",
        got=f"{type(value).__module__}.{type(value).__qualname__}",
        hint=f"{cure}, or pass it by name if it is the same for each call: {name}=…",
    )


def why_single(value: Any) -> tuple[str, str] | None:
    """Return what a value is that has no items to map, and what to write in its place; else None."""
    typ = type(value)
    if isinstance(value, (str, bytes, bytearray, memoryview, os.PathLike)):
        return "one text or path", "write a list for one item, dc.sources(…) for files"
    if isinstance(value, (Source, Delayed)):
        return "one source or lazy value", "write a list for one item"
    if isinstance(value, Mapping):
        return "a mapping", "pass its .values()"
    if isinstance(value, (set, frozenset)):
        return "a set, which has no order", "pass sorted(…)"
    if isinstance(value, (itertools.count, itertools.cycle, itertools.repeat)):
        return "endless", "pass a list"
    if has(typ, "__dask_graph__"):
        return "one Dask collection", "pass a list of its parts"
    if any(has(typ, name) for name in _OF_ARRAYS) and not _is_series(typ):
        return "an array or a frame", "pass list(…) for the rows of an array, or a column of a frame"
    if not isinstance(value, Iterable):
        return "one value", "write a list for one item"
    return None


#: Protocols of arrays and frames.
_OF_ARRAYS = ("__array__", "__array_interface__", "__dataframe__", "__arrow_c_stream__", "__dlpack__")


def _is_series(typ):
    names = {(each.__module__.partition(".")[0], each.__name__) for each in typ.__mro__}
    return not names.isdisjoint({("pandas", "Series"), ("pandas", "Index"), ("polars", "Series")})


def _name(spec, position):
    names = spec.signature.names
    return names[position] if position < len(names) else f"argument {position + 1}"
