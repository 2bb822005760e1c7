"""`flow`: Prefect flows for cached tasks, and for nodes of `daskcache.delayed` that use its cluster.

A flow waits for its tasks at its end.  With Prefect's own `DaskTaskRunner`, a flow whose 12 tasks were
not waited for ended as Completed and left 1 file.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Protocol, overload

import dask
import prefect
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.task_runners import TaskRunner
from prefect_dask import DaskTaskRunner

from ..errors import NodeFailed
from ..events import COPIED, FAILED, RAN, SKIPPED, TOPIC, event_of, messages_in
from ..graph.typed import P, T
from ..modes.options import PREFECT, current_mode
from .dask_runner import DaskCacheTaskRunner, settings_of
from .futures import cached, instances_in
from .recording import finish
from .skipping import SkippingTaskRunner, with_skipping


class FlowDecorator(Protocol):
    """What `flow` returns without a function."""

    def __call__(self, function: Callable[P, T], /) -> prefect.Flow[P, T]: ...


@overload
def flow(
    *, mode: str | None = None, task_runner: TaskRunner | None = None, **options: Any
) -> FlowDecorator: ...
@overload
def flow(
    function: Callable[P, T],
    *,
    mode: str | None = None,
    task_runner: TaskRunner | None = None,
    **options: Any,
) -> prefect.Flow[P, T]: ...
def flow(
    function: Callable | None = None,
    *,
    mode: str | None = None,
    task_runner: TaskRunner | None = None,
    **options: Any,
) -> Any:
    """Make a function a Prefect flow for cached tasks.

    At its end the flow waits for all tasks that its body submitted.  It fails if a task failed and its
    outcome was not looked at.  The error says how many tasks failed.

    Parameters
    ----------
    function : callable
        The function to wrap.
    mode : {"prefect", "prefect.cache", "prefect.skip"}, optional
        As for `task`.  In the mode "prefect", the result is a plain `prefect.flow`.
    task_runner : prefect.task_runners.TaskRunner, optional
        Default: a `DaskCacheTaskRunner`, whose cluster starts when a task has to run.  Any other runner
        is wrapped so that it skips complete tasks, too.
    **options
        As for `prefect.flow`.

    Returns
    -------
    prefect.Flow
    """
    if function is None:
        return functools.partial(flow, mode=mode, task_runner=task_runner, **options)
    if (mode or current_mode()) == PREFECT[0]:
        return prefect.Flow(function, task_runner=task_runner, **options)
    return CacheFlow(function, task_runner=_skipping(task_runner), **options)


class CacheFlow(prefect.Flow):
    """A Prefect flow that waits at its end for all tasks that it submitted.  Made by `flow`."""

    def __init__(self, function: Callable, **options: Any):
        super().__init__(function, **options)  # finds the file of `function`, for deployments
        self._function = function
        self.fn = _draining(function)

    def with_options(self, **options: Any) -> CacheFlow:
        """Return a copy with other options of `prefect.flow`."""
        if options.get("task_runner") is not None:
            options["task_runner"] = _skipping(options["task_runner"])
        # Prefect copies a flow with its `fn`: the user's function, lest the copy waits twice
        plain = copy.copy(self)
        plain.fn = self._function
        twin = object.__new__(CacheFlow)
        twin.__dict__.update(vars(prefect.Flow.with_options(plain, **options)))
        twin._function = self._function
        twin.fn = _draining(self._function)
        return twin


def _skipping(runner):
    """Return a task runner like `runner` that skips complete tasks."""
    if isinstance(runner, type):
        runner = runner()
    if runner is None:
        return DaskCacheTaskRunner()
    if isinstance(runner, (DaskCacheTaskRunner, SkippingTaskRunner)):
        return runner
    if isinstance(runner, DaskTaskRunner):
        return DaskCacheTaskRunner(runner._cluster, **settings_of(runner))
    return with_skipping(runner)


def _draining(function):
    """Wrap a flow's body so that it waits for all tasks that it submits."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def body(*args, **kwargs):
            with _cancelling() as runner:
                result = await function(*args, **kwargs)
            await asyncio.to_thread(_settle, runner, result)
            return result

    else:

        @functools.wraps(function)
        def body(*args, **kwargs):
            with _cancelling() as runner:
                result = function(*args, **kwargs)
            _settle(runner, result)
            return result

    body.__signature__ = _signature(function)
    return body


def _signature(function):
    """Return the signature with evaluated annotations, as far as their names are known."""
    try:
        return inspect.signature(function, eval_str=True)
    except NameError:
        return inspect.signature(function)


@contextmanager
def _cancelling() -> Iterator[Any]:
    """Yield the flow run's task runner, for its nodes too; cancel its tasks if the flow's body fails.

    Without Prefect's engine, as in ``flow.fn()``, it is None.
    """
    flow_context = FlowRunContext.get()
    runner: Any = flow_context.task_runner if flow_context is not None else None
    try:
        with nodes_run_on(runner):
            yield runner
    except BaseException:
        if runner is not None:
            runner.cancel_all()
        raise


def _settle(runner, result):
    """Wait for the flow's tasks; raise if some failed and their outcomes were not looked at."""
    if runner is None:
        return
    runner.drain()
    # Prefect handles the failures of futures that a flow returns
    returned = {future.task_run_id for future in instances_in(result, PrefectFuture)}
    failed = runner.unseen_failures(returned)
    if failed:
        first = failed[0].final_state
        raise NodeFailed(
            f"{len(failed)} of {runner.count} tasks failed, and their outcomes were not looked at; the "
            f"first: {first.message}",
            hint="wait for futures, or return them from the flow, to handle their failures",
        )


# ---- nodes --------------------------------------------------------------------------------------


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
    SKIPPED: cached,
    FAILED: lambda: Failed(message="see the error that the flow got"),
}
