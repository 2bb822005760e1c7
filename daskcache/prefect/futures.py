"""`CacheFuture`: the future of a cached task, finished from the start or around a task runner's future.

`skipping` makes them.  The other functions look into the states and values that hold futures.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Future
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, PrefectTaskRunFuture
from prefect.states import Cancelled, Completed, Crashed
from prefect.utilities.annotations import allow_failure
from prefect.utilities.collections import visit_collection

from ..calls.recipe import Recipe
from ..modes.handles import CachedResult
from ..runtime.entry import Entry


class CacheFuture(PrefectTaskRunFuture):
    """Future of a task run.

    Attributes
    ----------
    recipe : Recipe or None
        The recipe of the result, if it is known.
    inner : PrefectFuture or None
        The task runner's future; None if the task was finished when it was submitted.
    gives_data : bool
        True if `result` returns data in place of a handle.
    looked_at : bool
        True if a caller has asked for the outcome, or let another task handle it, so that a failure
        was seen.
    """

    def __init__(
        self,
        task_run_id: UUID,
        recipe: Recipe | None = None,
        inner: PrefectFuture | None = None,
        state: State | None = None,
    ):
        super().__init__(task_run_id)
        self.recipe = recipe
        self.inner = inner
        self.gives_data = False
        self.looked_at = False
        if state is not None:
            self._final_state = state

    @property
    def final_state(self) -> State | None:
        """The final state, if this process knows it already, else None."""
        if self._final_state is None and self.inner is not None and is_done(self.inner):
            self.settle()
        return self._final_state

    @property
    def wrapped_future(self) -> Any:
        """The future of the task runner's library, whose result is the final state, as in Prefect.

        A task that was finished when it was submitted was never sent: its future belongs to no library.
        """
        if self.inner is not None:
            return getattr(self.inner, "wrapped_future", None)
        done: Future[State] = Future()
        done.set_result(self._final_state)
        return done

    def settle(self, timeout: float | None = None) -> None:
        """Wait for the outcome without marking it as seen."""
        if self._final_state is not None or self.inner is None:
            return
        try:
            self.inner.wait(timeout)
        except CancelledError as error:
            self._final_state = Cancelled(message=f"given up: {error}")
        except BrokenExecutor as error:
            self._final_state = Crashed(message=f"its task runner broke: {error}", data=error)
        else:
            self._take(self.inner._final_state)
        if self._final_state is None and is_done(self.inner):
            self._final_state = Crashed(message="its task runner lost it")

    def wait(self, timeout: float | None = None) -> None:
        self.looked_at = True
        self.settle(timeout)

    @property
    def state(self) -> State:
        self.looked_at = True
        return self.final_state or super().state

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        self.looked_at = True
        self.settle(timeout)
        if self._final_state is None:
            raise TimeoutError(f"task run {self.task_run_id} did not finish within {timeout} seconds")
        result = self._final_state.result(raise_on_failure=raise_on_failure, _sync=True)
        return result.load() if self.gives_data and isinstance(result, Entry) else result

    def add_done_callback(self, fn: Callable[[PrefectFuture], None]) -> None:
        if self._final_state is not None or self.inner is None:
            fn(self)
            return

        def when_done(_):
            self.settle()
            fn(self)

        self.inner.add_done_callback(when_done)

    def cancel(self) -> None:
        """Cancel the task unless it has started."""
        wrapped = getattr(self.inner, "wrapped_future", None)
        if wrapped is not None:
            wrapped.cancel()

    def __reduce__(self):
        # Other task runners may pickle it with a task's arguments.  In another process only its state is
        # of use.
        self.settle()
        return _same, (self._final_state,)

    def _take(self, state):
        if state is not None:
            value = value_in(state)
            if isinstance(value, CachedResult):
                self.recipe = self.recipe or value._recipe
            self._final_state = settled(state, self.recipe)


def _same(state):
    return state


def unwrapped(arguments: Any) -> Any:
    """Replace each `CacheFuture` in arguments by its final state or the task runner's future."""

    def replace(value):
        return (value.final_state or value.inner) if isinstance(value, CacheFuture) else value

    return visit_collection(arguments, replace, return_data=True)


def allow_failures(*arguments: Any) -> None:
    """Mark futures within ``allow_failure`` as looked at: the call that gets them handles failures."""

    def look(value, context):
        if isinstance(value, CacheFuture) and isinstance(context.get("annotation"), allow_failure):
            value.looked_at = True

    visit_collection(arguments, look, return_data=False, context={})


def settled(state: State, recipe: Recipe | None) -> State:
    """Return a final state as users get it: its result is a `CachedResult`, which knows its recipe."""
    value = value_in(state)
    if recipe is None or not isinstance(value, Entry) or isinstance(value, CachedResult):
        return state
    return state.model_copy(update={"data": CachedResult(value, recipe)})


def cached(result: Any = None) -> State:
    """Return the state of a task run whose target was complete."""
    return Completed(name="Cached", message="its target was complete", data=result)


def is_done(future: PrefectFuture) -> bool:
    """Return True if a future is finished; the server is not asked."""
    if future._final_state is not None:
        return True
    wrapped = getattr(future, "wrapped_future", None)
    return wrapped is not None and wrapped.done()


def state_if_done(future: PrefectFuture) -> State | None:
    """Return a future's final state, or None if it is not finished, without marking it as seen."""
    if isinstance(future, CacheFuture):
        return future.final_state
    if not is_done(future):
        return None
    future.wait()
    return future.state


def value_in(state: State) -> Any:
    """Return the value of a completed state, if it is at hand."""
    data = state.data
    return getattr(data, "result", data) if type(data).__name__ == "ResultRecord" else data


def instances_in(value: Any, kinds: type | tuple[type, ...]) -> list[Any]:
    """Return the instances of some classes in a value, as deep as Prefect itself looks for futures."""
    found: list[Any] = []

    def look(each):
        if isinstance(each, kinds):
            found.append(each)

    visit_collection(value, look, return_data=False)
    return found
