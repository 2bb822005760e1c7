"""Nodes of variants: which of them use the results that the base holds.

A node of a variant (`daskcache.variant`) has two places, its own and the base's.  Its own place comes
first, because a user may have edited or corrected what is there.  If it does not hold the result, and
the base's place holds it *under the same key*, the node rests there: the plan has the base's node in
its stead.  For a node of a variant, nothing at the base's place is taken over, recorded or written.

`examiner` loads this module when it meets the first node of a variant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..calls.recipe import Recipe, recipes_before
from ..errors import DaskcacheError
from ..runtime.data_hashes import joint_hash
from ..storage.paths import DATA_HASH
from ..storage.record import ANY_TRACE
from . import states
from .collisions import claimed_form
from .reasons import changed_parents
from .states import PlannedNode
from .target_examiner import examine_recorded

if TYPE_CHECKING:
    from .examiner import Examiner

#: States of a node's own place in which it may use the base's.  In the others, a user has to know of a
#: file in the own place, or a worker decides.
_FREE = frozenset({states.MISSING, states.STALE, states.CORRUPT, states.FAILED})


class Variants:
    """The nodes of variants, as an examiner meets them.

    Parameters
    ----------
    examiner : Examiner
    """

    def __init__(self, examiner: Examiner):
        self._examiner = examiner
        self._base_nodes = BaseNodes(examiner.wanted)

    def before(self, recipe: Recipe, requested: Recipe) -> list[Recipe]:
        """Return the recipes of the base to examine before one of a variant, upstream of `requested`."""
        self._base_nodes.add([requested])
        return self._base_nodes.like(recipe.at_base())

    def settled(self, own: PlannedNode) -> PlannedNode:
        """Return the base's node in whose place a node of a variant rests, or else the node itself."""
        if own.state not in _FREE or own.forced or own.contested or own.error is not None:
            return own
        try:
            return self._at_base(own) or own
        except (DaskcacheError, OSError) as error:  # no permission, a disk that is gone …
            own.reasons.append(f"the base's result can't be looked at: {error}")
            return own

    def _at_base(self, own: PlannedNode) -> PlannedNode | None:
        """Return the base's node in whose place a node of a variant rests, or None."""
        recipe = own.recipe.at_base()
        if self._base_nodes.has_rival(recipe) or recipe.identity in self._examiner.running:
            return None
        known = self._examiner.nodes.get(recipe.identity)
        if known is not None and known.is_to_do and known.parents == own.parents:
            return known  # this verb makes it for the base, and it runs once
        here = self._examiner._roots[recipe.root]
        outcomes = [
            examine_recorded(recipe, path, here, self._examiner._findings.now) for path in recipe.paths
        ]
        for outcome in outcomes:
            if outcome.outdated and not _was_made(own):
                _unsettle(own, outcome)
        if any(outcome.state != states.COMPLETE for outcome in outcomes):
            return None
        found = self._held(recipe, own.parents, tuple(outcome.name for outcome in outcomes))
        if found is None or known is None:
            return found
        return known if known.is_complete and known.records == found.records else None

    def _held(self, recipe, parents, names):
        """Return the base's node with these records, or None if it is not complete."""
        found = PlannedNode(recipe, parents, records=names)
        found.data_hash = joint_hash([name.data_hash for name in names])
        trace = self._examiner._expected_trace(recipe, parents)
        if not self._is_made_from(found, trace):
            return None
        self._examiner._consider_parents(found)
        if found.state != states.COMPLETE:
            return None
        self._examiner._consider_adopted(found, trace)
        self._examiner._note_corrections(found)
        self._examiner.nodes.setdefault(recipe.identity, found)
        return found

    def _is_made_from(self, found, trace):
        name = found.records[0]
        if found.recipe.spec.options.check == "exists" or name.trace == trace:
            return True
        if trace is not None and name.trace != ANY_TRACE:
            return False
        record = self._examiner._roots[found.recipe.root].read(name)
        return record is not None and not changed_parents(found, record)


def _was_made(own):
    """Return True if the variant has made the result, so that its data are known."""
    return all(name is not None and name.key == own.recipe.key for name in own.records)


def _unsettle(own, outcome):
    """Let a node run, and all that follows, because the base's result must not pass for its result."""
    own.reasons = ["was never made in the variant"] if own.elsewhere is not None else own.reasons
    own.reasons += [f"in the base: {reason}" for reason in outcome.reasons]
    own.elsewhere, own.data_hash, own.unsettled = None, None, True


class BaseNodes:
    """The base's nodes among those of a verb, by their targets.

    Parameters
    ----------
    wanted : list of callable
        Functions that return recipes of the verb.  They are called, once each, when a node of a variant
        asks, so that verbs without variants pay nothing.
    """

    def __init__(self, wanted: list[Callable[[], Iterable[Recipe]]]):
        self._wanted = wanted
        self._unwalked: list[Recipe] = []
        self._seen: set[str] = set()
        self._by_target: dict[str, dict[str, Recipe]] = {}

    def add(self, recipes: Iterable[Recipe]) -> None:
        """Add recipes, and all before them."""
        self._unwalked += recipes

    def like(self, recipe: Recipe) -> list[Recipe]:
        """Return the base's recipe that equals the given one, in a list that is empty without one."""
        self._walk()
        found = self._by_target.get(_form(recipe, recipe.paths[0]), {})
        return [found[recipe.identity]] if recipe.identity in found else []

    def has_rival(self, recipe: Recipe) -> bool:
        """Return True if another recipe of the base has a target of the given one."""
        self._walk()
        found = [self._by_target.get(_form(recipe, path), {}) for path in recipe.paths]
        return any(identity != recipe.identity for there in found for identity in there)

    def _walk(self):
        while self._wanted:
            self._unwalked += self._wanted.pop()()
        while self._unwalked:
            recipe = self._unwalked.pop()
            if recipe.identity in self._seen:
                continue
            self._seen.add(recipe.identity)
            self._unwalked += recipes_before(recipe)
            for path in recipe.paths if not recipe.base else ():
                self._by_target.setdefault(_form(recipe, path), {})[recipe.identity] = recipe


def _form(recipe, path):
    # equal data may share a file, so no recipe is a rival for it
    return claimed_form(recipe, path) + (recipe.identity if DATA_HASH in path else "")
