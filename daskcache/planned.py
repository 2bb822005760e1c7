"""What a plan says of each node: its state, and what is to be done."""

from __future__ import annotations

from .entry import Entry, Stored
from .recipe import Recipe
from .records import RecordName
from .targets.template import located

#: States.
COMPLETE, MISSING, STALE, MODIFIED = "complete", "missing", "stale", "modified"
CORRUPT, FOREIGN, FAILED, PENDING = "corrupt", "foreign", "failed", "pending"
#: Actions.
SKIP, LOAD, RUN, DECIDE = "skip", "load", "run", "decide"

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
        Why it is not complete; empty if it is.
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
    )

    def __init__(self, recipe: Recipe, parents: list[PlannedNode | None]):
        self.recipe = recipe
        self.parents = parents
        self.state = COMPLETE
        self.action = SKIP
        self.reasons: list[str] = []
        self.records: tuple[RecordName | None, ...] = ()
        self.data_hash: str | None = None
        self.elsewhere: Entry | None = None
        self.forced = False
        #: Whether what is there must not pass for the result (forced, expired, damaged).
        self.outdated = False
        #: Whether, made again, it may come out with other data than what follows was made from.
        self.unsettled = False
        self.requested = False

    @property
    def entry(self) -> Entry:
        """Handle of the finished result: path and hashes, no data."""
        recipe = self.recipe
        stored = tuple(
            Stored(
                target.at(located(target.path, name.data_hash)),
                name.data_hash,
                name.file_hash,
                name.stamp,
            )
            for target, name in zip(recipe.targets, self.records, strict=True)
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
