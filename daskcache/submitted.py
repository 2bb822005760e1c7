"""What this process has sent to a distributed scheduler, and whether it is still under way.

A scheduler keeps the first task that it gets under a key for as long as any future needs it.  So a
key must not come back with another meaning: a task that is planned again, though it is over (its
target was deleted since, or it failed), needs a new key; one that is still under way keeps its key,
so that the work is shared.

What is under way is read off the client's own futures.  The scheduler can't be asked: composed graphs
are planned while the client pickles them, and it holds a lock then that the answer would wait for.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterable
from typing import Any, NamedTuple


class _Sent(NamedTuple):
    #: How many attempts there were before.
    attempt: int
    #: Keys of futures that it was sent for; when none of them is pending any more, it is over.
    futures: frozenset[str]


#: The newest attempt of each entry task, by its key without the attempt's number.
_sent: dict[str, _Sent] = {}

#: Beyond, what was sent is forgotten, and with it only that running work could be shared.
_MAX_REMEMBERED = 200_000


class Attempts:
    """Gives tasks their keys, for the length of one verb."""

    def __init__(self):
        self._client = current_client()
        self._over: dict[frozenset[str], bool] = {}

    def entry_key(self, key: str) -> str:
        """`key`, with a number behind it if an earlier task of that name is over."""
        sent = _sent.get(key) if self._client is not None else None
        if sent is None:
            return key
        attempt = sent.attempt + self._is_over(sent.futures)
        return f"{key}-{attempt}" if attempt else key

    def value_key(self, key: str) -> str:
        """`key`, with something new behind it if a live future holds an error under that name."""
        future = self._client.futures.get(key) if self._client is not None else None
        if future is not None and future.status in ("error", "cancelled", "lost"):
            return f"{key}-{uuid.uuid4().hex[:8]}"
        return key

    def send(self, keys: Iterable[tuple[str, str]], futures: frozenset[str]) -> None:
        """Remember entry tasks (keys without and with attempt) and the futures that need them."""
        if self._client is None:
            return
        if len(_sent) > _MAX_REMEMBERED:
            _sent.clear()
        for key, numbered in keys:
            number = numbered[len(key) + 1 :]
            _sent[key] = _Sent(int(number or 0), futures)

    def _is_over(self, keys):
        """Whether futures of these keys are alive, but none is pending.

        Without any, the task was not sent after all, or the scheduler has forgotten it.
        """
        if keys not in self._over:
            known = self._client.futures
            states = [known[key].status for key in keys if key in known]
            self._over[keys] = bool(states) and "pending" not in states
        return self._over[keys]


def current_client() -> Any:
    """The distributed client of this thread, if there is one; distributed is not imported for it."""
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client

    try:
        return default_client()
    except ValueError:
        return None
