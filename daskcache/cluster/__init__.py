"""What daskcache does for the processes of a distributed cluster.

Workers give memory back to the system (`memory`) and stay alive while a task blocks them
(`keepalive`); bodies that block them can run in processes of their own (`isolation`); what they log
reaches the client (`logs`).  `attaching` puts these things on a cluster: by itself, at the first verb of
a client (`prepare`); by ``daskcache.attach(client)``; or without any client::

    dask scheduler --preload daskcache.workers
    dask worker --preload daskcache.workers ...

The modules are imported where distributed is in use already.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

from .. import config
from ..errors import DaskcacheWarning
from .client import in_loop_of, is_prepared, mark_prepared


async def _attach_if_bare(client: Any) -> None:
    from .attaching import attach_if_bare

    await attach_if_bare(client)


#: What is done for a client before, or while, its first graph with cached nodes runs.
STEPS: list[Callable[[Any], Awaitable[None]]] = [_attach_if_bare]

#: How long a verb waits for the steps, in seconds; after that they go on beside it.
_PATIENCE = 5.0


def prepare(client: Any) -> None:
    """Do what is to be done once for a client and its scheduler.

    It is called while the client sends a graph, under a lock that its event loop needs: that is given up
    while this waits.  In the thread of the loop itself (asynchronous clients) nothing can be waited for.
    """
    if is_prepared(client):
        return
    mark_prepared(client)
    if not config.get("workers.attach"):
        return
    if in_loop_of(client):
        client.loop.add_callback(_take_steps, client)
        return
    lock, done = threading.Condition(client._refcount_lock), threading.Event()

    async def take_steps():
        await _take_steps(client)
        with lock:
            done.set()
            lock.notify()

    with lock:
        client.loop.add_callback(take_steps)
        lock.wait_for(done.is_set, _PATIENCE)


async def _take_steps(client):
    for step in STEPS:
        try:
            await step(client)
        except Exception as error:  # noqa: BLE001 - the verb goes on without it
            if client.status == "running":
                warnings.warn(
                    f"daskcache is not attached to the cluster: {type(error).__name__}: {error}",
                    DaskcacheWarning,
                    stacklevel=2,
                )


# ---- preloads ------------------------------------------------------------------------------------


async def dask_setup(server: Any) -> None:
    """What ``--preload daskcache.workers`` does with the scheduler, worker or nanny of its process."""
    from .attaching import preload

    await preload(server)


async def dask_teardown(server: Any) -> None:
    """A server that closes tears its own plugins down."""
