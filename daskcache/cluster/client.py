"""Facts about the distributed clients of this process.

The other modules of `cluster` and `graph` use them.  Nothing here imports distributed.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from typing import Any

#: For each client, the id of the scheduler for which it was prepared.
_prepared: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def live_clients() -> list[Any]:
    """Return the running distributed clients of this process, without importing distributed."""
    module = sys.modules.get("distributed.client")
    if module is None:
        return []
    return [client for client in list(module.Client._instances) if client.status == "running"]


def in_loop_of(client: Any) -> bool:
    """Return True if this thread runs the event loop of a distributed client."""
    try:
        return asyncio.get_running_loop() is client.loop.asyncio_loop
    except RuntimeError:
        return False


def is_prepared(client: Any) -> bool:
    return _prepared.get(client) == _scheduler_id(client)


def mark_prepared(client: Any) -> None:
    """Note that a client is prepared, as long as it has the same scheduler."""
    _prepared[client] = _scheduler_id(client)


def _scheduler_id(client):
    return client._scheduler_identity.get("id", "")  # a call that asks the scheduler would wait for it
