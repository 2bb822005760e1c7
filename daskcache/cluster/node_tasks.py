"""The nodes that a scheduler's tasks make: which they are, and which of them run now.

`dashboard` and `dashboard_page` use it.  A scheduler keeps each task as the client sent it, with the
node's `Work`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from distributed import Scheduler

from ..calls.task_keys import node_made_by
from ..runtime.work import Work


class NodeTask(NamedTuple):
    """A node that a scheduler's task makes."""

    function: str
    work: Work

    @property
    def title(self) -> str:
        """Display name, also where the function's module can't be imported."""
        return self.work.label or f"{self.function}({', '.join(self.work.paths[:1])})"

    @property
    def target(self) -> str:
        """Paths of the targets from the root."""
        return ", ".join(self.work.paths)

    @property
    def recorded(self) -> float | None:
        """Recorded run time in seconds, or None without a record."""
        known = [name.microseconds / 1e6 for name in self.work.previous if name is not None]
        return known[0] if known else None


class RunningNode(NamedTuple):
    """A node that a worker makes now."""

    task_key: str
    #: Seconds since it began, as of the worker's last heartbeat; None if it began since then.
    seconds: float | None
    title: str
    #: Address of the worker.
    worker: str


def node_of(task: Any) -> NodeTask | None:
    """Return the node that a scheduler's task makes, or None."""
    made = node_made_by(task.key) if type(task.key) is str else None
    arguments = getattr(task.run_spec, "args", None)
    if made is None or not arguments or not isinstance(arguments[0], Work):
        return None
    return NodeTask(made[0], arguments[0])


def running_nodes(scheduler: Scheduler) -> list[RunningNode]:
    """Return the nodes that run now, those first that began first.

    Workers tell what they run with each heartbeat.  Of what they were given since then, they begin as
    much as they have threads for, by priority.
    """
    found = []
    for worker in scheduler.workers.values():
        told = [task for task in worker.processing if task in worker.executing]
        others = [task for task in worker.processing if task not in worker.executing]
        begun = sorted(others, key=lambda task: task.priority or ())[
            : max(worker.nthreads - len(told), 0)
        ]
        for task in told + begun:
            node = node_of(task)
            if node is not None:
                seconds = worker.executing.get(task)
                found.append(RunningNode(str(task.key), seconds, node.title, worker.address))
    return sorted(found, key=lambda node: -(node.seconds or 0.0))
