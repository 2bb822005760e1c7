"""The hot cache: values that this process wrote or read, so that its next task reads no file.

`store` keeps what it writes, and `entry` what it reads.  The key is the file's hash and the format.  The
value is the one that the format reads back, not the computed one, unless both are known to be equal.
`Entry` uses it only while the target looks as it was stored.  No function can change what another one
gets: the cache owns its values.  It hands out arrays as read-only views or copies, frames as copies, and
containers rebuilt.  Any other mutable value is not kept.

A distributed worker keeps values up to its limit, and functions share the arrays.  Other processes
belong to their users: there a value is kept only as long as the entry of its node, which Dask drops
after the last task that needs it, and each function gets a copy.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import config
from ..clients import worker_here
from ..hashing.encoder import hash_value
from ..targets.base import UNKNOWN, Target

#: Milliseconds between two checks of a worker's memory.
_INTERVAL = 500
#: Items up to which a container is kept.  Taking a larger one apart takes longer than reading it again.
_MAX_ITEMS = 10_000
#: Immutable types.
_SCALARS = (int, float, complex, bool, str, bytes, type(None))


class HotCache:
    """A mapping of keys to values that evicts the least recently used beyond a number of bytes."""

    def __init__(self):
        self._lock = (
            threading.RLock()
        )  # an entry may die, and drop its value, wherever memory is asked for
        #: Values with their bytes.
        self._kept: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self.nbytes = 0
        #: The entries with which values go, by key.
        self._owners: dict[Any, weakref.ref] = {}

    def __len__(self):
        return len(self._kept)

    def get(self, key: Any) -> Any:
        with self._lock:
            if key not in self._kept:
                return UNKNOWN
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Any, value: Any, nbytes: int, limit: int) -> None:
        """Keep a value of `nbytes`, unless it alone exceeds `limit`, the bytes for all values."""
        if nbytes > limit:
            return
        with self._lock:
            if key not in self._kept:
                self._kept[key] = value, nbytes
                self.nbytes += nbytes
        self.shrink(limit)

    def tie(self, key: Any, owner: Any) -> None:
        """Keep a value no longer than its owner."""
        self._owners[key] = weakref.ref(owner, lambda _: self._drop(key))

    def _drop(self, key):
        with self._lock:
            self._owners.pop(key, None)
            _, nbytes = self._kept.pop(key, (None, 0))
            self.nbytes -= nbytes

    def shrink(self, limit: int) -> None:
        """Evict values until at most `limit` bytes are left."""
        with self._lock:
            while self._kept and self.nbytes > limit:
                _, (_, nbytes) = self._kept.popitem(last=False)
                self.nbytes -= nbytes


#: The cache of this process.
cache = HotCache()


def find(target: Target, file_hash: str, shared: bool) -> Any:
    """Return the value in a target if the cache has it, else `UNKNOWN`.

    Parameters
    ----------
    target : Target
    file_hash : str
        Hash of the target's file.
    shared : bool
        True to get arrays as read-only views, False to get copies.
    """
    value = cache.get(_key(target, file_hash))
    return value if value is UNKNOWN else handed_out(value, shared)


def keep(target: Target, file_hash: str, value: Any, is_alone: bool, owner: Any) -> bool:
    """Keep the value that a target reads back.

    The cache may keep the object itself instead of a copy.  Its arrays are read-only from then on.

    Parameters
    ----------
    target : Target
    file_hash : str
        Hash of the target's file.
    value : object
        The value as the target reads it back.
    is_alone : bool
        True if nothing else refers to the value or to a part of it.
    owner : Entry
        The entry with which the value goes, unless functions of this process share values.

    Returns
    -------
    bool
        True if the value is kept.
    """
    limit = current_limit()
    if not limit:
        return False
    nbytes = _size(value)
    if nbytes is None or nbytes > limit:
        return False
    key = _key(target, file_hash)
    cache.put(key, _frozen(value, is_alone), nbytes, limit)
    if not shares():
        cache.tie(key, owner)
    return True


def handed_out(value: Any, shared: bool) -> Any:
    """Return a kept value for a caller: read-only arrays if `shared`, else copies to change freely."""
    if is_array(value):
        return value.view() if shared else value.copy(order="K")
    if _is_frame(value):
        # pandas' copy-on-write is not enough: ``frame["a"].array[0] = 1`` goes around it
        return value.copy()
    return _rebuilt(value, lambda item: handed_out(item, shared))


def likewise(value: Any) -> Any:
    """Freeze a value that is not cached, so that callers get read-only data either way.

    A value that can't be kept, or any value while the cache is off, stays as it is.
    """
    return _frozen(value, True) if shares() and _size(value) is not None else value


def shares() -> bool:
    """Return True if functions of this process share values: on a worker, or up to a configured size."""
    configured = config.get("hot-cache")
    return bool(configured) and (not isinstance(configured, float) or worker_here() is not None)


def current_limit() -> int:
    """Return the number of bytes that the cache may hold now; 0 if it keeps nothing.

    A float in ``daskcache.hot-cache`` is a share of the memory limit of a distributed worker, or of the
    machine's memory elsewhere.  On a worker the cache also gives way, as distributed's own data does,
    when the memory of the process is above the worker's target.
    """
    configured, worker = config.get("hot-cache"), worker_here()
    if not configured:
        return 0
    if isinstance(configured, float):
        limit = int(configured * _memory_limit(worker))
    else:
        limit = config.get_bytes("hot-cache")
    if worker is None:
        return limit
    _watch(worker)
    return max(0, min(limit, cache.nbytes - _excess(worker)))


def is_array(value: Any) -> bool:
    """Return True if a value is a plain array of NumPy without Python objects."""
    return type(value) is _class_in("numpy", "ndarray") and not value.dtype.hasobject


def owns_its_data(array: Any) -> bool:
    """Return True if a value is an array that owns its memory and has no weak references.

    If the caller then holds the only reference to it, nothing else can change its data.
    """
    is_owner = is_array(array) and array.base is None and array.flags.owndata
    return is_owner and not weakref.getweakrefcount(array)


def _alone():
    value = object()
    return sys.getrefcount(value)


#: Result of ``sys.getrefcount(value)`` if only the local variable `value` refers to the object.
ALONE = _alone()


def _key(target, file_hash):
    return file_hash, type(target), hash_value(target.counted_options())


# ---- values that are safe to share ---------------------------------------------------------------


def _size(value: Any) -> int | None:
    """Return the bytes of a value, or None if it can't be kept."""
    size, left, waiting = 0, _MAX_ITEMS, [value]
    while waiting:
        value = waiting.pop()
        if type(value) in _SCALARS:
            size += sys.getsizeof(value)
        elif type(value) in (list, tuple, dict):
            left -= len(value)
            if left < 0:
                return None
            size += sys.getsizeof(value)
            waiting += [*value, *value.values()] if type(value) is dict else value
        elif is_array(value):
            base = getattr(value.base, "nbytes", 0)  # a view keeps the memory of its whole base
            size += max(value.nbytes, base)
        elif _is_frame(value):
            size += int(value.memory_usage(deep=True).sum())
        else:
            return None
    return size


