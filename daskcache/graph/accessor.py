"""What daskcache knows of a node: behind ``node.dc``, and as functions of the package."""

from __future__ import annotations

from typing import Any

from ..calls.recipe import Recipe
from ..errors import GraphError, TargetCorrupt, TargetMissing, TargetModified
from ..planning import corrections
from ..planning.planner import Planner
from ..planning.reasons import headlines
from ..planning.states import (
    ADOPTED,
    CORRUPT,
    FAILED,
    FOREIGN,
    MISSING,
    MODIFIED,
    PENDING,
    STALE,
    PlannedNode,
)
from ..storage import files, records, trash
from ..storage.records import target_id
from ..storage.roots import Root
from ..targets.base import Target


class Accessor:
    """What daskcache knows of one node.  Everything but `load` reads only metadata."""

    def __init__(self, recipe: Recipe):
        self._recipe = recipe

    @property
    def key(self) -> str:
        """Hash of the recipe: 32 hex digits.  Known before anything runs."""
        return self._recipe.key

    @property
    def target(self) -> Target | tuple[Target, ...] | None:
        """Where the result lives, at its absolute path; a tuple for several results."""
        recipe = self._recipe
        targets = tuple(t.at(f"{recipe.root}/{t.path}") for t in recipe.targets)
        return targets[0] if len(targets) == 1 else targets or None

    @property
    def path(self) -> str | tuple[str, ...] | None:
        """Absolute path of the target."""
        target = self.target
        if isinstance(target, tuple):
            return tuple(t.path for t in target)
        return target.path if target is not None else None

    @property
    def state(self) -> str:
        """State of the node, as of now: "complete", "adopted", "missing", "stale" …"""
        return self._look().state

    @property
    def record(self) -> dict[str, Any] | None:
        """What made the target: the content of its record, or None."""
        planner = Planner()
        return planner.record_of(planner.look(self._recipe))

    def why(self) -> str:
        """Why the node would run, or who adopted its result, a line each; empty if it is complete."""
        return "\n".join(self._look().reasons)

    def load(self) -> Any:
        """Read the stored result.

        Raises
        ------
        TargetMissing
            If the node is not complete.
        TargetCorrupt
            If the bytes are not those that were stored.  They are in the trash then: the node reruns.
        """
        return self._complete_entry().load()

    def open(self) -> Any:
        """Lazy access to the stored result: a memory map, a Zarr array, a Dask collection …

        What the format can't give lazily is read.  Treat it as read-only.

        Raises
        ------
        TargetMissing
            If the node is not complete.
        TargetCorrupt
            As `load` does.
        """
        return self._complete_entry().open()

    def accept(self) -> bool:
        """Say that what changed does not change the result: the stale target is complete as it is.

        Who accepted what is recorded.  What follows from the node is complete again, too, unless it is
        stale for reasons of its own.

        Returns
        -------
        bool
            False if there was nothing to accept: the node was complete.

        Raises
        ------
        TargetMissing, TargetModified
            If the target is not there, or not what was stored.
        GraphError
            If the node has no target, or depends on results that are stale themselves.
        """
        recipe = self._recipe
        planned = self._look()
        if planned.is_complete:
            return False
        self._check_acceptable(planned)
        names = [name for name in planned.records if name is not None]
        for name in names:
            records.write_acceptance(Root(recipe.root), name.target_id, key=name.key)
        planner = Planner()
        accepted = planner.look(recipe)
        if not accepted.is_complete:
            for name in names:
                records.clear_acceptance(Root(recipe.root), name.target_id)
            raise GraphError(
                "the node depends on results that are stale themselves",
                node=recipe.title,
                target=", ".join(recipe.paths),
                expected="inputs that are complete",
                got="; ".join(f"{p.recipe.title}: {p.state}" for p in planned.parents if p) or None,
                hint="accept, or compute, the nodes before it first: dc.accept(before, node)",
            )
        planner.write_down()
        return True

    def _check_acceptable(self, planned):
        recipe = self._recipe
        if not recipe.paths:
            raise GraphError(f"{recipe.title} has no target that could be accepted", node=recipe.title)
        if planned.state not in (STALE, PENDING) or None in planned.records:
            error = TargetMissing if planned.state in (MISSING, FAILED) else TargetModified
            raise error(
                "only a stale target can be accepted",
                node=recipe.title,
                target=", ".join(recipe.paths),
                expected="state stale",
                got=f"state {planned.state}: {'; '.join(headlines(planned.reasons))}",
                hint="dc.keep(node)" if planned.state == ADOPTED else "node.compute()",
            )

    def adopt(self) -> bool:
        """Take in what a person edited, or put where the result belongs: it counts as the result.

        It is read in the dtype of the result that it replaces (0 and 255 as booleans, say).  Its record
        says by whom it was adopted.  What follows from the node runs again if its data differ.  When the
        node itself would have to run again, `keep` and `release` say what becomes of it.

        Returns
        -------
        bool
            False if there was nothing to adopt: the target is as it was stored.

        Raises
        ------
        TargetMissing
            If nothing is there.
        TargetCorrupt
            If it can't be read in the target's format.
        FormatLimit
            If it can't be read in the dtypes, axes or columns of the result that it replaces.
        UntrustedPickle
            If it is a pickle that must not be read.
        """
        recipe = self._recipe
        planner = Planner()
        planned = planner.look(recipe)
        if planned.is_complete and not planner.takes_in(planned):
            return False
        if planned.contested:
            return self.keep()
        self._check_there(planned)
        root = Root(recipe.root)
        there = [path for path in recipe.paths if files.exists(root.absolute(path))]
        edited = [path for path in there if not planner.is_own(planned, path)]
        identifiers = [target_id(path) for path in edited]
        for path, identifier in zip(edited, identifiers, strict=True):
            content = files.file_hash(root.absolute(path))
            records.write_acceptance(root, identifier, content=content)
        planner = Planner()
        look = planner.look(recipe)
        state = look.state
        if state in (MODIFIED, FOREIGN, CORRUPT):
            for identifier in identifiers:
                records.clear_acceptance(root, identifier)
            if look.refusal is not None:
                raise look.refusal
            raise TargetCorrupt(
                "what is there can't be the result",
                node=recipe.title,
                target=", ".join(map(root.absolute, recipe.paths)),
                expected=f"a file that {type(recipe.targets[0]).__name__} can read",
                got=f"state {state}",
                hint="mend the file, or move it away",
            )
        planner.write_down()
        return True

    def _check_there(self, planned):
        if planned.state in (MISSING, FAILED):
            raise TargetMissing(
                "there is nothing to adopt",
                node=self._recipe.title,
                target=", ".join(map(Root(self._recipe.root).absolute, self._recipe.paths)) or None,
                expected="a file",
                got=f"state {planned.state}",
                hint="node.compute()",
            )

    def keep(self) -> bool:
        """Let the adopted result stand for the recipe as it is now, too: it was made for another one.

        Who decided so is recorded.  For the recipe that it was made for it stands as before.

        Returns
        -------
        bool
            False if there was nothing to decide.

        Raises
        ------
        TargetMissing
            If nothing was adopted.
        GraphError
            If it can't be kept: it is damaged.
        """
        return corrections.keep(self._recipe)

    def release(self) -> bool:
        """Give up the adopted result: it goes to the trash, and the node runs when it is needed.

        Returns
        -------
        bool
            False if nothing was adopted.
        """
        return corrections.release(self._recipe)

    def invalidate(self) -> None:
        """Forget that the result is complete: the target is moved to the root's trash."""
        for path in self._recipe.paths:
            location = f"{self._recipe.root}/{path}"
            if files.exists(location):
                trash.keep(Root(self._recipe.root), location, path, "removed")

    def _complete_entry(self):
        planned = self._look()
        if not planned.is_complete:
            raise TargetMissing(
                "the node has no complete result to load",
                node=self._recipe.title,
                target=", ".join(self._recipe.paths) or None,
                expected="state complete",
                got=f"state {planned.state}: {'; '.join(headlines(planned.reasons))}",
                hint="node.compute()",
            )
        return planned.entry

    def _look(self) -> PlannedNode:
        return Planner().look(self._recipe)

    def __repr__(self):
        recipe = self._recipe
        return f"<{recipe.title}: {self.state}, key {recipe.key}>"
