"""Checks that a worker holds the code that the client saw, so that no wrong result gets a right key.

`node`, `body`, `cluster.probe` and `prefect` call them.  The worker explores the function, and the
user's code behind it, in the modules that it imported itself.  The client decides which modules are the
user's own, because the worker may have them installed.  Code that travelled with the task (notebook
cells) is known by its bytecode, because its source stayed behind.  `ArgumentEncoder` finds the functions
and classes in arguments, which are compared too.
"""

from __future__ import annotations

import operator
import os
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ..calls.spec import Spec, code_of
from ..errors import CodeMismatch, UnhashableArgument
from ..hashing.changes import Part, first_difference
from ..hashing.contents import is_followed
from ..hashing.encoder import Encoder
from ..hashing.fingerprints import reach_of
from ..hashing.ownership import View, seen_as
from ..hashing.reach import Reach
from ..storage.code_store import made_here, recall, recall_view
from ..storage.roots import Root


def check_code(root: Root, fingerprint: str, spec: Spec) -> None:
    """Check that this process holds the code that the client saw.

    Nothing is checked if this process stored the code itself, or if the root does not have it.

    Raises
    ------
    CodeMismatch
        If something in a module differs.
    """
    if (root.path, fingerprint) in made_here or _is_agreed(root.path, fingerprint):
        return
    view = recall_view(root, fingerprint)
    if view is not None:
        _check(root.path, fingerprint, view, lambda: recall(root, fingerprint) or [], spec)


def check_sent_code(fingerprint: str, seen: SeenCode, spec: Spec) -> None:
    """Check code that came with its task and is not stored in a root; see `check_code`.

    Raises
    ------
    CodeMismatch
        If something in a module differs.
    """
    if not _is_agreed("", fingerprint):
        _check("", fingerprint, seen.view, lambda: seen.parts, spec)


#: Code of this process that passed the check, by root ("" for sent code) and fingerprint.
_agreed: dict[tuple[str, str], Reach] = {}


def _is_agreed(root, fingerprint):
    known = _agreed.get((root, fingerprint))
    return known is not None and known.same_code()


def _check(root: str, fingerprint: str, view: View, wanted: Callable[[], list[Part]], spec: Spec):
    try:
        with seen_as(view):
            code = code_of(spec.func, spec.options)
    except UnhashableArgument:  # the client could hash it, but pickling made something else of it
        return
    if code.fingerprint != fingerprint:
        _compare(wanted(), code.parts, spec)
    if code.reach is not None:
        _agreed[root, fingerprint] = code.reach


def _compare(wanted: list[Part], here: list[Part], spec: Spec) -> None:
    """Raise `CodeMismatch` if the parts differ in more than pickling explains."""
    if _is_imported(spec.func):
        modules = None
    else:  # a function that isn't in a module travelled with the task, with its local functions
        wanted, here = ([p for p in parts if not _travels(p, spec)] for parts in (wanted, here))
        modules = {part.module for part in wanted} - {"__main__"}
    difference = first_difference(wanted, here, modules)
    if difference is not None or modules is None:
        raise _mismatch(difference, f"what {spec.name}() refers to")


def _mismatch(difference, whole):
    was, now = difference or (None, None)
    part = was or now
    what = f"{part.label} of the module {part.module}" if part else whole
    return CodeMismatch(
        f"{what} is another version on this worker",
        expected=f"{_shown(was)}, as the client has it",
        got=_shown(now),
        hint="give workers the client's modules (client.upload_file, or the same installation), "
        "and restart them: client.restart()",
    )


def _is_imported(func: Any) -> bool:
    """Return True if this process imported a function, so that a module has it under its name.

    A function that was pickled by value is not the object in the module.
    """
    module = sys.modules.get(getattr(func, "__module__", None) or "")
    try:
        found = operator.attrgetter(func.__qualname__)(module)
    except AttributeError:
        return False
    found = getattr(found, "__func__", found)  # the function of a class method
    if hasattr(type(found), "_spec"):
        found = found._spec.func
    return func is found or func is getattr(found, "__dict__", {}).get("fn")  # a Prefect task's function


