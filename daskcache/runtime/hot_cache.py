"""What this process has just written or read (verified): the next task here reads no file.

A value is kept under the hash of the file that holds it and the format that reads it, and is what that
format reads back, not what was computed, unless the two are known to be equal.  It is handed out only
while the target looks as it did when it was stored; whatever else is there is for `Entry` to judge.

No function can change what another one gets.  What is kept belongs to the cache alone; arrays are handed
out as views that can't be written to, and frames as copies (pandas' copy-on-write has a way around it:
``frame["a"].array[0] = 1``).  What can be neither is not kept.

On a distributed worker the cache is bounded by ``daskcache.hot-cache``, a share of the worker's memory
limit.  It gives way when the memory of the process is above the worker's target, as distributed's own
data does.  Elsewhere there is no limit to take a share of, and other things in the process, so that
nothing is kept unless a number of bytes is configured.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import config
from ..targets.base import UNKNOWN, Target

#: Milliseconds between two looks at the memory of a worker that keeps something.
_INTERVAL = 500
#: Beyond, a container is taken apart for longer than it takes to read it again.
_MAX_ITEMS = 10_000
#: Types whose values can't be changed.
_SCALARS = (int, float, complex, bool, str, bytes, type(None))


class _Kept(NamedTuple):
    value: Any
    nbytes: int


class HotCache:
    """Values by key, up to a number of bytes; what was used longest ago goes first."""

    def __init__(self):
        self._lock = threading.Lock()
        self._kept: OrderedDict[Any, _Kept] = OrderedDict()
        self.nbytes = 0

    def __len__(self):
        return len(self._kept)

    def get(self, key: Any) -> Any:
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return UNKNOWN
            self._kept.move_to_end(key)
            return kept.value

    def put(self, key: Any, value: Any, nbytes: int, limit: int) -> None:
        """Keep a value of `nbytes` unless that alone is more than `limit`, the bytes of all."""
        if nbytes > limit:
            return
        with self._lock:
            if key not in self._kept:
                self._kept[key] = _Kept(value, nbytes)
                self.nbytes += nbytes
        self.shrink(limit)

    def shrink(self, limit: int) -> None:
        """Let go of what is beyond `limit` bytes."""
        with self._lock:
            while self._kept and self.nbytes > limit:
                _, kept = self._kept.popitem(last=False)
                self.nbytes -= kept.nbytes


#: Of this process.
cache = HotCache()


def find(target: Target, file_hash: str, shared: bool) -> Any:
    """The value in a target, if it is kept; else `UNKNOWN`.

    Parameters
    ----------
    target : Target
    file_hash : str
        What it holds.
    shared : bool
        Whether arrays that can't be written to will do; else they are copied.
    """
    if not cache:
        return UNKNOWN
    value = cache.get(_key(target, file_hash))
    return value if value is UNKNOWN else handed_out(value, shared)


def keep(target: Target, file_hash: str, value: Any, is_alone: bool) -> bool:
    """Keep what a target reads back; return whether it is kept.  It may be: then it can't be changed.

    Parameters
    ----------
    target : Target
    file_hash : str
        What it holds.
    value : object
        What it reads back.
    is_alone : bool
        Whether nobody else has a reference to the value, or to a part of it.
    """
    limit = current_limit()
    if not limit:
        return False
    nbytes = _size(value)
    if nbytes is None or nbytes > limit:
        return False
    cache.put(_key(target, file_hash), _frozen(value, is_alone), nbytes, limit)
    return True


def handed_out(value: Any, shared: bool) -> Any:
    """What is kept, for somebody who may change it unless it is `shared`."""
    if _is_array(value):
        return value.view() if shared else value.copy()
    if _is_frame(value):
        return value.copy()
    return _rebuilt(value, lambda item: handed_out(item, shared))


def likewise(value: Any) -> Any:
    """What is not kept, in the form of what is: no chance decides whether it can be changed."""
    return _frozen(value, True) if is_on() and _size(value) is not None else value


def is_on() -> bool:
    """Whether something may be kept here and now."""
    configured = config.get("hot-cache")
    return bool(configured) and (not isinstance(configured, float) or _worker() is not None)


def current_limit() -> int:
    """Bytes that may be kept here and now; 0 for none."""
    configured = config.get("hot-cache")
    if not configured:
        return 0
    worker = _worker()
    if not isinstance(configured, float):
        limit = config.get_bytes("hot-cache")
    elif worker is None:
        return 0
    else:
        limit = int(configured * _memory_limit(worker))
    if worker is None:
        return limit
    _watch(worker)
    return max(0, min(limit, cache.nbytes - _excess(worker)))


def owns_its_data(array: Any) -> bool:
    """Whether a value is an array that nobody refers to if nobody has a reference to it itself."""
    is_owner = _is_array(array) and array.base is None and array.flags.owndata
    return is_owner and not weakref.getweakrefcount(array)


def _alone():
    value = object()
    return sys.getrefcount(value)


#: What ``sys.getrefcount(value)`` is if the local variable `value` is all that refers to it.
ALONE = _alone()


def _key(target, file_hash):
    options = {name: option for name, option in vars(target).items() if name != "path"}
    return file_hash, type(target), repr(options)


# ---- values that are safe to share ---------------------------------------------------------------


def _size(value: Any) -> int | None:
    """Bytes of a value, if it can be kept."""
    left = [_MAX_ITEMS]
    try:
        return _measured(value, left)
    except _NotKept:
        return None


class _NotKept(Exception):
    pass


def _measured(value, left):
    left[0] -= 1
    if left[0] < 0:
        raise _NotKept
    if type(value) in _SCALARS:
        return sys.getsizeof(value)
    if type(value) in (list, tuple):
        return sys.getsizeof(value) + sum(_measured(item, left) for item in value)
    if type(value) is dict:
        items = (each for item in value.items() for each in item)
        return sys.getsizeof(value) + sum(_measured(item, left) for item in items)
    if _is_array(value):
        return max(value.nbytes, _base_bytes(value))
    if _is_frame(value):
        return int(value.memory_usage(deep=True).sum())
    raise _NotKept


def _is_array(value):
    return type(value) is _class_in("numpy", "ndarray") and not value.dtype.hasobject


def _class_in(module, name):
    """A class of a module that values can be of; None if it isn't imported, or not as far as that."""
    return getattr(sys.modules.get(module), name, None)


