"""A task's code: as values and functions count it, as its client sees it, and its transfer to workers.

A worker may have imported another version of a module, and a script's ``__main__`` is another program
there.  So a worker neither makes fingerprints of code nor trusts its own code.  The function of a task
with daskcache's key arrives as a `SentFunction` with the client's fingerprint, and compares its code
before it runs (`daskcache.runtime.code_check`).
"""

from __future__ import annotations

import functools
import multiprocessing
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from prefect import Flow, Task

from ..calls.spec import Code, Options, Spec
from ..clients import worker_here
from ..errors import CodeMismatch, DaskcacheError
from ..graph.function import Function
from ..hashing import algorithms
from ..hashing.encoder import Encoder
from ..hashing.ownership import is_user_file, seen_as
from ..runtime.code_check import (
    ArgumentCode,
    SeenCode,
    check_arguments,
    check_sent_code,
    joint_view,
    seen_code,
    this_process,
)
from ..targets.source import Source


class SentCode(NamedTuple):
    """Code of a function as its client sees it."""

    #: Id of the process that looked at the code.
    process: str
    #: Options of `daskcache.delayed`, which define the code that counts.
    options: Options
    #: Fingerprint of the code; empty if there is an error.
    fingerprint: str
    #: The bytecode in hex digits; only this counted for CPR.
    bytecode: str
    seen: SeenCode
    #: Hash algorithm of that process.
    algorithm: str
    #: Reason why the code has no fingerprint.
    error: DaskcacheError | None = None
    #: Code in the call's arguments.
    arguments: ArgumentCode | None = None
    #: Sources in the call's arguments, with the hashes of their content.
    sources: tuple[tuple[Source, str], ...] = ()

    def checked_fingerprint(self) -> str:
        """Return the fingerprint, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.fingerprint

    @property
    def is_ours(self) -> bool:
        """True if this process is the one that looked at the code."""
        return self.process == this_process()

    def for_values(self) -> AbstractContextManager[None]:
        """Return a context in which values, and code in them, are hashed as by the client.

        Values may hold code that the client did not know.  The user's modules that this process has
        imported therefore count, too.
        """
        if self.is_ours:
            return nullcontext()
        algorithms.use(self.algorithm)
        views = [self.seen.view, *(self.arguments.views if self.arguments is not None else ())]
        return seen_as(joint_view(views, _own_modules(len(sys.modules))))


def code_of_task(task: Task) -> SentCode:
    """Return a task's code as its client sees it; in the client's own process, the current code.

    Raises
    ------
    CodeMismatch
        If the task came from another process without its code.
    """
    function = task.fn
    if isinstance(function, SentFunction):
        if not function.code.is_ours or _came_by_value(function.original):
            return function.code
        function = function.original
    elif _is_elsewhere() and _came_by_value(function):
        raise CodeMismatch(
            f"a worker can't tell which code the client has for {task.name}",
            got=f"a task of the class {type(task).__module__}.{type(task).__qualname__}",
            hint="submit it with a DaskCacheTaskRunner, or make it with daskcache.prefect.task",
        )
    spec = task._spec if hasattr(type(task), "_spec") else None
    return _look(spec or function)


def sent_function(task: Task, **of_call: Any) -> SentFunction:
    """Return a task's function for another process; `of_call` sets fields of `SentCode`."""
    given, code = task.fn, code_of_task(task)
    function = SentFunction(getattr(given, "original", given))
    if isinstance(given, SentFunction):
        vars(function).update(vars(given))
    function.code = code._replace(**of_call) if of_call else code
    return function


class SentFunction(functools.partial):
    """Function that another process calls only if code and arguments are as the client saw them.

    It is a partial because `inspect` looks through partials, and so finds that a function is
    asynchronous.
    """

    code: SentCode
    original: Callable

    def __new__(cls, original: Callable, *args: Any, **kwargs: Any) -> SentFunction:
        function = super().__new__(cls, original, *args, **kwargs)
        functools.update_wrapper(function, original)
        function.original = original
        return function

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if not self.code.is_ours:
            self._check(args, kwargs)
        return super().__call__(*args, **kwargs)

    def _check(self, args, kwargs):
        code, spec = self.code, Spec(self.original, self.code.options)
        algorithms.use(code.algorithm)
        if code.error is None:
            check_sent_code(code.fingerprint, code.seen, spec)
        if code.arguments is not None:
            values = spec.signature.bind(args, kwargs)
            check_arguments(code.arguments, dict(zip(spec.signature.names, values, strict=True)))
        for source, hashed in code.sources:
            if source.content_hash() != hashed:
                source.verify(hashed)

    def __daskcache_encode__(self, encoder):
        encoder.add(self.original)


# ---- looking at code ----------------------------------------------------------------------------


def _look(seen: Any) -> SentCode:
    """Return the code of a function or a `Spec`.  Unchanged code is not described again."""
    spec, before, sent = _seen.get(id(seen), (None, None, None))
    if spec is None:
        spec = seen if isinstance(seen, Spec) else Spec(seen, Options())
    try:
        found: Code | DaskcacheError = spec.code()
    except DaskcacheError as error:
        found = error
    if sent is None or found is not before or not sent.is_ours:
        sent = _described(spec, found)
        if len(_seen) >= _MAX_SEEN:
            _seen.clear()
        _seen[id(seen)] = spec, found, sent  # keeps `seen` alive: no other object gets its id
    return sent


#: By the id of a function or `Spec`: the spec, its code at the last look, and how it was described.
_seen: dict[int, tuple[Spec, Code | DaskcacheError, SentCode]] = {}
_MAX_SEEN = 1024


def _described(spec, found):
    code = getattr(spec.func, "__code__", None)
    about = this_process(), spec.options
    bytecode = code.co_code.hex() if code is not None else ""
    if isinstance(found, DaskcacheError):
        return SentCode(*about, "", bytecode, seen_code(None, []), algorithms.configured(), found)
    seen = seen_code(found.reach, found.parts)
    return SentCode(*about, found.fingerprint, bytecode, seen, algorithms.configured())


def _is_elsewhere():
    """Return True in a worker's process or a child process."""
    return worker_here() is not None or multiprocessing.parent_process() is not None


def _came_by_value(function):
    """Return True if a function was pickled by value: its globals are not those of its module."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    namespace = getattr(function, "__globals__", None)
    return module is not None and namespace is not None and namespace is not vars(module)


@functools.lru_cache(maxsize=1)
def _own_modules(_count):
    """Return the names of the user's modules that this process has imported.

    The argument, the number of imported modules, serves as the key of the cache.
    """
    files = {
        name: getattr(module, "__dict__", {}).get("__file__") for name, module in [*sys.modules.items()]
    }
    return frozenset(
        name for name, file in files.items() if isinstance(file, str) and is_user_file(file)
    )


# ---- tasks and flows as values -------------------------------------------------------------------


def prefect_encoders() -> dict[type, Callable[[Any, Encoder], None]]:
    """Return the encoders for tasks and flows, which count as the functions that they run."""
    return {Task: _task, Flow: _flow}


def _task(task, encoder):
    # names, retries, descriptions … have no influence on what a call returns
    if hasattr(type(task), "_spec"):
        Function.__daskcache_encode__(task, encoder)
    else:
        encoder.add(task.fn)


def _flow(flow, encoder):
    encoder.add(getattr(flow, "_function", flow.fn))