def _class_in(module, name):
    """Return a class of a module, or None if the module is not imported or not yet complete."""
    return getattr(sys.modules.get(module), name, None)


def _is_detached(array):
    """Return True if an array's memory belongs to an array or bytes, not to a file that can change."""
    base = array
    while type(base) is type(array) and base.base is not None:
        base = base.base
    return type(base) is bytes or (type(base) is type(array) and base.flags.owndata)


def _is_frame(value):
    """Return True if a value is a data frame without ``attrs`` and without an object dtype."""
    if type(value) is not _class_in("pandas", "DataFrame") or value.attrs:
        return False
    import pandas

    dtypes = (*value.dtypes, value.index.dtype, value.columns.dtype)
    return not any(pandas.api.types.is_object_dtype(dtype) for dtype in dtypes)


def _frozen(value, is_alone):
    """Return a value with read-only arrays.

    Arrays and frames are copied unless `is_alone`.  Arrays over a file's memory are always copied.
    """
    if is_array(value):
        array = value if is_alone and _is_detached(value) else value.copy(order="K")
        array.flags.writeable = False
        return array
    if _is_frame(value):
        return value if is_alone else value.copy()
    return _rebuilt(value, lambda item: _frozen(item, is_alone))


def _rebuilt(value: Any, function: Callable) -> Any:
    if type(value) in (list, tuple):
        return type(value)(map(function, value))
    if type(value) is dict:
        return {function(key): function(item) for key, item in value.items()}
    return value


# ---- the worker --------------------------------------------------------------------------------------


def _memory_limit(worker):
    if worker is not None and worker.memory_manager.memory_limit:
        return worker.memory_manager.memory_limit
    return _memory()


@functools.cache
def _memory():
    """Return the bytes of memory that this machine, or this process's group, has."""
    try:
        from distributed.system import MEMORY_LIMIT  # imports distributed, as Dask's verbs do
    except ImportError:
        pages = os.sysconf("SC_PHYS_PAGES")
        return min(pages * os.sysconf("SC_PAGE_SIZE"), *map(_number_in, _GROUPS))
    return MEMORY_LIMIT


#: Files with the limit of this process's group, in a container: of version 2 and 1 of Linux's cgroups.
_GROUPS = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"


def _number_in(path):
    """Return the number in a file, infinity without one."""
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return float("inf")


def _excess(worker):
    """Return the bytes by which a worker's process exceeds its memory target; negative below it."""
    manager = worker.memory_manager
    fraction = manager.memory_target_fraction or manager.memory_spill_fraction or 1.0
    return worker.monitor.get_process_memory() - int(fraction * _memory_limit(worker))


_watched: weakref.WeakSet = weakref.WeakSet()
_watching = threading.Lock()


def _watch(worker):
    """Check the worker's memory periodically, and shrink the cache when it is short.

    The checks go on as long as the worker lives, because tasks that never use the cache need memory too.
    """
    with _watching:
        if worker in _watched:
            return
        _watched.add(worker)
    reference = weakref.ref(worker)

    def give_way():
        worker = reference()
        if cache and worker is not None:
            excess = _excess(worker)
            if excess > 0:
                cache.shrink(max(0, cache.nbytes - excess))

    def start():
        from tornado.ioloop import PeriodicCallback

        callback = PeriodicCallback(give_way, _INTERVAL)
        worker.periodic_callbacks["daskcache-hot-cache"] = callback  # stops when the worker closes
        callback.start()

    worker.loop.add_callback(start)
