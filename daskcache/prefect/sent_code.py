"""A task's code as the process sees it that submits the task, and how that travels.

A worker may have imported another version of a module, and a script's ``__main__`` is another program
there.  So it neither makes fingerprints of code nor believes that its own is the right one: the function
of a task with a key of ours arrives as a `SentFunction`, which carries the client's fingerprint, and
compares before it runs (`daskcache.runtime.code_check`).
"""

from __future__ import annotations

import functools
import multiprocessing
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from prefect import Task

from ..calls.spec import Code, Options, Spec
from ..errors import CodeMismatch, DaskcacheError
from ..events import worker_here
from ..hashing import algorithms
from ..hashing.algorithms import configured
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
from ..targets.base import Source


class SentCode(NamedTuple):
    """A function's code as its client sees it."""

    #: The process that looked.
    process: str
    #: Options of `daskcache.delayed` that say which code counts.
    options: Options
    #: Empty if there is an error.
    fingerprint: str
    #: The bytecode, in hex digits: all that counted for CPR.
    bytecode: str
    seen: SeenCode
    #: How the process hashes.
    algorithm: str
    #: Why it has no fingerprint.
    error: DaskcacheError | None = None
    #: The code that the arguments of the call hold.
    arguments: ArgumentCode | None = None
    #: The sources among them, and the hashes of their content.
    sources: tuple[tuple[Source, str], ...] = ()

    def checked_fingerprint(self) -> str:
        """Return the fingerprint, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.fingerprint

    @property
    def is_ours(self) -> bool:
        """Return whether this is the process that looked."""
        return self.process == this_process()

    def for_values(self) -> AbstractContextManager[None]:
        """Return a context in which values are hashed, and code in them counts, as for the client.

        Values may hold more than the client knew of: what this process has imported counts, too.
        """
        if self.is_ours:
            return nullcontext()
        algorithms.use(self.algorithm)
        views = [self.seen.view, *(self.arguments.views if self.arguments is not None else ())]
        return seen_as(joint_view(views, _own_modules(len(sys.modules))))


def code_of_task(task: Task) -> SentCode:
    """Return a task's code as its client sees it: in the client's own process, as it is now.

    Raises
    ------
    CodeMismatch
        If the task came from another process, and nothing is known.
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
    return _sight(spec or function).look()


def sent_function(task: Task, **of_call: Any) -> SentFunction:
    """Return a task's function for another process; `of_call` are fields of `SentCode`."""
    given, code = task.fn, code_of_task(task)
    function = SentFunction(getattr(given, "original", given))
    if isinstance(given, SentFunction):
        vars(function).update(vars(given))
    function.code = code._replace(**of_call) if of_call else code
    return function


class SentFunction(functools.partial):
    """A function that another process calls only if it is, with its arguments, as the client saw it.

    It is a partial because `inspect` looks through these: it tells that a function is asynchronous.
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


class _Sight:
    """A function, and how its code was last seen."""

    def __init__(self, spec: Spec):
        self.spec = spec
        self._known: tuple[Code | DaskcacheError, SentCode] | None = None

    def look(self) -> SentCode:
        try:
            found: Code | DaskcacheError = self.spec.code()
        except DaskcacheError as error:
            found = error
        known = self._known
        if known is None or known[0] is not found or not known[1].is_ours:
            known = self._known = found, self._sent(found)
        return known[1]

    def _sent(self, found):
        code = getattr(self.spec.func, "__code__", None)
        about = this_process(), self.spec.options
        bytecode = code.co_code.hex() if code is not None else ""
        if isinstance(found, DaskcacheError):
            return SentCode(*about, "", bytecode, seen_code(None, []), configured(), found)
        seen = seen_code(found.reach, found.parts)
        return SentCode(*about, found.fingerprint, bytecode, seen, configured())


def _sight(seen: Any) -> _Sight:
    """Return the `_Sight` of a function, or of one with its options."""
    known = _sights.get(id(seen))
    if known is None:
        if len(_sights) >= _MAX_SIGHTS:
            _sights.clear()
        spec = seen if isinstance(seen, Spec) else Spec(seen, Options())
        known = _sights[id(seen)] = _Sight(spec)  # which holds it: no other gets its id
    return known


_sights: dict[int, _Sight] = {}
_MAX_SIGHTS = 1024


def _is_elsewhere():
    """Return whether this is the process of a worker."""
    return worker_here() is not None or multiprocessing.parent_process() is not None


def _came_by_value(function):
    """Return whether a function was pickled as a whole: its globals are not those of its module."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    namespace = getattr(function, "__globals__", None)
    return module is not None and namespace is not None and namespace is not vars(module)


@functools.lru_cache(maxsize=1)
def _own_modules(_count):
    """Return the names of the user's modules that this process has imported."""
    files = {
        name: getattr(module, "__dict__", {}).get("__file__") for name, module in [*sys.modules.items()]
    }
    return frozenset(
        name for name, file in files.items() if isinstance(file, str) and is_user_file(file)
    )
