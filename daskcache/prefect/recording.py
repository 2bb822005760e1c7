"""Task runs that no engine ran, such as skipped tasks, and targets, recorded on Prefect's server.

A task run costs one event (0.6 ms) and no request: creating one by the client takes 38 ms.
"""

from __future__ import annotations

import base64
import inspect
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.client.schemas.objects import State, TaskRun, TaskRunPolicy
from prefect.context import FlowRunContext, TagsContext
from prefect.logging import get_run_logger
from prefect.logging.loggers import task_run_logger
from prefect.states import Pending
from prefect.utilities.asyncutils import run_coro_as_sync
from prefect.utilities.engine import (
    collect_task_run_inputs_sync,
    emit_task_run_state_change_event,
    link_state_to_task_run_result,
)

from ..hashing.encoder import tag
from ..runtime.entry import Entry
from ..runtime.held import Held
from ..storage.paths import masked
from ..targets.preview import Preview, preview
from .internals import name_of_hook, uuid7

RECORDS = ("event", "none")


#: State of a run before the final one; the event holds only its type and name.
_PENDING = Pending()


def finish(
    task: Any,
    name: str,
    parameters: dict[str, Any],
    state: State,
    wait_for: Any = None,
    dependencies: dict[str, set] | None = None,
    record: str = "event",
    started: datetime | None = None,
) -> UUID:
    """Record a call of `task` as a task run in a final state, and call the task's hooks.

    Parameters
    ----------
    task : prefect.Task
    name : str
        Name of the task run; if empty, one is made from the task's name.
    parameters : dict
        The call's arguments by name.
    state : State
        The final state; the ids of the run are filled in.
    wait_for, dependencies
        As for `prefect.task_runners.TaskRunner.submit`.
    record : {"event", "none"}
        "event" reports the run to Prefect's server; "none" does not.
    started : datetime, optional
        Start of the run; by default, the time of `state`.

    Returns
    -------
    UUID
        Id of the task run.
    """
    task_run = _task_run(task, name, parameters, state, wait_for, dependencies)
    if started is not None:
        task_run.start_time = started
        task_run.total_run_time = state.timestamp - started
    state.state_details.task_run_id = task_run.id
    state.state_details.flow_run_id = task_run.flow_run_id
    link_state_to_task_run_result(state, state.data)
    if record != "none":
        emit_task_run_state_change_event(
            task_run=task_run, initial_state=_PENDING, validated_state=state
        )
    _call_hooks(task, task_run, state)
    return task_run.id


def _task_run(task, name, parameters, state, wait_for, dependencies):
    identifier, flow_context = uuid7(), FlowRunContext.get()
    flow_run = flow_context.flow_run if flow_context else None
    inputs: dict[str, Any] = {
        parameter: collect_task_run_inputs_sync(value) | (dependencies or {}).get(parameter, set())
        for parameter, value in parameters.items()
    }
    if wait_for:
        inputs["wait_for"] = collect_task_run_inputs_sync(wait_for)
    return TaskRun(
        id=identifier,
        name=name or f"{task.name}-{identifier.hex[-3:]}",
        flow_run_id=flow_run.id if flow_run else None,
        task_key=task.task_key,
        dynamic_key=str(identifier),
        task_version=task.version,
        empirical_policy=TaskRunPolicy(
            retries=task.retries,
            retry_delay=task.retry_delay_seconds,
            retry_jitter_factor=task.retry_jitter_factor,
        ),
        tags=sorted(task.tags | (TagsContext.get().current_tags or set())),
        task_inputs=inputs,
        expected_start_time=state.timestamp,
        start_time=state.timestamp,
        end_time=state.timestamp,
        state_id=state.id,
        state_type=state.type,
        state_name=state.name,
        state=state,
        created=state.timestamp,
        updated=state.timestamp,
    )


def _call_hooks(task, task_run, state):
    """Call a task's hooks as Prefect's engine does: a failing hook does not fail the task."""
    hooks = task.on_completion_hooks if state.is_completed() else task.on_failure_hooks
    for hook in hooks or ():
        logger = task_run_logger(task_run=task_run, task=task)
        try:
            outcome = hook(task, task_run, state)
            if inspect.iscoroutine(outcome):
                run_coro_as_sync(outcome)
        except Exception:
            logger.exception("An error was encountered while running hook %r", name_of_hook(hook))


# ---- artifacts ----------------------------------------------------------------------------------

#: Bytes of the largest target that is read to be shown.
SHOWN = 2**26


def make_artifact(entry: Entry | Held) -> None:
    """Show a result's targets in Prefect's UI: a picture, the first rows of a table, or a text.

    A target that is larger than `SHOWN` is named only.  If the target can't be read, or Prefect's server
    can't be reached, a warning is logged; the task does not fail.
    """
    if not isinstance(entry, Entry):
        return
    for single in entry.singles():
        (result,) = single.stored
        path, format_name = result.target.path, type(result.target).__name__
        about = {
            "key": artifact_key(path),
            "description": f"{_code(masked(path))}: {format_name}, {tag(result.data_hash)}",
        }
        try:
            look = preview(single.lend()) if result.stamp.size <= SHOWN else None
            _create_artifact(look, about)
        except Exception as error:  # noqa: BLE001 (also what a user's class raises when it is shown)
            get_run_logger().warning("the target is stored, but not shown as an artifact: %s", error)


def _create_artifact(look: Preview | None, about):
    if look is not None:
        about["description"] += f", {look.summary}"
    if look is None:
        create_markdown_artifact(markdown="too large to be shown", **about, _sync=True)
    elif look.picture is not None:
        picture = base64.b64encode(look.picture).decode()
        create_image_artifact(image_url=f"data:image/png;base64,{picture}", **about, _sync=True)
    elif look.rows is not None:
        create_table_artifact(table=look.rows, **about, _sync=True)
    else:
        create_markdown_artifact(markdown=_block(look.text), **about, _sync=True)


def _code(text):
    """Return Markdown that shows a text as it is."""
    return "`" + text.replace("`", "'") + "`"


def _block(text):
    """Return Markdown that shows lines as they are."""
    return "".join(f"    {line}\n" for line in text.splitlines()) or "(empty)"


def artifact_key(path: str) -> str:
    """Return the key of a target's artifact: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", str(Path(path)).lower()).strip("-")
