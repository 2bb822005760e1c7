"""Bodies: callables that run in place of a cached task's function, in Prefect's engine on a worker.

A `Body` knows its plan since the task was submitted.  A `LateBody` plans on the worker, because an
argument is the result of a task that daskcache does not know.  A `DataBody` caches nothing.  `preparing`
and `tasks` make them.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import dask
from dask._task_spec import DataNode
from dask.local import get_sync
from prefect import Task
from prefect.utilities.collections import visit_collection

from ..calls.arguments import make_recipe
from ..calls.recipe import recipes_before, unflatten
from ..calls.spec import Spec
from ..calls.state import inside_body
from ..calls.variants import variant
from ..events import NodeEvent, listeners
from ..graph.node import Node
from ..graph.verb import make_now
from ..modes.handles import CachedResult
from ..modes.plain import call_plain
from ..runtime.code_check import check_arguments
from ..runtime.entry import Entry
from ..storage.paths import located
from ..targets.source import Source
from ..targets.template import context
from ..targets.unreadable import reading
from .futures import cached, instances_in
from .recording import make_artifact
from .sent_code import SentCode
from .transactions import forget_if_rolled_back


class Awaited(NamedTuple):
    """An upstream task that was still running when its follower was submitted."""

    root: str
    key: str
    paths: tuple[str, ...]
    #: Of a node in a variant, the base's paths; else empty.
    base: tuple[str, ...] = ()


class Settings(NamedTuple):
    """Configuration of the submitting process that a worker needs."""

    root: str
    context: dict[str, Any]
    code: SentCode
    variant: str | None = None


class _AnyBody:
    """Base of bodies: calls `run` with the bound parameters, and looks to Prefect like the function."""

    def __init__(self, spec: Spec):
        self.__name__ = spec.name
        self.__signature__ = _bare_signature(spec)

    def __call__(self, *args, **kwargs):
        bound = self.__signature__.bind(*args, **kwargs)
        return self.run(bound)

    def run(self, bound: inspect.BoundArguments) -> Any:
        raise NotImplementedError


def _bare_signature(spec):
    """Return the parameters' names and kinds only; workers don't need annotations and defaults."""
    parameters = [
        p.replace(annotation=p.empty, default=p.empty if p.default is p.empty else None)
        for p in spec.signature.inspected.parameters.values()
    ]
    return inspect.Signature(parameters)


def with_body(task: Task, body: _AnyBody, name: str = "") -> Task:
    """Return a copy of a task that runs `body`, with a name for its task run unless that is empty."""
    bound = copy.copy(task)
    bound.__dict__.pop("__wrapped__", None)
    bound.fn = _AsyncBody(body) if task.isasync else body
    if name:
        bound.task_run_name = _Name(name)
    return bound


class _Name:
    """A task run's name that is filled already.  A callable, because Prefect fills a text once more."""

    def __init__(self, name):
        self.name = name

    def __call__(self):
        return self.name


class _AsyncBody(_AnyBody):
    """The same body for an ``async def`` task, awaited by the engine; it runs in a thread."""

    def __init__(self, body: _AnyBody):
        self.body = body
        self.__name__ = body.__name__
        self.__signature__ = body.__signature__

    async def __call__(self, *args, **kwargs):
        outcome = await asyncio.to_thread(self.body, *args, **kwargs)
        return await outcome if inspect.iscoroutine(outcome) else outcome


class Body(_AnyBody):
    """Body that makes one node, with everything that has to run before it, unless it is complete.

    Parameters
    ----------
    spec : Spec
    tasks : dict
        Graph of the tasks to run.
    key : str
        Key of the task in `tasks` whose entry is the result.
    awaited : dict
        For each key in `tasks` that an upstream task run fills, its `Awaited`.
    with_artifact : bool
        True to show a new target as a Prefect artifact.
    """

    def __init__(self, spec, tasks: dict, key: str, awaited: dict[str, Awaited], with_artifact: bool):
        super().__init__(spec)
        self.tasks = tasks
        self.key = key
        self.awaited = awaited
        self.with_artifact = with_artifact

    def run(self, bound):
        entries = instances_in(bound.arguments, Entry)
        tasks = dict(self.tasks)
        for key, upstream in self.awaited.items():
            # Prefect has put the upstream's result into the arguments: take its entry from there
            (entry, *_) = [each for each in entries if _is_of(each, *upstream)]
            tasks[key] = DataNode(key, entry)
        with _watched() as outcomes:
            entry = get_sync(tasks, self.key)
        return _finished(entry, outcomes, self.with_artifact)


