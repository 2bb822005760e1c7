"""Prefect's context, serialised for workers.  Used by `dask_runner` for each task that it sends."""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

from prefect.context import FlowRunContext, SettingsContext, serialize_context


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
