"""A warning for a graph that waits for workers, which looks like one that hangs.

`prepare` asks for it whenever a client sends a graph with nodes.  An adaptive cluster starts without
workers, so waiting is never an error.
"""

from __future__ import annotations

import warnings
import weakref
from typing import Any, NamedTuple

from ..clients import by_value, notes_on
from ..errors import DaskcacheWarning

#: Seconds after which a graph without workers is worth a warning.
PATIENCE = 10.0


class _Waiting(NamedTuple):
    """The tasks of a scheduler that no worker can run."""

    workers: int
    tasks: int
    #: The resources that these tasks ask for.
    resources: dict[str, float]


def watch(client: Any) -> None:
    """Look from time to time if tasks wait for workers, and warn once for a client and its scheduler."""
    notes = notes_on(client)
    if not notes.get("watched"):
        notes["watched"] = True
        client.loop.add_callback(_look_later, client)


def _look_later(client):
    reference = weakref.ref(client)

    def look():
        found = reference()
        if found is not None and found.status == "running":
            found.loop.add_callback(_look, found)

    # a timer of the loop: unlike a task that sleeps, it is dropped without a word when the loop ends
    client.loop.call_later(PATIENCE, look)


async def _look(client):
    notes = notes_on(client)
    try:
        waiting = _Waiting(*await client._run_on_scheduler(by_value(_tasks_without_workers)))
    except (OSError, ValueError):  # it is gone, as the verb will say, or refuses functions
        return
    if waiting.tasks:
        warnings.warn(_story(waiting, client), DaskcacheWarning, stacklevel=2)
    elif client.futures:
        _look_later(client)
    else:
        notes["watched"] = False


def _story(waiting, client):
    tasks = f"{waiting.tasks} task{'' if waiting.tasks == 1 else 's'}"
    go_on = "the graph goes on as soon as one connects"
    if not waiting.workers:
        address = client.scheduler.address
        return f"{tasks} wait for a worker, and the cluster has none: 'dask worker {address}'; {go_on}"
    if waiting.resources:
        wanted = " ".join(f"{name}={number:g}" for name, number in sorted(waiting.resources.items()))
        return f"{tasks} wait for a worker with '--resources \"{wanted}\"', and none has them; {go_on}"
    return f"{tasks} may run on some workers only, and none of them is connected; {go_on}"


def _tasks_without_workers(dask_scheduler):
    """Return the fields of `_Waiting`.  It runs on the scheduler."""
    waiting = list(dask_scheduler.unrunnable)
    if not dask_scheduler.workers:
        waiting += dask_scheduler.queued
    resources = {}
    for task in waiting:
        for name, number in (task.resource_restrictions or {}).items():
            resources[name] = max(number, resources.get(name, 0))
    return len(dask_scheduler.workers), len(waiting), resources
