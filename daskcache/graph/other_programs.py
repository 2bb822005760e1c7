"""Questions to a scheduler about other programs and their unfinished tasks.

Programs give the tasks of equal nodes equal keys.  But one of two tasks may make a node: an entry task
or a result task.  A program can't know which of them another program has sent, so `graph.builder` asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..calls.task_keys import TO_DO
from ..clients import by_value, live_clients


def is_alone(client: Any) -> bool:
    """Return True if no other program uses the scheduler now; False also if that can't be known.

    Parameters
    ----------
    client : distributed.Client or None
        None stands for a scheduler of this process, which no other program can use.
    """
    if client is None:
        return True
    if client.asynchronous:
        return False
    own = [each.id for each in live_clients()]
    try:
        return not client.run_on_scheduler(by_value(_others), own)
    except (OSError, ValueError):  # it is gone, as the verb will say, or refuses functions
        return False


def unfinished(client: Any, keys: Iterable[str]) -> set[str]:
    """Return the keys of the tasks that a scheduler has not finished, whichever client sent them.

    Parameters
    ----------
    client : distributed.Client or None
        None gives an empty set.  So does an asynchronous client, which can't be waited for.
    keys : iterable of str
        Dask keys to ask about.
    """
    wanted = list(keys)
    if client is None or client.asynchronous or not wanted:
        return set()
    try:
        states = client.sync(client.scheduler.get_task_status, keys=wanted)
    except OSError:
        return set()
    return {key for key, state in states.items() if state in TO_DO}


def _others(own, dask_scheduler):
    """List the other programs' clients; `own` are the ids of ours.  It runs on the scheduler."""
    # not `clients`, which also has entries for published data and the like
    connected = [name for name in dask_scheduler.client_comms if name not in own]
    return [name for name in connected if not name.startswith("Client-worker-")]  # those of tasks
