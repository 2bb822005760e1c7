"""What other programs have under way on a scheduler.

They give the tasks of equal nodes equal keys.  But a node may be made by one of two tasks (see
`daskcache.graph.builder`), and a program does not know which one another has sent.  So it asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..calls.task_keys import TO_DO
from ..cluster.client import live_clients


def is_alone(client: Any) -> bool:
    """Whether no other program uses the scheduler now; False if that can't be known.

    Parameters
    ----------
    client : distributed.Client or None
        None stands for a scheduler of this process.
    """
    if client is None:
        return True
    if client.asynchronous:
        return False
    own = [each.id for each in live_clients()]
    try:
        return not client.run_on_scheduler(_others(own))
    except (OSError, ValueError):  # it is gone, which the verb says; or it runs nothing for clients
        return False


def unfinished(client: Any, keys: Iterable[str]) -> set[str]:
    """Which of these tasks a scheduler has still to do, whoever has sent them.

    Parameters
    ----------
    client : distributed.Client or None
        None, and an asynchronous one, which can't be waited for, say nothing.
    keys : iterable of str
    """
    wanted = list(keys)
    if client is None or client.asynchronous or not wanted:
        return set()
    try:
        states = client.sync(client.scheduler.get_task_status, keys=wanted)
    except OSError:
        return set()
    return {key for key, state in states.items() if state in TO_DO}


def _others(own):
    """A function, sent by value, that a scheduler without daskcache can run, too."""

    def others(dask_scheduler):
        # `clients` has published data and the like, too
        connected = [name for name in dask_scheduler.client_comms if name not in own]
        return [name for name in connected if not name.startswith("Client-worker-")]  # of tasks

    return others
