"""What daskcache adds to a cluster is put there once, replaced as a whole, and taken away again.

Each kind of process has one plugin of ours, by the name `NAME`: the scheduler a `ClusterPlugin`, which
knows the settings; nannies and workers a guard (`_guarded`), which brings the plugins proper.  Those who
join later get theirs from the scheduler.

A worker whose plugins can't be unpickled exits, so the guards pickle by value and need nothing but
distributed: where daskcache can't be imported they say so, and the worker goes on without it.
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
from ..errors import DaskcacheWarning
from ..events import COLLECTOR
from . import logs
from .client import mark_prepared
from .dashboard import register, unregister
from .keepalive import KeepAlivePlugin, KeepAliveTimer, configured_ttl, period_for
from .logs import LogsPlugin
from .memory import TrimPlugin

#: Name of the plugins on scheduler, nannies and workers.
NAME = "daskcache"

#: Topic of the events that tell of workers that go without.
TOPIC = "daskcache-workers"


class Settings(NamedTuple):
    """What is put on a cluster."""

    trim: bool = True
    #: See `daskcache.cluster.memory.TrimPlugin`.
    mallopt: int | None = None
    keepalive: bool = True
    #: Seconds after which a worker that doesn't answer counts as hung.
    max_block: float = 6 * 3600.0
    #: Whether the scheduler's dashboard gets a page.
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
    """Add to a cluster what keeps its workers lean and alive, and shows and tells what they do.

    The first verb of a client that needs nodes does the same with the configuration, unless the cluster
    has it already.  What was attached before is replaced; attaching the same again changes nothing.
    Workers that join later get it, too.  One that can't import daskcache goes on without, and a
    `DaskcacheWarning` names it.

    Parameters
    ----------
    client : distributed.Client
        Of an asynchronous client, await what is returned.
    trim : bool, optional
        Whether workers give memory that they have freed back to the system.
        Default: config ``daskcache.workers.trim``.
    mallopt : int or str, optional
        Bytes from which on allocations come from the system, and go back to it at once: such allocations
        are far dearer then.  Default: config ``daskcache.workers.mallopt``, which is none.
    keepalive : bool, optional
        Whether workers that are blocked by a task stay alive.
        Default: config ``daskcache.workers.keepalive``.
    max_block : str or float, optional
        The time (seconds) after which a blocked worker counts as hung.
        Default: config ``daskcache.keepalive.max-block``, which is 6 hours.
    dashboard : bool, optional
        Whether the scheduler's dashboard gets a page, ``/daskcache``; see `daskcache.dashboard`.
        Default: config ``daskcache.workers.dashboard``.
    loggers : iterable of str
        Names of loggers.  What they, and those below them, say on workers goes to the loggers of the
        same names in this process; the records have the attributes ``worker`` (address), ``node``
        (label), ``key`` and ``lineno``.  Whether they are printed is for this process's handlers to say.
    level : int or str
        The least level that these loggers let pass on workers.

    See Also
    --------
    detach

    Examples
    --------
    >>> logging.basicConfig(level="INFO")                           # doctest: +SKIP
    >>> dc.attach(client, loggers=["mylib"])                        # doctest: +SKIP
    """
    given = {
        "trim": trim,
        "mallopt": mallopt,
        "keepalive": keepalive,
        "max_block": max_block,
        "dashboard": dashboard,
    }
    settings = configured(**{name: value for name, value in given.items() if value is not None})
    names = (loggers,) if isinstance(loggers, str) else tuple(loggers)
    settings = settings._replace(loggers=names, level=_level(level))
    _asked[client] = settings
    return client.sync(_attach, client, settings, True)


def detach(client: Any) -> Any:
    """Take away from a cluster what daskcache has added; this client adds nothing again by itself.

    Parameters
    ----------
    client : distributed.Client
        Of an asynchronous client, await what is returned.
    """
    _asked[client] = None
    return client.sync(_detach, client)


async def attach_if_bare(client: Any) -> None:
    """Attach what is configured, unless something is attached already."""
    settings = _asked.get(client, configured())
    if settings is not None:
        await _attach(client, settings, False)


#: What was asked for explicitly: it holds for a client's next scheduler, too.  None: nothing.
_asked: weakref.WeakKeyDictionary[Any, Settings | None] = weakref.WeakKeyDictionary()


async def preload(server: Any) -> None:
    """Add to a scheduler, worker or nanny what its configuration says, without any client."""
    settings = configured()
    if isinstance(server, Scheduler):
        await put_on_cluster(settings, True, server)
        return
    if isinstance(server, Nanny):
        ttl = configured_ttl()
        guard = _guarded(NannyPlugin, _nanny_plugins(settings, ttl))
    else:
        guard = _guarded(WorkerPlugin, _worker_plugins(settings))
    await server.plugin_add(plugin=pickle.loads(cloudpickle.dumps(guard)), name=NAME)


def configured(**given: Any) -> Settings:
    """The settings of the configuration, with what is `given` in their place."""
    for name in ("trim", "mallopt", "keepalive", "dashboard"):
        given.setdefault(name, config.get(f"workers.{name}"))
    mallopt = given["mallopt"]
    max_block = given.pop("max_block", None) or config.get("keepalive.max-block")
    given["mallopt"] = parse_bytes(mallopt) if mallopt else None
    return Settings(**given, max_block=parse_timedelta(max_block))


def _level(level):
    known = logging.getLevelNamesMapping()
    return known[level.upper()] if isinstance(level, str) else level


# ---- on the client -------------------------------------------------------------------------------


async def _attach(client, settings, replace):
    mark_prepared(client)
    client.subscribe_topic(TOPIC, _warn)
    if settings.loggers:
        client.subscribe_topic(logs.TOPIC, logs.receive)
    await client._run_on_scheduler(put_on_cluster, settings, replace)


async def _detach(client):
    mark_prepared(client)
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
    """Says what is attached to a cluster; keeps workers without a nanny alive.

    Parameters
    ----------
    settings : Settings
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
    """Attach, on the scheduler; with `replace` also if something else is attached already."""
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
            _register(dask_scheduler, "nanny", _guarded(NannyPlugin, _nanny_plugins(settings, ttl))),
            _register(dask_scheduler, "worker", _guarded(WorkerPlugin, _worker_plugins(settings))),
        )


