"""`task`: Prefect tasks whose results are cached in targets, or stored by Prefect under daskcache's key.

`preparing` plans their calls, `bodies` run them, `stored` finds results that Prefect stored.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol, overload

from prefect import Task
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.context import FlowRunContext
from prefect.task_engine import run_task
from prefect.utilities.callables import get_call_parameters

from ..calls.spec import Options, Spec
from ..calls.state import inside_body
from ..graph.function import Function, delayed
from ..graph.typed import P, T
from ..modes.handles import CachedResult
from ..modes.options import PREFECT, current_mode, resolved, with_defaults
from .bodies import DataBody, with_body
from .futures import settled
from .policies import carries_code, has_key_of_ours
from .preparing import Preparer, is_ready, wait_for_upstream
from .recording import finish
from .skipping import adopt_runner

#: Options of `delayed`, without those that Prefect has, too.
_OPTIONS = {field.name for field in dataclasses.fields(Options)} - {"retries"}


class TaskDecorator(Protocol):
    """What `task` returns without a function."""

    @overload
    def __call__(self, function: Callable[P, T], /, **options: Any) -> Task[P, CachedResult[T]]: ...
    @overload
    def __call__(self, **options: Any) -> TaskDecorator: ...


@overload
def task(*, mode: str | None = None, **options: Any) -> TaskDecorator: ...
@overload
def task(
    function: Callable[P, T], *, mode: str | None = None, **options: Any
) -> Task[P, CachedResult[T]]: ...
def task(function: Callable | None = None, *, mode: str | None = None, **options: Any) -> Any:
    """Make a function a Prefect task whose results are cached in targets.

    Parameters
    ----------
    function : callable, or function decorated with `daskcache.delayed`
        The function to wrap.
    mode : {"prefect", "prefect.cache", "prefect.skip"}, optional
        "prefect" makes a call run as a plain Prefect task.  "prefect.cache" caches results.
        "prefect.skip" also finishes a complete task when it is submitted.  Default: config
        ``daskcache.mode`` if it is one of these, else ``"prefect.skip"``.
    **options
        Options of `daskcache.delayed` (``target``, ``store``, ``save``, ``label`` …) and of
        `prefect.task` (``retries``, ``tags``, ``on_completion`` …).  ``version`` goes to both.
        ``artifacts=False`` makes no Prefect artifacts for new targets.  With ``results="data"``,
        futures return data in place of handles.

    Returns
    -------
    CachedTask or StoredTask
        A call of a `CachedTask` returns a `CachedResult`, whose ``get_data()`` reads the data;
        ``submit`` returns a future of one.  A task with daskcache's cache key (`task_input_hash`,
        `ResourceInputs`) and neither target nor store is a `StoredTask`.  Prefect stores the values
        that its function returns, as CPR's tasks did.

    Raises
    ------
    TypeError
        If `function` is a Prefect task already.
    ValueError
        If ``results`` is neither "handle" nor "data".

    Examples
    --------
    >>> @task(target="denoised/{image.stem}.tif", retries=2)          # doctest: +SKIP
    ... def denoise(image, sigma):
    ...     return gaussian_filter(image, sigma)
    """
    return _task({"mode": mode, **options}, function)


def _task(defaults, function=None, **options):
    options = with_defaults(defaults, options)
    if function is None:
        return functools.partial(_task, options)
    if isinstance(function, Task):
        raise TypeError("this is a Prefect task already: decorate the function itself")
    options = resolved(function, options)
    mode = options.pop("mode")
    own, extras, prefects = _split(options)
    if not isinstance(function, Function):
        spec = delayed(function, **own)._spec
    else:
        spec = _respecified(function._spec, own)
    if spec.options.target is None and spec.options.store is None and _is_keyed(prefects):
        return StoredTask(spec, mode, **prefects)
    return CachedTask(spec, mode, **extras, **prefects)


def _is_keyed(options):
    """Return True if Prefect is to store results under daskcache's key."""
    policy = options.get("cache_policy")
    if options.get("cache_key_fn") is not None:
        policy = CachePolicy.from_cache_key_fn(options["cache_key_fn"])
    return options.get("persist_result") is not False and has_key_of_ours(policy)


def _split(options):
    """Split options into those of `delayed`, of `CachedTask` and of Prefect."""
    own = {name: value for name, value in options.items() if name in _OPTIONS}
    extras = {name: value for name, value in options.items() if name in ("artifacts", "results")}
    if extras.get("results") not in (None, "handle", "data"):
        raise ValueError(f'results must be "handle" or "data", got {extras["results"]!r}')
    prefects = {
        name: value for name, value in options.items() if name not in _OPTIONS and name not in extras
    }
    if isinstance(options.get("version"), str):
        prefects["version"] = options["version"]
    return own, extras, prefects


def _respecified(spec, own):
    """Return a spec with some options replaced; the same spec if there are none."""
    if not own:
        return spec
    before = {name: getattr(spec.options, name) for name in ("target", "store")}
    own = resolved(spec.func, with_defaults(before, own))
    return Spec(spec.func, dataclasses.replace(spec.options, **{**dict.fromkeys(before), **own}))


