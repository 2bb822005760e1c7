"""Task runners that skip complete tasks: these get a finished future, others go to the actual runner.

`with_skipping` makes one around any other runner; `dask_runner` has the one for Dask.  `preparing` finds
out which tasks are complete.
"""

from __future__ import annotations

import abc
import weakref
from typing import Any

from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.utilities.annotations import allow_failure

from ..modes.handles import CachedResult
from .futures import CacheFuture, allow_failures, unwrapped
from .preparing import Preparer, is_ready
from .recording import RECORDS, finish
from .transactions import forget_if_rolled_back


def with_skipping(runner: TaskRunner, record: str = "event") -> SkippingTaskRunner:
    """Make a task runner skip complete tasks.

    Parameters
    ----------
    runner : prefect.task_runners.TaskRunner
        A runner for threads or processes, for example.  For Dask, use `DaskCacheTaskRunner`.
    record : {"event", "none"}
        "event" reports skipped tasks to Prefect's server, which shows them as Cached; "none" does not.

    Returns
    -------
    SkippingTaskRunner

    Examples
    --------
    >>> @flow(task_runner=with_skipping(ThreadPoolTaskRunner()))       # doctest: +SKIP
    ... def pipeline(): ...
    """
    return SkippingTaskRunner(runner, record)


class SkipsComplete(TaskRunner):
    """Task runner that sends only those tasks on that are not complete; base of the two that do so.

    Parameters
    ----------
    *args, **options
        As for the other base class.
    record : {"event", "none"}
        "event" reports skipped tasks to Prefect's server; "none" does not.

    Raises
    ------
    ValueError
        If `record` is neither "event" nor "none".
    """

    #: True if tasks run in this process.
    _is_here = False

    def __init__(self, *args: Any, record: str = "event", **options: Any):
        super().__init__(*args, **options)
        if record not in RECORDS:
            raise ValueError(f"record must be {' or '.join(map(repr, RECORDS))}, got {record!r}")
        self.record = record
        self.preparer = Preparer()
        #: Futures of tasks that were not skipped.  Completed ones are removed now and then.
        self.futures: list[CacheFuture] = []
        #: Number of tasks that were not skipped.
        self.count = 0
        #: Keys of the submitted recipes.
        self.keys: set[str] = set()
        #: Futures of calls that may be running, by identity of the recipe.
        self._making: weakref.WeakValueDictionary[str, CacheFuture] = weakref.WeakValueDictionary()

    @abc.abstractmethod
    def _send(self, task, parameters, wait_for, dependencies) -> PrefectFuture:
        """Submit a task to the actual runner."""

    def submit(self, task, parameters, wait_for=None, dependencies=None) -> CacheFuture:
        """Return the future of a call; it is finished if the result is complete."""
        if not self._started:
            raise RuntimeError("The task runner must be started before submitting work.")
        allow_failures(parameters, wait_for)
        prepared = self.preparer.prepare(task, parameters, is_ready(wait_for))
        if prepared.state is not None:
            future = self._finished(task, prepared, parameters, wait_for, dependencies)
        else:
            future = self._running(prepared, parameters, wait_for, dependencies)
        if getattr(task, "caches", False):
            future.gives_data = task.results == "data"
            # in this process, the body itself watches the transaction around its task run
            if prepared.state is None and not self._is_here:
                forget_if_rolled_back(future)
        return future

    def map(self, task, parameters, wait_for=None) -> Any:
        # results of cached tasks are loaded: the call may map over them
        loaded = {name: _data(value) for name, value in parameters.items()}
        return super().map(task, loaded, wait_for)

    def _finished(self, task, prepared, parameters, wait_for, dependencies):
        state = prepared.state
        task_run_id = finish(task, prepared.name, parameters, state, wait_for, dependencies, self.record)
        future = CacheFuture(task_run_id, prepared.recipe, state=state)
        if not state.is_completed():
            self._keep(future)
        return future

    def _running(self, prepared, parameters, wait_for, dependencies):
        recipe = prepared.recipe
        rival = self._making.get(recipe.identity) if recipe is not None else None
        if rival is not None and rival.final_state is None:
            # it makes the result, then this call finds it; if it fails, this call runs
            wait_for = [*(wait_for or ()), allow_failure(rival)]
        inner = self._send(prepared.task, parameters, wait_for, dependencies)
        future = CacheFuture(inner.task_run_id, recipe, inner)
        self._keep(future)
        if recipe is not None:
            self._making[recipe.identity] = future
            self.keys.add(recipe.key)
        return future

    def _keep(self, future):
        self.count += 1
        self.futures.append(future)
        if self.count % _PRUNED_EVERY == 0:  # completed futures would only take up memory
            self.futures = [
                each
                for each in self.futures
                if each.final_state is None or not each.final_state.is_completed()
            ]

    def drain(self) -> None:
        """Wait for all submitted tasks."""
        while pending := [future for future in self.futures if future.final_state is None]:
            for future in pending:
                future.settle()

    def cancel_all(self) -> None:
        """Cancel the tasks that have not started."""
        for future in self.futures:
            if future.final_state is None:
                future.cancel()

    def unseen_failures(self, seen: set) -> list[CacheFuture]:
        """Return the futures of failed tasks whose outcome was not looked at.

        Task runs with ids in `seen` are left out.
        """
        return [
            future
            for future in self.futures
            if not future.looked_at
            and future.task_run_id not in seen
            and future.final_state is not None
            and not future.final_state.is_completed()
        ]


_PRUNED_EVERY = 500


def _data(value):
    if isinstance(value, CacheFuture):
        result = value.result()
        return result.load() if isinstance(result, CachedResult) else result
    return value.load() if isinstance(value, CachedResult) else value


class SkippingTaskRunner(SkipsComplete):
    """Task runner around another one, for tasks that are not complete.  Made by `with_skipping`."""

    def __init__(self, runner: TaskRunner, record: str = "event"):
        self.runner = runner
        super().__init__(record=record)
        self._is_here = isinstance(runner, ThreadPoolTaskRunner)

    @property
    def name(self) -> str:
        return f"skipping-{self.runner.name}"

    def duplicate(self) -> SkippingTaskRunner:
        return type(self)(self.runner.duplicate(), self.record)

    def _send(self, task, parameters, wait_for, dependencies):
        return self.runner.submit(
            task, unwrapped(parameters), unwrapped(wait_for) if wait_for else None, dependencies
        )

    def cancel_all(self) -> None:
        super().cancel_all()
        if hasattr(self.runner, "cancel_all"):
            self.runner.cancel_all()

    def __enter__(self) -> SkippingTaskRunner:
        super().__enter__()
        self.runner.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                self.drain()
        finally:
            self.runner.__exit__(*error)
            super().__exit__(*error)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SkippingTaskRunner):
            return False
        return (self.runner, self.record) == (other.runner, other.record)

    def __reduce__(self):
        return type(self), (self.runner.duplicate(), self.record)


def adopt_runner() -> None:
    """Make the running flow's task runner skip complete tasks, unless it does so already.

    Under any other runner nothing would be cached.
    """
    flow_context = FlowRunContext.get()
    if flow_context is not None and not hasattr(flow_context.task_runner, "preparer"):
        around = SkippingTaskRunner(flow_context.task_runner)
        around._started = True  # its owner has started the runner inside, and will stop it
        flow_context.task_runner = around
