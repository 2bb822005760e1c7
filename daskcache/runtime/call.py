"""The call of a node's function: its inputs, the arguments made of them, and where it runs.

`node` and `housekeeping.audit` use it.  `body` runs a function in this process, or in another.
"""

from __future__ import annotations

import copy
import dataclasses
import operator
import random
import sys
from collections.abc import Sequence
from typing import Any

from ..calls.containers import MUTABLE, taken_apart
from ..calls.recipe import SCALARS, Ref, SourceInput
from ..hashing.instances import fields_of
from ..storage.roots import Root
from ..targets.objects import PickleTarget
from ..targets.resource import Resource
from .body import body, call_isolated
from .entry import Entry, Held, arrange
from .store import own_part_path, sweeping
from .work import DaskValue, FileData, Work


def input_of(place: Any, handles: Sequence[Any]) -> Any:
    """Return an input of a node: the handle upstream that a place in ``work.inputs`` names, or data."""
    if isinstance(place, int):
        return handles[place]
    if isinstance(place, DaskValue):
        return Held(handles[place.position], place.identity)
    if isinstance(place, SourceInput):
        return FileData(place)
    return place


def arguments(work: Work, inputs: list) -> list:
    """Return the values for the call, with data in place of each `Ref`.

    Each input is loaded at most once.

    Raises
    ------
    TargetError, SourceMissing, StorageError
        If an input is not what it was, or can't be read.
    """
    loaded: dict[int, Any] = {}

    def data(ordinal):
        if ordinal not in loaded:
            item = inputs[ordinal]
            loaded[ordinal] = item.lend() if isinstance(item, Entry) else item.load()
        return loaded[ordinal]

    signature = work.spec.signature
    values = []
    wants = zip(work.values, signature.wants_object, signature.wants_open, strict=True)
    for value, wants_object, wants_open in wants:
        if type(value) is not Ref:
            values.append(_filled(value, data))
        elif wants_object:
            values.append(_object(inputs[value.ordinal], wants_object))
        elif wants_open:
            values.append(_opened(inputs[value.ordinal], wants_open))
        else:
            values.append(data(value.ordinal))
    return values


def _filled(value, data):
    """Return `value` with ``data(ordinal)`` in place of each `Ref` in it.

    Containers and random generators are copied, so that the call does not change the node's own.
    """
    typ = type(value)
    if typ in SCALARS:
        return value
    if typ is Ref:
        return data(value.ordinal)
    if _is_random_generator(value):
        return copy.deepcopy(value)  # its state is part of the key, and the body must not advance it
    parts, rebuild = taken_apart(value)
    filled = [_filled(part, data) for part in parts]
    if rebuild is None or (typ not in MUTABLE and all(map(operator.is_, parts, filled))):
        return value
    if dataclasses.is_dataclass(typ) and not _holds_reference(value):
        return _copied(value, filled)
    return rebuild(filled)


def _holds_reference(value):
    return type(value) is Ref or any(map(_holds_reference, taken_apart(value)[0]))


def _copied(value, parts):
    """Return a copy of a dataclass with these parts.  Its class may not take all of them."""
    copied = copy.copy(value)
    for name, part in zip(fields_of(value), parts, strict=True):
        object.__setattr__(copied, name, part)
    return copied


def _is_random_generator(value):
    if isinstance(value, random.Random):
        return True
    module = sys.modules.get("numpy.random")  # another thread may be importing it now
    classes = (getattr(module, name, None) for name in ("Generator", "RandomState"))
    return isinstance(value, tuple(filter(None, classes)))


def _object(item, wanted):
    """Return the argument for a parameter annotated with a Source or Target class."""
    if isinstance(item, FileData):
        return item.verified_source()
    if isinstance(item, Entry):
        target = item.stored[0].target
        if isinstance(target, PickleTarget) and not isinstance(target, wanted):
            value = item.load()
            if isinstance(value, Resource):  # the upstream function returned a source or target
                return value
        return target.at(f"{item.root}/{target.path}")
    return item.load()


def _opened(item, kind):
    """Return the argument for a parameter annotated with the class of a lazy array.

    A format without lazy access gives the value in memory.
    """
    opened = item.open() if isinstance(item, (Entry, FileData)) else item.load()
    if kind != "dask":
        return opened
    from ..targets.zarr.values import dask_array_of

    return dask_array_of(opened)


def call(work: Work, values: list) -> tuple[Any, list[str] | None]:
    """Call the node's function, in this process or isolated.

    Returns
    -------
    result : object
    own_paths : list of str, or None
        Paths of the results that the function wrote itself; None if it returned them.  It is given paths
        of parts as ``target_path``.  Without such a parameter, a function with ``save=False`` writes to
        its targets.

    Raises
    ------
    Exception
        Any error of the function.
    ResultError
        If the function returned a generator, a coroutine or a lazy Dask value.
    """
    spec = work.spec
    own_paths = None
    if work.paths and spec.signature.takes_target_path:
        own_paths = [own_part_path(Root(work.root), path) for path in work.paths]
        values[spec.signature.names.index("target_path")] = arrange(own_paths, spec.layout)
    elif work.paths and spec.options.save is False:
        own_paths = [f"{work.root}/{path}" for path in work.paths]
    args, kwargs = spec.signature.unbind(tuple(values))
    run = call_isolated if spec.options.isolate else body
    with sweeping(work.root, own_paths or ()):
        return run(work, tuple(args), kwargs), own_paths
