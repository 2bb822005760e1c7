"""`DaskCacheTaskRunner`: Prefect tasks on a Dask cluster, without the tasks that are complete.

`skipping` decides which calls are sent to the cluster; this module sends them and owns the client.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import Context, copy_context
from typing import Any
from uuid import UUID

import dask
import distributed
import httpx
from dask._task_spec import DataNode, Task, parse_input
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import ContextModel
from prefect.logging import get_logger
from prefect.states import Cancelled, Crashed
from prefect.task_engine import run_task_async, run_task_sync
from prefect.utilities.annotations import BaseAnnotation, quote
from prefect.utilities.collections import visit_collection
from prefect.utilities.engine import collect_task_run_inputs_sync
from prefect_dask import DaskTaskRunner

from ..clients import worker_here
from ..modes.handles import CachedResult
from .futures import CacheFuture
from .internals import PrefectDaskClient, PrefectDaskFuture, uuid7
from .skipping import SkipsComplete
from .workers import ContextSender, flush_workers, prepare_workers

_logger = get_logger("task_runner.daskcache")


class DaskCacheTaskRunner(SkipsComplete, DaskTaskRunner):
    """Task runner for a Dask cluster that skips complete tasks when they are submitted.

    A skipped task never reaches the scheduler: its future is finished from the start, and the task run
    is shown as Cached.  The cluster is started, or connected to, when the first task has to run.  At the
    end of a flow the runner waits for all submitted tasks.

    Parameters
    ----------
    cluster, address, cluster_class, cluster_kwargs, adapt_kwargs, client_kwargs, performance_report_path
        As for `prefect_dask.DaskTaskRunner`.
    record : {"event", "none"}
        "event" reports skipped tasks to Prefect's server; "none" does not.
    extra_loggers : iterable of str
        Names of loggers whose messages on workers go to Prefect, in addition to those in Prefect's
        setting ``PREFECT_LOGGING_EXTRA_LOGGERS``.
    api_keepalive : float, optional
        Seconds between requests to Prefect's server while a flow runs, for proxies that close idle
        connections.  Default: no requests.
    """

    def __init__(
        self,
        cluster: Any = None,
        *of_dask: Any,
        record: str = "event",
        extra_loggers: Iterable[str] = (),
        api_keepalive: float | None = None,
        **options_of_dask: Any,
    ):
        super().__init__(cluster, *of_dask, record=record, **options_of_dask)
        self.extra_loggers = tuple(extra_loggers)
        self.api_keepalive = api_keepalive
        self._given = cluster
        self._context = ContextSender()

    def _settings(self):
        own = {name: getattr(self, name) for name in ("record", "extra_loggers", "api_keepalive")}
        return {"cluster": self._given, **settings_of(self), **own}

    @property
    def client(self) -> PrefectDaskClient:
        """The Dask client; made on first access, with its workers prepared."""
        if self._client is None:
            with self._without_scheduler():
                client = super().client
            prepare_workers(client, self.extra_loggers)
        return self._client

    def _without_scheduler(self):
        """Remove the flow's scheduler, if `flows` has set one, from Dask's configuration.

        A default client, when it is closed, restores the scheduler that it found.  That would be the
        flow's, long after the flow has ended.
        """
        scheduler = dask.config.get("scheduler", None)
        is_ours = getattr(scheduler, "runner", None) is self
        return dask.config.set(scheduler=None) if is_ours else nullcontext()

    def _send(self, task, parameters, wait_for, dependencies):
        """Submit a task to Dask as `PrefectDaskClient.submit` does, without the work that it repeats.

        Most of that is the dump of Prefect's settings; see `ContextSender`.
        """
        client = self.client
        task_run_id = uuid7()
        inputs = {
            name: collect_task_run_inputs_sync(value) | (dependencies or {}).get(name, set())
            for name, value in parameters.items()
        }
        assets = {
            "task": task,
            "task_run_id": task_run_id,
            "task_inputs": inputs,
            "copy_to_child_ctx": True,
        }
        future = distributed.Client.submit(
            client,
            _run,
            task=task,
            task_run_id=task_run_id,
            parameters=_for_workers(parameters),
            wait_for=_for_workers(wait_for) if wait_for else None,
            dependencies=inputs,
            context=self._context.serialize(assets),
            key=f"{task.name}-{task_run_id}",
            pure=False,
        )
        return DaskFuture(task_run_id, future, task.name)

    def duplicate(self) -> DaskCacheTaskRunner:
        return type(self)(**self._settings())

    def __enter__(self) -> DaskCacheTaskRunner:
        super().__enter__()
        self._exit_stack.enter_context(keepalive(self.api_keepalive))
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                self.drain()
            else:
                self.cancel_all()
            owns_cluster = self._cluster is not None and self._given is None
            if self._client is not None and owns_cluster:
                flush_workers(self._client)
        finally:
            super().__exit__(*error)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DaskCacheTaskRunner) and self._settings() == other._settings()

    def __reduce__(self):
        # On workers the runner only submits nested tasks, which find the cluster that they run in.
        return functools.partial(DaskCacheTaskRunner, **{**self._settings(), "cluster": None}), ()


def settings_of(runner: DaskTaskRunner) -> dict[str, Any]:
    """Return the constructor's arguments for a runner like this one, all but its cluster."""
    return {name: getattr(runner, name) for name in _SETTINGS}


