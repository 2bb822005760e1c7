"""Events: one for each node that ran, was skipped, was loaded or failed.

`runtime` and `graph` emit events without knowing the listeners, such as the adapter `prefect`.  On a
distributed worker an event goes to the scheduler under the topic `TOPIC`, where `cluster.dashboard`
collects it.  Elsewhere the process keeps it.  `history` returns both kinds.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from .clients import by_value, verb_client, worker_here
from .errors import GraphError, require

#: Topic of the events in a distributed scheduler's log: ``client.get_events(TOPIC)``.
TOPIC = "daskcache"

#: Name of the scheduler's plugin that keeps more events than the scheduler's log.
COLLECTOR = "daskcache-events"

#: Number of events that a process, or a scheduler, keeps.
MAX_EVENTS = 10_000

RAN, COPIED, SKIPPED = "ran", "copied", "skipped"
LOADED, COMPLETE, FAILED = "loaded", "complete", "failed"


class NodeEvent(NamedTuple):
    """An event of one node, or of several nodes of a function that a plan found complete."""

    #: Time of the event, in seconds since 1970.
    time: float
    #: "ran"; "copied" (from another target); "skipped" (the target held the result after all, by early
    #: cutoff or because another worker was faster); "loaded" (the node was complete, and its value
    #: needed); "complete" (a plan found the nodes complete and made no task for them); "failed".
    outcome: str
    #: Name of the function.
    function: str
    #: Display name of the node.
    label: str = ""
    #: Hash of the recipe.
    key: str = ""
    #: Paths of the targets from the root.
    target: str = ""
    #: Run time of the function, or reading time of a load, in seconds.
    seconds: float = 0.0
    #: Size of the targets that were written or read, in bytes.
    bytes: int = 0
    #: Recorded run time that was not needed again, in seconds.
    saved: float = 0.0
    #: Address of the distributed worker; empty elsewhere.
    worker: str = ""
    #: The exception as text; empty unless the node failed.
    error: str = ""
    #: Number of nodes in the event.
    nodes: int = 1


#: Functions that are called with each event of this process.
listeners: list[Callable[[NodeEvent], None]] = []

#: Newest events of this process, without those of distributed workers.
recent: deque[NodeEvent] = deque(maxlen=MAX_EVENTS)


def emit(outcome: str, function: str, client: Any = None, **facts: Any) -> None:
    """Emit an event: call the listeners, and keep it or send it to the scheduler.

    Parameters
    ----------
    outcome, function : str
        Fields of `NodeEvent`.
    client : distributed.Client, optional
        Its scheduler also gets the event, unless a worker of a cluster emits it.
    **facts
        The other fields of `NodeEvent`.
    """
    worker = worker_here()
    address = "" if worker is None else worker.address
    event = NodeEvent(time.time(), outcome, function, worker=address, **facts)
    if not f"{event.function}{event.label}{event.target}{event.error}".isascii():
        event = NodeEvent(*map(_sendable, event))
    for listener in listeners:
        listener(event)
    if worker is not None:
        worker.log_event(TOPIC, event._asdict())
        return
    recent.append(event)
    if client is not None:
        _post(client, event._asdict())


def history(client: Any = None) -> Any:
    """Return the events of this process and of a cluster's workers as a table.

    Old events are dropped.  This process keeps 10,000, and so does a scheduler that has daskcache's
    plugin.  Another scheduler keeps as many as config ``distributed.admin.low-level-log-length`` says.

    Parameters
    ----------
    client : distributed.Client, optional
        A client of the cluster.  Default: the client that Dask's verbs use, if there is one.

    Returns
    -------
    pandas.DataFrame
        One row for each event, in order of time, with these columns:

        - ``time``: datetime64 with time zone UTC;
        - ``outcome``: "ran", "copied", "skipped", "loaded", "complete" or "failed";
        - ``function``, ``label``, ``key``, ``target``: the node;
        - ``seconds``: run time, or time to read;
        - ``bytes``: size of the targets that were written or read;
        - ``saved``: seconds of run time that were not needed again;
        - ``worker``: address, empty for events of other processes;
        - ``error``: the exception as text;
        - ``nodes``: number of nodes in the event.

    Raises
    ------
    GraphError
        If the client is asynchronous.
    MissingExtra
        If pandas is not installed.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> _ = dc.compute(square(2), square(3))
    >>> dc.history().tail(2)[["outcome", "function", "target"]].values.tolist()
    [['ran', 'square', '...squares/2.json'], ['ran', 'square', '...squares/3.json']]
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
        events.update(
            filter(None, map(event_of, client.run_on_scheduler(by_value(_kept), TOPIC, COLLECTOR)))
        )
    frame = pandas.DataFrame(sorted(events), columns=NodeEvent._fields)
    frame["time"] = pandas.to_datetime(frame["time"], unit="s", utc=True)
    return frame


def messages_in(message: Any) -> list[Any]:
    """Return the messages that were sent together as one."""
    return list(message) if isinstance(message, (list, tuple)) else [message]


def event_of(message: Any) -> NodeEvent | None:
    """Return the event in a message under `TOPIC`, or None for other content, as of another version."""
    try:
        return NodeEvent(**message)
    except TypeError:
        return None


def _kept(topic, collector, dask_scheduler):
    """Return a scheduler's events.  It runs there, maybe without daskcache."""
    plugin = dask_scheduler.plugins.get(collector)
    if plugin is not None:
        return list(plugin.events)
    logged = [message for _, message in dask_scheduler.get_events(topic)]
    return [each for some in logged for each in ([some] if type(some) is dict else some)]


#: For each client, messages that wait for the next call to its scheduler, which takes them all.
_outboxes: WeakKeyDictionary[Any, list[dict]] = WeakKeyDictionary()
_outbox_lock = threading.Lock()


def _post(client, message):
    with _outbox_lock:
        waiting = _outboxes.setdefault(client, [])
        waiting.append(message)
        if len(waiting) > 1:
            return  # the call that takes them all is already scheduled
    client.loop.add_callback(_send_all, client)


async def _send_all(client):
    with _outbox_lock:
        messages = _outboxes.pop(client, [])
    with suppress(OSError):  # the connection was closed meanwhile
        for start in range(0, len(messages), _MAX_MESSAGES):
            some = messages[start : start + _MAX_MESSAGES]
            await client.scheduler.log_event(topic=TOPIC, msg=some)


#: Largest number of messages in one call.
_MAX_MESSAGES = 1000


def _sendable(value):
    """Return a text with its invalid Unicode escaped, or another value as it is.

    Names of files may be invalid Unicode, which can't be sent.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value
