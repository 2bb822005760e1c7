"""What this process has sent to a distributed scheduler, and whether it is still under way.

A scheduler keeps the first task that it gets under a key for as long as any future needs it.  So a
key must not come back with another meaning: a task that is planned again, though it is over (its
target was deleted since, or it failed), needs a new key; one that is still under way keeps its key,
so that the work is shared.

What is under way is read off the client's own futures.  The scheduler can't be asked: composed graphs
are planned while the client pickles them, and it holds a lock then that the answer would wait for.
"""

from __future__ import annotations

import threading
import uuid
import weakref
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from ..cluster.client import in_loop_of, live_clients


class Evidence(NamedTuple):
    """What the plan of an entry task rests on."""

    #: Recipe, root and how it is to be run: these are the same in whatever shares the task.
    terms: tuple
    #: Per target, the record that vouches for what is there.
    records: tuple
    #: Per input, the key of the task that makes it, or the hash of its data.
    made_from: tuple[str, ...]


class MakingTask(NamedTuple):
    """A task that makes a node."""

    key: str
    #: Of an entry task that rests on the same evidence, without the attempt's number.
    first_key: str
    attempt: int
    evidence: Evidence
    #: Whether it returns the node's value; else it returns the entry.
    gives_value: bool


class Earlier(NamedTuple):
    """A task that was sent, and the graph that it was sent with."""

    task: MakingTask
    tasks: dict[Any, Any]
    #: Kind of annotation to a dict from Dask key to value.
    annotated: dict[str, dict]


class _Sent(NamedTuple):
    #: How many attempts there were before.
    attempt: int
    #: Keys of futures that it was sent for; when none of them is pending any more, it is over.
    futures: frozenset[str]


#: What became of what was sent.
_PENDING, _OVER, _UNKNOWN = "pending", "over", "unknown"

#: How long to wait for what another thread does with a client, in seconds.
_MOMENT = 0.5

#: The newest attempt to make each node, by the key of its entry task without the attempt's number.
_sent: dict[str, _Sent] = {}

#: Beyond, what was sent is forgotten, and with it only that running work could be shared.
_MAX_REMEMBERED = 200_000

#: Of each node that may be under way, by its terms, the verb that has sent it last.
_newest: dict[tuple, Attempts] = {}

#: The verbs that may be under way.
_verbs: list[Attempts] = []
_lock = threading.Lock()
#: So many are asked at each verb whether they are over; more, when they have doubled.
_FEW = 16
_limit = _FEW


