"""One node on a worker: check again, load the inputs, call, store, hand on an entry.

Tasks of a planned graph call the functions at the top of this module.  They get `Work`, which says
everything about the node, and the handles (`Entry`, `Held`, `Failure`) of the nodes before it.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import os
import random
import reprlib
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from dask.delayed import Delayed

from . import config, records, storage
from .entry import Entry, Failure, Held, Stored, arrange
from .errors import (
    DaskcacheWarning,
    ForeignTarget,
    FormatLimit,
    NodeFailed,
    ResultError,
    StorageError,
    UnhashableArgument,
)
from .events import emit
from .hashing import hash_value, tag
from .node import inside_body
from .recipe import Ref, SourceInput, combine
from .records import RecordName, RecordStore, record_content, target_id
from .spec import Spec
from .storage import Part, Root
from .targets.base import BytesTarget
from .targets.template import DATA_HASH, located


class DaskValue(NamedTuple):
    """Place of an upstream value that plain Dask computed."""

    position: int
    identity: str


class Work(NamedTuple):
    """All that a worker needs to know of a node."""

    spec: Spec
    #: Bound arguments with a `Ref` for what is upstream.
    values: tuple
    #: What each `Ref` refers to: position of the handle among the task's arguments, `DaskValue`,
    #: `Entry` of a finished node, or `SourceInput`.
    inputs: tuple
    key: str
    static: str
    #: Fingerprint of the function, as the client sees it.
    code: str
    #: Arguments that only the client can hash (functions from notebooks, say), described.
    described: dict[str, list]
    root: str
    paths: tuple[str, ...]
    title: str
    #: Per target: the record that vouches for what is there now, if the plan found one.
    previous: tuple[RecordName | None, ...]
    #: What is there must not pass for the result: it is forced, expired or damaged.
    outdated: bool
    #: What is there is damaged, and is kept aside.
    damaged: bool
    #: Turn an exception into a `Failure` instead of raising it.
    collect: bool
    #: The same recipe's result at another target, to be copied instead of computed.
    elsewhere: Entry | None = None
    #: Whether there is a note of a failure to clear.
    failed_before: bool = False


def run_node(work: Work, *handles: Any) -> Entry | Held | Failure:
    """Make a node's result, unless it is there already, and return its handle."""
    for handle in handles:
        if isinstance(handle, Failure):
            return handle
    inputs = [_input(place, handles) for place in work.inputs]
    trace = combine(work.static, [_identity(item) for item in inputs])
    try:
        outcome, seconds, handle = _run(work, inputs, trace)
    except Exception as error:
        error.add_note(_note(work))
        emit(work.spec.name, work.key, "failed")
        if not work.collect:
            raise
        return _record_failure(work, error)
    emit(work.spec.name, work.key, outcome, seconds)
    return handle


def _run(work, inputs, trace):
    """Outcome, run time in seconds, and handle."""
    if work.paths and not work.outdated:
        finished = _find_finished(work, trace)
        if finished is not None:
            return "skipped", 0.0, finished
    if work.elsewhere is not None:
        value = work.elsewhere.load()
        if work.spec.formats[0].hash(value) == work.elsewhere.data_hash:
            return "copied", 0.0, _store(work, inputs, trace, value, None, 0.0)
    started = time.perf_counter()
    result, own_paths = _call(work, inputs)
    seconds = time.perf_counter() - started
    if not work.paths:
        return "ran", seconds, Held(result, _held_hash(work, result, trace))
    return "ran", seconds, _store(work, inputs, trace, result, own_paths, seconds)


def load_value(handle: Entry | Held | Failure) -> Any:
    """The value that a handle stands for."""
    return handle.load()


# ---- inputs -------------------------------------------------------------------------------------


class _DaskInput(NamedTuple):
    value: Any
    data_hash: str

    def load(self):
        return self.value


