"""One node on a worker: check again, load the inputs, call the function, store, return an entry.

`graph.builder` and `graph.verb` put `run_node`, `load_value` or `run_and_load` into tasks.  A task gets
the node's `Work` and the handles (`Entry`, `Held`, `Deferred`, `Failure`) of the nodes upstream.
`finished` finds results that are there already, or equal ones at other targets.  If there are none,
`call` runs the function, and `store` writes and commits its results.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from contextlib import nullcontext
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from ..calls.describe import brief, with_places
from ..calls.recipe import combine
from ..calls.spec import AbsentSpec
from ..clients import worker_here
from ..errors import FormatLimit, NodeFailed, TargetCorrupt, TargetError, UnhashableArgument
from ..events import COPIED, FAILED, LOADED, RAN, SKIPPED, emit
from ..hashing import algorithms
from ..hashing.encoder import hash_value
from ..printable import printable
from ..storage import files, leases, records
from ..storage.paths import located
from ..storage.record import target_id
from ..storage.roots import Root
from ..targets.base import FolderFormat
from ..tracebacks import shorten, shortened
from . import hot_cache
from .call import call_again, input_of
from .code_check import check_arguments, check_code
from .data_hashes import corrections_in, corrections_of, joint_hash
from .entry import Entry, Stored
from .failing import in_brief, remembering
from .finished import adopted_there, entry_of, find_elsewhere, find_finished, keep_all
from .held import Deferred, Failure, Held, lineage_of
from .obstacles import set_aside
from .store import heirs, store_copies, store_results
from .work import FileData, Work


def run_node(work: Work, *handles: Any) -> Entry | Held | Deferred | Failure:
    """Return the handle of a node's result, and make the result unless it exists.

    Parameters
    ----------
    work : Work
    *handles : Entry, Held, Deferred, Failure or NodeFailed
        Results of the tasks upstream, at the positions that ``work.inputs`` names.

    Returns
    -------
    Entry, Held, Deferred or Failure
        A failure upstream is passed on.  An error becomes a `Failure` if ``work.collect`` is set, and is
        raised otherwise.
    """
    for handle in handles:
        if isinstance(handle, Failure):
            return handle
        if isinstance(handle, NodeFailed):  # a result task upstream loads a `Failure` as its error
            return Failure(handle)
    if isinstance(work.spec, AbsentSpec):
        raise work.spec.error()
    algorithms.use(work.algorithm)
    inputs = [input_of(place, handles) for place in work.inputs]
    trace = combine(work.static, [item.data_hash for item in inputs])
    try:
        with _turn(work), remembering(work):
            done = _run(work, inputs, trace)
    except Exception as error:
        error.add_note(printable(_note(work, inputs)))
        if isinstance(error, ValueError) and "read-only" in str(error):
            error.add_note(_NOT_TO_BE_CHANGED)
        _emit(work, FAILED, error=in_brief(error)[:_MAX_ERROR])
        shorten(error)
        if not work.collect:
            raise
        return _failure(work, error)
    _tell(work, done)
    return _with_corrections(done.handle, inputs)


def _with_corrections(handle, inputs):
    """Note on a handle which corrections its data depend on: its own, or else those of its inputs."""
    handle.corrections = handle.corrections or corrections_of(inputs)
    return handle


#: Characters of an exception's text that an event carries.
_MAX_ERROR = 300


class _Done(NamedTuple):
    """The end of a node's task."""

    #: `RAN`, `COPIED` or `SKIPPED`.
    outcome: str
    #: Run time of the function in seconds: of this run or, if nothing ran, the recorded one.
    seconds: float
    handle: Entry | Held | Deferred


def _tell(work, done):
    """Emit the event of a node that is done."""
    ran = done.outcome == RAN
    _emit(
        work,
        done.outcome,
        seconds=done.seconds if ran else 0.0,
        saved=0.0 if ran else done.seconds,
        bytes=0 if done.outcome == SKIPPED else _size(done.handle),
    )


def _emit(work, outcome, **facts):
    target = ", ".join(work.paths)
    emit(outcome, work.spec.name, label=work.title, key=work.key, target=target, **facts)


def _size(handle):
    """Return the bytes in the targets behind a handle."""
    return sum([result.stamp.size for result in handle.stored]) if isinstance(handle, Entry) else 0


def _turn(work):
    """Return the lock of a node's target: a second thread of this process then finds the result."""
    if not work.paths:
        return nullcontext()
    with _guard:
        return _turns.setdefault(f"{work.root}/{work.paths[0]}", threading.RLock())


#: Locks by target, as long as a thread has one.
_turns: WeakValueDictionary[str, threading.RLock] = WeakValueDictionary()
_guard = threading.Lock()


