"""Attach daskcache's plugins to a cluster, replace them as a whole, and detach them.

Each process has one plugin with the name `NAME`.  The scheduler has a `ClusterPlugin` with the settings.
Nannies and workers, also those that join later, get a guard (`_guarded`) that brings the plugins of
`memory`, `logs` and `keepalive`.  A worker exits if it can't unpickle its plugins.  So the guards pickle
by value and need only distributed.  Where daskcache can't be imported, they report that, and the worker
goes on without the plugins.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import warnings
import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

import cloudpickle
from dask.utils import parse_bytes, parse_timedelta
from distributed import Nanny, NannyPlugin, Scheduler, SchedulerPlugin, WorkerPlugin

from .. import config
from ..clients import notes_on
from ..errors import DaskcacheWarning
from ..events import COLLECTOR
from . import logs
from .dashboard import register, unregister
from .keepalive import KeepAlivePlugin, KeepAliveTimer, configured_ttl, period_for
from .memory import TrimPlugin

#: Name of the plugins on the scheduler, nannies and workers.
NAME = "daskcache"

#: Topic of the events about workers that go on without the plugins.
TOPIC = "daskcache-workers"


class Settings(NamedTuple):
    """Settings of the plugins on a cluster."""

    trim: bool = True
    #: See `daskcache.cluster.memory.TrimPlugin`.
    mallopt: int | None = None
    keepalive: bool = True
    #: Seconds after which a worker that doesn't answer counts as hung.
    max_block: float = 6 * 3600.0
    #: True to add a page to the scheduler's dashboard.
    dashboard: bool = True
    #: Names of the loggers whose records go to the client.
    loggers: tuple[str, ...] = ()
    level: int = logging.INFO


def attach(
    client: Any,
    *,
    trim: bool | None = None,
    mallopt: int | str | None = None,
    keepalive: bool | None = None,
    max_block: str | float | None = None,
    dashboard: bool | None = None,
    loggers: Iterable[str] = (),
    level: int | str = "INFO",
) -> Any:
    """Attach daskcache's plugins to a cluster: memory trimming, keepalive, a dashboard page and logs.

    A client's first verb over cached nodes attaches the configured plugins, unless the cluster has some
    already.  This call replaces the plugins that are attached.  Attaching the same settings again
    changes nothing.  Workers that join later get the plugins, too.  A worker that can't import daskcache
    goes on without them, and a `DaskcacheWarning` names it.

    Parameters
    ----------
    client : distributed.Client
        A client of the cluster.
    trim : bool, optional
        True to give the memory that workers have freed back to the system.
        Default: config ``daskcache.workers.trim``.
    mallopt : int or str, optional
        Size in bytes from which on allocations come from the system and go back to it at once.  Such
        allocations are far more expensive.
        Default: config ``daskcache.workers.mallopt``, which is none.
    keepalive : bool, optional
        True to keep workers alive while a task blocks them.
        Default: config ``daskcache.workers.keepalive``.
    max_block : str or float, optional
        Time after which a blocked worker counts as hung, in seconds or as text ("2 hours").
        Default: config ``daskcache.keepalive.max-block``, which is 6 hours.
    dashboard : bool, optional
        True to add the page ``/daskcache`` to the scheduler's dashboard; see
        `daskcache.cluster.dashboard`.  Default: config ``daskcache.workers.dashboard``.
    loggers : iterable of str
        Names of loggers.  Records of these loggers and their children on workers go to the loggers of
        the same names in this process.  The records have the attributes ``worker`` (address), ``node``
        (label), ``key`` and ``lineno``.  The handlers of this process decide if they are printed.
    level : int or str
        The lowest level that these loggers let pass on workers, as a number or a name.

    Returns
    -------
    None or awaitable
        An awaitable if the client is asynchronous.

    Raises
    ------
    KeyError
        If `level` is a text that is not the name of a logging level.
    ValueError
        If `mallopt` or `max_block` is a text that can't be parsed.

    See Also
    --------
    detach

    Examples
    --------
    >>> from distributed import Client
    >>> with Client(processes=False, n_workers=1, dashboard_address=None) as client:
    ...     dc.attach(client, trim=True)
    """
    names = (loggers,) if isinstance(loggers, str) else tuple(loggers)
    number = logging.getLevelNamesMapping()[level.upper()] if isinstance(level, str) else level
    settings = configured(trim, mallopt, keepalive, max_block, dashboard)
    _asked[client] = settings = settings._replace(loggers=names, level=number)
    return client.sync(_attach, client, settings, True)


def detach(client: Any) -> Any:
    """Detach daskcache's plugins from a cluster.

    The verbs of this client attach nothing again.

    Parameters
    ----------
    client : distributed.Client
        A client of the cluster.

    Returns
    -------
    None or awaitable
        An awaitable if the client is asynchronous.

    See Also
    --------
    attach

    Examples
    --------
    >>> from distributed import Client
    >>> with Client(processes=False, n_workers=1, dashboard_address=None) as client:
    ...     dc.detach(client)
    """
    _asked[client] = None
    return client.sync(_detach, client)


async def attach_if_bare(client: Any) -> None:
    """Attach the plugins that were asked for or configured, unless some are attached already."""
    settings = _asked.get(client, configured())
    if settings is not None:
        await _attach(client, settings, False)


#: Settings from calls of `attach`, which hold for a client's next scheduler, too; None after `detach`.
_asked: weakref.WeakKeyDictionary[Any, Settings | None] = weakref.WeakKeyDictionary()


async def preload(server: Any) -> None:
    """Attach the configured plugins to a scheduler, worker or nanny without a client."""
    settings = configured()
    if isinstance(server, Scheduler):
        await put_on_cluster(settings, True, server)
        return
    is_nanny = isinstance(server, Nanny)
    guard = _nanny_guard(settings, configured_ttl()) if is_nanny else _worker_guard(settings)
    await server.plugin_add(plugin=pickle.loads(cloudpickle.dumps(guard)), name=NAME)


def configured(trim=None, mallopt=None, keepalive=None, max_block=None, dashboard=None) -> Settings:
    """Return the settings that are given, and those of the configuration for the others."""

    def chosen(given, name):
        return config.get(name) if given is None else given

    mallopt = chosen(mallopt, "workers.mallopt")
    return Settings(
        chosen(trim, "workers.trim"),
        parse_bytes(mallopt) if mallopt else None,
        chosen(keepalive, "workers.keepalive"),
        parse_timedelta(chosen(max_block, "keepalive.max-block")),
        chosen(dashboard, "workers.dashboard"),
    )


# ---- on the client -------------------------------------------------------------------------------


async def _attach(client, settings, replace):
    notes_on(client)["prepared"] = True
    client.subscribe_topic(TOPIC, _warn)
    if settings.loggers:
        client.subscribe_topic(logs.TOPIC, logs.receive)
    await client._run_on_scheduler(put_on_cluster, settings, replace)


async def _detach(client):
    notes_on(client)["prepared"] = True
    for topic in (TOPIC, logs.TOPIC):
        if topic in client._event_handlers:
            client.unsubscribe_topic(topic)
    await client._run_on_scheduler(take_off_cluster)


def _warn(event):
    _, told = event
    warnings.warn(
        f"{told['who']} goes without what daskcache adds to it: {told['error']}\n"
        "  to do: install daskcache there, in the client's version",
        DaskcacheWarning,
        stacklevel=2,
    )


# ---- on the scheduler ----------------------------------------------------------------------------


class ClusterPlugin(SchedulerPlugin):
    """Hold the settings of a cluster, and keep workers without a nanny alive.

    Parameters
    ----------
    settings : Settings
        Settings of the plugins that are attached.
    """

    name = NAME

    def __init__(self, settings: Settings):
        self.settings = settings
        self._timer: KeepAliveTimer | None = None

    async def start(self, scheduler: Scheduler) -> None:
        if self.settings.keepalive and scheduler.worker_ttl:
            self._timer = KeepAliveTimer(scheduler, self.settings.max_block)
            self._timer.start()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None


async def put_on_cluster(settings: Settings, replace: bool, dask_scheduler: Any = None) -> None:
    """Attach the plugins from the scheduler; with `replace`, also if others are attached already."""
    async with _lock(dask_scheduler):
        there = dask_scheduler.plugins.get(NAME)
        if there is not None and (not replace or there.settings == settings):
            return
        await _take_off(dask_scheduler)
        plugin = ClusterPlugin(settings)
        await dask_scheduler.register_scheduler_plugin(plugin, name=NAME, idempotent=False)
        _set_page(dask_scheduler, settings.dashboard)
        ttl = dask_scheduler.worker_ttl
        await asyncio.gather(
            _register(dask_scheduler, "nanny", _nanny_guard(settings, ttl)),
            _register(dask_scheduler, "worker", _worker_guard(settings)),
        )


async def take_off_cluster(dask_scheduler: Any = None) -> None:
    """Detach the plugins from the scheduler."""
    async with _lock(dask_scheduler):
        await _take_off(dask_scheduler)
        _set_page(dask_scheduler, False)


async def _take_off(scheduler):
    plugin = scheduler.plugins.get(NAME)
    if plugin is not None:
        await plugin.close()
        scheduler.remove_plugin(NAME)
    await asyncio.gather(_unregister(scheduler, "nanny"), _unregister(scheduler, "worker"))


def _set_page(scheduler, wanted):
    """Add the dashboard page, or remove it if `attach` added it.

    A page that is there stays, with its numbers.
    """
    collector = scheduler.plugins.get(COLLECTOR)
    if wanted and collector is None:
        register(scheduler)
        scheduler.plugins[COLLECTOR].is_attached = True
    elif not wanted and getattr(collector, "is_attached", False):
        unregister(scheduler)


async def _register(scheduler, kind, guard):
    """Give a guard to all present and later workers or nannies; take it back if one fails on it."""
    if guard.parts:
        register = getattr(scheduler, f"register_{kind}_plugin")
        try:
            await register(None, cloudpickle.dumps(guard), name=NAME, idempotent=False)
        except OSError as error:  # one left in the meantime, and the others have the guard
            logger.info("a %s left while plugins were attached: %s", kind, error)
        except Exception as error:  # noqa: BLE001 - workers that join later would not survive it
            await _unregister(scheduler, kind)
            scheduler.log_event(TOPIC, {"who": f"each {kind} of the cluster", "error": str(error)})


async def _unregister(scheduler, kind):
    if NAME in getattr(scheduler, f"{kind}_plugins"):
        try:
            await getattr(scheduler, f"unregister_{kind}_plugin")(None, name=NAME)
        except OSError as error:
            logger.info("a %s left while plugins were detached: %s", kind, error)


def _lock(scheduler):
    """Return the lock under which a scheduler's plugins are changed."""
    if not hasattr(scheduler, "_daskcache_lock"):
        scheduler._daskcache_lock = asyncio.Lock()
    return scheduler._daskcache_lock


