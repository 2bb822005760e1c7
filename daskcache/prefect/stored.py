"""Results of plain Prefect tasks, found when a task is submitted.

They are stored by Prefect under a key of daskcache's (`policies`) and read by `serializers`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from prefect import Task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.logging import get_logger
from prefect.results import ResultStore, get_result_store
from prefect.settings import PREFECT_TASKS_REFRESH_CACHE
from prefect.states import Completed
from prefect.utilities.annotations import quote
from prefect.utilities.collections import visit_collection

from ..errors import DaskcacheError
from ..runtime.code_check import code_in_arguments, this_process
from ..targets.cpr import alias
from .futures import state_if_done
from .policies import Arguments, has_key_of_ours
from .sent_code import sent_function
from .serializers import stored_record

_logger = get_logger("task_runner.daskcache")


class StoredResults:
    """Lookup of stored results for the plain tasks of one flow."""

    def __init__(self):
        #: Result stores by id of the task.  The task is kept, so that no other gets its id.
        self._stores: dict[int, tuple[Task, ResultStore]] = {}

    def prepare(
        self, task: Task, parameters: dict[str, Any], is_ready: bool = True
    ) -> tuple[Task, State | None]:
        """Make a call's key, as far as it is known before the call runs, and look up its result.

        Parameters
        ----------
        task : prefect.Task
        parameters : dict
            As Prefect has bound them, with futures and states in them.
        is_ready : bool
            True if the call does not have to wait for other tasks.

        Returns
        -------
        task : prefect.Task
            The task to run.  It carries the key, and all that the key is made from, to the process that
            runs it.
        state : State or None
            The final state, if the result is stored.
        """
        if not has_key_of_ours(task.cache_policy):
            return task, None
        arguments = _known(parameters)
        call = _policy_of(task, arguments)
        twin = copy.copy(task)
        if is_ready and not arguments.late and call.key is not None and not refreshes(task):
            try:
                state = self._find(task, call.key)
            except DaskcacheError as error:
                _logger.warning(
                    "the stored result of %s is not used, but made again: %s", task.name, error
                )
                twin.refresh_cache = True
            else:
                if state is not None:
                    return task, state
        twin.fn = sent_function(
            task, arguments=code_in_arguments(arguments.code), sources=arguments.sources()
        )
        twin.cache_policy = call
        return twin, None

    def _find(self, task, key):
        store = self._store(task)
        if store.lock_manager is not None and store.is_locked(key):
            return None
        record = stored_record(store, key)
        if record is None:
            return None
        return Completed(name="Cached", message="its result is stored", data=record)

    def _store(self, task):
        known = self._stores.get(id(task))
        if known is None:
            known = self._stores[id(task)] = task, get_result_store().update_for_task(task, _sync=True)
        return known[1]


def _policy_of(task, arguments):
    """Return the policy of a call, with its key as far as this process knows it."""
    flow_context = FlowRunContext.get()
    flow_parameters = (flow_context.parameters if flow_context else None) or {}
    policy = task.cache_policy
    try:
        key = policy.compute_key(SimpleNamespace(task=task), arguments, flow_parameters)
    except Exception:  # noqa: BLE001 (NotKnownYet; the engine meets any other again, and logs it)
        key = None
    settings = policy.key_storage, policy.isolation_level, policy.lock_manager
    hashes = arguments.hashes if key is None else {}
    return Guarded(*settings, policy, this_process(), key, hashes, alias.is_installed())


@dataclass
class Guarded(CachePolicy):
    """Cache policy for one call that was looked up when it was submitted.

    Prefect's engine trusts a stored result.  The policy therefore checks the result before the engine
    reads it.
    """

    policy: Any = None
    #: Id of the process that submitted the call.
    process: str = ""
    #: The key, as far as that process knew it; None if an argument was not known yet or has no hash.
    key: str | None = None
    #: Hash of each argument that was hashed, or the error of one that has none; empty if there is a key.
    hashes: dict[str, str | DaskcacheError] = field(default_factory=dict)
    #: True to read results that name CPR's decoder in other processes, too.
    with_alias: bool = False

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Return the call's key, after a check of the result stored under it.

        Raises
        ------
        DaskcacheError
            If an argument has no hash, or the stored result can't be used.  Prefect logs it, and runs
            the task uncached.
        """
        key = self._key(task_ctx, inputs, flow_parameters, kwargs)
        if self.with_alias:
            alias.install()
        if key is not None and not refreshes(task_ctx.task):
            stored_record(get_result_store(), key)  # raises an error if the result can't be used
        return key

    def _key(self, task_ctx, inputs, flow_parameters, kwargs):
        if self.process != this_process():  # there, arguments may have changed since
            if self.key is not None:
                return self.key
            inputs = Arguments(inputs or {}, hashes=self.hashes)
        return self.policy.compute_key(task_ctx, inputs, flow_parameters, **kwargs)


def refreshes(task: Task) -> bool:
    """Return True if a task is to run even if its result is stored."""
    asked = task.refresh_cache
    return bool(PREFECT_TASKS_REFRESH_CACHE.value() if asked is None else asked)


def _known(parameters):
    """Return the arguments as the function would get them, with the names of those that are late."""
    values, late = {}, set()

    def resolve(value, context):
        if isinstance(context.get("annotation"), quote):
            return value
        if isinstance(value, PrefectFuture):
            value = state_if_done(value) or value
        if isinstance(value, State) and value.is_completed():
            return value.result(_sync=True)
        if isinstance(value, (PrefectFuture, State)):
            late.add(context["name"])
        return value

    for name, value in parameters.items():
        about = {"name": name}
        values[name] = visit_collection(
            value, resolve, return_data=True, context=about, remove_annotations=True
        )
    return Arguments(values, late)