class _FileInput:
    """A source on the worker: read when it is asked for, and verified."""

    def __init__(self, parent: SourceInput):
        self.source = parent.source
        self.data_hash = parent.identity
        self.content_hash = parent.content_hash

    def load(self):
        return self.source.load_verified(self.content_hash)


def _input(place, handles):
    if isinstance(place, int):
        return handles[place]
    if isinstance(place, DaskValue):
        return _DaskInput(handles[place.position], place.identity)
    if isinstance(place, SourceInput):
        return _FileInput(place)
    return place


def _identity(item):
    return item.data_hash


def _object(item):
    """What a parameter annotated with a Source or Target class receives."""
    if isinstance(item, _FileInput):
        return item.source
    if isinstance(item, Entry):
        target = item.stored[0].target
        return target.at(f"{item.root}/{target.path}")
    return item.load()


def _arguments(work, inputs):
    """Values for the call, with data in place of references."""
    loaded: dict[int, Any] = {}

    def data(ordinal):
        if ordinal not in loaded:
            loaded[ordinal] = inputs[ordinal].load()
        return loaded[ordinal]

    signature = work.spec.signature
    values = []
    for value, wants_object in zip(work.values, signature.wants_object, strict=True):
        if type(value) is Ref:
            values.append(_object(inputs[value.ordinal]) if wants_object else data(value.ordinal))
        else:
            values.append(fill(value, data))
    return values


def fill(value: Any, data: Any) -> Any:
    """`value` with ``data(ordinal)`` in place of each `Ref` in its containers."""
    typ = type(value)
    if typ is Ref:
        return data(value.ordinal)
    if typ in (list, tuple, set, frozenset):
        return typ([fill(item, data) for item in value])
    if typ is dict:
        return {fill(k, data): fill(v, data) for k, v in value.items()}
    if typ is slice:
        return slice(fill(value.start, data), fill(value.stop, data), fill(value.step, data))
    if isinstance(value, tuple) and hasattr(typ, "_fields"):
        return typ(*[fill(item, data) for item in value])
    if hasattr(typ, "__dataclass_fields__"):
        return _fill_dataclass(value, data)
    if _is_random_generator(value):
        return copy.deepcopy(value)  # its state is part of the key: the body must not advance it
    return value


def _fill_dataclass(value, data):
    import dataclasses

    old = {f.name: getattr(value, f.name, None) for f in dataclasses.fields(value)}
    new = {name: fill(item, data) for name, item in old.items()}
    if all(new[name] is old[name] for name in old):
        return value
    return dataclasses.replace(value, **new)


def _is_random_generator(value):
    if isinstance(value, random.Random):
        return True
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.random.Generator, numpy.random.RandomState))


# ---- the call -----------------------------------------------------------------------------------


def _call(work, inputs):
    """Call the function; return its result and the parts that it wrote itself, if it did."""
    spec = work.spec
    values = _arguments(work, inputs)
    own_paths = None
    if work.paths and spec.signature.takes_target_path:
        own_paths = [_own_part_path(f"{work.root}/{path}") for path in work.paths]
        values[spec.signature.names.index("target_path")] = arrange(own_paths, spec.layout)
    args, kwargs = spec.signature.unbind(tuple(values))
    token = inside_body.set(True)
    try:
        result = spec.func(*args, **kwargs)
        if inspect.iscoroutinefunction(spec.func):
            result = _run_coroutine(result)
    except BaseException:
        _discard_own(own_paths)
        raise
    finally:
        inside_body.reset(token)
    _check_result(work, result)
    return result, own_paths


def _check_result(work, result):
    story = None
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        story, hint = "a generator, which can be read only once", "return list(...) of it"
    elif inspect.iscoroutine(result):
        story, hint = "a coroutine that nobody awaited", "write 'async def', or await it"
    elif isinstance(result, Delayed):
        story, hint = (
            "a lazy Dask value",
            "build the graph outside of the function, or compute the value inside",
        )
    if story:
        if inspect.iscoroutine(result):
            result.close()
        raise ResultError(
            f"{work.spec.name}() returned {story}",
            node=work.title,
            target=", ".join(work.paths) or None,
            hint=hint,
        )


