"""Audits: recompute finished nodes and compare the results with their records.

A difference means that the function is not deterministic, or that it depends on an input that its key
does not include.  Either makes a cache wrong unnoticed.

Functions run in this process, one after the other, from stored inputs.  Nothing is written to the root.
`audit` starts from nodes, `audit_root` from records.  `rebuild` makes the calls of both, and `recompute`
runs them.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from ..graph.given import nodes_in
from ..hashing.encoder import tag
from ..planning.planner import Planner
from ..planning.states import PlannedNode
from ..runtime.data_hashes import joint_hash
from ..runtime.entry import Entry
from ..storage.record import RecordName, package_versions
from ..storage.records import RecordStore
from ..storage.roots import Root
from ..tracebacks import shortened
from .rebuild import Call, CannotRecompute, NotThere, call_of, in_a_line, planned_call, recorded_entry
from .recompute import recompute, values_for

SAME, DIFFERS, FAILED, SKIPPED = "same", "differs", "failed", "skipped"

NOT_DETERMINISTIC = "not deterministic: two runs gave different data"
UNTRACKED = (
    "depends on something that is not tracked (an environment variable, a file read inside, a package "
    "version, a clock, the order of a set …)"
)


@dataclasses.dataclass(frozen=True)
class Finding:
    """Outcome of an audit for one node."""

    #: Module and qualified name of the function.
    function: str
    #: Path of the target from the root; the paths of all targets if the function has several results.
    target: str
    #: "same", "differs", "failed" (the computation failed) or "skipped" (not called, see `reason`).
    outcome: str
    #: Reason why the outcome is not "same"; else empty.
    reason: str = ""
    #: Hash of the data according to the record.
    recorded: str | None = None
    #: Hash of the data that the audit computed, if it did.
    recomputed: str | None = None
    #: Run time of the function in seconds, if it finished.
    seconds: float | None = None


@dataclasses.dataclass(frozen=True, repr=False)
class Audit:
    """Findings of an audit over a sample of finished nodes.  In a notebook it is shown as a table."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True if no node differs and none failed."""
        return not (self.counts[DIFFERS] or self.counts[FAILED])

    @property
    def counts(self) -> dict[str, int]:
        """Number of nodes for each outcome."""
        found = Counter(finding.outcome for finding in self.findings)
        return {outcome: found[outcome] for outcome in (SAME, DIFFERS, FAILED, SKIPPED)}

    def __str__(self) -> str:
        from ..planning.display.reports import audit_text

        return audit_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from ..planning.display.reports import audit_html

        return audit_html(self)


@shortened
def audit(*nodes: Any, sample: int = 20, seed: int | None = None) -> Audit:
    """Recompute finished nodes and compare the results with their records.

    An audit finds functions that are not deterministic, and inputs that no key includes.  Functions run
    in this process, from their stored inputs.  Nothing is written to the root.

    Parameters
    ----------
    *nodes : nodes, or lists, tuples and dicts of them
        The sample is drawn from the complete ones among these nodes and all nodes upstream of them.
    sample : int
        Number of nodes to recompute.  A node that can't be recomputed as it was is reported as
        "skipped", and another one is drawn in its place.
    seed : int, optional
        The same seed draws the same nodes from the same graph.

    Returns
    -------
    Audit
        Is shown as a table.  ``.findings`` has one `Finding` for each node drawn; ``.ok`` is True if no
        node differs and none failed.

    Raises
    ------
    NotANode
        If an argument holds no node.
    ValueError
        If `sample` is less than 1.
    TargetCollision
        If two nodes of the graph have the same target.
    ArgumentChanged
        If an argument was modified after its node was made.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> nodes = [square(n) for n in range(3)]
    >>> _ = dc.compute(nodes)
    >>> found = dc.audit(nodes, sample=2)
    >>> found.ok, found.counts["same"]
    (True, 2)
    """
    planner = Planner()
    for node in nodes_in(nodes):
        planner.look_or_raise(node._recipe)
    complete = [n for n in planner.planned_nodes if n.is_complete and n.recipe.paths]

    def examine(planned):
        store = planner.store(planned.recipe.root)
        function = planned.recipe.spec.qualified_name
        return _finding(function, planned.entry, lambda: planned_call(store, planned))

    return _draw(complete, sample, seed, examine)


