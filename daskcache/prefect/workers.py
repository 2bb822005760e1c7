"""Preparation of a cluster's workers for Prefect tasks: plugins, log forwarding, Prefect's context.

`dask_runner` prepares the workers once, and serialises the context for each task that it sends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from contextvars import copy_context
from typing import Any

from distributed import Client, WorkerPlugin
from prefect.context import FlowRunContext, SettingsContext, serialize_context
from prefect.events.worker import EventsWorker
from prefect.logging.configuration import ensure_logging_setup
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_LOGGING_EXTRA_LOGGERS

from ..cluster import prepare


def prepare_workers(client: Client, extra_loggers: Iterable[str] = ()) -> None:
    """Register daskcache's plugins and the log forwarding with all workers, including later ones.

    Parameters
    ----------
    client : distributed.Client
    extra_loggers : iterable of str
        See `DaskCacheTaskRunner`.
    """
    prepare(client)
    names = [*extra_loggers, *_configured()]
    if names:
        client.register_plugin(ForwardLogs(names), name=f"daskcache-prefect-logs-{'-'.join(names)}")


def flush_workers(client: Client) -> None:
    """Let workers send pending logs and events to Prefect's server before they are closed."""
    client.run(_flush, on_error="ignore")


async def _flush():
    await APILogWorker.drain_all(timeout=_PATIENCE)  # its queue does not show if all was sent
    deadline = time.monotonic() + _PATIENCE
    services = list(EventsWorker._instances.values())
    while any(service._queue.unfinished_tasks for service in services) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)


#: Seconds to wait for a server that does not answer.
_PATIENCE = 10


def _configured():
    value = PREFECT_LOGGING_EXTRA_LOGGERS.value() or ()
    return value.split(",") if isinstance(value, str) else list(value)


class ForwardLogs(WorkerPlugin):
    """Worker plugin that forwards the messages of some loggers to Prefect.

    Prefect's own setting also reaches workers, but leaves the loggers at WARNING.

    Parameters
    ----------
    names : list of str
        Names of the loggers.
    """

    def __init__(self, names: list[str]):
        self.names = names

    def setup(self, worker: Any) -> None:
        ensure_logging_setup()
        handlers = logging.getLogger("prefect.extra").handlers
        for name in self.names:
            logger = logging.getLogger(name)
            for handler in handlers:
                if handler not in logger.handlers:
                    logger.addHandler(handler)
            if logger.getEffectiveLevel() > logging.INFO:
                logger.setLevel(logging.INFO)


# ---- the context that tasks take along ----------------------------------------------------------


class ContextSender:
    """Serialiser of Prefect's context for workers.

    The dump of all settings takes most of the time (about 78 % of a submit).  It is the same for all
    tasks of a flow, so it is made once.  If the server's address is not set, because Prefect has started
    a server for this process, it is filled in.  Without the address each worker process would start
    another server.
    """

    def __init__(self):
        self._settings: Any = None
        self._dump: dict[str, Any] = {}

    def serialize(self, assets: dict[str, Any]) -> dict[str, Any]:
        """Return the result of `prefect.context.serialize_context`; its settings may be shared."""
        settings = SettingsContext.get()
        if settings is None:
            return serialize_context(assets)
        if settings is not self._settings:
            self._settings, self._dump = settings, _for_workers(settings.serialize())
        known = _Known(settings, self._dump)
        here = copy_context()
        here.run(SettingsContext.__var__.set, known)
        context = here.run(serialize_context, assets)
        if context.get("settings_context") is not self._dump:  # Prefect dumps them in another way
            return serialize_context(assets)
        return context


class _Known:
    """Settings context that returns a dump made before."""

    def __init__(self, settings, dump):
        self._settings = settings
        self._dump = dump

    def serialize(self, *args, **kwargs):
        return self._dump

    def __getattr__(self, name):
        return getattr(self._settings, name)


def _for_workers(dump):
    """Return the dump of settings, with the address of the server that the flow uses.

    The check of the server's version is switched off: the flow's process has made it.  Otherwise a task
    would fail if it started while the server was briefly away.
    """
    settings = dump.get("settings")
    if not isinstance(settings, dict):
        return dump
    api, client = dict(settings.get("api") or {}), dict(settings.get("client") or {})
    flow_context = FlowRunContext.get()
    address = getattr(getattr(flow_context, "client", None), "api_url", None)
    if address is not None and not api.get("url"):
        api["url"] = str(address).rstrip("/")
    client["server_version_check_enabled"] = False
    return {**dump, "settings": {**settings, "api": api, "client": client}}
