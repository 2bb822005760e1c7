"""`Why`: the reasons for a node's state, and the nodes upstream with which they began.

`graph.accessor` and `graph.api` return it.  `examiner` finds the reasons of each node, and `reasons`
compares records with recipes.  Here they are followed upstream, as far as records tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from .. import pages
from ..errors import DaskcacheError
from ..printable import printable_lines
from ..storage.record import Record, RecordName, target_id
from . import states
from .examiner import Examiner
from .reasons import headlines, holds_other_data, own_differences
from .states import PlannedNode

#: Number of causes that are shown; `Why.causes` has all.
MAX_CAUSES = 3
#: States whose reasons are the node's own, and not those of nodes upstream.
_OF_ITS_OWN = {states.MODIFIED, states.CORRUPT, states.FOREIGN, states.ADOPTED, states.FAILED}


class Cause(NamedTuple):
    """A node upstream that changed by itself, and not because of another one."""

    #: Display name of the node.
    node: str
    #: Its reasons, each with details below the first line.
    reasons: tuple[str, ...]


class Why:
    """The reasons for a node's state.  `why` makes it; in a notebook, it shows as a list.

    ``str(why)`` is a text: one reason per line, with details below it, then the root causes.  It is
    empty, and ``bool(why)`` is False, if the node is complete and its own function made the result.
    ``"sigma" in why`` searches the text, and iterating yields the reasons.

    Parameters
    ----------
    node, state, reasons, causes
        See the attributes.

    Attributes
    ----------
    node : str
        Display name of the node.
    state : str
        One of the states that `daskcache.status` lists.
    reasons : tuple of str
        Reasons for the state, each with details below its first line.
    causes : tuple of Cause
        The root causes: nodes upstream that changed by themselves, with their reasons.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n, power=2):
    ...     return n**power
    >>> @dc.delayed(target="plus/{x.stem}.json")
    ... def plus(x):
    ...     return x + 1
    >>> @dc.delayed(target="minus/{x.stem}.json")
    ... def minus(x):
    ...     return x - 1
    >>> _ = minus(plus(square(2))).compute()
    >>> why = dc.why(minus(plus(square(2, power=3))))
    >>> print(why)
    plus(plus/2.json) changed
    root cause: square(squares/2.json): power: 2 -> 3
    >>> why.state, why.causes[0].node, "power" in why
    ('stale', 'square(squares/2.json)', True)
    """

    def __init__(self, node: str, state: str, reasons: tuple[str, ...], causes: tuple[Cause, ...] = ()):
        self.node = node
        self.state = state
        self.reasons = reasons
        self.causes = causes

    def __str__(self) -> str:
        return printable_lines("\n".join(self.lines))

    def __repr__(self) -> str:
        lines = str(self).splitlines()
        return "\n  ".join([printable_lines(f"{self.node}: {self.state}"), *lines])

    def _repr_html_(self) -> str:
        return pages.render("why", node=self.node, state=self.state, reasons=self.lines)

    @property
    def lines(self) -> tuple[str, ...]:
        """What is shown: the reasons, then the first root causes."""
        return (*self.reasons, *self._root_causes())

    def _root_causes(self):
        shown = [f"root cause: {node}: {'; '.join(reasons)}" for node, reasons in self.causes]
        if len(shown) > MAX_CAUSES:
            shown[MAX_CAUSES:] = [f"and {len(shown) - MAX_CAUSES} more root causes"]
        return shown

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def __iter__(self) -> Iterator[str]:
        return iter(self.reasons)

    def __contains__(self, text: str) -> bool:
        return text in str(self)


def explain(examiner: Examiner, planned: PlannedNode) -> Why:
    """Explain the state of a node that was examined."""
    is_settled = planned.is_complete or planned.taking is not None
    causes = () if is_settled else tuple(_root_causes(examiner, planned))
    return Why(planned.recipe.title, planned.state, tuple(planned.reasons), causes)


# ---- the way upstream ------------------------------------------------------------------------------


def _root_causes(examiner, planned):
    """Yield the nodes upstream that changed by themselves, nearest first."""
    seen: set[str] = set()
    left = _changed_before(examiner, planned, _read(examiner, planned, _name_of(planned)))
    while left:
        node, record = left.pop(0)
        if node.recipe.identity in seen:
            continue
        seen.add(node.recipe.identity)
        before = _changed_before(examiner, node, record)
        reasons = _own_reasons(node, record)
        if reasons or not before:
            yield Cause(node.recipe.title, tuple(headlines(reasons)) or ("holds other data now",))
        left += before


def _changed_before(examiner, node, record) -> list[tuple[PlannedNode, Record | None]]:
    """Return the parents that are not as they were for a record, or may change, and their records."""
    found = []
    described = record.upstream if record is not None else ()
    for position, parent in enumerate(node.parents):
        if parent is None:
            continue
        was = described[position] if position < len(described) else {}
        key, former = was.get("key", parent.recipe.key), None
        changed = _may_change(parent) or (bool(was) and holds_other_data(parent, was))
        if key != parent.recipe.key:
            former = _former(examiner, parent, key, was.get("target", ""))
            # After early cutoff the former record may be gone, and another one of the same data there.
            changed = changed or former is not None or not parent.is_complete
        if changed:
            found.append((parent, _read(examiner, parent, former or _name_of(parent))))
    return found


def _may_change(node):
    return node.forced or node.unsettled or node.failed


def _own_reasons(node, record):
    """Return the reasons that are no consequence of a change upstream."""
    is_own = node.error is not None or node.outdated or node.released or node.failed
    if is_own or node.state in _OF_ITS_OWN:
        return node.reasons
    if record is not None and record.key != node.recipe.key:
        return own_differences(record, node.recipe)
    return []


def _name_of(planned) -> RecordName | None:
    return planned.records[0] if planned.records else None


def _former(examiner, parent, key, target) -> RecordName | None:
    """Return the name of the record of the recipe that was in a node's place before."""
    with suppress(DaskcacheError):
        names = examiner.store(parent.recipe.root).with_key(key)
        return next((name for name in names if name.target_id == target_id(target)), None)
    return None


def _read(examiner, planned, name) -> Record | None:
    if name is None:
        return None
    with suppress(DaskcacheError):  # a newer daskcache wrote it
        return examiner.store(planned.recipe.root).read(name)
    return None
