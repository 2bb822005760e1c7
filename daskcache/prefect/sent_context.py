"""The context that travels with each task to its worker."""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

from prefect.context import FlowRunContext, SettingsContext, serialize_context


class ContextSender:
    """Serialises Prefect's context for workers.

    Most of the cost is the dump of all settings, which is the same for each task of a flow; so it is
    made once.  Where the address of the server is not set (Prefect has started one for this process),
    it is filled in: else each worker would start a server of its own.
    """

    def __init__(self):
        self._settings: Any = None
        self._dump: dict[str, Any] = {}

    def serialize(self, assets: dict[str, Any]) -> dict[str, Any]:
        """What `prefect.context.serialize_context` returns, with settings that may be shared."""
        settings = SettingsContext.get()
        if settings is None:
            return serialize_context(assets)
        if settings is not self._settings:
            self._settings, self._dump = settings, _for_workers(settings.serialize())
        known = _Known(settings, self._dump)
        here = copy_context()
        here.run(SettingsContext.__var__.set, known)
        context = here.run(serialize_context, assets)
        if context.get("settings_context") is not self._dump:  # Prefect goes about it otherwise
            return serialize_context(assets)
        return context


class _Known:
    """A settings context whose dump is known."""

    def __init__(self, settings, dump):
        self._settings = settings
        self._dump = dump

    def serialize(self, *args, **kwargs):
        return self._dump

    def __getattr__(self, name):
        return getattr(self._settings, name)


def _for_workers(dump):
    """The dump of settings, with the address of the server that the flow uses.

    The flow's process has compared the server's version; a task that begins while the server is away for
    a moment need not fail because it can't do so again.
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