def _travels(part, spec):
    """Return True if a part is pickled with a function that travels by value.

    That holds for the function's own members, and for local functions and lambdas of its module.
    """
    own = getattr(spec.func, "__qualname__", "")
    return part.name.startswith(f"{own}.") or ("<" in part.name and part.module == spec.module)


def _shown(part):
    return "nothing of that name" if part is None else part.place or part.text


def this_process() -> str:
    """Return a name for this process that differs from all others, forked ones included."""
    return f"{os.getpid()}-{_NONCE}"


_NONCE = uuid.uuid4().hex


class SeenCode(NamedTuple):
    """A function or class as the client sees it, for comparison in another process."""

    view: View
    parts: list[Part]


def seen_code(reach: Reach | None, parts: list[Part]) -> SeenCode:
    """Return a reach and its parts for another process, without the source text of functions."""
    short = [part._replace(text="") if part.kind == "function" else part for part in parts]
    modules, bodies = (reach.modules, reach.bodies()) if reach is not None else ((), {})
    return SeenCode(View(frozenset(modules), bodies), short)


def joint_view(views: Iterable[View], modules: Iterable[str] = ()) -> View:
    """Merge views into one, and add further modules of the user."""
    views = list(views)
    bodies = {hashed: body for view in views for hashed, body in view.bodies.items()}
    return View(frozenset(modules).union(*[view.modules for view in views]), bodies)


# ---- code in arguments ----------------------------------------------------------------------------


class ArgumentCode(NamedTuple):
    """The functions and classes that the arguments of a call hold, as the client sees them."""

    #: Name of the process that explored them, see `this_process`.
    process: str
    #: Functions and classes by name of the argument.
    seen: dict[str, list[SeenCode]]

    @property
    def views(self) -> list[View]:
        """Return the views of all functions and classes."""
        return [each.view for several in self.seen.values() for each in several]


class ArgumentEncoder(Encoder):
    """Encoder of an argument that collects the user's functions and classes in it."""

    __slots__ = ("code",)

    def __init__(self, code: list | None = None):
        super().__init__()
        self.code: list = [] if code is None else code

    def nested(self) -> ArgumentEncoder:
        return type(self)(self.code)

    def add_code(self, value: Any) -> None:
        if is_followed(value):
            self.code.append(value)
        super().add_code(value)


def code_in_arguments(found: Mapping[str, Iterable]) -> ArgumentCode | None:
    """Return the code that `ArgumentEncoder` found, as this process sees it.

    Parameters
    ----------
    found : mapping of str to iterable
        Functions and classes by name of the argument.

    Returns
    -------
    ArgumentCode or None
        None if no argument holds code.
    """
    seen = {name: [_seen(reach_of(each)) for each in code] for name, code in found.items() if code}
    return ArgumentCode(this_process(), seen) if seen else None


def _seen(reach):
    known = _seen_before.get(reach)
    if known is None:
        known = _seen_before[reach] = seen_code(reach, _in_modules(reach.parts))
    return known


#: Results of `_seen`, kept because a function may be an argument of thousands of calls.
_seen_before: WeakKeyDictionary[Reach, SeenCode] = WeakKeyDictionary()


def check_arguments(sent: ArgumentCode, arguments: Mapping[str, Any]) -> None:
    """Check that functions and classes in arguments are those that the client saw.

    The process that explored them needs no check.

    Raises
    ------
    CodeMismatch
        If something differs.
    """
    if sent.process == this_process():
        return
    view = joint_view(sent.views)
    for name, seen in sent.seen.items():
        wanted = [part for each in seen for part in each.parts]
        encoder = ArgumentEncoder()
        try:
            with seen_as(view):
                encoder.add_checked(arguments[name])
                here = [part for each in encoder.code for part in _in_modules(Reach(each).parts)]
        except UnhashableArgument:  # the client could hash it, but pickling made something else of it
            continue
        modules = {part.module for part in wanted} - {"__main__"}
        difference = first_difference(wanted, here, modules)
        if difference is not None:
            raise _mismatch(difference, name)


def _in_modules(parts):
    """Return the parts that modules of this process have; the others are pickled with the arguments.

    A class that is pickled by value does not even keep its qualified name.
    """
    return [
        part
        for part in parts
        if "<" not in part.name and hasattr(sys.modules.get(part.module), part.name.partition(".")[0])
    ]
