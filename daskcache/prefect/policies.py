"""Cache keys for plain Prefect tasks, made from code and content by the process that submits the task.

The key of a call must be the same wherever it is made.  With every task runner, a task therefore carries
its code as the client sees it (`sent_code`).  It also carries the hashes of arguments that are known at
submit, and the whole key if all are (`stored`).  A worker only hashes the results of upstream tasks.
"""

from __future__ import annotations

import copyreg
import functools
from collections.abc import Iterable, Mapping
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

from ..errors import DaskcacheError, UnhashableArgument
from ..hashing.encoder import hash_value
from ..hashing.instances import no_identity
from ..runtime.code_check import ArgumentEncoder
from ..targets.cpr.serializer import hash_objects
from ..targets.source import Source
from .futures import instances_in
from .sent_code import code_of_task, sent_function


def task_input_hash(context: Any, arguments: dict[str, Any], *, compat: bool = False) -> str:
    """Make a cache key from a task's code and arguments: the ``cache_key_fn`` of a `prefect.task`.

    Code counts as in `daskcache.delayed`, a source by its content, a target by the hash of its data.
    Nothing is written.  Workers use the code's fingerprint from the process that submitted the task.  A
    worker with other versions of the user's modules fails the task with `CodeMismatch`.

    Parameters
    ----------
    context : prefect.context.TaskRunContext
        Context of the task run; only ``context.task`` is used.
    arguments : dict
        The arguments by name.
    compat : bool
        Make CPR's own keys, so that results stored by CPR are found: with
        ``functools.partial(task_input_hash, compat=True)``.  They distinguish functions by bytecode
        alone (without the constants and helpers that they use), and sources by path alone.

    Returns
    -------
    str
        Hex digits.

    Raises
    ------
    UnhashableArgument
        If an argument has no stable identity.  Prefect logs it, and runs the task uncached.
    SourceMissing
        If the file of a source is missing.
    CodeMismatch
        If the task came from another process, and the client's code is not known.
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

    It can be combined with Prefect's policies: ``ResourceInputs() + TASK_SOURCE``.

    Parameters
    ----------
    exclude : list of str
        Names of arguments that don't count.  ``ResourceInputs() - "name"`` adds one.  Subtract before
        adding: Prefect's compound policies pass subtraction on to their own kind alone.
    """

    exclude: list[str] = field(default_factory=list)

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Return the hash of the arguments; None if there are none.

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
    """Return True if a cache policy includes one of daskcache's, and its key can be made at submit.

    The other parts may only be `TaskSource` and `FlowParameters`, whose keys are known at submit.
    """
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


# ---- arguments ----------------------------------------------------------------------------------


class NotKnownYet(Exception):
    """A key needs an argument that is the result of an unfinished task."""


class Arguments(dict):
    """The arguments of a call, with the hashes that are known.

    Parameters
    ----------
    arguments : mapping
        Values by name.
    late : iterable of str
        Names of arguments that are not known yet.
    hashes : mapping
        Results of another process by name: a hash, or the error of an argument that has none.
    """

    def __init__(
        self,
        arguments: Mapping[str, Any],
        late: Iterable[str] = (),
        hashes: Mapping[str, str | DaskcacheError] | None = None,
    ):
        super().__init__(arguments)
        self.late = frozenset(late)
        self.hashes = dict(hashes or {})
        #: The user's functions and classes in each argument that was hashed here, by name.
        self.code: dict[str, list] = {}

    @classmethod
    def of(cls, arguments: Mapping[str, Any] | None) -> Arguments:
        return arguments if isinstance(arguments, cls) else cls(arguments or {})

    def all(self) -> dict[str, Any]:
        """Return the arguments themselves; raise `NotKnownYet` if one is late."""
        if self.late:
            raise NotKnownYet(sorted(self.late))
        return dict(self)

    def sources(self) -> tuple[tuple[Source, str], ...]:
        """Return the sources in arguments that were hashed here, each with the hash of its content."""
        counted = {name: self[name] for name in self.code}
        return tuple((source, source.content_hash()) for source in instances_in(counted, Source))

    def hashed(self, names: Iterable[str], by_client: bool = True) -> dict[str, str]:
        """Return the hashes of some arguments.

        Parameters
        ----------
        names : iterable of str
        by_client : bool
            True in the process that submits the call.  Another process can't know how the client
            identifies a function, so an argument that holds one has no hash there.

        Returns
        -------
        dict of str to str
            Hashes by name.

        Raises
        ------
        UnhashableArgument, SourceMissing
            If an argument has no hash.
        NotKnownYet
            If an argument is late.  The hashes of the others are in `hashes` by then.
        """
        names = sorted(names)
        for name in names:
            if name not in self.hashes and name not in self.late:
                self.hashes[name] = self._hash_or_error(name, by_client)
        found = {name: self.hashes[name] for name in names if name not in self.late}
        for each in found.values():
            if isinstance(each, DaskcacheError):
                raise each
        if len(found) < len(names):
            raise NotKnownYet(sorted(self.late))
        return found  # type: ignore[return-value]

    def _hash_or_error(self, name, by_client):
        encoder = ArgumentEncoder()
        try:
            encoder.add_checked(self[name])
        except DaskcacheError as error:
            return error
        self.code[name] = encoder.code
        functions = [each for each in encoder.code if not isinstance(each, type)]
        if functions and not by_client:
            return UnhashableArgument(
                f"the argument {name!r} holds the function {functions[0].__qualname__}(), and a worker "
                "can't tell whether it is the one that the client has",
                hint="pass it when the task is submitted, not as a result, to a DaskCacheTaskRunner",
            )
        return encoder.digest()


# ---- travelling ---------------------------------------------------------------------------------


def _reduced(task):
    """Reduce a task for pickling; a task with daskcache's key takes its code along as seen here.

    Pickling is the only hook that Prefect's own task runners offer when a task is submitted.
    """
    make, args, state, *rest = object.__reduce_ex__(task, 4)
    if has_key_of_ours(task.cache_policy):
        state = {**state, "fn": sent_function(task)}
        state.pop("_spec", None)  # a cached property, made again when it is needed
    return make, args, state, *rest


def carries_code(cls: type[Task]) -> type[Task]:
    """Make tasks of a class carry their `SentCode` when they are pickled.  Works as a decorator."""
    copyreg.pickle(cls, _reduced)
    return cls


for _kind in (Task, MaterializingTask):
    carries_code(_kind)