def _run(work, inputs, trace):
    """Return a node that is done.

    A finished result comes first, then an adopted one, then an equal result from elsewhere.  The
    function runs only if there is none of these.
    """
    if not work.paths:
        return _make(work, inputs, trace)
    Root(work.root).check(work.root_id)
    if work.taking is not None:
        from .taking_in import take_in  # most verbs take in no file

        return _Done(COPIED, 0.0, take_in(work, work.taking))
    if not work.outdated and (finished := _finished(work, trace)):
        return finished
    adopted = adopted_there(work, inputs)
    if len(adopted) == len(work.paths):
        return _Done(SKIPPED, 0.0, keep_all(work, inputs, trace, adopted))
    if work.outdated:
        return _make(work, inputs, trace)
    found = _find_elsewhere(work, trace)
    # the data hash is known, and perhaps nothing in the verb needs the data
    if found is not None and found.is_alike and work.verb and not (work.pinned or adopted):
        return _Done(SKIPPED, _recorded_seconds(found.names), _deferred(work, inputs, trace, found))
    if found is not None and (copied := _copied(work, inputs, trace, found)):
        return copied
    seconds = leases.configured_seconds()
    if seconds is None:
        return _make(work, inputs, trace)
    return _run_with_lease(work, inputs, trace, seconds)


def _finished(work, trace):
    names = find_finished(work, trace)
    return names and _Done(SKIPPED, _recorded_seconds(names), entry_of(work, names))


def _recorded_seconds(names):
    """Return the run time of a function in seconds, from the records of its results."""
    return max([name.microseconds for name in names], default=0) / 1e6


def _run_with_lease(work, inputs, trace, seconds):
    """Make a node under a lease, or wait for its result while another worker holds the lease."""
    lease = leases.Lease(Root(work.root), f"{work.key}-{target_id(work.paths[0])}", seconds)
    finished = lease.take(lambda: _finished(work, trace))
    if finished is not None:
        return finished
    try:
        return _make(work, inputs, trace)
    finally:
        lease.release()


def _make(work, inputs, trace):
    if any(isinstance(item, Deferred) for item in inputs):
        inputs = _made(inputs)
        # an input that runs now may be random, and differ from the data hash that was known
        trace = combine(work.static, [item.data_hash for item in inputs])
    if work.paths:
        root = Root(work.root)
        check_code(root, work.code, work.spec)
        if work.argument_code is not None:
            check_arguments(work.argument_code, work.named_values())
        files.check_folders(root, work.paths)
    started = time.perf_counter()
    try:
        result, own_paths = call_again(work, inputs)
    except TargetCorrupt as error:  # the function reads an input lazily, and found it damaged
        for item in inputs:
            if isinstance(item, Entry):
                set_aside(item, error)
        raise
    seconds = time.perf_counter() - started
    if not work.paths:
        return _Done(RAN, seconds, _held(work, inputs, trace, result))
    # the hot cache may then keep the array itself, without a copy
    is_alone = sys.getrefcount(result) == hot_cache.ALONE and hot_cache.owns_its_data(result)
    entry = store_results(work, inputs, trace, result, own_paths, seconds, is_alone)
    return _Done(RAN, seconds, entry)


def _made(inputs):
    """Return the inputs of a call that needs their data: the deferred ones are made."""
    return [item.make() if isinstance(item, Deferred) else item for item in inputs]


def _held(work, inputs, trace, result):
    """Return the handle of a value that isn't stored.

    Its data hash is the trace.  For an impure function, it is the hash of the value with the metadata
    that it inherits, or a random one if the value has none.
    """
    lineage = lineage_of(result, inputs)
    if work.spec.options.pure is not False:
        return Held(result, trace, lineage)
    try:
        heritage = lineage.heritage() if lineage is not None else []
        metadata = [each.metadata.counted for each in heritage]
        return Held(result, hash_value((result, metadata) if metadata else result), lineage)
    except UnhashableArgument:
        return Held(result, os.urandom(16).hex(), lineage)


# ---- made elsewhere ------------------------------------------------------------------------------


def _find_elsewhere(work, trace):
    """Find results that equal code made of equal data, at other targets or earlier at this one."""
    planned = work.elsewhere
    # An input that ran in this verb may hold other data than those that were planned with.
    if planned is not None and all(name.trace == trace for name in planned.names):
        return planned
    known = [name for name in work.previous if name is not None]
    if not (known or work.verb):
        return None
    store = records.RecordStore(Root(work.root))
    return find_elsewhere(store, work.spec, trace, work.verb, known, work.in_variant)


def _deferred(work, inputs, trace, found):
    """Return a handle that knows the node's data hash, and makes the data only when it is needed."""
    make = functools.partial(_make_deferred, work, inputs, trace, found)
    path = located(work.paths[0], found.names[0].data_hash)
    data_hash = joint_hash([name.data_hash for name in found.names])
    corrections = corrections_in(work.key, found.names)
    return Deferred(work.key, work.root, path, data_hash, make, corrections)


