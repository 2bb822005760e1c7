"""Preparation of a cluster's workers for Prefect tasks: daskcache's plugins, and log forwarding."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any

from distributed import Client, WorkerPlugin
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
    level : int
        Lowest level that is forwarded.
    """

    def __init__(self, names: list[str], level: int = logging.INFO):
        self.names = names
        self.level = level

    def setup(self, worker: Any) -> None:
        ensure_logging_setup()
        handlers = logging.getLogger("prefect.extra").handlers
        for name in self.names:
            logger = logging.getLogger(name)
            for handler in handlers:
                if handler not in logger.handlers:
                    logger.addHandler(handler)
            if logger.getEffectiveLevel() > self.level:
                logger.setLevel(self.level)
