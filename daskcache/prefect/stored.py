"""Results of plain Prefect tasks that are stored under a key of ours: found when they are submitted."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

from prefect import Task
from prefect.cache_policies import (
    CacheKeyFnPolicy,
    CachePolicy,
    CompoundCachePolicy,
    FlowParameters,
    TaskSource,
)
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.logging import get_logger
from prefect.results import ResultStore, get_result_store
from prefect.settings import PREFECT_TASKS_REFRESH_CACHE
from prefect.states import Completed
from prefect.utilities.annotations import BaseAnnotation
from prefect.utilities.collections import visit_collection

from ..cpr import alias
from ..errors import DaskcacheError
from .futures import is_done
from .policies import ResourceInputs, task_input_hash
from .result_records import check_files, stored_record

_logger = get_logger("task_runner.daskcache")


class Found(NamedTuple):
    """What is stored for a call."""

    #: The final state of the call, if its result is there.
    state: State | None = None
    #: Whether there is a result that can't be used: the task has to run again.
    unusable: bool = False


class StoredResults:
    """Looks up results for the plain tasks of one flow."""

    def __init__(self):
        #: By id of the task, which is kept so that no other gets the same one.
        self._stores: dict[int, tuple[Task, ResultStore]] = {}

    def find(self, task: Task, parameters: dict[str, Any]) -> Found:
        """What is stored for a call, if its key can be known before it runs."""
        if not has_key_of_ours(task.cache_policy) or refreshes(task):
            return Found()
        inputs = _resolved(parameters)
        if inputs is None:
            return Found()
        flow_context = FlowRunContext.get()
        flow_parameters = (flow_context.parameters if flow_context else None) or {}
        policy = _bare(task.cache_policy)
        try:
            key = policy.compute_key(SimpleNamespace(task=task), inputs, flow_parameters)
        except DaskcacheError:
            return Found()  # the engine meets it again, and says so in the log of the run
        store = self._store(task)
        if key is None or (store.lock_manager is not None and store.is_locked(key)):
            return Found()
        try:
            record = stored_record(store, key)
            if record is None:
                return Found()
            check_files(record.result)
        except DaskcacheError as error:
            _logger.warning("the stored result of %s is not used, but made again: %s", task.name, error)
            return Found(unusable=True)
        return Found(Completed(name="Cached", message="its result is stored", data=record))

    def _store(self, task):
        known = self._stores.get(id(task))
        if known is None:
            known = self._stores[id(task)] = task, get_result_store().update_for_task(task, _sync=True)
        return known[1]


@dataclass
class Guarded(CachePolicy):
    """A cache policy that looks at what is stored before Prefect's engine does, which believes it.

    Made by `guarded`.
    """

    policy: Any = None
    #: Whether results that name CPR's decoder are to be read in other processes, too.
    with_alias: bool = False

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """The key.

        Raises
        ------
        DaskcacheError
            If what is stored under it can't be used; Prefect logs it, and runs the task uncached.
        """
        key = self.policy.compute_key(task_ctx, inputs, flow_parameters, **kwargs)
        if self.with_alias:
            alias.install()
        if key is not None and not refreshes(task_ctx.task):
            record = stored_record(get_result_store(), key)
            if record is not None:
                check_files(record.result)
        return key


def guarded(task: Task) -> Task:
    """The task, with a `Guarded` policy if its key is one of ours."""
    policy = task.cache_policy
    if not has_key_of_ours(policy) or isinstance(policy, Guarded):
        return task
    twin = copy.copy(task)
    twin.cache_policy = Guarded(
        policy.key_storage, policy.isolation_level, policy.lock_manager, policy, alias.is_installed()
    )
    return twin


def refreshed(task: Task) -> Task:
    """The task, with what is stored left out of account."""
    twin = copy.copy(task)
    twin.refresh_cache = True
    return twin


def has_key_of_ours(policy: Any) -> bool:
    """Whether a cache policy consists of ours, and of what can be known before a task runs."""
    policy = _bare(policy)
    parts = policy.policies if isinstance(policy, CompoundCachePolicy) else [policy]
    return any(map(_is_ours, parts)) and all(
        _is_ours(part) or isinstance(part, (TaskSource, FlowParameters)) for part in parts
    )


def _bare(policy):
    return policy.policy if isinstance(policy, Guarded) else policy


def _is_ours(policy):
    if isinstance(policy, CacheKeyFnPolicy):
        function = policy.cache_key_fn
        while isinstance(function, functools.partial):
            function = function.func
        return function is task_input_hash
    return isinstance(policy, ResourceInputs)


def refreshes(task: Task) -> bool:
    """Whether a task is to run whatever is stored."""
    asked = task.refresh_cache
    return bool(PREFECT_TASKS_REFRESH_CACHE.value() if asked is None else asked)


def _resolved(parameters):
    """The arguments as the function would get them; None if something is still running, or failed."""
    ready = True

    def resolve(value):
        nonlocal ready
        if isinstance(value, BaseAnnotation):
            ready = False
        if isinstance(value, PrefectFuture):
            if not is_done(value):
                ready = False
                return value
            value = value.state
        if isinstance(value, State):
            if not value.is_completed():
                ready = False
                return value
            return value.result(_sync=True)
        return value

    resolved = visit_collection(parameters, resolve, return_data=True)
    return resolved if ready else None
