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
            self._settings, self._dump = settings, _with_address(settings.serialize())
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


def _with_address(dump):
    """The dump of settings, with the address of the server that the flow uses."""
    flow_context = FlowRunContext.get()
    address = getattr(getattr(flow_context, "client", None), "api_url", None)
    settings = dump.get("settings")
    if address is not None and isinstance(settings, dict):
        api = dict(settings.get("api") or {})
        if not api.get("url"):
            api["url"] = str(address)
            return {**dump, "settings": {**settings, "api": api}}
    return dump
