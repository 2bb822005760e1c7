"""What a plan says of each node: its state, and what is to be done."""

from __future__ import annotations

from typing import Any

from ..calls.recipe import Recipe
from ..errors import FormatLimit
from ..runtime.entry import Entry, Stored
from ..runtime.work import Elsewhere
from ..storage.paths import located
from ..storage.records import RecordName

#: States.
COMPLETE, ADOPTED, MISSING, STALE = "complete", "adopted", "missing", "stale"
MODIFIED, CORRUPT, FOREIGN, FAILED, PENDING = "modified", "corrupt", "foreign", "failed", "pending"
#: Actions.
SKIP, LOAD, RUN, DECIDE, BLOCKED = "skip", "load", "run", "decide", "blocked"

#: States in which a node that still has its target may come out with other data when it is made again.
UNSETTLED = frozenset({STALE, MODIFIED, CORRUPT, PENDING})


class PlannedNode:
    """One node in a plan.

    Attributes
    ----------
    recipe : Recipe
    state, action : str
        See the vocabulary in the README.
    reasons : list of str
        Why it is not complete, or who adopted it; empty if its function made it, and it is complete.
    records : tuple of RecordName or None
        Per target, the record that vouches for what is there.
    data_hash : str or None
        Hash of the data that it holds, or would hold according to its record.
    """

    __slots__ = (
        "recipe",
        "state",
        "action",
        "reasons",
        "records",
        "data_hash",
        "parents",
        "elsewhere",
        "forced",
        "outdated",
        "unsettled",
        "requested",
        "contested",
        "keeps",
        "released",
        "forms",
        "refusal",
    )

    def __init__(self, recipe: Recipe, parents: list[PlannedNode | None]):
        self.recipe = recipe
        self.parents = parents
        self.state = COMPLETE
        self.action = SKIP
        self.reasons: list[str] = []
        self.records: tuple[RecordName | None, ...] = ()
        self.data_hash: str | None = None
        #: Where its results are under other keys, if they have to be at its own targets.
        self.elsewhere: Elsewhere | None = None
        self.forced = False
        #: Whether what is there must not pass for the result (forced, expired, damaged).
        self.outdated = False
        #: Whether, made again, it may come out with other data than what follows was made from.
        self.unsettled = False
        self.requested = False
        #: Whether what a person made is there, and the node would have to run again.
        self.contested = False
        #: Whether what a person adopted stands, whatever made it.
        self.keeps = False
        #: Whether a person gave up what was adopted as its result: what follows was made from that.
        self.released = False
        #: Per target, the form in which an adopted file is read; empty if none was adopted.
        self.forms: tuple[dict[str, Any] | None, ...] = ()
        #: Why a file can't be adopted that is meant to be.
        self.refusal: FormatLimit | None = None

    @property
    def is_complete(self) -> bool:
        """Whether its target holds its result, made by its function or adopted."""
        return self.state in (COMPLETE, ADOPTED) and not self.contested and not self.forced

    @property
    def is_to_do(self) -> bool:
        """Whether there is a task for it, which makes it or finds it made."""
        return self.action in (RUN, DECIDE)

    @property
    def entry(self) -> Entry:
        """Handle of the finished result: path and hashes, no data."""
        recipe = self.recipe
        forms = self.forms or (None,) * len(self.records)
        stored = tuple(
            Stored(
                target.at(located(target.path, name.data_hash)),
                name.data_hash,
                name.file_hash,
                name.stamp,
                form,
            )
            for target, name, form in zip(recipe.targets, self.records, forms, strict=True)
            if name is not None
        )
        return Entry(recipe.key, recipe.root, stored, recipe.spec.layout, None, recipe.title)

    @property
    def seconds(self) -> float | None:
        """Run time of the function according to the record."""
        known = [name.microseconds for name in self.records if name is not None]
        return known[0] / 1e6 if known else None

    @property
    def nbytes(self) -> int | None:
        """Size of the targets according to their records."""
        known = [name.size for name in self.records if name is not None]
        return sum(known) if known else None
