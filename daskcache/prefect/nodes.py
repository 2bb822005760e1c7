"""Nodes of `daskcache.delayed` that a flow computes: on its cluster, and as task runs."""

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
    """Within, Dask's verbs use the cluster of a `DaskCacheTaskRunner`, unless the user has chosen."""
    if not isinstance(runner, DaskCacheTaskRunner) or dask.config.get("scheduler", None) is not None:
        yield
        return
    with dask.config.set(scheduler=_Scheduler(runner)):
        yield


class _Scheduler:
    """What Dask calls to get keys of a graph; the cluster is started when there is something to get."""

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
    """Show what happened to one node as a task run."""
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


#: What loads what is complete is no run.
_STATES = {
    RAN: Completed,
    COPIED: Completed,
    SKIPPED: lambda: Completed(name="Cached", message="its target was complete"),
    FAILED: lambda: Failed(message="see the error that the flow got"),
}
