"""Assertions for tests of cached graphs, for users' projects and for daskcache itself.

`count_runs` and `assert_nothing_runs` listen to the events of `daskcache.events`, in this process and on
the scheduler.  `contract` holds the tests for target classes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ..clients import current_client
from ..events import RAN, TOPIC, listeners, messages_in


class RunCounter:
    """Counter of function calls across threads, processes and workers, kept in a file.

    Parameters
    ----------
    path : str or os.PathLike
        Path of the file, which all workers must see.

    Examples
    --------
    >>> runs = RunCounter(tmp_path / "runs")                 # doctest: +SKIP
    >>> @delayed
    ... def smooth(image):
    ...     runs.note("smooth")
    ...     return ...
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)

    def note(self, name: str) -> None:
        """Note one call of `name`.  Call it inside the function."""
        with open(self.path, "ab", buffering=0) as file:
            file.write(f"{name}\n".encode())

    def names(self) -> list[str]:
        """Return the names of all calls since the last `clear`, in order."""
        path = Path(self.path)
        return path.read_text().splitlines() if path.exists() else []

    def clear(self) -> None:
        Path(self.path).unlink(missing_ok=True)

    def take(self) -> list[str]:
        """Return the names of all calls, sorted, and clear the counter."""
        found = sorted(self.names())
        self.clear()
        return found

    # A constant token: the key of a function that refers to a counter must not depend on the counter.
    def __dask_tokenize__(self) -> str:
        return "daskcache.testing.RunCounter"


@contextmanager
def count_runs(client: Any = None) -> Iterator[Callable[[], Counter[str]]]:
    """Count how often each decorated function runs while the context is open.

    Runs in this process and on the workers of `client` are counted.  Runs in the processes of Dask's
    multiprocessing scheduler are not.

    Parameters
    ----------
    client : distributed.Client, optional
        The default is the current client, if there is one.

    Yields
    ------
    callable
        Returns a `collections.Counter` of the functions that ran so far, by name.  Later runs are not
        added once the context is closed.

    Examples
    --------
    >>> with count_runs() as runs:                             # doctest: +SKIP
    ...     dask.compute(*nodes)
    >>> assert runs() == {"denoise": 2}                        # doctest: +SKIP
    """
    client = client or current_client()
    here: Counter[str] = Counter()

    def listen(event):
        if event.outcome == RAN:
            here[event.function] += 1

    counted: Counter[str] = Counter()

    def runs():
        if not closed:
            counted.clear()
            counted.update(here)
            counted.update(on_workers())
        return counted

    closed = False
    with nullcontext(dict) if client is None else _watching(client, "runs") as on_workers:
        listeners.append(listen)
        try:
            yield runs
            runs()
        finally:
            closed = True
            listeners.remove(listen)


@contextmanager
def assert_nothing_runs(client: Any = None) -> Iterator[None]:
    """Assert that no decorated function runs while the context is open.

    Parameters
    ----------
    client : distributed.Client, optional
        See `count_runs`.

    Raises
    ------
    AssertionError
        When the context closes, with the names of the functions that ran.
    """
    with count_runs(client) as runs:
        yield
    if runs():
        names = ", ".join(f"{name}() × {count}" for name, count in sorted(runs().items()))
        raise AssertionError(f"nothing was to run, but these did: {names}")


@contextmanager
def scheduler_tasks(client: Any) -> Iterator[Callable[[], list[str]]]:
    """Collect the keys of tasks that a scheduler gets while the context is open.

    Parameters
    ----------
    client : distributed.Client
        A client of the scheduler to watch.

    Yields
    ------
    callable
        Returns the list of keys that the scheduler got so far.

    Examples
    --------
    >>> with scheduler_tasks(client) as tasks:                # doctest: +SKIP
    ...     client.compute(node).result()
    >>> assert len(tasks()) == 1                              # doctest: +SKIP
    """
    with _watching(client, "keys") as tasks:
        yield tasks


@contextmanager
def _watching(client, attribute):
    """Watch a scheduler with a plugin, and yield a function that reads one of its attributes."""
    from distributed import SchedulerPlugin

    class Watcher(SchedulerPlugin):
        name = f"daskcache-watcher-{os.urandom(4).hex()}"

        def start(self, scheduler):
            self.keys: list[str] = []
            self.runs: Counter[str] = Counter()

        def transition(self, key, start, finish, *args, **kwargs):
            if start == "released" and finish in ("waiting", "no-worker", "queued", "processing"):
                self.keys.append(str(key))

        def log_event(self, topic, msg):
            for event in messages_in(msg) if topic == TOPIC else ():
                if event.get("outcome") == RAN:
                    self.runs[event["function"]] += 1

    plugin = Watcher()
    client.register_plugin(plugin)

    def of_plugin(name, attribute, dask_scheduler=None):
        return getattr(dask_scheduler.plugins[name], attribute)

    is_open, last = True, None

    def read():
        nonlocal last
        if is_open:
            last = client.run_on_scheduler(of_plugin, plugin.name, attribute)
        return last

    try:
        yield read
        read()
    finally:
        is_open = False
        client.unregister_scheduler_plugin(plugin.name)
