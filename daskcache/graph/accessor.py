"""`Accessor`, the object behind ``node.dc``: a node's key, target, state and stored result.

`api` offers most of it as functions of the package.  `planning` finds the states and decides about
corrections, and `storage` has the records and the trash.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic

from ..calls.recipe import Recipe
from ..errors import DaskcacheError, GraphError, TargetCorrupt, TargetMissing, TargetModified
from ..planning import corrections, states
from ..planning.display.node import RecordView, node_html, node_text
from ..planning.planner import Planner
from ..planning.reasons import headlines
from ..planning.states import PlannedNode
from ..planning.why import Why, explain
from ..printable import printable
from ..storage import files, trash
from ..storage.paths import DATA_HASH, located
from ..storage.record import target_id
from ..storage.roots import Root
from ..targets.base import Target
from ..tracebacks import shortened
from .typed import T_co


class Accessor(Generic[T_co]):
    """A node's key, target and state, and the user's decisions about its result.

    Properties and `why` examine the node anew each time, and change nothing.  They rely on records,
    sizes and mtimes.  They read a target only if these don't suffice, or with ``check="content"``.

    Parameters
    ----------
    recipe : Recipe
        The node's recipe.

    Notes
    -----
    All but `key` examine the upstream nodes too; `target`, `path` and `invalidate` do so only for a path
    with ``{data_hash}``, and for nodes of a variant.  `state` and `why` only look, and raise nothing.
    The others raise
    `TargetCollision` if two of these nodes claim one target, or if another function made it.  They raise
    `ArgumentChanged` if an argument, a source or the code changed after a node was made, and
    `SourceMissing` if a source is gone.

    A user's decisions about a node of a `variant` are about the variant's place.  They raise
    `GraphError` while the node uses the base's result.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> node = square(2)
    >>> node.dc.state
    'missing'
    >>> node.compute(), node.dc.state, node.dc.load()
    (4, 'complete', 4)
    """

    def __init__(self, recipe: Recipe):
        self._recipe = recipe

    @property
    def key(self) -> str:
        """Hash of the recipe, 32 hex digits.  It is known before anything runs."""
        return self._recipe.key

    @property
    @shortened
    def target(self) -> Target | Any:
        """The node's target with its absolute path; a tuple for several results.

        None if the node is not cached.  A path keeps its ``{data_hash}`` until the result is there.  For
        a node of a variant, it is the base's target as long as the node uses that.
        """
        recipe, paths = self._places()
        places = zip(recipe.targets, paths, strict=True)
        targets = tuple(target.at(f"{recipe.root}/{path}") for target, path in places)
        return targets[0] if len(targets) == 1 else targets or None

    @property
    @shortened
    def path(self) -> str | Any:
        """Absolute path of the target; a tuple for several results, or None if not cached."""
        target = self.target
        if isinstance(target, tuple):
            return tuple(t.path for t in target)
        return target.path if target is not None else None

    @property
    def state(self) -> str:
        """The node's current state, one of those that `daskcache.status` lists."""
        return self._look().state

    @property
    @shortened
    def record(self) -> dict[str, Any] | None:
        """Content of the record of the (first) target, or None without a record.

        It describes the call that made the target: function, code, arguments and inputs.
        """
        planner = Planner()
        record = planner.record_of(planner.look(self._recipe))
        return None if record is None else RecordView(record)

    @shortened
    def why(self) -> Why:
        """Explain the node's state.

        Returns
        -------
        Why
            The reasons to run, or the user that adopted the result, and the root causes upstream.
        """
        planner = Planner()
        return explain(planner, planner.look(self._recipe))

    @shortened
    def load(self) -> T_co:
        """Read the stored result.

        Returns
        -------
        object
            The result; a tuple or dict if the node has several targets.

        Raises
        ------
        TargetMissing
            If the node is not complete, or its file vanished.
        TargetCorrupt
            If the bytes are not those that were stored.  The file is moved to the trash, so that the
            node runs again.
        TargetModified
            If the file was edited or replaced after the node was examined.
        UntrustedPickle
            If it is a pickle that must not be read.
        """
        return self._complete_entry().load()

    @shortened
    def open(self) -> Any:
        """Open the stored result lazily.  Treat it as read-only.

        Returns
        -------
        object
            A memory map, a Zarr array, a Dask collection …, depending on the format.  Without lazy
            access in the format, the result is read.

        Raises
        ------
        TargetMissing, TargetCorrupt, TargetModified, UntrustedPickle
            As `load` does.
        """
        return self._complete_entry().open()

    @shortened
    def accept(self) -> bool:
        """Declare a stale target complete, because the changes don't affect the result.

        The record gets the user and the time.  Downstream nodes are complete again too, unless they are
        stale for other reasons.

        Returns
        -------
        bool
            True if the target was stale, False if the node was complete already.

        Raises
        ------
        TargetMissing
            If the target does not exist.
        TargetModified
            If the target is not the one that was stored, or was adopted for another recipe.
        GraphError
            If the node has no target, or depends on results that are stale themselves.
        """
        recipe = self._own()
        planned = Planner().look_or_raise(recipe)
        if planned.is_complete:
            return False
        self._check_acceptable(planned)
        notes = {name.target_id: {"key": name.key} for name in planned.records if name is not None}
        if corrections.unsettled(recipe, notes, lambda again: again.is_complete):
            raise GraphError(
                "the node depends on results that are stale themselves",
                node=recipe.title,
                target=", ".join(recipe.paths),
                expected="inputs that are complete",
                got="; ".join(f"{p.recipe.title}: {p.state}" for p in planned.parents if p) or None,
                hint="accept, or compute, the nodes before it first: dc.accept(before, node)",
            )
        return True

    def _check_acceptable(self, planned):
        recipe = self._recipe
        if not recipe.paths:
            raise GraphError(f"{recipe.title} has no target that could be accepted", node=recipe.title)
        gone = [p for p in self._places()[1] if not files.exists(f"{recipe.root}/{p}")]
        is_stale = planned.state in (states.STALE, states.PENDING)
        if not is_stale or None in planned.records or gone:
            state = states.MISSING if gone and is_stale else planned.state
            error = TargetMissing if state in (states.MISSING, states.FAILED) else TargetModified
            raise error(
                "only a stale target can be accepted",
                node=recipe.title,
                target=", ".join(gone if state == states.MISSING else recipe.paths),
                expected="state stale",
                got=f"state {state}: {'; '.join(headlines(planned.reasons))}",
                hint="dc.keep(node)" if planned.contested else "node.compute()",
            )

    @shortened
    def adopt(self) -> bool:
        """Make the file at the target the node's result, after a user edited it or put it there.

        The file is read in the dtype of the result that it replaces, for example 0 and 255 as booleans.
        Its record gets the user and the time.  Downstream nodes run again if the data differ.  If the
        node itself has to run again later, `keep` or `release` the adopted result.

        An adopted result that was made for another recipe is kept, as `keep` does.

        Returns
        -------
        bool
            True if a file was adopted or kept, False if the target is as it was stored.

        Raises
        ------
        TargetMissing
            If the target does not exist.
        TargetCorrupt
            If the file can't be read in the target's format.
        FormatLimit
            If it can't be read in the dtypes, axes or columns of the result that it replaces.
        UntrustedPickle
            If it is a pickle that must not be read.
        GraphError
            As `keep` does.
        """
        recipe = self._own()
        planner = Planner()
        planned = planner.look_or_raise(recipe)
        if planned.is_complete and not planner.takes_in(planned):
            return False
        if planned.contested:
            return self.keep()
        self._check_there(planned)
        root = Root(recipe.root)
        there = [path for path in recipe.paths if files.exists(root.absolute(path))]
        edited = [path for path in there if not planner.is_own(planned, path)]
        if planned.taking is not None and not edited:
            return False  # the node's task takes the correction in
        seen = {"correction": file_hash} if (file_hash := planner.correction_of(planned)) else {}
        notes = {
            target_id(path): {"content": files.file_hash(root.absolute(path)), **seen} for path in edited
        }
        unsettled = (states.MODIFIED, states.FOREIGN, states.CORRUPT)
        refused = corrections.unsettled(recipe, notes, lambda again: again.state not in unsettled)
        if refused:
            if refused.refusal is not None:
                raise refused.refusal
            raise TargetCorrupt(
                "what is there can't be the result",
                node=recipe.title,
                target=", ".join(map(root.absolute, recipe.paths)),
                expected=f"a file that {type(recipe.targets[0]).__name__} can read",
                got=f"state {refused.state}",
                hint="mend the file, or move it away",
            )
        return True

    def _check_there(self, planned):
        if planned.state in (states.MISSING, states.FAILED):
            raise TargetMissing(
                "there is nothing to adopt",
                node=self._recipe.title,
                target=", ".join(map(Root(self._recipe.root).absolute, self._recipe.paths)) or None,
                expected="a file",
                got=f"state {planned.state}",
                hint="node.compute()",
            )

    @shortened
    def keep(self) -> bool:
        """Keep the adopted result of another recipe as the result of the present recipe too.

        The record gets the user and the time.  The result still stands for its former recipe.

        Returns
        -------
        bool
            True if the result was made for another recipe.  False if there was nothing to decide.

        Raises
        ------
        TargetMissing
            If the node has no adopted result.
        GraphError
            If the adopted result is damaged.
        """
        return corrections.keep(self._own())

    @shortened
    def release(self) -> bool:
        """Move the adopted result to the trash, so that the node runs when it is needed.

        Returns
        -------
        bool
            True if the node had an adopted result.

        Raises
        ------
        UnsafePath
            If a folder on the way to the target is a symbolic link.
        StorageError
            If the target can't be moved.
        """
        return corrections.release(self._own())

    @shortened
    def invalidate(self) -> None:
        """Move the target to the root's trash, so that the node counts as missing.

        Raises
        ------
        UnsafePath
            If a folder on the way to the target is a symbolic link.
        StorageError
            If the target can't be moved.
        """
        recipe, paths = self._own(), self._places()[1]
        for path in paths:
            location = f"{recipe.root}/{path}"
            if files.exists(location):
                trash.keep(Root(recipe.root), location, path, "removed")

    def _places(self):
        """Return the recipe whose targets are used, and their paths; see `used_places`."""
        has_hash = any(DATA_HASH in path for path in self._recipe.paths)
        return used_places(self._recipe, Planner().look_or_raise if has_hash else Planner().look)

    def _own(self):
        """Return the node's recipe.

        Raises
        ------
        GraphError
            If a node of a variant uses the base's result, about which only the base's node can decide.
        """
        recipe, (used, paths) = self._recipe, self._places() if self._recipe.base else (self._recipe, ())
        if used is not recipe:
            raise GraphError(
                "the node uses the result of the base, and a decision about that is the base's",
                node=recipe.title,
                target=", ".join(map(Root(recipe.root).absolute, paths)),
                expected=f"a result at {', '.join(map(Root(recipe.root).absolute, recipe.paths))}",
                got="nothing there; the base holds the result of this recipe",
                hint="make the node within daskcache.variant(None) to decide for the base, or compute "
                "it with force=[node], which makes it in the variant",
            )
        return recipe

    def _complete_entry(self):
        planned = Planner().look_or_raise(self._recipe)
        if not planned.is_complete:
            raise incomplete(planned, hint="node.compute()")
        return planned.entry

    def _look(self) -> PlannedNode:
        return Planner().look(self._recipe)

    def __str__(self) -> str:
        return node_text(*self._shown())

    def _repr_html_(self) -> str:
        return node_html(*self._shown())

    def _shown(self):
        """Return the examined node, its reasons, and the content of its record, or None."""
        planner = Planner()
        planned = planner.look(self._recipe)
        record = None
        with suppress(DaskcacheError):  # a newer daskcache wrote it
            record = planner.record_of(planned)
        return planned, explain(planner, planned), record

    def __repr__(self):
        recipe = self._recipe
        return printable(f"<{recipe.title}: {self.state}, key {recipe.key}>")


def used_places(recipe: Recipe, look: Callable[[Recipe], PlannedNode]) -> tuple[Recipe, tuple[str, ...]]:
    """Return the recipe whose targets are used, and their paths with the hash of the data filled in.

    The recipe is that of the base's node if a node of a variant uses its result.  `look` examines the
    recipe, if that is needed.
    """
    if not (recipe.base or any(DATA_HASH in path for path in recipe.paths)):
        return recipe, recipe.paths
    planned = look(recipe)
    names = planned.records or (None,) * len(recipe.paths)
    return planned.recipe, tuple(
        located(path, name.data_hash) if name else path
        for path, name in zip(planned.recipe.paths, names, strict=True)
    )


def incomplete(planned: PlannedNode, hint: str, count: str = "") -> TargetMissing:
    """Return the error for loading a node without a complete result; `count` says how many have none."""
    recipe = planned.recipe
    return TargetMissing(
        f"the node has no complete result to load{count}",
        node=recipe.title,
        target=", ".join(recipe.paths) or None,
        expected="state complete",
        got=f"state {planned.state}: {'; '.join(headlines(planned.reasons))}",
        hint=hint,
    )
