"""`PlannedNode`, a node with its state and action, and the names of states and actions.

`examiner` sets the states and `planner` the actions.  `graph` builds tasks from planned nodes, and
`planning.display` shows them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..calls.recipe import Recipe
from ..errors import DaskcacheError, FormatLimit
from ..printable import printable
from ..runtime.entry import Entry, Stored
from ..runtime.work import Elsewhere, TakeIn
from ..storage.record import RecordName

if TYPE_CHECKING:
    from ..storage.correction_files import CorrectionFile

#: States of a node.
COMPLETE, ADOPTED, MISSING, STALE = "complete", "adopted", "missing", "stale"
MODIFIED, CORRUPT, FOREIGN, FAILED, PENDING = "modified", "corrupt", "foreign", "failed", "pending"
STATES = (COMPLETE, ADOPTED, MISSING, STALE, MODIFIED, CORRUPT, FOREIGN, FAILED, PENDING)
#: Actions of a node.
SKIP, LOAD, RUN, DECIDE, BLOCKED = "skip", "load", "run", "decide", "blocked"

#: States in which a node that has a target may get other data when it runs again.
UNSETTLED = frozenset({STALE, MODIFIED, CORRUPT, PENDING})


@dataclass(slots=True, eq=False, repr=False)
class PlannedNode:
    """One node in a plan.

    Attributes
    ----------
    recipe : Recipe
    parents : list of PlannedNode or None
        The upstream nodes, in the order of the recipe's inputs; None for an input that is not a node.
    state, action : str
        One of the states and actions of this module.
    reasons : list of str
        Reasons for the state, such as a changed argument or the user that adopted the result.  Empty if
        the node is complete and its own function made the result.
    records : tuple of RecordName or None
        For each target, the record that vouches for its content.
    data_hash : str or None
        Hash of the node's data, or of the data that it would have according to its record.
    """

    recipe: Recipe
    parents: list[PlannedNode | None]
    state: str = COMPLETE
    action: str = SKIP
    reasons: list[str] = field(default_factory=list)
    records: tuple[RecordName | None, ...] = ()
    data_hash: str | None = None
    #: Hash of the corrections that the data depend on, or `UNTOLD`, see `daskcache.runtime.data_hashes`.
    corrections: str = ""
    #: Equal results at other targets, which are copied if the node's own targets are needed.
    elsewhere: Elsewhere | None = None
    forced: bool = False
    #: True if the present target must not pass for the result (forced, expired, damaged).
    outdated: bool = False
    #: True if the node may get other data than those from which downstream results were made.
    unsettled: bool = False
    requested: bool = False
    #: The node whose target keeps this one from running: itself, one upstream, or None.
    obstacle: PlannedNode | None = None
    #: True if the node would have to run again, but an adopted result is at its target.
    contested: bool = False
    #: True if an adopted result stands for this recipe, whatever recipe it was made for.
    keeps: bool = False
    #: The file in the folder of corrections, if the records to come count it as seen.
    correction: CorrectionFile | None = None
    #: The new file in the folder of corrections that the node's task copies to the target.
    taking: TakeIn | None = None
    #: True if the file of which the target is a copy was removed from the folder of corrections.
    withdrawn: bool = False
    #: True if a user released its adopted result, from which downstream results were made.
    released: bool = False
    #: True if the node failed when it last ran.
    failed: bool = False
    #: For each target, the form in which an adopted file is read; empty if none was adopted.
    forms: tuple[dict[str, Any] | None, ...] = ()
    #: The error that keeps a file from being adopted, or None.
    refusal: FormatLimit | None = None
    #: The error that a verb raises because the node, or what is at its targets, can't be used; or None.
    error: DaskcacheError | None = None

    @property
    def is_complete(self) -> bool:
        """True if the node's targets hold its result, computed or adopted, and no rerun was forced."""
        if self.state not in (COMPLETE, ADOPTED) or self.error is not None:
            return False
        return not self.contested and not self.forced and self.taking is None

    @property
    def may_change(self) -> bool:
        """True if the node may get other data than downstream results were made from."""
        return self.forced or self.unsettled or bool(self.recipe.taint)

    @property
    def is_to_do(self) -> bool:
        """True if the node gets a task, which runs it or finds it complete."""
        return self.action in (RUN, DECIDE)

    def __repr__(self) -> str:
        title, paths = self.recipe.title, ", ".join(self.recipe.paths)
        where = f", {paths}" if paths not in title else ""
        return printable(f"<{title}: {self.state}, {self.action}{where}>")

    @property
    def entry(self) -> Entry:
        """The handle of the finished result: paths and hashes without data."""
        recipe = self.recipe
        records = (self.taking.name,) if self.taking is not None else self.records
        forms = self.forms or (None,) * len(records)
        stored = tuple(
            Stored.recorded(target, target.path, name, form)
            for target, name, form in zip(recipe.targets, records, forms, strict=True)
            if name is not None
        )
        layout = recipe.spec.layout
        return Entry(recipe.key, recipe.root, stored, layout, None, recipe.title, self.corrections)

    @property
    def seconds(self) -> float | None:
        """The recorded run time of the function in seconds, or None without a record.

        0 for a node whose task only copies a user's file.
        """
        if self.taking is not None:
            return 0.0
        known = [name.microseconds for name in self.records if name is not None]
        return known[0] / 1e6 if known else None

    @property
    def nbytes(self) -> int | None:
        """The recorded size of the targets in bytes, or None without a record."""
        known = [name.size for name in self.records if name is not None]
        return sum(known) if known else None
