"""Requests to Prefect's server while a flow runs, for proxies that close idle connections.

Used by `dask_runner`.
"""

from __future__ import annotations

import threading
from contextvars import copy_context

import httpx
from prefect.client.orchestration import get_client
from prefect.logging import get_logger

_logger = get_logger("task_runner.daskcache")


class Keepalive:
    """Daemon thread that sends requests to the server.

    Parameters
    ----------
    interval : float or None
        Seconds between requests; with None, the thread is not started.
    """

    def __init__(self, interval: float | None):
        self.interval = interval
        self._stopped = threading.Event()

    def start(self) -> None:
        if self.interval is not None:
            self._stopped.clear()
            threading.Thread(
                target=copy_context().run, args=(self._ask,), name="daskcache-keepalive", daemon=True
            ).start()

    def stop(self) -> None:
        self._stopped.set()

    def _ask(self):
        with get_client(sync_client=True) as client:
            while not self._stopped.wait(self.interval):
                try:
                    client.hello()
                except httpx.HTTPError as error:
                    _logger.warning("Prefect's server does not answer: %s", error)