class _InModes(Task):
    """A Prefect task in one of Prefect's modes, with a task runner that skips complete tasks."""

    _mode: str | None

    @property
    def mode(self) -> str:
        """The current mode: the task's, or else the configured one.

        It is "prefect.skip" if that is not a mode of Prefect.
        """
        mode = self._mode or current_mode()
        return mode if mode in PREFECT else PREFECT[-1]

    @property
    def skips(self) -> bool:
        """True if a complete call is finished when it is submitted."""
        return self.mode == PREFECT[-1]

    def with_options(self, **options: Any) -> Any:
        """Return a copy with other options of daskcache or Prefect."""
        twin = object.__new__(type(self))
        mode = options.pop("mode", self._mode)
        twin.__dict__.update({**vars(self), **vars(Task.with_options(self, **options)), "_mode": mode})
        return twin

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        """Submit a call as `prefect.Task` does, with any task runner."""
        self._adopt()
        return super().submit(*args, **self._given(kwargs))

    def map(self, *args: Any, **kwargs: Any) -> Any:
        """Map over arguments as `prefect.Task` does, with any task runner."""
        self._adopt()
        return super().map(*args, **self._given(kwargs))

    def _adopt(self):
        adopt_runner()

    def _given(self, kwargs):
        return kwargs

    def _prepare(self, parameters, wait_for, is_ready):
        """Plan a call in this process; a call that is finished already is recorded here."""
        flow_context = FlowRunContext.get()
        runner: Any = flow_context.task_runner if flow_context else None
        preparer = getattr(runner, "preparer", None) or Preparer()
        record = getattr(runner, "record", "event")
        prepared = preparer.prepare(self, parameters, is_ready)
        if prepared.state is not None:
            finish(self, prepared.name, parameters, prepared.state, wait_for, None, record)
        return prepared


class CachedTask(_InModes):
    """A Prefect task whose results have targets.  Made by `task`."""

    def __init__(
        self,
        spec: Spec,
        mode: str | None,
        artifacts: bool = True,
        results: str = "handle",
        **options: Any,
    ):
        options = {"cache_policy": NO_CACHE, "persist_result": False, **options}
        super().__init__(spec.func, **options)
        self._own_spec = spec
        self._mode = mode
        self.artifacts = artifacts
        self.results = results
        self._drop_other_key()

    def _drop_other_key(self):
        """Remove a cache policy of daskcache's: only the target decides if a task is complete.

        Prefect would trust a result that it stored under the key.
        """
        if has_key_of_ours(self.cache_policy):
            self.cache_policy = NO_CACHE

    @property
    def _spec(self) -> Spec:
        # `daskcache.calls.spec` uses this name, too, to find the function in other processes
        return self._own_spec

    @property
    def caches(self) -> bool:
        """True if results are stored."""
        return self.mode != PREFECT[0] and bool(self._own_spec.formats)

    def plain(self) -> Task:
        """Return the task for a call that is not cached: it takes and returns data."""
        return with_body(self, DataBody(self._own_spec))

    def with_options(self, **options: Any) -> CachedTask:
        own, extras, prefects = _split(options)
        prefects.pop("version", None)
        twin = super().with_options(**prefects)
        twin._own_spec = _respecified(self._own_spec, own)
        twin.__dict__.update(extras)
        twin._drop_other_key()
        return twin

    def __call__(self, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any):
        if inside_body.get():
            return self._own_spec.func(*args, **kwargs)
        parameters = get_call_parameters(self.fn, args, self._given(kwargs))
        if self.isasync:
            return self._call_async(parameters, wait_for, return_state)
        wait_for_upstream(parameters, wait_for)
        prepared = self._prepare(parameters, wait_for, not wait_for)
        state = prepared.state or _run(prepared.task, parameters, wait_for)
        return self._outcome(state, prepared, return_state)

    def _given(self, kwargs):
        """Add a placeholder for ``target_path`` to keyword arguments, if the function takes it.

        Prefect binds the arguments before the path is known.
        """
        return {"target_path": None, **kwargs} if self._own_spec.signature.takes_target_path else kwargs

    async def _call_async(self, parameters, wait_for, return_state):
        await asyncio.to_thread(wait_for_upstream, parameters, wait_for)
        prepared = self._prepare(parameters, wait_for, not wait_for)
        state = prepared.state or await _run(prepared.task, parameters, wait_for)
        return self._outcome(state, prepared, return_state)

    def _outcome(self, state, prepared, return_state):
        state = settled(state, prepared.recipe)
        return state if return_state else state.result(raise_on_failure=True, _sync=True)


def _run(task, parameters, wait_for):
    return run_task(task, parameters=parameters, wait_for=wait_for, return_type="state")


@carries_code
class StoredTask(_InModes):
    """A Prefect task whose results Prefect stores under daskcache's key.  Made by `task`.

    It takes and returns the same values as its function.  A stored result is found when the task is
    submitted, with any task runner.  A stored result that can't be trusted, or names missing files, is
    made again.
    """

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any):
        super().__init__(spec.func, **options)
        #: Options of `delayed`.  Only those that define the key are used: version, tracked, ignore.
        self._options = spec.options
        self._mode = mode

    @functools.cached_property
    def _spec(self) -> Spec:
        return Spec(getattr(self.fn, "original", self.fn), self._options)  # type: ignore[arg-type]

    def _adopt(self):
        if self.skips:
            adopt_runner()

    def __call__(self, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any):
        if inside_body.get():
            return self.fn(*args, **kwargs)
        task: Task = self
        if self.mode != PREFECT[0]:
            parameters = get_call_parameters(self.fn, args, kwargs)
            task, _, _, state = self._prepare(parameters, wait_for, is_ready(wait_for))
            if state is not None:
                outcome = state if return_state else state.data.result
                return _awaitable(outcome) if self.isasync else outcome
        return Task.__call__(task, *args, return_state=return_state, wait_for=wait_for, **kwargs)


async def _awaitable(outcome):
    return outcome