async def take_off_cluster(dask_scheduler: Any = None) -> None:
    """Detach, on the scheduler."""
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
    """Have the page on the dashboard, with the numbers that it has by now; or remove what is ours."""
    collector = scheduler.plugins.get(COLLECTOR)
    if wanted and collector is None:
        register(scheduler)
        scheduler.plugins[COLLECTOR].is_attached = True
    elif not wanted and getattr(collector, "is_attached", False):
        unregister(scheduler)


async def _register(scheduler, kind, guard):
    """Give a guard to all that are there or join later; take it back if one can't take it."""
    if guard.parts:
        register = getattr(scheduler, f"register_{kind}_plugin")
        try:
            await register(None, cloudpickle.dumps(guard), name=NAME, idempotent=False)
        except OSError as error:  # one left in the meantime; the others have it
            logger.info("a %s left while plugins were attached: %s", kind, error)
        except Exception as error:  # noqa: BLE001 - who joins later would not survive it
            await _unregister(scheduler, kind)
            scheduler.log_event(TOPIC, {"who": f"each {kind} of the cluster", "error": str(error)})


async def _unregister(scheduler, kind):
    if NAME in getattr(scheduler, f"{kind}_plugins"):
        try:
            await getattr(scheduler, f"unregister_{kind}_plugin")(None, name=NAME)
        except OSError as error:
            logger.info("a %s left while plugins were detached: %s", kind, error)


def _lock(scheduler):
    """One change at a time."""
    if not hasattr(scheduler, "_daskcache_lock"):
        scheduler._daskcache_lock = asyncio.Lock()
    return scheduler._daskcache_lock


logger = logging.getLogger(__name__)


# ---- on workers and nannies ----------------------------------------------------------------------


def _worker_plugins(settings):
    plugins = []
    if settings.trim:
        plugins.append(TrimPlugin(settings.mallopt))
    if settings.loggers:
        plugins.append(LogsPlugin(settings.loggers, settings.level))
    return plugins


def _nanny_plugins(settings, ttl):
    return [KeepAlivePlugin(period_for(ttl), settings.max_block)] if settings.keepalive and ttl else []


def _guarded(base, plugins):
    """A plugin of the class `base` that brings `plugins`, or says why it can't."""

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
            if previous is not None:  # nannies don't tear down what is replaced
                await previous.teardown(worker, nanny)
            server._daskcache_guard = self
            for part in self.parts:
                try:
                    plugin = pickle.loads(part)
                    done = plugin.setup(server)
                    if inspect.isawaitable(done):
                        await done
                    self.live.append(plugin)
                except Exception as error:  # noqa: BLE001 - it is told to the client
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