def _make_deferred(work, inputs, trace, found):
    """Make a deferred node after all, and return its entry."""
    with _turn(work):
        finished = _finished(work, trace)
        if finished is not None:
            return _with_corrections(finished.handle, inputs)
        # The node's task is over, so Dask no longer shares its work.  Several tasks may make the node
        # now, in different processes: the lease lets one of them run it, and the others wait.
        done = _copied(work, inputs, trace, found) or _run_with_lease(
            work, inputs, trace, _DEFERRED_LEASE
        )
        _tell(work, done)
        return _with_corrections(done.handle, inputs)


#: Seconds of the lease that a worker takes to make a deferred node.
_DEFERRED_LEASE = 60.0


def _copied(work, inputs, trace, found):
    """Copy results from elsewhere.

    Files in the node's formats are copied as they are; another format is read and written anew.  Return
    None if the results are gone or not as recorded, or if the node's format would give other data.
    """
    if not found.is_there:
        return None
    seconds = _recorded_seconds(found.names)
    if found.is_alike:
        entry = store_copies(work, inputs, trace, found)
        return entry and _Done(COPIED, seconds, entry)
    inputs = _made(inputs)
    (name,) = found.names
    record = records.RecordStore(Root(work.root)).read(name)
    value = record and _value_elsewhere(work, found, record)
    try:
        if value is None or heirs(work, inputs, [value])[0].hash(value) != name.data_hash:
            return None
        adopted = record.facts("edited", "kept")  # a user's correction stays one
        entry = store_results(work, inputs, trace, value, None, seconds, facts=adopted)
        return _Done(COPIED, seconds, entry)
    except FormatLimit:  # the function raises it, too, unless it writes its target itself
        return None


def _value_elsewhere(work, found, record):
    """Return the value found elsewhere, for writing it in another format; None if it can't be read.

    Between two folder formats it is opened lazily, not loaded.
    """
    from .named import target_of

    (name,), (path,) = found.names, found.paths
    target = target_of(record, work.spec)
    if target is None:
        return None
    stored = Stored.recorded(target, path, name, record.form)
    entry = Entry(work.key, work.root, (stored,), None, None, work.title)
    both_folders = isinstance(target, FolderFormat) and isinstance(work.spec.formats[0], FolderFormat)
    try:
        return entry.open() if both_folders else entry.load()
    except TargetError:  # the file changed since it was found
        return None


# ---- values of handles -----------------------------------------------------------------------------


@shortened
def load_value(handle: Entry | Held | Deferred | Failure) -> Any:
    """Return the value of a handle; for a `Failure` its `NodeFailed`, which stands in for a value."""
    return handle.load()


@shortened
def load_or_raise(handle: Entry | Held | Deferred | Failure) -> Any:
    """Return the value of a handle; raise the error of a `Failure`, for what can't take a stand-in."""
    value = handle.load()
    if isinstance(handle, Failure):
        raise value.__cause__ or value
    return value


@shortened
def run_and_load(work: Work, *handles: Any) -> Any:
    """Run a node and load its value in one task, for graphs in which only the value is used."""
    handle = run_node(work, *handles)
    return load_value(handle) if work.collect else load_or_raise(handle)


def load_finished(entry: Entry, function: str, saved: float, client: Any = None) -> Any:
    """Load the value of a node that was complete when its graph was planned, and emit an event.

    Parameters
    ----------
    entry : Entry
    function : str
        Name of the node's function.
    saved : float
        Recorded run time in seconds.
    client : distributed.Client, optional
        See `daskcache.events.emit`.
    """
    started = time.perf_counter()
    value = entry.load()
    emit(
        LOADED,
        function,
        client,
        label=entry.label,
        key=entry.key,
        target=", ".join([result.target.path for result in entry.stored]),
        seconds=time.perf_counter() - started,
        bytes=_size(entry),
        saved=saved,
    )
    return value


# ---- errors --------------------------------------------------------------------------------------


_NOT_TO_BE_CHANGED = (
    "results that a worker hands from one function to the next are shared, and so are large arrays that "
    "are given by value: let the function change a copy (array.copy()), or, for results, set "
    "daskcache.hot-cache to 0 for workers"
)


def _note(work, inputs):
    values = ", ".join(f"{name}={brief.repr(value)}" for name, value in work.named_values().items())
    arguments = with_places(values, list(map(_place, inputs)))
    where = f"; target {', '.join(work.paths)}" if work.paths else ""
    worker = worker_here()
    if worker is not None:
        where += f"; on the worker {worker.name} at {worker.address}"
    return f"in the node {work.title}: {work.spec.name}({arguments}); key {work.key}{where}"


def _place(item):
    """Return the path of an input: that of the source, or that of the target from the root."""
    if isinstance(item, FileData):
        return item.source.path
    return item.place if isinstance(item, (Entry, Deferred)) else "<a value that is not stored>"


def _failure(work, error):
    failed = NodeFailed(in_brief(error), node=work.title, target=", ".join(work.paths) or None)
    failed.__cause__ = error
    return Failure(failed)