def audit_root(
    root: Root, function: str | None = None, sample: int = 20, seed: int | None = None
) -> Audit:
    """Audit the results in a root from their records alone; see `audit`.

    Parameters
    ----------
    root : Root
    function : str, optional
        Draw only from the nodes of this function.  Its name may be given with or without the module.
    sample, seed
        See `audit`.

    Returns
    -------
    Audit

    Raises
    ------
    ValueError
        If `sample` is less than 1.
    """
    store = RecordStore(root)
    seen: set[str] = set()

    def examine(name):
        record = store.read(name)
        if record is None or record.target in seen or not _is_of(record, function):
            return None
        try:
            entry = recorded_entry(store, record.target, name.key)
        except NotThere:  # only complete nodes are audited
            return None
        except CannotRecompute as reason:
            about = record.function, record.target, SKIPPED, str(reason)
            return Finding(*about, recorded=record.data_hash)
        seen.update(result.target.path for result in entry.stored)
        return _finding(record.function, entry, lambda: call_of(store, record, entry))

    return _draw(sorted(set(store.all())), sample, seed, examine)


def _is_of(record, function):
    return function is None or f".{record.function}".endswith(f".{function}")


_T = TypeVar("_T", PlannedNode, RecordName)


def _draw(
    candidates: list[_T], sample: int, seed: int | None, examine: Callable[[_T], Finding | None]
) -> Audit:
    """Examine candidates in random order until `sample` of them were computed."""
    if sample < 1:
        raise ValueError(f"sample must be a positive number of nodes, got {sample!r}")
    findings: list[Finding] = []
    for candidate in random.Random(seed).sample(candidates, len(candidates)):
        finding = examine(candidate)
        if finding is not None:
            findings.append(finding)
            sample -= finding.outcome != SKIPPED
        if not sample:
            break
    return Audit(tuple(findings))


# ---- one node -----------------------------------------------------------------------------------


def _finding(function: str, entry: Entry, recall: Callable[[], Call]) -> Finding:
    """Recompute a node and compare the result with its record.

    Parameters
    ----------
    function : str
    entry : Entry
        The recorded result.
    recall : callable
        Returns the call as it was made, or raises `CannotRecompute`.
    """
    paths = ", ".join(result.target.path for result in entry.stored)
    finding = Finding(function, paths, SKIPPED, recorded=tag(entry.data_hash))
    try:
        recalled = recall()
        values = values_for(recalled)
    except CannotRecompute as reason:
        return dataclasses.replace(finding, reason=str(reason))
    try:
        hashes, seconds = _compute(recalled, values)
    except Exception as error:  # noqa: BLE001 (whatever the function raises)
        return dataclasses.replace(finding, outcome=FAILED, reason=in_a_line(error))
    finding = dataclasses.replace(finding, recomputed=tag(joint_hash(hashes)), seconds=seconds)
    if finding.recomputed == finding.recorded:
        return dataclasses.replace(finding, outcome=SAME)
    return dataclasses.replace(finding, outcome=DIFFERS, reason=_why(recalled, hashes))


def _compute(recalled: Call, values: list) -> tuple[list[str], float]:
    """Return the hashes of the results, as if they were stored, and the run time in seconds."""
    return recompute(
        recalled, values, lambda made: ([written.data_hash for written in made.results], made.seconds)
    )


def _why(recalled, hashes):
    """Return the reason why a result differs, according to a second run.

    If two runs disagree, the function is not deterministic.  If they agree, it depends on something that
    is not tracked, and the reason lists the packages whose versions changed since.
    """
    try:
        again, _ = _compute(recalled, values_for(recalled))
    except Exception as error:  # noqa: BLE001 (whatever the function raises)
        return f"not deterministic: a second run raised {in_a_line(error)}"
    if again != hashes:
        return NOT_DETERMINISTIC
    before, now = recalled.packages, package_versions()
    changed = sorted(name for name in {**before, **now} if before.get(name) != now.get(name))
    changes = [f"{name} {before.get(name, 'absent')} -> {now.get(name, 'absent')}" for name in changed]
    return f"{UNTRACKED}; since then: {', '.join(changes)}" if changes else UNTRACKED
