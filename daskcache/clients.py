"""The distributed client, worker and scheduler of this process or thread.

The other modules ask here, and nothing here imports distributed: a process that does not use it has
neither client nor worker.
"""

from __future__ import annotations

import asyncio
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any


def worker_here() -> Any:
    """Return the distributed worker whose task runs in this thread, or None."""
    get_worker = getattr(sys.modules.get("distributed.worker"), "get_worker", None)
    if get_worker is None:  # not imported, or just being imported
        return None
    try:
        return get_worker()
    except ValueError:  # not a worker's task, but maybe one of Dask's schedulers in this process
        return None


def current_client(connect: bool = False) -> Any:
    """Return the current distributed client, or None.

    With `connect`, a worker's task gets the client of its worker, which connects first if necessary.
    """
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client, get_client

    try:
        return get_client() if connect else default_client()
    except ValueError:
        return None


def verb_client(connect: bool = False) -> Any:
    """Return the `current_client`, or None if Dask's verbs are configured to use another scheduler."""
    import dask

    usual = dask.config.get("scheduler", None) in (None, "dask.distributed", "distributed")
    return current_client(connect) if usual else None


def live_clients() -> list[Any]:
    """Return the running distributed clients of this process."""
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


def notes_on(client: Any) -> dict[str, Any]:
    """Return the notes on a client's scheduler, which are empty again when it has another scheduler."""
    scheduler = client._scheduler_identity.get("id", "")  # a call that asks it would wait for the answer
    known, notes = _notes.get(client, (None, {}))
    if known != scheduler:
        notes = {}
        _notes[client] = scheduler, notes
    return notes


#: For each client, the id of its scheduler and the notes on it.
_notes: weakref.WeakKeyDictionary[Any, tuple[str, dict[str, Any]]] = weakref.WeakKeyDictionary()


def by_value(function: Callable) -> Callable:
    """Return a twin of a function that is pickled by value, so that it runs without daskcache, too.

    The function must import all that it uses.  It is nested in no other function.
    """
    # cloudpickle takes a function by value if its module does not exist
    twin = types.FunctionType(function.__code__, {}, function.__name__, function.__defaults__)
    twin.__module__ = "daskcache probe"
    return twin
