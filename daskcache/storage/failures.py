"""Notes of failed nodes, one small JSON file for each, which stay until the node succeeds.

`runtime.failing` writes and clears them.  `planning` reads which nodes failed, and
`housekeeping.failures` lists the notes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

from . import files as storage
from .atomic import refuse_link
from .documents import COUNT, LINE, PATH, TEXT, known_fields, list_of
from .record import RecordName, target_id, utc_now
from .records import RecordStore
from .roots import FORMAT, METADATA, Root, parsed

_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class FailureNote:
    """The note of a node's last failure."""

    #: Version of the form of records, see `daskcache.storage.roots.FORMAT`.
    daskcache: Annotated[int, COUNT]
    #: Hash of the recipe.
    key: Annotated[str, TEXT] = ""
    #: Display name of the node.
    node: Annotated[str, TEXT] = ""
    #: Module and qualified name of the function.
    function: Annotated[str, TEXT] = ""
    #: Paths of the node's targets from the root.
    targets: Annotated[list[str] | tuple[()], list_of(PATH)] = ()
    #: Names of the records that the node and the contents of its targets had when it failed.
    records: Annotated[list[str] | tuple[()], list_of(LINE)] = ()
    #: Class and message of the exception, e.g. ``ValueError: no cells``.
    error: Annotated[str, TEXT] = ""
    #: The exception with its traceback, from the first line of the user's code on.
    traceback: Annotated[str, TEXT] = ""
    #: What the function logged and, if it was isolated, printed: lines, the newest last.
    log: Annotated[list[str] | tuple[()], list_of(TEXT)] = ()
    #: Address of the distributed worker; empty elsewhere.
    worker: Annotated[str, TEXT] = ""
    #: Name of the machine.
    host: Annotated[str, TEXT] = ""
    #: Time of the failure (UTC), as ``2024-01-31T23:59:59Z``.
    when: Annotated[str, TEXT] = ""


def write_failure(root: Root, key: str, **facts: Any) -> None:
    """Write the note of a node that failed; `facts` are fields of `FailureNote`."""
    clear_failure(root, key)  # parts are new files: an older note would be in the way
    content = {"daskcache": FORMAT, "key": key, "when": utc_now(), **facts}
    storage.write_new(_path(root, key), json.dumps(content).encode())


def failed_keys(root: Root) -> set[str]:
    """Return the keys of nodes that have a note of a failure."""
    shards = storage.names_in(root.failures)
    return {
        name.removesuffix(_SUFFIX)
        for shard in shards
        for name in storage.names_in(f"{root.failures}/{shard}")
    }


def read_failure(root: Root, key: str) -> FailureNote | None:
    """Return the note of a failure; None if there is none, or if it can't be read."""
    try:
        with open(_path(root, key), "rb") as file:
            document = parsed(file.read())
        return FailureNote(**known_fields(FailureNote, document))
    except (OSError, ValueError):  # cleared meanwhile, or damaged: the node runs in any case
        return None


def last_failure(store: RecordStore, key: str) -> FailureNote | None:
    """Return the note of a node's failure; None without one, or if its target was made since.

    The worker that makes a result removes the note that it knows of.  A retry on another worker does
    not know of it, and a changed input or function gives the node another key.  So a record that the
    note doesn't know, of the key or of what a target holds now, says that the node succeeded.
    """
    note = read_failure(store.root, key)
    if note is None:
        return None
    present = [_name_of_present(store, path) for path in note.targets]
    names = {record_id(name) for name in [*store.with_key(key), *present] if name is not None}
    return note if names <= set(note.records) else None


def record_id(name: RecordName) -> str:
    """Return what tells a record from others: its name, without the time, which a copy changes."""
    return name._replace(mtime_ns=0).unsealed()


def _name_of_present(store, path):
    """Return the record that vouches for what is at a target, given by its path from the root."""
    stamp = storage.stamp(store.root.absolute(path))
    rivals = store.with_target(target_id(path)) if stamp is not None else []
    return next((name for name in rivals if name.stamp == stamp), None)


def clear_failure(root: Root, key: str) -> None:
    refuse_link(root.path, f"{METADATA}/failures/{key[:2]}")
    storage.discard(_path(root, key))


def _path(root, key):
    return f"{root.failures}/{key[:2]}/{key}{_SUFFIX}"
