"""Notes of failed nodes, one small JSON file for each, which stay until the node succeeds.

`runtime` writes and clears them, and `planning` reads which nodes failed.
"""

from __future__ import annotations

import json
from typing import Any

from . import files as storage
from .atomic import refuse_link
from .roots import FORMAT, METADATA, Root

_SUFFIX = ".json"


def write_failure(root: Root, key: str, **facts: Any) -> None:
    """Write a note that a node failed (``errors="collect"``)."""
    clear_failure(root, key)  # parts are new files: an older note would be in the way
    content = json.dumps({"daskcache": FORMAT, **facts}).encode()
    storage.write_new(_failure_path(root, key), content)


def failed_keys(root: Root) -> set[str]:
    """Return the keys of nodes that failed and have not succeeded since."""
    shards = storage.names_in(root.failures)
    return {
        name.removesuffix(_SUFFIX)
        for shard in shards
        for name in storage.names_in(f"{root.failures}/{shard}")
    }


def clear_failure(root: Root, key: str) -> None:
    refuse_link(root.path, f"{METADATA}/failures/{key[:2]}")
    storage.discard(_failure_path(root, key))


def _failure_path(root, key):
    return f"{root.failures}/{key[:2]}/{key}{_SUFFIX}"
