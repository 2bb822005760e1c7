"""Index of a root's records by trace: results that equal code made from equal data, under any key.

Records lie by key.  So their names are listed once, and the index keeps the folders in which each trace
occurs.  Folders that changed are listed again at the next verb.  `planning.examiner` and `runtime.node`
search it and check the results they find.  If the index misses a record, a node runs needlessly.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from . import files
from .place import FOLDER_TICK_NS
from .record import RecordName
from .records import RecordStore
from .roots import Root


def with_trace(root: Root, trace: str, verb: str) -> list[RecordName]:
    """Return the records with a trace.

    Parameters
    ----------
    root : Root
    trace : str
        Hash of the code and of the arguments' data.
    verb : str
        Id of the verb: changed folders are listed once per verb.
    """
    wanted, store = hash(trace), RecordStore(root)
    shards = [shard for shard, listed in _refreshed(root, verb).items() if wanted in listed.hashes]
    return [name for shard in shards for name in store.in_shard(shard) if name.trace == trace]


class _Listed(NamedTuple):
    """State of a folder of records when it was listed."""

    mtime_ns: int
    looked_at_ns: int
    #: Python's hashes of the traces in the folder.
    hashes: frozenset[int]


#: By the path of the root: the verb that looked last, and the folders of records as it saw them.
_indexes: dict[str, tuple[str, dict[str, _Listed]]] = {}


def _refreshed(root, verb):
    looked, shards = _indexes.get(root.path, ("", {}))
    if looked != verb:
        names = files.names_in(root.records)
        shards = {shard: _listed(f"{root.records}/{shard}", shards.get(shard)) for shard in names}
        _indexes[root.path] = verb, shards
    return shards


def _listed(folder, known):
    found = os.stat(folder).st_mtime_ns
    # Only within a tick of the clock can a later addition leave the folder's time as it was.
    if known is not None and known.mtime_ns == found and known.looked_at_ns - found > FOLDER_TICK_NS:
        return known
    now = time.time_ns()
    return _Listed(found, now, frozenset(map(_trace_hash, files.names_in(folder))))


def _trace_hash(file):
    return hash(file.split(".", 3)[2]) if file.count(".") > 3 else 0