def _base_bytes(value):
    return getattr(value.base, "nbytes", 0) if value.base is not None else 0


def _is_detached(array):
    """Whether its memory is that of arrays or bytes: not of a file, which can change."""
    base = array
    while type(base) is type(array) and base.base is not None:
        base = base.base
    return type(base) is bytes or (type(base) is type(array) and base.flags.owndata)


def _is_frame(value):
    """Whether it is a data frame whose cells can't be changed."""
    if type(value) is not _class_in("pandas", "DataFrame") or value.attrs:
        return False
    import pandas

    dtypes = (*value.dtypes, value.index.dtype, value.columns.dtype)
    return not any(pandas.api.types.is_object_dtype(dtype) for dtype in dtypes)


def _frozen(value, is_alone):
    """The value, or a copy if it isn't the cache's alone, with arrays that can't be written to."""
    if _is_array(value):
        array = value if is_alone and _is_detached(value) else value.copy()
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


def _worker():
    """The distributed worker whose task this is, if it is one's."""
    if "distributed.worker" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


def _memory_limit(worker):
    limit = worker.memory_manager.memory_limit
    if limit:
        return limit
    from distributed.system import MEMORY_LIMIT

    return MEMORY_LIMIT


def _excess(worker):
    """Bytes by which the worker's process is above its target; negative if there is room."""
    manager = worker.memory_manager
    fraction = manager.memory_target_fraction or manager.memory_spill_fraction or 1.0
    return worker.monitor.get_process_memory() - int(fraction * _memory_limit(worker))


_watched: weakref.WeakSet = weakref.WeakSet()
_watching = threading.Lock()


def _watch(worker):
    """Look at the worker's memory now and then, as long as it lives: tasks of others need it, too."""
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
        worker = reference()
        if worker is not None:
            worker.periodic_callbacks["daskcache-hot-cache"] = callback  # stopped when it closes
            callback.start()

    worker.loop.add_callback(start)
