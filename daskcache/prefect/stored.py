"""Results of plain Prefect tasks that are stored under a key of ours: found when they are submitted."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

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
from .arguments import Arguments
from .futures import is_done
from .policies import has_key_of_ours
from .result_records import check_files, stored_record
from .sent_code import sent_function

_logger = get_logger("task_runner.daskcache")


class StoredResults:
    """Looks up results for the plain tasks of one flow."""

    def __init__(self):
        #: By id of the task, which is kept so that no other gets the same one.
        self._stores: dict[int, tuple[Task, ResultStore]] = {}

    def prepare(
        self, task: Task, parameters: dict[str, Any], is_ready: bool = True
    ) -> tuple[Task, State | None]:
        """Make a call's key, as far as it is known before it runs, and look for its result.

        Parameters
        ----------
        task : prefect.Task
        parameters : dict
            As Prefect has bound them; with futures and states in them.
        is_ready : bool
            Whether there is nothing that the call has to wait for.

        Returns
        -------
        task : prefect.Task
            What to run: it takes the key, and what it is made of, to where it runs.
        state : State or None
            The final state, if the result is stored.
        """
        if not has_key_of_ours(task.cache_policy):
            return task, None
        arguments = _known(parameters)
        call = _looked_at(task, arguments)
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
        twin.cache_policy = _guarded(task.cache_policy, call)
        return twin, None

    def _find(self, task, key):
        store = self._store(task)
        if store.lock_manager is not None and store.is_locked(key):
            return None
        record = stored_record(store, key)
        if record is None:
            return None
        check_files(record.result)
        return Completed(name="Cached", message="its result is stored", data=record)

    def _store(self, task):
        known = self._stores.get(id(task))
        if known is None:
            known = self._stores[id(task)] = task, get_result_store().update_for_task(task, _sync=True)
        return known[1]


class Call(NamedTuple):
    """A call's key, as far as the process knows it that submits."""

    process: str
    #: The key; None as long as an argument is not known, or if one has no hash.
    key: str | None
    #: Hashes of arguments, or the error of one that has none.
    hashes: dict[str, str | DaskcacheError]


def _looked_at(task, arguments):
    flow_context = FlowRunContext.get()
    flow_parameters = (flow_context.parameters if flow_context else None) or {}
    try:
        key = task.cache_policy.compute_key(SimpleNamespace(task=task), arguments, flow_parameters)
    except Exception:  # noqa: BLE001 (NotKnownYet; the engine meets any other again, and logs it)
        key = None
    return Call(this_process(), key, arguments.hashes if key is None else {})


@dataclass
class Guarded(CachePolicy):
    """A cache policy for one call that was looked at when it was submitted.

    It looks at what is stored before Prefect's engine does, which believes it.
    """

    policy: Any = None
    call: Call | None = None
    #: Whether results that name CPR's decoder are to be read in other processes, too.
    with_alias: bool = False

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Return the key.

        Raises
        ------
        DaskcacheError
            If an argument has no hash, or what is stored can't be used; Prefect logs it, and runs the
            task uncached.
        """
        key = self._key(task_ctx, inputs, flow_parameters, kwargs)
        if self.with_alias:
            alias.install()
        if key is not None and not refreshes(task_ctx.task):
            record = stored_record(get_result_store(), key)
            if record is not None:
                check_files(record.result)
        return key

    def _key(self, task_ctx, inputs, flow_parameters, kwargs):
        call = self.call
        if call is None or call.process == this_process():  # arguments may be others by now
            return self.policy.compute_key(task_ctx, inputs, flow_parameters, **kwargs)
        if call.key is not None:
            return call.key
        arguments = Arguments(inputs or {}, hashes=call.hashes)
        return self.policy.compute_key(task_ctx, arguments, flow_parameters, **kwargs)


def _guarded(policy, call):
    settings = policy.key_storage, policy.isolation_level, policy.lock_manager
    return Guarded(*settings, policy, call, alias.is_installed())


def refreshes(task: Task) -> bool:
    """Whether a task is to run whatever is stored."""
    asked = task.refresh_cache
    return bool(PREFECT_TASKS_REFRESH_CACHE.value() if asked is None else asked)


def _known(parameters):
    """Return the arguments as the function would get them, and which of them are late."""
    values, late = {}, set()

    def resolve(value, context):
        if isinstance(context.get("annotation"), quote):
            return value
        if isinstance(value, PrefectFuture):
            if not is_done(value):
                late.add(context["name"])
                return value
            value = value.state
        if isinstance(value, State):
            if not value.is_completed():
                late.add(context["name"])
                return value
            return value.result(_sync=True)
        return value

    for name, value in parameters.items():
        about = {"name": name}
        values[name] = visit_collection(
            value, resolve, return_data=True, context=about, remove_annotations=True
        )
    return Arguments(values, late)