logger = logging.getLogger(__name__)


# ---- on workers and nannies ----------------------------------------------------------------------


def _worker_guard(settings):
    plugins: list[WorkerPlugin] = []
    if settings.trim:
        plugins.append(TrimPlugin(settings.mallopt))
    if settings.loggers:
        plugins.append(logs.LogsPlugin(settings.loggers, settings.level))
    return _guarded(WorkerPlugin, plugins)


def _nanny_guard(settings, ttl):
    is_kept = settings.keepalive and ttl
    plugins = [KeepAlivePlugin(period_for(ttl), settings.max_block)] if is_kept else []
    return _guarded(NannyPlugin, plugins)


def _guarded(base, plugins):
    """Return a plugin of the class `base` that brings `plugins`, or reports why it can't."""

    # the imports are inside and the plugins are pickled, so that it can be unpickled without daskcache
    class Guard(base):
        def __init__(self, name, topic, parts):
            self.name = name
            self.topic = topic
            self.parts = parts
            self.live = []

        async def setup(self, worker=None, nanny=None):
            import inspect
            import logging
            import pickle

            server = nanny if worker is None else worker
            previous = getattr(server, "_daskcache_guard", None)
            if previous is not None:  # nannies don't tear down a plugin that is replaced
                await previous.teardown(worker, nanny)
            server._daskcache_guard = self
            for part in self.parts:
                try:
                    plugin = pickle.loads(part)
                    done = plugin.setup(server)
                    if inspect.isawaitable(done):
                        await done
                    self.live.append(plugin)
                except Exception as error:  # noqa: BLE001 - it is reported to the client
                    told = f"{type(error).__name__}: {error}"
                    logging.getLogger("distributed.worker").warning(
                        "daskcache is not attached: %s", told
                    )
                    kind = "worker" if nanny is None else "nanny"
                    who = f"the {kind} {server.address}"
                    server.log_event(self.topic, {"who": who, "error": told})
                    return

        async def teardown(self, worker=None, nanny=None):
            import inspect

            live, self.live = self.live, []
            for plugin in live:
                done = plugin.teardown(nanny if worker is None else worker)
                if inspect.isawaitable(done):
                    await done

    return Guard(NAME, TOPIC, [cloudpickle.dumps(plugin) for plugin in plugins])
