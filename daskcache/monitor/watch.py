"""`Watch`, the thread that shows the progress of a verb.

`graph.progress` starts and ends it.  `settings` says whether there is one.
"""

from __future__ import annotations

import contextvars
import logging
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..planning.planner import Planner
from .counts import Counts
from .notebook import NotebookDisplay
from .settings import NOTEBOOK, Settings
from .terminal import TerminalDisplay

if TYPE_CHECKING:
    from .cluster_runs import ClusterRun
    from .local_runs import LocalRun

logger = logging.getLogger("daskcache.progress")

#: Seconds between two drawings, at least and at most.
_PERIOD, _MAX_PERIOD = 0.1, 1.0

#: Share of the clock's time that drawing may take.
_SHARE = 0.005

#: Seconds to wait for the thread.
_PATIENCE = 5.0

#: Held by the verb that is shown: there is one display at a time.
_shown = threading.Lock()


class Watch:
    """The progress of one verb, which is shown as long as the verb runs.

    Parameters
    ----------
    settings : Settings
    run : ClusterRun or LocalRun
        It learns what happens to the nodes.
    frame : FrameType, optional
        The frame of Dask's own verb, which ends the watch when it is over.
    """

    def __init__(self, settings: Settings, run: ClusterRun | LocalRun, frame: FrameType | None = None):
        self.counts = Counts()
        self.frame = frame
        #: True if one of the verb's futures ends the watch.
        self.is_bound = False
        self._settings = settings
        self._run = run
        if frame is not None:
            run.on_end = self.end
        self._planners: list[Planner] = []
        #: Whether the nodes had begun to run, and the number of each planner's, when they were counted.
        self._known: tuple[bool, list[int]] | None = None
        self._thread_id = threading.get_ident()
        self._began = time.monotonic()
        self._over = threading.Event()
        self._ending = threading.Lock()
        self._display: Any = None
        self._thread: threading.Thread | None = None

    def add_plan(self, planner: Planner, is_composed: bool) -> None:
        """Count a planner's nodes, to which others may come.

        With `is_composed`, the verb's graph may need fewer of them.
        """
        self._run.is_composed = self._run.is_composed or is_composed
        if planner not in self._planners:
            self._planners.append(planner)

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        self.end(failed=kind is not None)

    def start(self) -> None:
        """Begin to watch."""
        self._run.start()
        if self._settings.place is not None:
            context = contextvars.copy_context()  # by which a notebook knows the cell
            self._thread = threading.Thread(
                target=context.run, args=(self._follow,), name="daskcache-progress", daemon=True
            )
            self._thread.start()

    def end(self, failed: bool | None = None) -> None:
        """End the watch, once, and show the summary if anything was shown.

        Parameters
        ----------
        failed : bool, optional
            True if the verb raised an error.  Default: True if an error is being handled.
        """
        if not self._ending.acquire(blocking=False):
            return
        failed = sys.exc_info()[0] is not None if failed is None else failed
        try:
            self._over.set()
            if self._thread is not None and self._thread is not threading.current_thread():
                self._thread.join(_PATIENCE)
        finally:  # also if the user interrupts it once more
            self._run.stop()
            self.frame = None
            self._show_summary(failed)

    def _show_summary(self, failed):
        display, is_shown = self._display, self._display is not None
        try:
            if is_shown or self._settings.always:
                summary = self._summary(failed)
                if not is_shown and self._settings.place is not None:
                    display = _display_for(self._settings.place)
                if display is not None:
                    display.close(summary)
                elif summary:
                    print(summary, file=sys.stderr)
        except Exception as error:  # noqa: BLE001 - the verb is done, whatever its display does
            _log(error)
        finally:
            if is_shown:
                self._display = None
                _shown.release()

    def _summary(self, failed):
        """Return the summary, or "" if the cluster can't be asked any more."""
        try:
            self._refresh(at_once=True)
        except Exception as error:  # noqa: BLE001 - the verb says what is wrong with its cluster
            _log(error)
            return ""
        if not failed:
            self.counts.end()
        return self.counts.summary()

    # ---- in the thread -----------------------------------------------------------------------------

    def _follow(self):
        try:
            if self._over.wait(self._settings.after):
                return
            while not _shown.acquire(timeout=_PERIOD):
                if self._over.is_set() or self._has_left():
                    return
            self._display = _display_for(self._settings.place)
            self._display.open()
            self._draw_until_over()
        except Exception as error:  # noqa: BLE001 - a verb goes on, whatever its display does
            _log(error)
            if self._display is not None:
                self._display.erase()

    def _draw_until_over(self):
        pause = 0.0
        while not self._over.wait(pause):
            if self._has_left():
                self.end()
                return
            started = time.thread_time()
            self._refresh()
            if self.counts.functions and not _is_debugging():
                self._display.show(self.counts.rows(), time.monotonic() - self._began)
            pause = min(max(_PERIOD, (time.thread_time() - started) / _SHARE), _MAX_PERIOD)

    def _refresh(self, at_once=False):
        known = self.counts.has_begun, [len(planner.nodes) for planner in self._planners]
        if known != self._known:  # plans are complete once something runs
            self._known = known
            for planner in self._planners:
                self.counts.expect_planned(planner.planned_nodes)
        self._run.refresh(self.counts, at_once)

    def _has_left(self):
        """Return True if Dask's own verb has ended without a word."""
        frame: FrameType | None = sys._current_frames().get(self._thread_id)
        if self.frame is None:
            return False
        while frame is not None:
            if frame is self.frame:
                return False
            frame = frame.f_back
        return True


def _display_for(place) -> TerminalDisplay | NotebookDisplay:
    return NotebookDisplay() if place == NOTEBOOK else TerminalDisplay(sys.stderr)


def _is_debugging():
    """Return True if a debugger waits for its user, whose line must not be drawn over."""
    for frame in sys._current_frames().values():
        inner: FrameType | None = frame
        while inner is not None:
            if inner.f_globals.get("__name__") in ("bdb", "cmd"):
                return True
            inner = inner.f_back
    return False


def _log(error):
    logger.info("progress can't be shown: %s: %s", type(error).__name__, error, exc_info=True)