class LateBody(_AnyBody):
    """Body that plans and makes one node whose arguments are known only on the worker.

    Parameters
    ----------
    spec : Spec
    settings : Settings
    recipes : list
        Flattened recipes of the known upstream tasks.
    force : bool
        True to rerun the task even if it is complete.
    with_artifact : bool
        See `Body`.
    """

    def __init__(self, spec, settings: Settings, recipes: list, force: bool, with_artifact: bool):
        super().__init__(spec)
        self.spec = spec
        self.settings = settings
        self.recipes = recipes
        self.force = force
        self.with_artifact = with_artifact

    def run(self, bound):
        with self.settings.code.for_values():
            recipe = self._recipe(bound)
            with _watched() as outcomes:
                entry = make_now(recipe, force=self.force)
        return _finished(CachedResult(entry, recipe), outcomes or ["skipped"], self.with_artifact)

    def _recipe(self, bound):
        known = [unflatten(flat) for flat in self.recipes]
        spec = self.spec if self.settings.code.is_ours else self._spec_of_client(known, bound)

        def stand_in(value):
            if not isinstance(value, Entry) or isinstance(value, CachedResult):
                return value
            for recipe in known:
                if _is_of(value, recipe.root, recipe.key, recipe.paths, recipe.base):
                    return Node(recipe)
            return value.load()

        arguments = visit_collection(bound.arguments, stand_in, return_data=True)
        bound = inspect.BoundArguments(bound.signature, arguments)
        root = {"daskcache.root": self.settings.root}
        sent = self.settings
        with _config_lock, dask.config.set(root), context(**sent.context), variant(sent.variant):
            recipe = make_recipe(spec, bound.args, bound.kwargs, True)
        if spec is not self.spec:
            recipe.parts = None  # the client has stored the code already, see `preparing._late`
        return recipe

    def _spec_of_client(self, known, bound):
        """Return the function with the client's fingerprint, and give upstream functions theirs.

        The worker may have other versions of the user's modules, so its own fingerprints must not count.
        """
        code = self.settings.code
        if code.arguments is not None:
            check_arguments(code.arguments, bound.arguments)
        stack, seen = list(known), set()
        while stack:
            recipe = stack.pop()
            if id(recipe) not in seen:
                seen.add(id(recipe))
                recipe.spec, recipe.mutable = recipe.spec.as_of_client(recipe.code), False
                stack += recipes_before(recipe)
        return self.spec.as_of_client(code.fingerprint)


#: Dask's configuration is shared by the process, so two tasks must not set it at the same time.
_config_lock = threading.Lock()


class DataBody(_AnyBody):
    """Body that calls the function with data in place of handles and sources, and caches nothing."""

    def __init__(self, spec: Spec):
        super().__init__(spec)
        self.spec = spec

    def run(self, bound):
        signature = self.spec.signature
        wants_object = dict(zip(signature.names, signature.wants_object, strict=True))
        for name, value in bound.arguments.items():
            if not wants_object.get(name):
                bound.arguments[name] = visit_collection(value, _data, return_data=True)
            elif isinstance(value, Source):
                bound.arguments[name] = value.__daskcache_without_fields__()
        token = inside_body.set(True)
        try:
            return call_plain(self.spec, bound.args, bound.kwargs)
        finally:
            inside_body.reset(token)


def _data(value):
    if isinstance(value, Entry):
        return value.load()
    if not isinstance(value, Source):
        return value
    with reading(value):
        return value.get_data()


def _is_of(entry, root, key, paths, base=()):
    """Return True if `entry` is the result of the recipe with this root, key and target paths.

    A node of a variant may use the result at the base's paths.
    """
    if (entry.root, entry.key, len(entry.stored)) != (root, key, len(paths)):
        return False
    used = [result.target.path for result in entry.stored]
    hashes = [result.data_hash for result in entry.stored]
    return any(list(map(located, places, hashes)) == used for places in (paths, base) if places)


def _finished(entry, outcomes, with_artifact):
    """Return the entry for the engine; for a skipped node, a state that shows it as Cached."""
    # the last event is the node's own; events before it are of upstream nodes
    if outcomes and outcomes[-1] == "skipped":
        return cached(entry)
    forget_if_rolled_back(entry)
    if with_artifact:
        make_artifact(entry)
    return entry


# ---- what happened -------------------------------------------------------------------------------

_outcomes: ContextVar[list[str] | None] = ContextVar("daskcache_prefect_outcomes", default=None)


def _listen(event: NodeEvent):
    outcomes = _outcomes.get()
    if outcomes is not None:
        outcomes.append(event.outcome)


@contextmanager
def _watched() -> Iterator[list[str]]:
    """Collect the outcomes of the nodes that run in this context, in order."""
    if _listen not in listeners:
        listeners.append(_listen)
    token = _outcomes.set([])
    try:
        yield _outcomes.get()  # type: ignore[misc]
    finally:
        _outcomes.reset(token)
