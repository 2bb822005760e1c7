"""Plugins for the schedulers, nannies and workers of a distributed cluster.

`memory` gives freed memory back to the system, `keepalive` keeps blocked workers alive, and `logs` sends
log records to the client.  `dashboard` adds a page, and `probe` checks workers before a graph is sent.
`waiting` warns of tasks without workers.
`attaching` puts the plugins on a cluster: at a client's first verb (`prepare`), by
``daskcache.attach(client)``, or by ``--preload daskcache.cluster`` of ``dask scheduler`` and
``dask worker``.  The modules are imported only where distributed is already in use.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

from .. import config
from ..clients import in_loop_of, notes_on
from ..errors import DaskcacheWarning


async def _attach_if_bare(client: Any) -> None:
    from .attaching import attach_if_bare

    await attach_if_bare(client)


#: Steps that are taken for a client before, or while, its first graph with cached nodes runs.
STEPS: list[Callable[[Any], Awaitable[None]]] = [_attach_if_bare]

#: Seconds for which a verb waits for the steps.  After that, they go on in the background.
_PATIENCE = 5.0


def prepare(client: Any) -> None:
    """Take the steps of `STEPS`, once for a client and its scheduler, and watch for missing workers.

    This runs while the client sends a graph, under a lock that its event loop needs.  So the lock is
    released for the wait.  The thread of the loop itself (asynchronous clients) can't wait, so there the
    steps run later.
    """
    from .waiting import watch

    watch(client)
    notes = notes_on(client)
    if notes.get("prepared"):
        return
    notes["prepared"] = True
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
    """Set up the scheduler, worker or nanny of a process that preloads this package."""
    from .attaching import preload

    await preload(server)


async def dask_teardown(server: Any) -> None:
    """Do nothing, because a server that closes tears its own plugins down."""
