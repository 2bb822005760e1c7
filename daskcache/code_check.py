"""Whether a worker holds the code that the client saw: else its result would be wrong under a right key.

The worker looks at the function that it is about to call, and at all that this reaches in the modules
that it imported itself, as the client has done.  Which modules are the user's own is for the client to
say (what it edits may be installed on the worker), and what travelled with the task (notebook cells) is
known by its bytecode, as its source stayed behind.
"""

from __future__ import annotations

from .code import seen_as
from .code_store import made_here, recall, recall_view
from .errors import CodeMismatch, UnhashableArgument
from .parts import Part, first_difference
from .reach import Reach
from .roots import Root
from .spec import Spec, code_of


def check_code(root: Root, fingerprint: str, spec: Spec) -> None:
    """Check that this process holds the code that the client saw.

    Raises
    ------
    CodeMismatch
        If something in a module differs.
    """
    if (root.path, fingerprint) in made_here:
        return
    known = _agreed.get((root.path, fingerprint))
    if known is not None and known.same_code():
        return
    view = recall_view(root, fingerprint)
    if view is None:
        return
    try:
        with seen_as(view):
            code = code_of(spec.func, spec.options)
    except UnhashableArgument:  # the client could hash it: it is something else once it was pickled
        return
    if code.fingerprint != fingerprint:
        _compare(recall(root, fingerprint) or [], code.parts, spec)
    if code.reach is not None:
        _agreed[root.path, fingerprint] = code.reach


#: What this process has for a fingerprint, by root and fingerprint.
_agreed: dict[tuple[str, str], Reach] = {}


def _compare(wanted: list[Part], here: list[Part], spec: Spec) -> None:
    """Raise if the parts differ in more than pickling explains."""
    if spec.is_importable:
        modules = None
    else:  # what isn't in a module travelled with the task
        wanted, here = ([p for p in parts if not _travels(p, spec)] for parts in (wanted, here))
        modules = {part.module for part in wanted} - {"__main__"}
    difference = first_difference(wanted, here, modules)
    if difference is None and modules is not None:
        return
    was, now = difference or (None, None)
    part = was or now
    what = f"{part.label} of the module {part.module}" if part else f"what {spec.name}() refers to"
    raise CodeMismatch(
        f"{what} is another version on this worker",
        expected=f"{_shown(was)}, as the client has it",
        got=_shown(now),
        hint="give workers the client's modules (client.upload_file, or the same installation), "
        "and restart them: client.restart()",
    )


def _travels(part, spec):
    """Whether a part is pickled with a function that goes by value: its own, or of one beside it."""
    own = getattr(spec.func, "__qualname__", "")
    return part.name.startswith(f"{own}.") or ("<" in part.name and part.module == spec.module)


def _shown(part):
    return "nothing of that name" if part is None else part.place or part.text
