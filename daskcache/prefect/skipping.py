"""`with_skipping`: a task runner around any other one, which complete tasks don't reach.

`submitting` decides which calls are complete.  `dask_runner` has the task runner for Dask.
"""

from __future__ import annotations

from typing import Any

from prefect.context import FlowRunContext
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from .futures import unwrapped
from .submitting import Submits, Submitter


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


class SkippingTaskRunner(Submits, TaskRunner):
    """Task runner around another one, for tasks that are not complete.  Made by `with_skipping`."""

    def __init__(self, runner: TaskRunner, record: str = "event"):
        super().__init__()
        self.runner = runner
        self.record = record
        self._submitter = Submitter(self._send, record, isinstance(runner, ThreadPoolTaskRunner))

    @classmethod
    def around_started(cls, runner: TaskRunner) -> SkippingTaskRunner:
        """Wrap a task runner that its owner has started, and will stop."""
        around = cls(runner)
        around._started = True
        return around

    @property
    def name(self) -> str:
        return "skipping" if not hasattr(self, "runner") else f"skipping-{self.runner.name}"

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
        flow_context.task_runner = SkippingTaskRunner.around_started(flow_context.task_runner)
