"""Log records as plain data, for sending them from one process to another."""

from __future__ import annotations

import logging
import uuid
from typing import Any

#: Tells this process from others, also on other hosts.
PROCESS = uuid.uuid4().hex


def described(record: logging.LogRecord) -> dict[str, Any]:
    """A record as plain data, with the process that it comes from as ``origin``."""
    message = record.getMessage()
    if record.exc_info and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    told = {name: getattr(record, name, None) for name in _TOLD}
    return {**told, "msg": message, "origin": PROCESS}


_TOLD = (
    "name",
    "levelno",
    "levelname",
    "pathname",
    "filename",
    "module",
    "lineno",
    "funcName",
    "created",
    "msecs",
    "process",
    "processName",
    "thread",
    "threadName",
    "exc_text",
    "worker",
    "node",
    "key",
)
