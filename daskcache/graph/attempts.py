"""Tasks that this process and other programs have sent to a distributed scheduler, and their fates.

`SUBMISSIONS` remembers what this process has sent, and asks schedulers about other programs.
`graph.builder` has `Attempts`, the view of one verb.  `graph.layer` uses `SentFutures` and
`drop_released`.

A scheduler keeps the first task of a key for as long as any future needs it.  So a key must not come
back with another meaning.  A task that is over needs a new key when it is planned again: it failed, or
its target was deleted since.  A task that is still pending keeps its key, so that its work is shared.

The client's own futures tell which tasks are pending.  The scheduler can't be asked: composed graphs are
planned while the client pickles them, under a lock that the answer would wait for.
"""

from __future__ import annotations

import threading
import time
import uuid
import weakref
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from ..calls.task_keys import TO_DO
from ..clients import by_value, in_loop_of, live_clients
from .tasks import Evidence, MakingTask


class Earlier(NamedTuple):
    """A task that was sent, and the graph that it was sent with."""

    task: MakingTask
    tasks: dict[Any, Any]
    #: Kind of annotation to a dict from Dask key to value.
    annotated: dict[str, dict]


class _Sent(NamedTuple):
    #: Number of attempts before this one.
    attempt: int
    #: Keys of the futures that it was sent for.  It is over when none of them is pending any more.
    futures: frozenset[str]


#: Fates of a task that was sent.
_PENDING, _OVER, _UNKNOWN = "pending", "over", "unknown"

#: Seconds to wait for another thread that holds a client's lock.
_MOMENT = 0.5


class Submissions:
    """The tasks that this process has sent, for as long as they may be pending.

    Parameters
    ----------
    live_clients : callable
        Returns the running clients of the process.
    max_remembered : int
        Number of attempts beyond which those without a future are dropped.  More are kept only while
        they have futures; then the number is that of these, doubled.
    few : int
        Number of verbs that are all checked at each new verb.  More are checked when they have doubled.

    Attributes
    ----------
    sent : dict
        The newest attempt to make each node, by `MakingTask.first_key`.
    verbs : list of Attempts
        The verbs that may have pending tasks.
    newest : dict
        For each node that may be pending, by its terms, the last verb that sent it.
    """

    def __init__(
        self,
        live_clients: Callable[[], list[Any]] = live_clients,
        max_remembered: int = 200_000,
        few: int = 16,
    ):
        self.live_clients = live_clients
        self.sent: dict[str, _Sent] = {}
        self.verbs: list[Attempts] = []
        self.newest: dict[tuple, Attempts] = {}
        self._max_remembered = self._most = max_remembered
        self._few = self._limit = few
        self._lock = threading.Lock()

    def remember(self, verb: Attempts, making: Iterable[MakingTask], futures: frozenset[str]) -> None:
        """Remember tasks of a verb, and the keys of the futures that need them."""
        with self._lock:
            if len(self.sent) > self._most:
                self._forget_what_has_no_future(verb.clients)
            if not verb.futures:
                self.verbs.append(verb)
            verb.futures.append(futures)
            for task in making:
                self.sent[task.first_key] = _Sent(task.attempt, futures)
                verb.making[task.evidence.terms] = task
                self.newest[task.evidence.terms] = verb

    def tasks_for(self, futures: Collection[str]) -> list[tuple[float, Any]]:
        """Return the pending tasks that were sent for futures, by their keys, and when each was planned.

        The time is monotonic.
        """
        found = []
        with self._lock:
            for terms, verb in self.newest.items():
                task = verb.making[terms]
                sent = self.sent.get(task.first_key)
                if sent is not None and not sent.futures.isdisjoint(futures):
                    found.append((verb.began, verb._tasks[task.key]))
        return found

    def forget(self, verb: Attempts) -> None:
        """Forget the pending tasks of a verb."""
        with self._lock:
            self._forget(verb)

    def forget_what_is_over(self) -> None:
        """Drop the graphs of verbs that are over."""
        # many verbs are checked only when their number has doubled: a verb does not pay for all others
        if self._few < len(self.verbs) < self._limit:
            return
        with self._lock:
            for verb in [verb for verb in self.verbs if verb.is_over()]:
                self._forget(verb)
            self._limit = max(self._few, 2 * len(self.verbs))

    def _forget(self, verb):
        if verb in self.verbs:
            self.verbs.remove(verb)
        for terms in verb.making:
            if self.newest.get(terms) is verb:
                del self.newest[terms]

    def _forget_what_has_no_future(self, clients):
        """Drop the attempts that no client has a future of: their schedulers have forgotten them, too.

        An attempt with a future must stay.  Its scheduler would return the old result under its key,
        even if the target was deleted since; so the next attempt needs another number.
        """
        for first_key in [k for k, sent in self.sent.items() if not _statuses_of(sent.futures, clients)]:
            del self.sent[first_key]
        self._most = max(self._max_remembered, 2 * len(self.sent))

    def is_alone(self, client: Any) -> bool:
        """Return True if no other program uses a scheduler now; False also if that can't be known.

        Parameters
        ----------
        client : distributed.Client or None
            None stands for a scheduler of this process, which no other program can use.
        """
        if client is None:
            return True
        if client.asynchronous:
            return False
        own = [each.id for each in self.live_clients()]
        try:
            return not client.run_on_scheduler(by_value(_others), own)
        except (OSError, ValueError):  # it is gone, as the verb will say, or refuses functions
            return False