_SETTINGS = (
    "address",
    "cluster_class",
    "cluster_kwargs",
    "adapt_kwargs",
    "client_kwargs",
    "performance_report_path",
)


def _run(task, **kwargs):
    """Run a task in Prefect's engine, on a worker; return its final state."""
    return _clean_context().run(_run_here, task, kwargs)


def _run_here(task, kwargs):
    if task.isasync:
        return asyncio.run(run_task_async(task=task, return_type="state", **kwargs))
    return run_task_sync(task=task, return_type="state", **kwargs)


def _clean_context() -> Context:
    """Return a copy of the current context without Prefect's variables.

    A task that submits tasks leaves its own context in later tasks that the worker's event loop starts.
    Those tasks would use a client of Prefect's server, for example, that is closed by then.
    """
    own = {model.__var__ for model in _models(ContextModel) if "__var__" in vars(model)}
    clean = Context()
    for variable, value in copy_context().items():
        if variable not in own:
            clean.run(variable.set, value)
    return clean


def _models(model):
    return [model, *(each for child in model.__subclasses__() for each in _models(child))]


def _for_workers(arguments):
    """Replace Prefect's futures in arguments by Dask's futures or finished states."""

    def replace(value):
        if isinstance(value, BaseAnnotation):  # it is a tuple, which neither Dask nor pickle keeps whole
            held = value.unwrap()
            is_quoted = isinstance(value, quote)
            node = DataNode(None, held) if is_quoted else parse_input(_for_workers(held))
            return Task(None, type(value), node)
        if isinstance(value, CacheFuture):
            state = value.final_state
            if state is None:
                return replace(value.inner)
            bare = replace(state.data)
            return state if bare is state.data else state.model_copy(update={"data": bare})
        if isinstance(value, DaskFuture):
            return value.wrapped_future
        return value.bare() if isinstance(value, CachedResult) else value

    return visit_collection(arguments, replace, return_data=True)


# ---- futures ------------------------------------------------------------------------------------


_CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)


class DaskFuture(PrefectDaskFuture):
    """Future of a task run around a Dask future, whose result is the run's final state.

    A task that was cancelled, or lost because its workers died too often, has no final state.  It gets
    one here, so that callers don't wait for it in vain.
    """

    def __init__(self, task_run_id: UUID, wrapped_future: distributed.Future, name: str):
        super().__init__(task_run_id, wrapped_future)
        self._final_state: State | None = None
        self._name = name

    def wait(self, timeout: float | None = None) -> None:
        if self._final_state is None:
            with _stepping_aside():
                self._final_state = self._state(timeout)

    def _state(self, timeout):
        try:
            state = self._wrapped_future.result(timeout=timeout)
        except TimeoutError:
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


# ---- requests to the server ---------------------------------------------------------------------


@contextmanager
def keepalive(interval: float | None) -> Iterator[None]:
    """Send a request to Prefect's server now and then, for proxies that close idle connections.

    Parameters
    ----------
    interval : float or None
        Seconds between requests, which a daemon thread sends; with None there are none.
    """
    stopped = threading.Event()

    def ask():
        with get_client(sync_client=True) as client:
            while not stopped.wait(interval):
                try:
                    client.hello()
                except httpx.HTTPError as error:
                    _logger.warning("Prefect's server does not answer: %s", error)

    if interval is not None:
        threading.Thread(
            target=copy_context().run, args=(ask,), name="daskcache-keepalive", daemon=True
        ).start()
    try:
        yield
    finally:
        stopped.set()
