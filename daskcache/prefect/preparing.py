"""Preparation of cached tasks: the plan for a call, made when it is submitted.

`skipping` prepares the calls of a flow; `tasks` prepares calls without ``submit``.  The plan runs on a
worker as one of the callables in `bodies`.
"""

from __future__ import annotations

import functools
import threading
import time
import types
from contextlib import suppress
from typing import Any, NamedTuple

from dask._task_spec import DataNode, cull
from prefect import Task
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Failed
from prefect.utilities.annotations import BaseAnnotation, allow_failure, quote
from prefect.utilities.callables import parameters_to_args_kwargs
from prefect.utilities.collections import visit_collection

from .. import config
from ..calls.arguments import make_recipe
from ..calls.recipe import Recipe, flatten
from ..calls.variants import current_variant
from ..errors import DaskcacheError, TargetCollision, UnhashableArgument
from ..graph.builder import GraphBuilder
from ..graph.node import Node
from ..modes.handles import CachedResult
from ..planning.planner import Planner
from ..planning.states import LOAD
from ..runtime.code_check import ArgumentEncoder, code_in_arguments
from ..runtime.entry import Entry
from ..storage import code_store, roots
from ..storage.paths import DATA_HASH
from ..storage.roots import Root
from ..targets.template import context
from . import transactions
from .bodies import Awaited, Body, LateBody, Settings, with_body
from .futures import CacheFuture, cached, instances_in, state_if_done, value_in
from .internals import resolve_name
from .sent_code import code_of_task
from .stored import StoredResults, refreshes


class Prepared(NamedTuple):
    """The plan for one call."""

    #: The task to run, with the body for this call.
    task: Task
    #: Recipe of the result; None if it is not known yet.
    recipe: Recipe | None
    #: Name of the task run; empty if it is not known yet.
    name: str
    #: The final state, if the result is complete or the call can't be planned; else None.
    state: State | None


class Preparer:
    """Preparer of the calls of one flow.

    Calls of cached tasks that follow each other within `MAX_AGE` share a planner, and so one look at the
    root.
    """

    #: Seconds for which a look at the root is used.  Results stored since then are found by the worker.
    MAX_AGE = 1.0

    def __init__(self):
        self._stored = StoredResults()
        self._lock = threading.RLock()
        self._planner: Planner | None = None
        self._looked = 0.0
        self._rolled_back = 0
        #: Key and function name of the recipe that has claimed a target, by the target's absolute path.
        self._claims: dict[str, tuple[str, str]] = {}

    def prepare(self, task: Any, parameters: dict[str, Any], is_ready: bool) -> Prepared:
        """Plan a call of a cached task, or look up the stored result of another task.

        An error of daskcache becomes a failed state.

        Parameters
        ----------
        task : CachedTask or prefect.Task
        parameters : dict
            As Prefect has bound them, with futures, results, sources and nodes in them.
        is_ready : bool
            True if the call does not have to wait for other tasks, so that it may be finished here.

        Returns
        -------
        Prepared
        """
        if not hasattr(task, "caches"):
            task, state = self._stored.prepare(task, parameters, is_ready)
            return Prepared(task, None, "", state)
        if not task.caches:
            return Prepared(task.plain(), None, "", None)
        try:
            with self._lock:
                return self._prepare(task, parameters, is_ready and task.skips)
        except DaskcacheError as error:
            message = f"the task can't be planned: {error}"
            return Prepared(task, None, "", Failed(message=message, data=error))

    def _prepare(self, task, parameters, skips):
        found = _Upstream(parameters)
        force = refreshes(task)
        if found.unknown:
            return Prepared(_late(task, found, force), None, "", None)
        args, kwargs = parameters_to_args_kwargs(task._spec.func, found.parameters)
        recipe = make_recipe(task._spec, args, kwargs, True)
        self._claim(recipe)
        name = _name(task, recipe, found)
        planner = self._planner_for(found, [recipe] if force else [])
        planned = planner.request(recipe)
        planner.write_down()
        if skips and planned.action == LOAD:
            return Prepared(task, recipe, name, cached(CachedResult(planned.entry, recipe)))
        return Prepared(_bound(task, recipe, name, planner, found.running), recipe, name, None)

    def _claim(self, recipe):
        """Raise `TargetCollision` if another call in this flow has one of the targets."""
        for path in recipe.paths:
            if DATA_HASH in path:
                continue  # equal data may share a file
            own = recipe.key, recipe.name
            key, name = self._claims.setdefault(f"{recipe.root}/{path}", own)
            if key != recipe.key:
                raise TargetCollision(
                    "two calls in one flow have the same target",
                    node=recipe.title,
                    target=f"{recipe.root}/{path}",
                    expected="a target of its own for each call",
                    got=f"{name}() with key {key} and {recipe.name}() with key {recipe.key}",
                    hint="put what tells them apart, or {key}, into the path template",
                )

    def _planner_for(self, found, forced):
        """Return the shared planner, or a new one if the shared planner does not know the current state.

        A call with running upstream tasks or a forced rerun gets a planner for itself.
        """
        if forced or found.running:
            return Planner(forced, running=[future.recipe for future in found.running])
        now = time.monotonic()
        # outdated, if an upstream task has finished that the planner found incomplete
        known = self._planner.nodes if self._planner is not None else {}
        outdated = any(
            recipe.identity in known and not known[recipe.identity].is_complete
            for recipe in found.finished
        )
        outdated = outdated or self._rolled_back != transactions.rolled_back
        if self._planner is None or outdated or now - self._looked > self.MAX_AGE:
            self._planner = Planner()
            self._looked, self._rolled_back = now, transactions.rolled_back
        return self._planner