class Attempts:
    """Gives the tasks of a verb their keys; what it sends is known as long as it is under way.

    Parameters
    ----------
    builder : GraphBuilder
        Of the verb, with its tasks and annotations.
    """

    def __init__(self, builder: Any):
        _forget_what_is_over()
        self._clients = live_clients()
        self._fates: dict[frozenset[str], str] = {}
        self._builder = weakref.ref(builder)
        self._tasks, self._annotated = builder.tasks, builder.annotated
        #: By terms.
        self._making: dict[tuple, MakingTask] = {}
        self._futures: list[frozenset[str]] = []

    def number(self, first_key: str) -> int:
        """How many attempts to make a node are over, by its entry task's key without that number."""
        sent = _sent.get(first_key) if self._clients else None
        return 0 if sent is None else sent.attempt + (self._fate(sent.futures) == _OVER)

    def under_way(self, evidence: Evidence) -> Earlier | None:
        """The newest task for the same terms, if that is not over yet."""
        verb = _newest.get(evidence.terms) if self._clients else None
        if verb is None:
            return None
        task = verb._making[evidence.terms]
        sent = _sent.get(task.first_key)
        if sent is None or self._fate(sent.futures) != _PENDING:
            return None
        return Earlier(task, verb._tasks, verb._annotated)

    def hold(self, task: MakingTask, but: Collection[str] = ()) -> list[Any]:
        """Futures that keep a task under way until they are dropped; none if it is over by now.

        A future that its user has dropped looks as before for some moments, until its client releases
        it, and the scheduler forgets the task.
        """
        from distributed import Future

        held: list[Any] = []
        for client in self._clients:
            if not client._refcount_lock.acquire(timeout=_MOMENT):
                continue  # another thread has it, which may wait for ours
            try:
                for key in _sent[task.first_key].futures.difference(but):
                    state = client.futures.get(key)
                    if state is not None and state.status == _PENDING:
                        held.append(Future(key, client))
            finally:
                client._refcount_lock.release()
        return held

    def value_key(self, key: str) -> str:
        """`key`, with something new behind it if a live future holds an error under that name."""
        if any(status in ("error", "cancelled", "lost") for status in self._statuses([key])):
            return f"{key}-{uuid.uuid4().hex[:8]}"
        return key

    def send(self, making: Iterable[MakingTask], futures: frozenset[str]) -> None:
        """Remember tasks, and who needs them."""
        if not self._clients:
            return
        if len(_sent) > _MAX_REMEMBERED:
            _sent.clear()
        with _lock:
            if not self._futures:
                _verbs.append(self)
            self._futures.append(futures)
            for task in making:
                _sent[task.first_key] = _Sent(task.attempt, futures)
                self._making[task.evidence.terms] = task
                _newest[task.evidence.terms] = self

    def take_back(self) -> None:
        """Let nothing of the verb pass for under way: it failed, so none of it is sent after all.

        Its futures may stay for long, as pending as others: the traceback of the error holds them.
        """
        with _lock:
            self._forget()

    def _forget(self):
        if self in _verbs:
            _verbs.remove(self)
        for terms in self._making:
            if _newest.get(terms) is self:
                del _newest[terms]

    def is_over(self) -> bool:
        """Whether nobody waits for the verb any more."""
        if self._builder() is not None:  # it is being planned, or may be sent again
            return False
        return all(_fate_of(futures, self._clients) != _PENDING for futures in self._futures)

    def _fate(self, futures):
        if futures not in self._fates:
            self._fates[futures] = _fate_of(futures, self._clients)
        return self._fates[futures]

    def _statuses(self, keys):
        return _statuses_of(keys, self._clients)


def _fate_of(futures, clients):
    """Whether one of these futures is pending, or they are alive but none is: then it is over.

    Without any, the task was not sent after all, or the scheduler has forgotten it.
    """
    statuses = _statuses_of(futures, clients)
    if not statuses:
        return _UNKNOWN
    return _PENDING if "pending" in statuses else _OVER


def _statuses_of(keys, clients):
    futures = [client.futures for client in clients]
    return [known[key].status for key in keys for known in futures if key in known]


def _forget_what_is_over():
    """Let go of the graphs of verbs that are over."""
    global _limit
    if _FEW < len(_verbs) < _limit:
        return
    with _lock:
        for verb in [verb for verb in _verbs if verb.is_over()]:
            verb._forget()
        _limit = max(_FEW, 2 * len(_verbs))


class SentFutures:
    """The futures that a composed graph was sent for; tells whether a scheduler may remember it."""

    def __init__(self, client: Any, keys: Collection[str]):
        self._client = client
        self._states = {key: client.futures[key] for key in keys if key in client.futures}

    def live_on(self, client: Any, keys: Collection[str]) -> bool:
        """Whether one of `keys`, asked for by `client`, was among them and was not released since."""
        if client is not self._client:
            return False
        common = self._states.keys() & keys
        return any(client.futures.get(key) is self._states[key] for key in common)

    def are_alive(self) -> bool:
        known = self._client.futures
        return any(known.get(key) is state for key, state in self._states.items())


#: How long to wait for a client's event loop, in seconds.
_PATIENCE = 10


def drop_released(client: Any, futures: dict[str, Any]) -> None:
    """Give each of `futures`, which a client has just made, the fate of a first future of its key.

    A future that is released is dropped some moments later, by the client's event loop.  A new future of
    the same key that is made in between keeps the old result alive, which no user holds any more.  So
    the new ones are released as well, and made again when the loop is done.  To be called under the
    client's lock; in the thread of an asynchronous client's own loop nothing can be waited for.
    """
    if in_loop_of(client):
        return
    for future in futures.values():
        future.release()
    lock = threading.Condition(client._refcount_lock)  # which the loop needs for dropping them

    def wake():
        with lock:
            lock.notify()

    client.loop.add_callback(wake)
    lock.wait(_PATIENCE)
    for key, future in futures.items():
        futures[key] = type(future)(key, client)
