"""Submission of tasks: complete ones get a finished future, others go to the task runner.

The task runners in `dask_runner` and `skipping` use it.  `preparing` plans cached tasks, `stored` looks
up the results of others.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from prefect.futures import PrefectFuture

from ..modes.handles import CachedResult
from .futures import CacheFuture
from .preparing import Preparer, is_ready
from .recording import RECORDS, finish
from .stored import StoredResults
from .transactions import forget_if_rolled_back


class Submitter:
    """Submitter of the tasks of one flow run.

    Parameters
    ----------
    send : callable
        Submits a task to the actual runner: ``send(task, parameters, wait_for, dependencies)``.
    record : {"event", "none"}
        "event" reports skipped tasks to Prefect's server; "none" does not.
    is_here : bool
        True if tasks run in this process.

    Raises
    ------
    ValueError
        If `record` is neither "event" nor "none".
    """

    def __init__(self, send: Callable[..., PrefectFuture], record: str = "event", is_here: bool = False):
        if record not in RECORDS:
            raise ValueError(f"record must be {' or '.join(map(repr, RECORDS))}, got {record!r}")
        self.preparer = Preparer()
        self.record = record
        #: Futures of tasks that were not skipped.  Completed ones are removed now and then.
        self.futures: list[CacheFuture] = []
        #: Number of tasks that were not skipped.
        self.count = 0
        #: Keys of the submitted recipes.
        self.keys: set[str] = set()
        self._send = send
        self._is_here = is_here
        self._stored = StoredResults()
        #: Futures of calls that may be running, by identity of the recipe.
        self._making: weakref.WeakValueDictionary[str, CacheFuture] = weakref.WeakValueDictionary()

    def submit(self, task, parameters, wait_for=None, dependencies=None) -> CacheFuture:
        """Return the future of a call; it is finished if the result is complete."""
        if hasattr(task, "caches"):  # a CachedTask
            if task.caches:
                future = self._submit_cached(task, parameters, wait_for, dependencies)
                future.gives_data = task.results == "data"
                return future
            task = task.plain()
        else:
            twin, state = self._stored.prepare(task, parameters, is_ready(wait_for))
            if state is not None:
                return self._finished(task, "", parameters, state, wait_for, dependencies)
            task = twin
        return self._running(task, None, parameters, wait_for, dependencies)

    def _submit_cached(self, task, parameters, wait_for, dependencies):
        prepared = self.preparer.prepare(task, parameters, task.skips and is_ready(wait_for))
        recipe, state = prepared.recipe, prepared.state
        if state is not None:
            return self._finished(task, prepared.name, parameters, state, wait_for, dependencies, recipe)
        rival = self._making.get(recipe.identity) if recipe is not None else None
        if rival is not None and rival.final_state is None:
            wait_for = [*(wait_for or ()), rival]  # it makes the result, then this call finds it
        future = self._running(prepared.task, recipe, parameters, wait_for, dependencies)
        # in this process, the body itself watches the transaction around its task run
        if not self._is_here:
            forget_if_rolled_back(future)
        if recipe is not None:
            self._making[recipe.identity] = future
            self.keys.add(recipe.key)
        return future

    def _finished(self, task, name, parameters, state, wait_for, dependencies, recipe=None):
        task_run_id = finish(task, name, parameters, state, wait_for, dependencies, self.record)
        future = CacheFuture(task_run_id, recipe, state=state)
        if not state.is_completed():
            self._keep(future)
        return future

    def _running(self, task, recipe, parameters, wait_for, dependencies):
        inner = self._send(task, parameters, wait_for, dependencies)
        future = CacheFuture(inner.task_run_id, recipe, inner)
        self._keep(future)
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

    def cancel(self) -> None:
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


class Submits:
    """Mixin of task runners: they submit through a `Submitter`, which `_submitter` holds."""

    _submitter: Submitter

    @property
    def preparer(self):
        return self._submitter.preparer

    @property
    def count(self) -> int:
        """Number of tasks that were not skipped."""
        return self._submitter.count

    def submit(self, task, parameters, wait_for=None, dependencies=None) -> CacheFuture:
        if not self._started:  # type: ignore[attr-defined]
            raise RuntimeError("The task runner must be started before submitting work.")
        return self._submitter.submit(task, parameters, wait_for, dependencies)

    def map(self, task, parameters, wait_for=None) -> Any:
        # results of cached tasks are loaded: the call may map over them
        loaded = {name: _data(value) for name, value in parameters.items()}
        return super().map(task, loaded, wait_for)  # type: ignore[misc]

    def drain(self) -> None:
        """Wait for all submitted tasks."""
        self._submitter.drain()

    def unseen_failures(self, seen: set) -> list[CacheFuture]:
        """See `Submitter.unseen_failures`."""
        return self._submitter.unseen_failures(seen)

    def cancel_all(self) -> None:
        """Cancel the tasks that have not started."""
        self._submitter.cancel()


def _data(value):
    if isinstance(value, CacheFuture):
        result = value.result()
        return result.load() if isinstance(result, CachedResult) else result
    return value.load() if isinstance(value, CachedResult) else value
