"""Cache keys for plain Prefect tasks: pure, by content, and stable between processes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from prefect.cache_policies import CachePolicy

from ..cpr.serializer import hash_objects
from ..hashing import hash_value
from ..spec import Options, code_of


def task_input_hash(context: Any, arguments: dict[str, Any], *, compat: bool = False) -> str:
    """A cache key of a task's code and arguments: the ``cache_key_fn`` of a `prefect.task`.

    Code counts as in `daskcache.delayed`, sources by their content, targets by the hash of their data.
    Nothing is written.

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
    task = context.task
    if compat:
        return hash_objects(task.task_key, task.fn.__code__.co_code.hex(), arguments)
    name = getattr(task.fn, "__qualname__", task.name)
    return hash_value(("task", name, code_of(task.fn, Options()).fingerprint, arguments))


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
        counted = {name: value for name, value in (inputs or {}).items() if name not in self.exclude}
        return hash_value(("inputs", counted)) if inputs else None

    def __sub__(self, other: str) -> ResourceInputs:
        if not isinstance(other, str):
            raise TypeError("a policy takes away the name of an argument")
        return replace(self, exclude=[*self.exclude, other])
