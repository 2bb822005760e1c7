"""Results of plain Prefect tasks that are stored under a key of ours: found when they are submitted."""

from __future__ import annotations

import functools
import os
from types import SimpleNamespace
from typing import Any, NamedTuple

from prefect import Task
from prefect.cache_policies import (
    CacheKeyFnPolicy,
    CompoundCachePolicy,
    FlowParameters,
    TaskSource,
)
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.results import ResultStore, get_result_store
from prefect.settings import PREFECT_TASKS_REFRESH_CACHE
from prefect.states import Completed
from prefect.utilities.annotations import BaseAnnotation
from prefect.utilities.collections import visit_collection

from ..errors import DaskcacheError
from ..targets.resource import Resource
from .futures import is_done
from .policies import ResourceInputs, task_input_hash


class Found(NamedTuple):
    """What is stored for a call."""

    #: The final state of the call, if its result is there.
    state: State | None = None
    #: Whether there is a result whose files are not: the task has to run again.
    incomplete: bool = False


class StoredResults:
    """Looks up results for the plain tasks of one flow."""

    def __init__(self):
        #: By id of the task, which is kept so that no other gets the same one.
        self._stores: dict[int, tuple[Task, ResultStore]] = {}

    def find(self, task: Task, parameters: dict[str, Any]) -> Found:
        """What is stored for a call, if its key can be known before it runs."""
        if not _has_key_of_ours(task) or _refreshes(task):
            return Found()
        inputs = _resolved(parameters)
        if inputs is None:
            return Found()
        flow_context = FlowRunContext.get()
        flow_parameters = (flow_context.parameters if flow_context else None) or {}
        try:
            key = task.cache_policy.compute_key(SimpleNamespace(task=task), inputs, flow_parameters)
        except DaskcacheError:
            return Found()  # the engine meets it again, and says so in the log of the run
        store = self._store(task)
        if key is None or not store.exists(key):
            return Found()
        record = store.read(key)
        if not _files_are_there(record.result):
            return Found(incomplete=True)
        return Found(Completed(name="Cached", message="its result is stored", data=record))

    def _store(self, task):
        known = self._stores.get(id(task))
        if known is None:
            known = self._stores[id(task)] = task, get_result_store().update_for_task(task)
        return known[1]


def _has_key_of_ours(task):
    policy = task.cache_policy
    parts = policy.policies if isinstance(policy, CompoundCachePolicy) else [policy]
    return any(map(_is_ours, parts)) and all(
        _is_ours(part) or isinstance(part, (TaskSource, FlowParameters)) for part in parts
    )


def _is_ours(policy):
    if isinstance(policy, CacheKeyFnPolicy):
        function = policy.cache_key_fn
        while isinstance(function, functools.partial):
            function = function.func
        return function is task_input_hash
    return isinstance(policy, ResourceInputs)


def _refreshes(task):
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


def _files_are_there(value):
    complete = True

    def look(resource):
        nonlocal complete
        if isinstance(resource, Resource):
            complete = complete and os.path.lexists(resource.get_path())

    visit_collection(value, look, return_data=False)
    return complete
