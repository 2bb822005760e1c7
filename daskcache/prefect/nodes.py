"""Nodes of `daskcache.delayed` in a flow: they use its cluster and are recorded as task runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import dask
from prefect.states import Completed, Failed

from ..events import COPIED, FAILED, RAN, SKIPPED, TOPIC, event_of, messages_in
from .dask_runner import DaskCacheTaskRunner
from .recording import finish


@contextmanager
def nodes_run_on(runner: Any) -> Iterator[None]:
    """Make Dask's verbs use the cluster of a `DaskCacheTaskRunner` within this context.

    A scheduler that the user has set takes precedence.
    """
    if not isinstance(runner, DaskCacheTaskRunner) or dask.config.get("scheduler", None) is not None:
        yield
        return
    with dask.config.set(scheduler=_Scheduler(runner)):
        yield


class _Scheduler:
    """Dask scheduler that gets keys of a graph from a task runner's cluster.

    The cluster is started with the first graph.  The nodes' events are recorded as task runs, except
    those of tasks that the flow submitted itself.
    """

    def __init__(self, runner: DaskCacheTaskRunner):
        self.runner = runner

    def __call__(self, dsk: Any, keys: Any, **kwargs: Any) -> Any:
        client = self.runner.client
        before = len(client.get_events(TOPIC))
        try:
            return client.get(dsk, keys, **kwargs)
        finally:
            for _, message in client.get_events(TOPIC)[before:]:
                for event in filter(None, map(event_of, messages_in(message))):
                    if event.outcome in _STATES and event.key not in self.runner.keys:
                        _record(event, self.runner.record)


def _record(event, record):
    """Record the outcome of one node as a task run."""
    state = _STATES[event.outcome]()
    started = state.timestamp - timedelta(seconds=event.seconds)
    name = event.function
    node = SimpleNamespace(
        name=name,
        task_key=f"daskcache-{name}",
        version=None,
        retries=0,
        retry_delay_seconds=None,
        retry_jitter_factor=None,
        tags=set(),
        on_completion_hooks=(),
        on_failure_hooks=(),
    )
    finish(node, f"{name}-{event.key[:8]}", {}, state, record=record, started=started)


#: States of task runs by a node's outcome.  Loading a complete node is not a run.
_STATES = {
    RAN: Completed,
    COPIED: Completed,
    SKIPPED: lambda: Completed(name="Cached", message="its target was complete"),
    FAILED: lambda: Failed(message="see the error that the flow got"),
}
