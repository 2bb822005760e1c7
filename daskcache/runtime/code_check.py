"""Checks that a worker holds the code that the client saw: else it makes wrong results under right keys.

The worker looks at the function that it is about to call, and at all that this reaches in the modules
that it imported itself, as the client has done.  Which modules are the user's own is for the client to
say (what it edits may be installed on the worker), and what travelled with the task (notebook cells) is
known by its bytecode, as its source stayed behind.

Functions and classes that arguments hold are compared, too: `ArgumentEncoder` finds them.
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
from ..hashing.encoder import Encoder
from ..hashing.ownership import View, seen_as
from ..hashing.reach import Reach, is_followed, reach_of
from ..storage.code_store import made_here, recall, recall_view
from ..storage.roots import Root


def check_code(root: Root, fingerprint: str, spec: Spec) -> None:
    """Check that this process holds the code that the client saw.

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
    """Check the same for code that is kept in no root, but came with its task.

    Raises
    ------
    CodeMismatch
        If something in a module differs.
    """
    if not _is_agreed("", fingerprint):
        _check("", fingerprint, seen.view, lambda: seen.parts, spec)


#: What this process has for a fingerprint, by root and fingerprint.
_agreed: dict[tuple[str, str], Reach] = {}


def _is_agreed(root, fingerprint):
    known = _agreed.get((root, fingerprint))
    return known is not None and known.same_code()


def _check(root: str, fingerprint: str, view: View, wanted: Callable[[], list[Part]], spec: Spec):
    try:
        with seen_as(view):
            code = code_of(spec.func, spec.options)
    except UnhashableArgument:  # the client could hash it: it is something else once it was pickled
        return
    if code.fingerprint != fingerprint:
        _compare(wanted(), code.parts, spec)
    if code.reach is not None:
        _agreed[root, fingerprint] = code.reach


def _compare(wanted: list[Part], here: list[Part], spec: Spec) -> None:
    """Raise if the parts differ in more than pickling explains."""
    if _is_imported(spec.func):
        modules = None
    else:  # what isn't in a module travelled with the task
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
    """Return whether a function is one that this process imported: a module has it under its name.

    A function that was pickled as a whole is another object than the one that the module has.
    """
    module = sys.modules.get(getattr(func, "__module__", None) or "")
    try:
        found = operator.attrgetter(func.__qualname__)(module)
    except AttributeError:
        return False
    found = getattr(found, "__func__", found)  # a decorated class method
    if hasattr(type(found), "_spec"):
        found = found._spec.func
    return func is found or func is getattr(found, "__dict__", {}).get("fn")  # of a task of Prefect


def _travels(part, spec):
    """Return whether a part is pickled with a function that goes by value, or with one beside it."""
    own = getattr(spec.func, "__qualname__", "")
    return part.name.startswith(f"{own}.") or ("<" in part.name and part.module == spec.module)


def _shown(part):
    return "nothing of that name" if part is None else part.place or part.text


def this_process() -> str:
    """Return a name that no other process has, not even one that was forked from this one."""
    return f"{os.getpid()}-{_NONCE}"


_NONCE = uuid.uuid4().hex


class SeenCode(NamedTuple):
    """A function or class as its client sees it, for another process to compare with."""

    view: View
    parts: list[Part]


def seen_code(reach: Reach | None, parts: list[Part]) -> SeenCode:
    """Return what a reach and its parts are for another process."""
    short = [part._replace(text="") if part.kind == "function" else part for part in parts]
    if reach is None:
        return SeenCode(View(frozenset(), {}), short)
    bodies = {hashed: body._replace(source="") for hashed, body in reach.bodies().items()}
    return SeenCode(View(frozenset(reach.modules), bodies), short)


def joint_view(views: Iterable[View], modules: Iterable[str] = ()) -> View:
    """Return views as one, with more modules of the user's."""
    views = list(views)
    bodies = {hashed: body for view in views for hashed, body in view.bodies.items()}
    return View(frozenset(modules).union(*[view.modules for view in views]), bodies)


# ---- code in arguments ----------------------------------------------------------------------------


class ArgumentCode(NamedTuple):
    """The functions and classes that the arguments of a call hold, as the client sees them."""

    #: The process that looked.
    process: str
    #: By name of the argument.
    seen: dict[str, list[SeenCode]]

    @property
    def views(self) -> list[View]:
        """Return the views of all."""
        return [each.view for several in self.seen.values() for each in several]


class ArgumentEncoder(Encoder):
    """Encodes an argument, and notes the functions and classes of the user's own that it holds."""

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
    """Return the code that `ArgumentEncoder` found, by argument, as this process sees it.

    Returns
    -------
    ArgumentCode or None
        None if there is none.
    """
    seen = {name: [_seen(reach_of(each)) for each in code] for name, code in found.items() if code}
    return ArgumentCode(this_process(), seen) if seen else None


def _seen(reach):
    known = _seen_before.get(reach)
    if known is None:
        known = _seen_before[reach] = seen_code(reach, _in_modules(reach.parts))
    return known


#: A function may be an argument of thousands of calls.
_seen_before: WeakKeyDictionary[Reach, SeenCode] = WeakKeyDictionary()


def check_arguments(sent: ArgumentCode, arguments: Mapping[str, Any]) -> None:
    """Check that functions and classes in arguments are those that the client saw.

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
        except UnhashableArgument:  # the client could hash it: it is something else once it was pickled
            continue
        modules = {part.module for part in wanted} - {"__main__"}
        difference = first_difference(wanted, here, modules)
        if difference is not None:
            raise _mismatch(difference, name)


def _in_modules(parts):
    """Return those parts that modules of this process have: the others are pickled with the arguments.

    Of a class that is pickled as a whole, not even the qualified name remains what it was.
    """
    return [
        part
        for part in parts
        if "<" not in part.name and hasattr(sys.modules.get(part.module), part.name.partition(".")[0])
    ]