def unfinished(client: Any, keys: Iterable[str]) -> set[str]:
    """Return the keys of the tasks that a scheduler has not finished, whichever program sent them.

    Parameters
    ----------
    client : distributed.Client or None
        None gives an empty set.  So does an asynchronous client, which can't be waited for.
    keys : iterable of str
        Dask keys to ask about.
    """
    wanted = list(keys)
    if client is None or client.asynchronous or not wanted:
        return set()
    try:
        states = client.sync(client.scheduler.get_task_status, keys=wanted)
    except OSError:
        return set()
    return {key for key, state in states.items() if state in TO_DO}


def _others(own, dask_scheduler):
    """List the other programs' clients; `own` are the ids of ours.  It runs on the scheduler."""
    # not `clients`, which also has entries for published data and the like
    connected = [name for name in dask_scheduler.client_comms if name not in own]
    return [name for name in connected if not name.startswith("Client-worker-")]  # those of tasks


#: The tasks that this process has sent.
SUBMISSIONS = Submissions()


class Attempts:
    """The attempts of one verb to make nodes: numbers for its keys, and pending tasks to share.

    Tasks that the verb sends are remembered until they are over.

    Parameters
    ----------
    builder : GraphBuilder
        The verb's builder, with its tasks and annotations.  The builder itself is referred to weakly.
    submissions : Submissions
        What the process has sent before.
    """

    def __init__(self, builder: Any, submissions: Submissions = SUBMISSIONS):
        submissions.forget_what_is_over()
        self._submissions = submissions
        self.clients = submissions.live_clients()
        self._fates: dict[frozenset[str], str] = {}
        self._builder = weakref.ref(builder)
        self._tasks, self._annotated = builder.tasks, builder.annotated
        #: Monotonic time at which the verb was planned.
        self.began = time.monotonic()
        #: The newest task for each node, by terms.
        self.making: dict[tuple, MakingTask] = {}
        #: Keys of the futures that need the tasks, as they were sent.
        self.futures: list[frozenset[str]] = []

    def number(self, first_key: str) -> int:
        """Return a node's attempt number: that of the last attempt, plus one if that is over.

        It is 0 if nothing was sent for the node.
        """
        sent = self._submissions.sent.get(first_key) if self.clients else None
        return 0 if sent is None else sent.attempt + (self._fate(sent.futures) == _OVER)

    def under_way(self, evidence: Evidence) -> Earlier | None:
        """Return the newest task for the same terms if it is pending, else None."""
        verb = self._submissions.newest.get(evidence.terms) if self.clients else None
        if verb is None:
            return None
        task = verb.making[evidence.terms]
        sent = self._submissions.sent.get(task.first_key)
        if sent is None or self._fate(sent.futures) != _PENDING:
            return None
        return Earlier(task, verb._tasks, verb._annotated)

    def hold(self, task: MakingTask, but: Collection[str] = ()) -> list[Any]:
        """Return new futures that keep a pending task alive, or an empty list if it is over by now.

        A future that its user has dropped still looks pending for some moments.  Then its client
        releases it and the scheduler forgets the task.  The new futures prevent that until they are
        dropped themselves.

        Parameters
        ----------
        task : MakingTask
        but : collection of str
            Keys of futures to leave out.
        """
        from distributed import Future

        held: list[Any] = []
        for client in self.clients:
            if not client._refcount_lock.acquire(timeout=_MOMENT):
                continue  # the thread that holds it may wait for a lock of this thread
            try:
                sent = self._submissions.sent.get(task.first_key)
                for key in sent.futures.difference(but) if sent is not None else ():
                    state = client.futures.get(key)
                    if state is not None and state.status == _PENDING:
                        held.append(Future(key, client))
            finally:
                client._refcount_lock.release()
        return held

    def value_key(self, key: str) -> str:
        """Return `key`, with a random suffix if a live future of that key has failed."""
        if not self.clients:
            return key
        # under the same key, the scheduler would return the old error without running anything
        if any(status in ("error", "cancelled", "lost") for status in _statuses_of([key], self.clients)):
            return f"{key}-{uuid.uuid4().hex[:8]}"
        return key

    def send(self, making: Iterable[MakingTask], futures: frozenset[str]) -> None:
        """Remember tasks and the keys of the futures that need them."""
        if self.clients:
            self._submissions.remember(self, making, futures)

    def take_back(self) -> None:
        """Forget the tasks of the verb, which failed before any of them was sent.

        Its futures may stay pending for long, because the traceback of the error holds them.
        """
        self._submissions.forget(self)

    def is_over(self) -> bool:
        """Return True if no future of the verb is pending any more."""
        if self._builder() is not None:  # the verb is being planned, or its graph may be sent again
            return False
        return all(_fate_of(futures, self.clients) != _PENDING for futures in self.futures)

    def _fate(self, futures):
        if futures not in self._fates:
            self._fates[futures] = _fate_of(futures, self.clients)
        return self._fates[futures]


