"""The distributed clients of this process; distributed is not imported for them."""

from __future__ import annotations

import asyncio
import sys
import weakref
from typing import Any

#: Id of the scheduler that a client was prepared for.
_prepared: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def live_clients() -> list[Any]:
    """The distributed clients of this process; distributed is not imported for it."""
    module = sys.modules.get("distributed.client")
    if module is None:
        return []
    return [client for client in list(module.Client._instances) if client.status == "running"]


def in_loop_of(client: Any) -> bool:
    """Whether this thread runs the event loop of a distributed client."""
    try:
        return asyncio.get_running_loop() is client.loop.asyncio_loop
    except RuntimeError:
        return False


def is_prepared(client: Any) -> bool:
    return _prepared.get(client) == _scheduler_id(client)


def mark_prepared(client: Any) -> None:
    """Say that nothing more is to be done by itself, as long as the client has the same scheduler."""
    _prepared[client] = _scheduler_id(client)


def _scheduler_id(client):
    return client._scheduler_identity.get("id", "")  # what asks the scheduler would wait for it
