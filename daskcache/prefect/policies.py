"""Cache keys for Prefect's tasks: pure, by content, and made by the process that submits.

A task's code travels with the task as its client sees it (`sent_code`), with every task runner.  So do
the hashes of arguments that are known at submit, and the whole key if all are (`stored`).  A worker
hashes the results of upstream tasks, no more.
"""

from __future__ import annotations

import copyreg
import functools
from dataclasses import dataclass, field, replace
from typing import Any

from prefect import Task
from prefect.cache_policies import (
    CacheKeyFnPolicy,
    CachePolicy,
    CompoundCachePolicy,
    FlowParameters,
    TaskSource,
)
from prefect.tasks import MaterializingTask

from ..hashing.encoder import hash_value, no_identity
from ..targets.cpr.serializer import hash_objects
from .arguments import Arguments
from .sent_code import code_of_task, sent_function


def task_input_hash(context: Any, arguments: dict[str, Any], *, compat: bool = False) -> str:
    """A cache key of a task's code and arguments: the ``cache_key_fn`` of a `prefect.task`.

    Code counts as in `daskcache.delayed`, sources by their content, targets by the hash of their data.
    Nothing is written.  Workers use the code's fingerprint of the process that submitted the task; one
    that has other versions of the user's modules fails the task with `CodeMismatch`.

    Parameters
    ----------
    context : prefect.context.TaskRunContext
        Of the task run; only ``context.task`` is used.
    arguments : dict
        The arguments by name.
    compat : bool
        Make CPR's own keys, so that what CPR stored is found: with
        ``functools.partial(task_input_hash, compat=True)``.  They tell functions apart by bytecode alone
        (not by the constants or helpers that it uses), and sources by path alone.

    Returns
    -------
    str
        Hex digits.

    Raises
    ------
    UnhashableArgument
        If an argument has no stable identity.  Prefect logs it, and runs the task uncached.
    """
    task, given = context.task, Arguments.of(arguments)
    code = code_of_task(task)
    if compat:
        if not code.bytecode:
            raise no_identity(task.fn, "it has no bytecode, by which CPR knows functions")
        return hash_objects(task.task_key, code.bytecode, given.all())
    name = getattr(task.fn, "__qualname__", task.name)
    hashes = _hashes(code, given, code.options.ignore)
    return hash_value(("task", name, code.checked_fingerprint(), hashes))


@dataclass
class ResourceInputs(CachePolicy):
    """Cache policy that counts a task's arguments: sources by content, targets by their data's hash.

    It composes with Prefect's others: ``ResourceInputs() + TASK_SOURCE``.

    Parameters
    ----------
    exclude : list of str
        Names of arguments that don't count; also ``ResourceInputs() - "name"`` (subtract before adding:
        Prefect's compound policies pass subtraction on to their own kind alone).
    """

    exclude: list[str] = field(default_factory=list)

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Hash of the arguments; None if there are none.

        Raises
        ------
        UnhashableArgument
            If an argument has no stable identity.
        """
        if not inputs:
            return None
        code = code_of_task(task_ctx.task) if task_ctx else None
        return hash_value(("inputs", _hashes(code, Arguments.of(inputs), self.exclude)))

    def __sub__(self, other: str) -> ResourceInputs:
        if not isinstance(other, str):
            raise TypeError("a policy takes away the name of an argument")
        return replace(self, exclude=[*self.exclude, other])


def has_key_of_ours(policy: Any) -> bool:
    """Return whether a cache policy consists of ours, and of those whose keys are known at submit."""
    parts = policy.policies if isinstance(policy, CompoundCachePolicy) else [policy]
    return any(map(_is_ours, parts)) and all(
        _is_ours(part) or isinstance(part, (TaskSource, FlowParameters)) for part in parts
    )


def _is_ours(policy):
    if isinstance(policy, CacheKeyFnPolicy):
        function = policy.cache_key_fn
        while isinstance(function, functools.partial):
            function = function.func
        return function is task_input_hash
    return isinstance(policy, ResourceInputs)


def _hashes(code, arguments, excluded):
    names = arguments.keys() - set(excluded)
    if code is None:
        return arguments.hashed(names)
    with code.for_values():
        return arguments.hashed(names, code.is_ours)


# ---- travelling ---------------------------------------------------------------------------------


def _reduced(task):
    """Take a task apart for pickling; the code of one with a key of ours goes along as it is seen here.

    Prefect's own task runners have no other hook where tasks are submitted.
    """
    make, args, state, *rest = object.__reduce_ex__(task, 4)
    if has_key_of_ours(task.cache_policy):
        state = {**state, "fn": sent_function(task)}
        state.pop("_spec", None)  # is made again where it is asked for
    return make, args, state, *rest


def carries_code(cls: type[Task]) -> type[Task]:
    """Let tasks of a class take their `SentCode` along when they are pickled.  Works as a decorator."""
    copyreg.pickle(cls, _reduced)
    return cls


for _kind in (Task, MaterializingTask):
    carries_code(_kind)