class _Upstream:
    """The arguments of a call, with nodes in place of the tasks that make them."""

    def __init__(self, parameters):
        #: Futures of unfinished tasks whose recipes are known.
        self.running: list[CacheFuture] = []
        #: Recipes of finished tasks.
        self.finished: list[Recipe] = []
        #: True if the value of an argument is known only when its task is finished.
        self.unknown = False
        self.parameters = {
            name: visit_collection(
                value, self._replace, return_data=True, context={}, remove_annotations=True
            )
            for name, value in parameters.items()
        }

    def _replace(self, value, context):
        around = context.get("annotation")
        if isinstance(around, quote) or isinstance(value, (quote, allow_failure)):
            return value
        if isinstance(value, BaseAnnotation):
            self.unknown = True  # Prefect treats the value as it says, on the worker
            return value
        if isinstance(value, CacheFuture):
            return self._of_cached(value, isinstance(around, allow_failure))
        if isinstance(value, PrefectFuture):
            state = state_if_done(value)
            if state is not None:
                return self._of_state(state, value)
            self.unknown = True
            return value
        if isinstance(value, State):
            return self._of_state(value, value)
        if isinstance(value, CachedResult):
            self.finished.append(value._recipe)
        elif isinstance(value, Entry):  # in a state that came from a worker
            return value.load()
        return value

    def _of_cached(self, future, may_fail):
        state = future.final_state
        if state is not None:
            return self._of_state(state, future)
        if may_fail or future.recipe is None or not future.recipe.paths:
            self.unknown = True
            return future
        self.running.append(future)
        return Node(future.recipe)

    def _of_state(self, state, original):
        if not state.is_completed():
            self.unknown = True  # the engine reports the failure in the state of this task
            return original
        value = value_in(state)
        if isinstance(value, Entry):
            return self._replace(value, {})
        return state.result(_sync=True)


def wait_for_upstream(*arguments: Any) -> None:
    """Wait for all futures in `arguments`."""
    for future in instances_in(arguments, PrefectFuture):
        future.wait()


def is_ready(wait_for: Any) -> bool:
    """Return True if all futures and states in `wait_for` are completed."""
    found = instances_in(wait_for, (PrefectFuture, State))
    states = [each if isinstance(each, State) else state_if_done(each) for each in found]
    return all(state is not None and state.is_completed() for state in states)


def _bound(task, recipe, name, planner, running):
    """Return the task with a body for this call: the graph to run, without running tasks.

    The entries of running tasks are awaited: the body finds them in the call's arguments.
    """
    builder = GraphBuilder(planner)
    key = builder.add_check(recipe)
    awaited = {}
    for future in running:
        upstream = future.recipe
        entry_key = builder.entry_key_of(upstream)
        if entry_key is not None:
            awaited[entry_key] = Awaited(upstream.root, upstream.key, upstream.paths, upstream.base)
    tasks = cull({**builder.tasks, **{key: DataNode(key, None) for key in awaited}}, [key])
    awaited = {key: upstream for key, upstream in awaited.items() if key in tasks}
    body = Body(task._spec, tasks, key, awaited, task.artifacts)
    return with_body(task, body, name)


def _late(task, found, force):
    root, code = Root(roots.local_root(config.get("root"))), task._spec.code()
    root.create()
    code_store.remember(root, code.fingerprint, task._spec.qualified_name, code.parts, code.reach)
    sent = code_of_task(task)._replace(arguments=code_in_arguments(_code_in(found.parameters)))
    settings = Settings(root.path, dict(context), sent, current_variant())
    known = [*found.finished, *[future.recipe for future in found.running]]
    recipes = [flatten(recipe) for recipe in known]
    return with_body(task, LateBody(task._spec, settings, recipes, force, task.artifacts))


def _code_in(parameters):
    """Return the user's functions and classes in the known arguments of a call, by argument."""
    found = {}
    for name, value in parameters.items():
        encoder = ArgumentEncoder()
        for each in instances_in(value, _CODE):
            with suppress(UnhashableArgument):  # the worker raises it
                encoder.add_checked(each)
        found[name] = encoder.code
    return found


_CODE = (types.FunctionType, types.MethodType, functools.partial, type, Task)


def _name(task, recipe, found):
    """Return the task run's name: the node's label, or Prefect's template with its fields filled.

    The name is empty if the template needs a running task's result.
    """
    if task.task_run_name is None:
        return recipe.label
    if found.running:
        return ""
    return resolve_name(task, found.parameters)
