"""Results of tasks in a Prefect transaction: a result that is rolled back is not reused.

Prefect stores its own results when a transaction is committed.  A target is in place, with its record,
as soon as it is made, so that the next task can read it.  If a ``with transaction():`` around it is
rolled back, the target goes to the root's trash.  Prefect also rolls back tasks called by a failing
task.  Their targets stay: they are whole, the next attempt uses them, and the user did not ask for a
transaction.
"""

from __future__ import annotations

import functools
from typing import Any

from prefect.transactions import BaseTransaction, CommitMode, get_transaction

from ..runtime.entry import Entry
from ..storage import files, trash
from ..storage.roots import Root
from .futures import CacheFuture, value_in

#: Number of results moved to the trash.  A planner that looked before the last is out of date.
rolled_back = 0


def forget_if_rolled_back(result: Entry | CacheFuture) -> None:
    """Register a new result for removal, in case the user's transaction around it is rolled back.

    Parameters
    ----------
    result : Entry or CacheFuture
        The result of this task run, or the future of a task in another process, where the transaction
        is not known.
    """
    around: BaseTransaction | None = get_transaction()
    users = around
    while users is not None and not _is_users(users):
        users = users.get_parent()
    if around is None or users is None:
        return
    if isinstance(result, Entry):
        around.on_rollback_hooks.append(functools.partial(_forget, result))
    elif around.commit_mode != CommitMode.EAGER:
        around.on_rollback_hooks.append(functools.partial(_forget_when_done, result))


def _is_users(transaction):
    """Return True for a user's transaction; Prefect's engine opens another one for each task run."""
    logs_for: Any = getattr(transaction.logger, "extra", None) or {}
    return transaction.store is None or "task_run_id" not in logs_for


def _forget(entry, transaction=None):
    global rolled_back
    root = Root(entry.root)
    for result in getattr(entry, "stored", ()):
        path = result.target.path
        if files.stamp(root.absolute(path)) == result.stamp:  # otherwise another result has replaced it
            trash.keep(root, root.absolute(path), path, "rolled back")
            rolled_back += 1


def _forget_when_done(future, transaction=None):
    future.settle()
    state = future.final_state
    if state is not None and state.is_completed() and state.name != "Cached":
        _forget(value_in(state))
