"""The run of a verb on a scheduler of this process: sync, threads or processes.

`watch` uses it.  Nodes in this process's threads emit events here.  Those in processes emit theirs where
nobody listens, so Dask's own state says what is done.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dask.callbacks import Callback

from .. import events
from ..calls.task_keys import recipe_keys_in
from ..errors import NodeFailed
from ..events import COPIED, FAILED, LOADED, RAN, SKIPPED, NodeEvent
from ..planning.states import DECIDE
from ..runtime.failing import in_brief
from ..runtime.held import Failure
from ..runtime.work import Work
from .counts import Counts, Running

#: Inboxes of the verbs that are watched.  The tuple is replaced as a whole, as other threads read it.
_inboxes: tuple[deque[NodeEvent], ...] = ()
_lock = threading.Lock()


def _deliver(event):
    for inbox in _inboxes:
        inbox.append(event)


class LocalRun(Callback):
    """Learn what happens to a verb's nodes on a scheduler of this process.

    Attributes
    ----------
    on_end : callable or None
        It is called when Dask's scheduler ends.
    is_composed : bool
        True if the graph may need fewer nodes than were planned.
    """

    def __init__(self) -> None:
        self.on_end: Callable[[], None] | None = None
        self.is_composed = False
        self._active: set[Any] = set()
        self._thread = threading.get_ident()
        self._events: deque[NodeEvent] = deque()
        #: Keys of Dask's tasks that are done, with the error of each that failed or None.
        self._done: deque[tuple[Any, Exception | None]] = deque()
        self._graph: Any = {}
        self._state: dict[str, Any] = {}
        self._started = 0.0
        self._error: BaseException | None = None
        #: True once a node emitted an event in this process: then all do.
        self._hears = False
        #: For each Dask key that runs, the time at which it was first seen to.
        self._since: dict[Any, float] = {}

    def start(self) -> None:
        """Listen from now on."""
        global _inboxes
        with _lock:
            if _deliver not in events.listeners:
                events.listeners.append(_deliver)
            _inboxes = (*_inboxes, self._events)
        self._active = Callback.active
        self._active.add(self._callback)

    def stop(self) -> None:
        """Listen no more."""
        global _inboxes
        with _lock:
            _inboxes = tuple(inbox for inbox in _inboxes if inbox is not self._events)
        # Dask puts this set aside while a scheduler runs, and back when it has ended
        self._active.discard(self._callback)

    def refresh(self, counts: Counts, at_once: bool = False) -> None:
        """Add what happened since the last time."""
        if self.is_composed and counts.has_begun:
            self.is_composed = False
            # the graph is not culled, but Dask's state has only the tasks that run
            needed = {key: self._graph.get(key) for key in tuple(self._state["dependencies"])}
            counts.keep_only(_recipe_keys(needed))
        if self._state:
            counts.begin(self._started)
        counts.updated = time.monotonic()
        running = tuple(self._state.get("running", ()))
        self._look_at(running, counts)
        while self._events:
            event = self._events.popleft()
            facts = event.seconds, event.saved, event.error
            is_noted = counts.note(event.key, event.target, event.outcome, *facts)
            self._hears = self._hears or (is_noted and event.outcome != LOADED)
        while self._done:
            done = self._done.popleft()
            if not self._hears:
                self._note_done(*done, counts)
        if self._error is not None:
            self._note_failed(running, counts)

    def _look_at(self, running, counts):
        now = time.monotonic()
        self._since = {key: self._since.get(key, now) for key in running}
        works = [(_work_of(self._graph.get(key)), since) for key, since in self._since.items()]
        counts.running = [Running(work.key, now - since) for work, since in works if work is not None]

    def _note_done(self, key, error, counts):
        """Note a task that is done, unless its event came: from another process there is none."""
        work = _work_of(self._graph.get(key))
        if work is None or counts.has_outcome(*_node_of(work)):
            return
        if error is not None and getattr(error, "node", None) != work.title:
            return  # a node upstream failed
        outcome = FAILED if error is not None else _outcome(work, counts.planned(*_node_of(work)))
        seconds = [name.microseconds / 1e6 for name in work.previous if name is not None]
        saved = max(seconds, default=0.0) if outcome in (SKIPPED, COPIED) else 0.0
        counts.note(*_node_of(work), outcome, None, saved, str(error or ""))

    def _note_failed(self, running, counts):
        """Note which node's error ended the verb; a note on the error has its key."""
        notes = " ".join(getattr(self._error, "__notes__", ()))
        for key in running:
            work = _work_of(self._graph.get(key))
            if work is not None and work.key in notes and not counts.has_outcome(*_node_of(work)):
                counts.note(*_node_of(work), FAILED, error=in_brief(self._error))

    # ---- called by Dask, in the thread of the scheduler --------------------------------------------

    def _start_state(self, graph, state):
        if threading.get_ident() == self._thread:  # else another thread's verb took this callback, too
            self._graph, self._state, self._started = graph, state, time.monotonic()

    def _posttask(self, key, result, graph, state, worker):
        if state is self._state:
            self._done.append((key, _error_in(result)))

    def _finish(self, graph, state, failed):
        if state is not self._state:
            return
        self._error = sys.exc_info()[1] if failed else None
        if self.on_end is not None:
            self.on_end()


def _error_in(result):
    if isinstance(result, Failure):
        return result.error
    return result if isinstance(result, NodeFailed) else None


def _recipe_keys(graph):
    """Return the keys of the recipes whose nodes a graph makes or loads."""
    found = set()
    for key, task in graph.items():
        work = _work_of(task)
        if work is not None:
            found.add(work.key)
        elif hasattr(key, "recipe"):  # a late key
            found.add(key.recipe.key)
        else:
            found.update(recipe_keys_in(str(key)))
    return found


def _work_of(task):
    """Return the work of a task that makes a node, or None."""
    task = getattr(task, "_planned", None) or task  # a late task has its planned one
    args = getattr(task, "args", ())
    return args[0] if args and isinstance(args[0], Work) else None


def _node_of(work):
    """Return the key and the target of a node, as its events have them."""
    return work.key, ", ".join(work.paths)


def _outcome(work, planned):
    """Return the outcome of a node that was made in another process."""
    if getattr(planned, "action", "") == DECIDE and _is_as_recorded(work):
        return SKIPPED
    return COPIED if work.elsewhere is not None else RAN


def _is_as_recorded(work):
    """Return True if the targets still have the recorded times, as those of a skipped node do."""
    for path, name in zip(work.paths, work.previous, strict=True):
        try:
            if name is None or (Path(work.root) / path).stat().st_mtime_ns != name.mtime_ns:
                return False
        except OSError:  # not a file: then nothing tells
            return False
    return bool(work.paths)
