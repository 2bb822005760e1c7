"""What happened to each node, told to whoever listens; nothing that runs knows who does.

On a distributed worker an event goes to the scheduler, under the topic `TOPIC`; what happens elsewhere
is remembered by its process.  `history` gives both.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from .errors import GraphError, require

#: Topic of the events in a distributed scheduler's log: ``client.get_events(TOPIC)``.
TOPIC = "daskcache"

#: Name of the scheduler's plugin that remembers more events than the scheduler's log.
COLLECTOR = "daskcache-events"

#: Events that a process, or a scheduler, remembers.
MAX_EVENTS = 10_000

RAN, COPIED, SKIPPED = "ran", "copied", "skipped"
LOADED, COMPLETE, FAILED = "loaded", "complete", "failed"


class NodeEvent(NamedTuple):
    """What happened to one node; or to several of a function, that a plan found complete."""

    #: When, in seconds since 1970.
    time: float
    #: "ran"; "copied" (from another target); "skipped" (its target held the result after all: early
    #: cutoff, or somebody else was faster); "loaded" (it was complete, and its value asked for);
    #: "complete" (so were these nodes, and no task was made for them); "failed".
    outcome: str
    #: Name of the function.
    function: str
    #: Display name.
    label: str = ""
    #: Hash of the recipe.
    key: str = ""
    #: Paths from the root.
    target: str = ""
    #: Run time of the function; of a load, time to read.
    seconds: float = 0.0
    #: Size of the targets that were written, or read.
    bytes: int = 0
    #: Recorded run time of what did not have to run again, in seconds.
    saved: float = 0.0
    #: Address of the distributed worker; empty elsewhere.
    worker: str = ""
    #: The exception.
    error: str = ""
    #: Number of nodes that this is about.
    nodes: int = 1


#: Called with each event of this process.
listeners: list[Callable[[NodeEvent], None]] = []

#: What happened in this process, unless it happened on a distributed worker.
recent: deque[NodeEvent] = deque(maxlen=MAX_EVENTS)


def emit(outcome: str, function: str, client: Any = None, **facts: Any) -> None:
    """Tell what happened.

    Parameters
    ----------
    outcome, function : str
    client : distributed.Client, optional
        Whose scheduler is told of what did not happen on a worker.
    **facts
        The other fields of `NodeEvent`.
    """
    worker = worker_here()
    facts = {name: _sendable(value) for name, value in facts.items()}
    address = "" if worker is None else worker.address
    event = NodeEvent(time.time(), outcome, function, worker=address, **facts)
    for listener in listeners:
        listener(event)
    if worker is not None:
        worker.log_event(TOPIC, event._asdict())
        return
    recent.append(event)
    if client is not None:
        _post(client, event._asdict())


def verb_client() -> Any:
    """The distributed client that Dask's verbs go to, if they do."""
    if "distributed" not in sys.modules:
        return None
    import dask
    from distributed import default_client

    if dask.config.get("scheduler", None) not in (None, "dask.distributed", "distributed"):
        return None
    try:
        return default_client()
    except ValueError:
        return None


def history(client: Any = None) -> Any:
    """What happened to each node: in this process, and on the workers of a cluster.

    Parameters
    ----------
    client : distributed.Client, optional
        Default: the current one, if there is one.

    Returns
    -------
    pandas.DataFrame
        A row for each event, in order of time, with the columns of `NodeEvent`: ``time`` (UTC), outcome
        ("ran", "copied", "skipped", "loaded", "complete", "failed"), function, label, key, target,
        ``seconds``, ``bytes``, ``saved`` (seconds of run time that were not needed again), worker,
        error, and the number of ``nodes``.  Old events are forgotten: this process remembers 10,000, a
        scheduler as many if it has daskcache's plugin, else config
        ``distributed.admin.low-level-log-length``.

    Raises
    ------
    GraphError
        If the client is asynchronous.
    MissingExtra
        If pandas is not installed.
    """
    pandas = require("pandas", "table")
    client = client or verb_client()
    events = set(recent)
    if client is not None:
        if client.asynchronous:
            raise GraphError(
                "history() can't wait for an asynchronous client",
                hint=f'[message for _, message in await client.get_events("{TOPIC}")]',
            )
        events.update(filter(None, map(event_of, client.run_on_scheduler(_kept()))))
    frame = pandas.DataFrame(sorted(events), columns=NodeEvent._fields)
    frame["time"] = pandas.to_datetime(frame["time"], unit="s", utc=True)
    return frame


def messages_in(message: Any) -> list[Any]:
    """The messages that were sent as one."""
    return list(message) if isinstance(message, (list, tuple)) else [message]


def event_of(message: Any) -> NodeEvent | None:
    """The event in a message under `TOPIC`, unless it is something else (another version's, say)."""
    try:
        return NodeEvent(**message)
    except TypeError:
        return None


def _kept():
    """A function, sent by value, that a scheduler without daskcache can run, too."""
    topic, collector = TOPIC, COLLECTOR

    def kept(dask_scheduler):
        plugin = dask_scheduler.plugins.get(collector)
        if plugin is not None:
            return list(plugin.events)
        logged = [message for _, message in dask_scheduler.get_events(topic)]
        return [each for some in logged for each in ([some] if type(some) is dict else some)]

    return kept


def worker_here() -> Any:
    """The distributed worker whose task runs in this thread, if one does."""
    if "distributed.worker" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:  # a task of a scheduler of this process
        return None


#: Messages on their way to a client's scheduler, several in one call.
_outboxes: WeakKeyDictionary[Any, list[dict]] = WeakKeyDictionary()
_outbox_lock = threading.Lock()


def _post(client, message):
    with _outbox_lock:
        waiting = _outboxes.setdefault(client, [])
        waiting.append(message)
        if len(waiting) > 1:
            return  # the call that takes them along is under way
    client.loop.add_callback(_send_all, client)


async def _send_all(client):
    with _outbox_lock:
        messages = _outboxes.pop(client, [])
    with suppress(OSError):  # it was closed meanwhile
        for start in range(0, len(messages), _MAX_MESSAGES):
            some = messages[start : start + _MAX_MESSAGES]
            await client.scheduler.log_event(topic=TOPIC, msg=some)


_MAX_MESSAGES = 1000


def _sendable(value):
    """Names of files that are no valid Unicode can't be sent as they are."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()
    return value
