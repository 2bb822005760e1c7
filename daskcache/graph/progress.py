"""Progress of verbs and futures: `progress`, and the hooks of verbs.

`graph.verb` uses `watched` around the package's own verbs, and `watch_dask_verb` where a verb of Dask
plans its nodes.  `monitor` counts and shows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from dask.base import get_scheduler

from ..errors import GraphError
from ..monitor.settings import Settings, can_wait_for, settings_for
from ..planning.planner import Planner
from .attempts import SUBMISSIONS
from .frames import blocking_verb, client_of

if TYPE_CHECKING:
    from ..monitor.watch import Watch


def progress(*futures: Any) -> None:
    """Wait until futures are done, and show the progress of their nodes meanwhile.

    There is a line for each function, as for verbs: config ``daskcache.progress``.  A summary is printed
    in the end.  Errors of the futures are not raised.

    Parameters
    ----------
    *futures : distributed.Future, persisted nodes, or lists, tuples and dicts of them
        The futures, of `distributed.Client.compute` or others.

    Raises
    ------
    GraphError
        If there are no futures, or their client is asynchronous.
    concurrent.futures.CancelledError
        If futures are cancelled.

    Examples
    --------
    >>> from distributed import Client
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> with Client(processes=False, n_workers=1, dashboard_address=None) as client:
    ...     futures = client.compute([square(2), square(3)])
    ...     dc.progress(futures)
    ...     client.gather(futures)
    [4, 9]
    """
    from distributed import wait
    from distributed.client import futures_of

    found = futures_of(list(futures))
    if not found:
        raise GraphError(
            "progress() got no futures",
            expected="what Client.compute returned, or persisted nodes",
            got=repr(futures)[:100],
            hint="dc.compute(nodes) shows its progress itself",
        )
    client = found[0].client
    if not can_wait_for(client):
        raise GraphError(
            "progress() can't wait for an asynchronous client", hint="await distributed.wait(futures)"
        )
    settings = settings_for(True)
    if settings is None:  # within a node's function
        wait(found)
        return
    with _watch_of_futures(settings, client, found):
        wait(found)


def _watch_of_futures(settings, client, futures):
    from ..monitor.cluster_runs import ClusterRun, expected_of
    from ..monitor.watch import Watch

    sent = SUBMISSIONS.tasks_for({future.key for future in futures})
    since = min([began for began, _ in sent], default=None)
    watch = Watch(settings, ClusterRun(client, since, futures))
    for key, node in expected_of([task for _, task in sent], futures).items():
        watch.counts.expect(key, node)
    return watch


# ---- verbs ---------------------------------------------------------------------------------------


@contextmanager
def watched(
    planner: Planner,
    kwargs: Mapping[str, Any],
    option: bool | float | str | None = None,
    is_composed: bool = False,
    waits_for_cluster: bool = True,
) -> Iterator[None]:
    """Show, within this context, the progress of a verb whose nodes are planned.

    Parameters
    ----------
    planner : Planner
    kwargs : dict
        The arguments for `dask.compute`, which choose the scheduler.
    option : bool, float or str, optional
        The argument ``progress`` of `daskcache.compute`.
    is_composed : bool
        True if some collections are not nodes.
    waits_for_cluster : bool
        False for a verb that returns at once on a cluster.
    """
    settings = settings_for(option)
    client = (
        client_of(get_scheduler(scheduler=kwargs.get("scheduler"))) if settings is not None else None
    )
    if settings is None or not can_wait_for(client) or not (client is None or waits_for_cluster):
        yield
        return
    with _watch(settings, client) as watch:
        watch.add_plan(planner, is_composed)
        yield


def watch_dask_verb(planner: Planner, client: Any, is_composed: bool = False) -> None:
    """Show the progress of Dask's own verb that runs in this thread, if it waits for what it runs.

    The parameters are as in `watched`.
    """
    settings = settings_for(None)
    frame = blocking_verb() if settings is not None else None
    if settings is None or frame is None or not can_wait_for(client):
        return
    watch = _of_thread.watch
    if watch is not None and watch.frame is not frame:
        watch.end()  # its verb was over before it ran anything
        watch = None
    if watch is None:
        _of_thread.watch = watch = _watch(settings, client, frame)
        watch.start()
    watch.add_plan(planner, is_composed)


def end_with_futures(futures: dict[str, Any] | None) -> None:
    """Let the watch of Dask's verb in this thread end when the verb releases these new futures."""
    watch = _of_thread.watch
    if watch is not None and not watch.is_bound and watch.frame is not None and futures:
        from ..monitor.cluster_runs import end_with

        watch.is_bound = True
        end_with(futures, watch.end)


class _OfThread(threading.local):
    """The watch of Dask's own verb that a thread runs."""

    watch: Watch | None = None


_of_thread = _OfThread()


def _watch(settings: Settings, client: Any, frame: FrameType | None = None) -> Watch:
    from ..monitor.cluster_runs import ClusterRun  # a silent verb needs none of these
    from ..monitor.local_runs import LocalRun
    from ..monitor.watch import Watch

    return Watch(settings, LocalRun() if client is None else ClusterRun(client), frame)
