"""Log records as plain data, which `isolation` and `cluster.logs` send from process to process."""

from __future__ import annotations

import logging
import uuid
from typing import Any

#: Random name of this process, unique across hosts.
PROCESS = uuid.uuid4().hex


def described(record: logging.LogRecord) -> dict[str, Any]:
    """Return a log record as plain data, with the name of its process as ``origin``."""
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
