"""`DaskFuture`: the future of a task run on a Dask cluster.  Used by `dask_runner`."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import distributed
from prefect.client.schemas.objects import State
from prefect.futures import PrefectWrappedFuture
from prefect.logging import get_logger
from prefect.states import Cancelled, Crashed

from ..clients import worker_here

_logger = get_logger("task_runner.daskcache")

_TIMEOUTS = (TimeoutError, distributed.TimeoutError, concurrent.futures.TimeoutError)
_CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)


class DaskFuture(PrefectWrappedFuture):
    """Future of a task run around a Dask future, whose result is the run's final state.

    A task that was cancelled, or lost because its workers died too often, has no final state.  It gets
    one here, so that callers don't wait for it in vain.
    """

    def __init__(self, task_run_id: UUID, wrapped_future: distributed.Future, name: str):
        super().__init__(task_run_id, wrapped_future)
        self._final_state: State | None = None
        self._name = name

    def wait(self, timeout: float | None = None) -> None:
        if self._final_state is not None:
            return
        with _stepping_aside():
            self._final_state = self._state(timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        self.wait(timeout)
        if self._final_state is None:
            raise TimeoutError(
                f"task run {self.task_run_id} ({self._name}) did not finish within {timeout} seconds"
            )
        return self._final_state.result(raise_on_failure=raise_on_failure, _sync=True)

    def _state(self, timeout):
        try:
            state = self._wrapped_future.result(timeout=timeout)
        except _TIMEOUTS:
            return None
        except _CANCELLED as error:
            return self._of_run(Cancelled(message=f"given up: {error}"))
        except Exception as error:
            _logger.exception("the task %s was lost on the cluster", self._name)
            return self._of_run(Crashed(message=f"lost on the cluster: {error}", data=error))
        if not isinstance(state, State):
            return self._of_run(Crashed(message=f"the cluster returned a {type(state).__name__}"))
        return state

    def _of_run(self, state):
        state.state_details.task_run_id = self.task_run_id
        return state


@contextmanager
def _stepping_aside() -> Iterator[None]:
    """Free this thread's slot on a worker while it waits for other tasks."""
    if worker_here() is None:
        yield
        return
    # without this, nested tasks on a worker with one thread would wait for ever
    distributed.secede()
    try:
        yield
    finally:
        distributed.rejoin()