def _run_coroutine(coroutine):
    """Run it to its end, in a thread of its own where this one has a running loop (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def _held_hash(work, result, trace):
    """Data hash of a value that isn't stored; of an impure function's, by what it is."""
    if work.spec.options.pure is not False:
        return trace
    try:
        return hash_value(result)
    except UnhashableArgument:
        return os.urandom(16).hex()


# ---- finished already? --------------------------------------------------------------------------


def _find_finished(work, trace):
    """Entry of the node if its targets are complete, or hold what the same code made of equal data."""
    store = RecordStore(Root(work.root))
    names = []
    for path, previous in zip(work.paths, work.previous, strict=True):
        if DATA_HASH not in path and storage.stamp(f"{work.root}/{path}") is None:
            return None  # a quick no, without listing records
        candidates = [*store.with_key(work.key), *([previous] if previous else [])]
        name = _matching(work, candidates, path, trace)
        if name is None:
            return None
        names.append(name)
    for name in names:
        if name.key != work.key:
            _record_under_new_key(work, store, name)
    return _entry(work, [name._replace(key=work.key) for name in names])


def _matching(work, names, path, trace):
    identifier = target_id(path)
    for name in names:
        if (
            name.target_id == identifier
            and name.trace == trace
            and name.stamp == storage.stamp(f"{work.root}/{located(path, name.data_hash)}")
        ):
            return name
    return None


def _record_under_new_key(work, store, name):
    """Early cutoff: the inputs hold what they held before, so the target is what it would be."""
    content = store.read(name) or {}
    renamed = name._replace(key=work.key)
    facts = {k: v for k, v in content.items() if k in _CARRIED}
    file_name = renamed.file_name()
    record = record_content(renamed, **facts, same_as=name.key)
    intent = storage.write_intent(store.root, file_name, record)
    storage.promote_intent(store.root, intent, file_name, renamed.shard)
    store.remove(name)


_CARRIED = ("function", "code", "target", "format", "arguments", "upstream")


def _entry(work, names, inline=None):
    formats = work.spec.formats
    stored = tuple(
        Stored(target.at(located(path, name.data_hash)), name.data_hash, name.file_hash, name.stamp)
        for target, path, name in zip(formats, work.paths, names, strict=True)
    )
    return Entry(work.key, work.root, stored, work.spec.layout, inline, work.title)


# ---- storing ------------------------------------------------------------------------------------


def _store(work, inputs, trace, result, own_paths, seconds):
    """Write and commit each result; return the entry."""
    root = Root(work.root)
    if own_paths is None and work.spec.options.save is False:
        results = [_adopt_own(work, path) for path in work.paths]
    elif own_paths is not None:
        results = [
            _part_written(work, target, path)
            for target, path in zip(work.spec.formats, own_paths, strict=True)
        ]
    else:
        values = _results(work, result)
        results = [
            _part_of_value(work, target, path, value)
            for target, path, value in zip(work.spec.formats, work.paths, values, strict=True)
        ]
    names, committed = [], []
    for position, (part, data_hash, _) in enumerate(results):
        if DATA_HASH in work.paths[position]:
            part = _existing(root.absolute(located(work.paths[position], data_hash)), part)
        name = RecordName(
            work.key,
            target_id(work.paths[position]),
            trace,
            data_hash,
            part.file_hash,
            *part.stamp,
            int(seconds * 1e6),
        )
        names.append(name)
        committed.append(_commit(work, root, inputs, position, part, name))
    contents = [content for _, _, content in results]
    inline = None
    if committed == names and None not in contents and _is_small(contents):
        inline = tuple(contents)
    if work.failed_before:
        records.clear_failure(root, work.key)
    return _entry(work, committed, inline)


def _existing(destination, part):
    """The file that another node with equal data put there already, in place of the part."""
    found = storage.stamp(destination)
    if found is None or storage.file_hash(destination) != part.file_hash:
        return part
    storage.discard(part.path)
    return Part(destination, part.file_hash, found)


def _is_small(contents):
    return sum(map(len, contents)) <= config.get_bytes("inline")


def _results(work, result):
    """The results of one call, one for each target."""
    layout = work.spec.layout
    if layout is None:
        return [result]
    if isinstance(layout, int):
        if not isinstance(result, (tuple, list)) or len(result) != layout:
            raise ResultError(
                f"{work.spec.name}() has {layout} targets",
                node=work.title,
                expected=f"a tuple of {layout} results",
                got=reprlib.repr(result),
            )
        return list(result)
    if not isinstance(result, dict) or set(result) != set(layout):
        raise ResultError(
            f"{work.spec.name}() has targets by name",
            node=work.title,
            expected=f"a dict with the keys {', '.join(map(repr, layout))}",
            got=reprlib.repr(result),
        )
    return [result[name] for name in layout]


def _part_of_value(work, target, path, value):
    """Write a value beside its destination: its part, data hash and (if at hand) content."""
    destination = f"{work.root}/{path}"
    try:
        if isinstance(target, BytesTarget):
            pieces = target.encode_checked(value)
            part = storage.write_part(storage.part_path(destination), pieces)
            return part, target.hash(value), b"".join(pieces) if _is_small(pieces) else None
        own = _own_part_path(destination)
        try:
            target.write(value, own)
            return storage.part_of(own), target.hash(value), None
        except BaseException:
            _discard_own([own])
            raise
    except (FormatLimit, StorageError) as error:
        error.node, error.target = work.title, destination
        raise


def _part_written(work, target, path):
    """The part that the function wrote itself."""
    part = storage.part_of(path)
    return part, target.hash(target.read(path)), None


def _adopt_own(work, path):
    """What a function with ``save=False`` and no ``target_path`` wrote straight to its destination."""
    destination = f"{work.root}/{path}"
    if storage.stamp(destination) is None:
        raise ResultError(
            f"{work.spec.name}() has save=False, so it writes its target itself, but did not",
            node=work.title,
            expected=destination,
            got="no file",
            hint="write to the parameter target_path",
        )
    target = work.spec.formats[work.paths.index(path)]
    return storage.part_of(destination), target.hash(target.read(destination)), None


def _own_part_path(destination):
    """A path for someone else to write to: in a folder of its own, so that it keeps its name."""
    folder = storage.part_path(destination)
    os.mkdir(folder)
    return f"{folder}/{destination.rpartition('/')[2]}"


def _discard_own(paths):
    for path in paths or ():
        storage.discard(path.rpartition("/")[0])


def _commit(work, root: Root, inputs, position: int, part: Part, name: RecordName) -> RecordName:
    """Put one part in place with its record; return the record that holds in the end."""
    previous = work.previous[position]
    destination = root.absolute(located(work.paths[position], name.data_hash))
    file_name = name.file_name()
    content = record_content(name, **_facts(work, inputs, position, name, previous))
    intent = storage.write_intent(root, file_name, content)
    winner = None
    if part.path != destination:
        try:
            winner = _place(work, root, part, destination, name, previous, intent)
        except BaseException:
            storage.discard(intent)
            storage.discard(part.path)
            raise
        finally:
            _remove_own_folder(part, destination)
    if winner is not None:
        storage.discard(intent)
        storage.discard(part.path)
        return winner
    storage.promote_intent(root, intent, file_name, name.shard)
    if previous is not None and previous != name:
        RecordStore(root).remove(previous)
    return name


def _place(work, root, part, destination, name, previous, intent):
    """Link or exchange; return the record of another writer who was first, if one was."""
    if storage.stamp(destination) is None:
        try:
            storage.put_new(part.path, destination)
            return None
        except FileExistsError:
            pass
        except OSError as error:
            raise storage.storage_error(error, destination) from error
    current = storage.stamp(destination)
    vouching = previous if previous is not None and previous.stamp == current else None
    if vouching is None:
        vouching = RecordStore(root).vouching(name.target_id, current, name.key, besides=intent)
    if vouching is not None and vouching.key == name.key and vouching != previous:
        return _yield_to(work, vouching, name)
    if vouching is None and not (previous is not None and _may_displace(work)):
        raise ForeignTarget(
            "a file that daskcache did not write is where a result belongs",
            node=work.title,
            target=destination,
            expected="nothing there, or a recorded target",
            got=f"a file of {current.size} bytes" if current else "an unreadable file",
            hint="move the file away, or give the node another target",
        )
    throw_away = vouching is not None and not work.damaged
    kept = storage.replace(root, part.path, destination, vouching.stamp if throw_away else None)
    if kept:
        warnings.warn(
            f"{destination} was edited or damaged; what was there is kept as {kept}",
            DaskcacheWarning,
            stacklevel=2,
        )
    return None


def _may_displace(work):
    return work.spec.options.on_modified == "recompute"


def _yield_to(work, winner, name):
    if winner.data_hash != name.data_hash:
        warnings.warn(
            f"{work.title} was computed twice at the same time with different results; the first "
            "one counts. Is it random?",
            DaskcacheWarning,
            stacklevel=2,
        )
    return winner


def _remove_own_folder(part, destination):
    """Remove the folder that was made for a part that somebody else wrote."""
    folder = part.path.rpartition("/")[0]
    if folder != destination.rpartition("/")[0]:
        storage.discard(folder)


# ---- what records and errors say ----------------------------------------------------------------

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 80


def _facts(work, inputs, position, name, previous):
    facts = {
        "function": work.spec.qualified_name,
        "code": work.code,
        "target": located(work.paths[position], name.data_hash),
        "format": f"{type(work.spec.formats[position]).__module__}:"
        f"{type(work.spec.formats[position]).__qualname__}",
        "arguments": describe_arguments(work.spec, work.values, work.described),
        "upstream": [_describe_input(work, item) for item in inputs],
    }
    if previous is not None and previous.key != work.key:
        facts["replaced"] = previous.key
    return facts


def describe_arguments(spec: Spec, values: tuple, known: dict | None = None) -> dict[str, list]:
    """Per argument, a short text and the hash: what `why` compares."""
    described = dict(known or {})
    for position in spec.counted:
        name, value = spec.signature.names[position], values[position]
        if name not in described:
            described[name] = [_brief.repr(value), hash_value(value)]
    return described


def _describe_input(work, item):
    if isinstance(item, Entry):
        elsewhere = {} if item.root == work.root else {"root": item.root}
        return {
            "key": item.key,
            "target": item.stored[0].target.path,
            "data_hash": tag(item.data_hash),
            **elsewhere,
        }
    if isinstance(item, _FileInput):
        source = storage.relative(item.source.path, work.root)
        return {"source": source, "data_hash": item.data_hash}
    return {"data_hash": item.data_hash}


def _note(work):
    arguments = ", ".join(
        f"{name}={_brief.repr(value)}"
        for name, value in zip(work.spec.signature.names, work.values, strict=True)
    )
    where = f"; target {', '.join(work.paths)}" if work.paths else ""
    return f"in the node {work.title}: {work.spec.name}({arguments}); key {work.key}{where}"


def _record_failure(work, error):
    failed = NodeFailed(
        f"{type(error).__name__}: {error}", node=work.title, target=", ".join(work.paths) or None
    )
    failed.__cause__ = error
    if work.paths:
        records.write_failure(
            Root(work.root), work.key, function=work.spec.qualified_name, error=failed.message
        )
    return Failure(failed)