def _fate_of(futures, clients):
    """Return the fate of a task that was sent for these futures.

    It is pending if one of them is, and over if some are alive but none is pending.  It is unknown if
    none is alive: the task was not sent after all, or the scheduler has forgotten it.
    """
    statuses = _statuses_of(futures, clients)
    if not statuses:
        return _UNKNOWN
    return _PENDING if "pending" in statuses else _OVER


def _statuses_of(keys, clients):
    futures = [client.futures for client in clients]
    return [known[key].status for key in keys for known in futures if key in known]


class SentFutures:
    """The futures that a composed graph was sent for, as long as a scheduler may remember it."""

    def __init__(self, client: Any, keys: Collection[str]):
        self.client = client
        self._states = {key: client.futures[key] for key in keys if key in client.futures}

    def live_on(self, client: Any, keys: Collection[str]) -> bool:
        """Return True if `client` still has one of these futures, under one of `keys`."""
        if client is not self.client:
            return False
        common = self._states.keys() & keys
        # a key that was released and asked for again has another state object
        return any(client.futures.get(key) is self._states[key] for key in common)

    def are_alive(self) -> bool:
        known = self.client.futures
        return any(known.get(key) is state for key, state in self._states.items())


#: Seconds to wait for a client's event loop.
_PATIENCE = 10


def drop_released(client: Any, futures: dict[str, Any]) -> None:
    """Drop old results of keys for which a client has just made new futures, unless a user holds them.

    The client's event loop drops a released future some moments later.  A new future of the same key
    that is made in between keeps the old result alive, although no user holds it any more.  So the new
    futures are released too, and made again when the loop is done.

    The caller holds the client's lock.  In the thread of the event loop (asynchronous clients) nothing
    is changed, because that thread can't wait for itself.

    Parameters
    ----------
    client : distributed.Client
    futures : dict
        Key to new future.  The futures are replaced in place.
    """
    if in_loop_of(client):
        return
    for future in futures.values():
        future.release()
    lock = threading.Condition(client._refcount_lock)  # `wait` releases it for the loop, which needs it

    def wake():
        with lock:
            lock.notify()

    client.loop.add_callback(wake)
    lock.wait(_PATIENCE)
    for key, future in futures.items():
        futures[key] = type(future)(key, client)
