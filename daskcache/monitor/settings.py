"""Whether and how the progress of a verb is shown.

`graph.progress` asks for each verb, so this imports nothing that a silent verb does not need.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

from dask.utils import parse_timedelta

from .. import config
from ..calls.state import inside_body, running
from ..clients import in_loop_of, worker_here

TERMINAL, NOTEBOOK = "terminal", "notebook"


class Settings(NamedTuple):
    """How one verb is shown."""

    #: Seconds from which on the verb is shown.
    after: float
    #: True if its summary is printed even if nothing was shown.
    always: bool
    #: `TERMINAL`, `NOTEBOOK`, or None if there is no place to show progress.
    place: str | None


def settings_for(option: bool | float | str | None) -> Settings | None:
    """Return how to show a verb that begins now, or None if nothing is to be shown.

    A verb is not shown without a terminal or notebook, in the function of a node, and in Prefect.

    Parameters
    ----------
    option : bool, float, str or None
        The verb's argument ``progress``; None stands for config ``daskcache.progress``.

    Raises
    ------
    ValueError
        If the option is neither True, False nor a time.
    """
    wanted = config.get("progress") if option is None else option
    if wanted is None or wanted is False:
        return None
    after = 1.0 if wanted is True else _seconds(wanted, option)
    place, always = _place_here(), option is not None
    if (place is None and not always) or _is_inside():
        return None
    return Settings(after, always, place)


def _seconds(wanted, option):
    try:
        return float(parse_timedelta(wanted, default="seconds"))
    except (ValueError, TypeError, KeyError, AttributeError):
        name = "config daskcache.progress" if option is None else "progress"
        raise ValueError(f'{name} must be True, False or a time ("10s"), got {wanted!r}') from None


def _place_here():
    if _in_notebook():
        return NOTEBOOK
    is_ci = os.environ.get("CI", "").lower() in ("true", "1")
    return TERMINAL if is_terminal(sys.stderr) and not is_ci else None


def _in_notebook():
    """Return True if this process is a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if hasattr(ipython, "get_ipython") else None
    return getattr(shell, "kernel", None) is not None


def is_terminal(stream: Any) -> bool:
    """Return True if a stream is a terminal that can move its cursor."""
    try:
        return bool(stream.isatty()) and os.environ.get("TERM", "") != "dumb"
    except (AttributeError, ValueError):  # there is no stream, or it is closed
        return False


def _is_inside():
    """Return True in the function of a node, in a task of a worker, and in a run of Prefect."""
    if inside_body.get() or running.get() is not None or worker_here() is not None:
        return True
    prefect = sys.modules.get("prefect.context")
    contexts = [getattr(prefect, name, None) for name in ("FlowRunContext", "TaskRunContext")]
    return any(context is not None and context.get() is not None for context in contexts)


def can_wait_for(client: Any) -> bool:
    """Return True if this thread can wait for a client, or if there is none."""
    return client is None or not (client.asynchronous or in_loop_of(client))
