"""The call of a node's function: its inputs, the arguments made of them, and where it runs.

`node` and `housekeeping.audit` use it.  `body` runs a function in this process, or in another.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ..calls.recipe import SCALARS, Ref, SourceInput
from ..errors import DaskcacheError, NodeTimeout, ProcessDied
from ..storage.roots import Root
from ..targets.objects import PickleTarget
from ..targets.resource import Resource
from .body import body, call_isolated
from .copies import Copies, copy_of_data, filled
from .entry import Entry, arrange
from .held import Held
from .store import own_part_path, sweeping
from .work import DaskValue, FileData, Work

logger = logging.getLogger(__name__)


def input_of(place: Any, handles: Sequence[Any]) -> Any:
    """Return an input of a node: the handle upstream that a place in ``work.inputs`` names, or data."""
    if isinstance(place, int):
        return handles[place]
    if isinstance(place, DaskValue):
        return Held(handles[place.position], place.identity)
    if isinstance(place, SourceInput):
        return FileData(place)
    return place


def arguments(work: Work, inputs: list, copies: Copies) -> list:
    """Return the values for the call, with data in place of each `Ref`, and else with copies.

    Each input is loaded at most once.

    Parameters
    ----------
    work : Work
    inputs : list of Entry, Held, Deferred or FileData
    copies : Copies
        Makes the copies, and can check afterwards what could not be copied.

    Raises
    ------
    TargetError, SourceMissing, StorageError
        If an input is not what it was, or can't be read.
    """
    loaded: dict[int, Any] = {}

    def data(ordinal):
        if ordinal not in loaded:
            item = inputs[ordinal]
            loaded[ordinal] = _lent(item)
        return loaded[ordinal]

    signature = work.spec.signature
    values = []
    wants = zip(signature.names, work.values, signature.wants_object, signature.wants_open, strict=True)
    for name, value, wants_object, wants_open in wants:
        if type(value) in SCALARS:
            values.append(value)
        elif type(value) is not Ref:
            # the function may compare a default by identity, and give away what doesn't count
            is_own = signature.defaults.get(name) is value or name in work.spec.options.ignore
            values.append(filled(value, copy_of_data if is_own else copies.of, data))
        elif wants_object:
            values.append(_object(inputs[value.ordinal], wants_object))
        elif wants_open:
            values.append(_opened(inputs[value.ordinal], wants_open))
        else:
            values.append(data(value.ordinal))
    return values


def _lent(item):
    """Return an input's data, for a function that may change them."""
    return item.lend() if isinstance(item, (Entry, Held)) else item.load()


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
    return _lent(item)


def _opened(item, kind):
    """Return the argument for a parameter annotated with the class of a lazy array.

    A format without lazy access gives the value in memory.
    """
    opened = item.open() if isinstance(item, (Entry, FileData)) else _lent(item)
    if kind != "dask":
        return opened
    from ..targets.zarr.values import dask_array_of

    return dask_array_of(opened)


def call_again(work: Work, inputs: list) -> tuple[Any, list[str] | None]:
    """Call the node's function as `call` does, and again after an error as often as it has retries."""
    left = work.spec.options.retries
    while True:
        copies = Copies()
        values = arguments(work, inputs, copies)
        try:
            done = call(work, values)
        except Exception as error:
            if left == 0 or not _may_pass(error):
                raise
            logger.warning("%s failed and runs again (%d retries left): %s", work.title, left, error)
            left -= 1
        else:
            copies.check(work)
            return done


def _may_pass(error):
    """Return True if an error may not come again: one of the function, not of daskcache's checks."""
    return not isinstance(error, DaskcacheError) or isinstance(error, (ProcessDied, NodeTimeout))


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
    is_isolated = spec.options.isolate or spec.options.timeout is not None
    run = call_isolated if is_isolated else body
    with sweeping(work.root, own_paths or ()):
        return run(work, tuple(args), kwargs), own_paths
