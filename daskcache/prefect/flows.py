"""`flow`: Prefect flows for cached tasks."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import prefect
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner
from prefect.utilities.collections import visit_collection
from prefect_dask import DaskTaskRunner

from ..errors import NodeFailed
from ..modes.options import current_mode
from .dask_runner import DaskCacheTaskRunner
from .nodes import nodes_run_on
from .skipping import SkippingTaskRunner, with_skipping
from .tasks import MODES


def flow(
    function: Callable | None = None,
    *,
    mode: str | None = None,
    task_runner: TaskRunner | None = None,
    **options: Any,
) -> Any:
    """Make a function a Prefect flow for cached tasks.

    What its body submits is waited for at its end.  The flow fails if a task failed that nobody looked
    at, and says how many of how many.

    Parameters
    ----------
    function : callable
        What to wrap.
    mode : {"prefect", "prefect.cache", "prefect.skip"}, optional
        As of `task`.  In the first, this is `prefect.flow`.
    task_runner : prefect.task_runners.TaskRunner, optional
        Default: a `DaskCacheTaskRunner`, whose cluster starts when a task has to run.  Others are made
        to skip what is complete.
    **options
        As of `prefect.flow`.

    Returns
    -------
    prefect.Flow
    """
    if function is None:
        return functools.partial(flow, mode=mode, task_runner=task_runner, **options)
    if (mode or current_mode()) == MODES[0]:
        return prefect.Flow(function, task_runner=task_runner, **options)
    return CacheFlow(function, task_runner=_skipping(task_runner), **options)


class CacheFlow(prefect.Flow):
    """A Prefect flow that waits, at its end, for all that it submitted.  Made by `flow`."""

    def __init__(self, function: Callable, **options: Any):
        super().__init__(function, **options)  # which finds out where to load it from, for deployments
        self._function = function
        self.fn = _draining(function)

    def with_options(self, **options: Any) -> CacheFlow:
        """A copy with other options of `prefect.flow`."""
        if options.get("task_runner") is not None:
            options["task_runner"] = _skipping(options["task_runner"])
        plain = copy.copy(self)
        plain.fn = self._function
        twin = object.__new__(CacheFlow)
        twin.__dict__.update(vars(prefect.Flow.with_options(plain, **options)))
        twin._function = self._function
        twin.fn = _draining(self._function)
        return twin


def _skipping(runner):
    """A task runner that skips, like `runner`."""
    if isinstance(runner, type):
        runner = runner()
    if runner is None:
        return DaskCacheTaskRunner()
    if isinstance(runner, (DaskCacheTaskRunner, SkippingTaskRunner)):
        return runner
    if isinstance(runner, DaskTaskRunner):
        return DaskCacheTaskRunner(
            runner._cluster,
            runner.address,
            runner.cluster_class,
            runner.cluster_kwargs,
            runner.adapt_kwargs,
            runner.client_kwargs,
            runner.performance_report_path,
        )
    return with_skipping(runner)


def _draining(function):
    """The flow's body, with the wait for all that it submits."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def body(*args, **kwargs):
            runner = _runner()
            if runner is None:
                return await function(*args, **kwargs)
            try:
                with nodes_run_on(runner):
                    result = await function(*args, **kwargs)
            except BaseException:
                runner.cancel_all()
                raise
            await asyncio.to_thread(_settle, runner, result)
            return result

    else:

        @functools.wraps(function)
        def body(*args, **kwargs):
            runner = _runner()
            if runner is None:
                return function(*args, **kwargs)
            try:
                with nodes_run_on(runner):
                    result = function(*args, **kwargs)
            except BaseException:
                runner.cancel_all()
                raise
            _settle(runner, result)
            return result

    body.__signature__ = _signature(function)
    return body


def _signature(function):
    """The signature, with annotations that need not be looked up where the function was defined."""
    try:
        return inspect.signature(function, eval_str=True)
    except NameError:
        return inspect.signature(function)


def _settle(runner, result):
    """Wait for the flow's tasks; raise if some failed and nobody would know."""
    runner.drain()
    failed = runner.unseen_failures(_returned(result))
    if failed:
        first = failed[0].final_state
        raise NodeFailed(
            f"{len(failed)} of {runner.count} tasks failed, and nobody looked at them; the "
            f"first: {first.message}",
            hint="wait for futures, or return them from the flow, to handle their failures",
        )


def _runner():
    """The flow run's task runner; None if the body is called without Prefect's engine: ``flow.fn()``."""
    flow_context = FlowRunContext.get()
    return flow_context.task_runner if flow_context is not None else None


def _returned(result):
    """Ids of the task runs whose futures a flow returns: Prefect looks at them."""
    found = set()

    def note(value):
        if isinstance(value, PrefectFuture):
            found.add(value.task_run_id)

    visit_collection(result, note, return_data=False)
    return found
