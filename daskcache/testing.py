"""Assertions for tests of cached graphs: yours, and daskcache's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class RunCounter:
    """Counts calls of functions across threads, processes and workers, in a file.

    Parameters
    ----------
    path : str or os.PathLike
        The file; it must be visible to all workers.

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
        """Note one call of `name`; to be called from inside the function."""
        descriptor = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        try:
            os.write(descriptor, f"{name}\n".encode())
        finally:
            os.close(descriptor)

    def names(self) -> list[str]:
        """Names of all calls since the last `clear`, in order."""
        path = Path(self.path)
        return path.read_text().splitlines() if path.exists() else []

    def clear(self) -> None:
        Path(self.path).unlink(missing_ok=True)

    def take(self) -> list[str]:
        """The names, sorted, and clear."""
        found = sorted(self.names())
        self.clear()
        return found

    # The key of a function that refers to a counter must not depend on it.
    def __dask_tokenize__(self) -> str:
        return "daskcache.testing.RunCounter"


@contextmanager
def scheduler_tasks(client: Any) -> Iterator[Callable[[], list[str]]]:
    """Keys of the tasks that a scheduler gets while the context is open.

    Parameters
    ----------
    client : distributed.Client

    Yields
    ------
    callable
        Returns the list of keys that were new to the scheduler so far.

    Examples
    --------
    >>> with scheduler_tasks(client) as tasks:                # doctest: +SKIP
    ...     client.compute(node).result()
    >>> assert len(tasks()) == 1                              # doctest: +SKIP
    """
    from distributed import SchedulerPlugin

    class TaskCounter(SchedulerPlugin):
        name = f"daskcache-task-counter-{os.urandom(4).hex()}"

        def start(self, scheduler):
            self.keys = []

        def transition(self, key, start, finish, *args, **kwargs):
            if start == "released" and finish in ("waiting", "no-worker", "queued", "processing"):
                self.keys.append(str(key))

    plugin = TaskCounter()
    client.register_plugin(plugin)

    def read(name, dask_scheduler=None):
        return list(dask_scheduler.plugins[name].keys)

    found: list[str] = []

    def tasks():
        if plugin.name in client.run_on_scheduler(_plugin_names):
            found[:] = client.run_on_scheduler(read, plugin.name)
        return found

    try:
        yield tasks
        tasks()
    finally:
        client.unregister_scheduler_plugin(plugin.name)


def _plugin_names(dask_scheduler=None):
    return list(dask_scheduler.plugins)
