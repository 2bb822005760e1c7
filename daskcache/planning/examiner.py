"""The state of each node, found by comparing its targets and records with its recipe.

`Examiner` is the base of `planner.Planner`, which adds the actions.  Examining only reads.  An examiner
lives for one verb: it looks at recipes, parents first, lists the records once, and looks at each target
once.  `collisions` checks that targets are not shared, `target_examiner` finds the state of each target,
and `findings` records what was found, such as a touched file.  `reasons` has the explanations in words.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from ..calls.recipe import Recipe, combine, recipes_before
from ..calls.spec import Code, Spec
from ..errors import DaskcacheError, TargetCollision
from ..hashing import algorithms
from ..runtime.data_hashes import UNTOLD, corrections_in, corrections_of, joint_hash
from ..runtime.entry import Entry
from ..runtime.finished import find_elsewhere
from ..storage import files
from ..storage.paths import located
from ..storage.record import ANY_TRACE, RecordName, target_id
from ..storage.records import RecordStore
from . import states
from .collisions import Collisions
from .findings import Findings, Roots
from .reasons import changed_parents, made_for
from .states import PlannedNode
from .target_examiner import BEST_FIRST, examine_target


class Examiner:
    """Find the states of nodes for one verb.

    Parameters
    ----------
    force : bool or iterable of Recipe
        True to rerun all nodes, or the recipes to rerun, even if they are complete.
    running : iterable of Recipe
        Recipes that are being computed elsewhere.  Their results are not known yet.
    """

    def __init__(self, force: bool | Iterable[Recipe] = False, running: Iterable[Recipe] = ()):
        algorithms.check()
        self.nodes: dict[str, PlannedNode] = {}
        self.force_all = force is True
        self.forced = set() if isinstance(force, bool) else {r.identity for r in force}
        self.running = {recipe.identity for recipe in running}
        #: Random id of this verb.
        self.verb = uuid.uuid4().hex[:16]
        #: Functions that return recipes of this verb; called only if a node of a variant is examined.
        self.wanted: list[Callable[[], Iterable[Recipe]]] = []
        #: Nodes whose corrections were deleted.
        self.lost: list[PlannedNode] = []
        self._roots = Roots()
        self._collisions = Collisions()
        self._findings = Findings(self._roots)
        self._codes: dict[Spec, Code] = {}

    def look(self, recipe: Recipe) -> PlannedNode:
        """Examine a node and all nodes upstream of it, and return the node.

        Nothing is raised: `PlannedNode.error` has the error of a node that can't be used.
        """
        nodes = self.nodes
        # a stack instead of recursion: chains may be thousands of nodes long
        stack = [recipe]
        while stack:
            current = stack[-1]
            if current.identity in nodes:
                stack.pop()
                continue
            before = recipes_before(current)
            if current.base:
                before += self._variants.before(current, recipe)
            unseen = [p for p in before if p.identity not in nodes]
            if unseen:
                stack += reversed(unseen)
                continue
            stack.pop()
            planned = self._examine(current)
            nodes[current.identity] = self._variants.settled(planned) if current.base else planned
        return nodes[recipe.identity]

    @functools.cached_property
    def _variants(self):
        from .variants import Variants  # few verbs have nodes of variants

        return Variants(self)

    @functools.cached_property
    def _corrections(self):
        from .correction_folders import Corrections  # few functions have a folder of corrections

        return Corrections(self)

    @property
    def planned_nodes(self) -> list[PlannedNode]:
        """The nodes examined so far, each once, upstream nodes first."""
        return list(dict.fromkeys(self.nodes.values()))

    def look_or_raise(self, recipe: Recipe) -> PlannedNode:
        """Examine a node as `look` does, and raise the error of one of the nodes that can't be used."""
        planned = self.look(recipe)
        for node in self.nodes.values():
            if node.error is not None:
                raise node.error
        return planned

    def assume(self, recipe: Recipe, entry: Entry) -> None:
        """Treat a node as complete if the files of its entry are unchanged."""
        places = [f"{entry.root}/{result.target.path}" for result in entry.stored]
        if [files.stamp(place) for place in places] != [result.stamp for result in entry.stored]:
            return
        planned = PlannedNode(recipe, [])
        planned.data_hash = entry.data_hash
        planned.records = tuple(
            RecordName(
                recipe.key, target_id(path), "", data_hash, file_hash, stamp.size, stamp.mtime_ns, 0
            )
            for path, (_, data_hash, file_hash, stamp, *_) in zip(
                recipe.paths, entry.stored, strict=True
            )
        )
        planned.forms = tuple(result.form for result in entry.stored)
        planned.corrections = entry.corrections
        self.nodes[recipe.identity] = planned

    def _examine(self, recipe: Recipe) -> PlannedNode:
        parents = [self.nodes[p.identity] if isinstance(p, Recipe) else None for p in recipe.upstream]
        planned = PlannedNode(recipe, parents)
        try:
            self._check_unchanged(recipe, parents)
        except (DaskcacheError, OSError) as error:  # the source is gone, the code was edited …
            self._refuse(planned, error)
        try:
            self._find_state(planned)
        except (DaskcacheError, OSError) as error:  # another function's target, no permission …
            self._refuse(planned, error)
            planned.state = states.FOREIGN if isinstance(error, TargetCollision) else states.MODIFIED
        if planned.error is not None:
            planned.unsettled, planned.data_hash = True, None
            if planned.state == states.COMPLETE:
                planned.state = states.STALE
        self._note_corrections(planned)
        return planned

    def _note_corrections(self, planned):
        """Note which corrections the data of a node depend on: its own, or else those of its parents."""
        if planned.corrections == UNTOLD:
            return
        names = planned.elsewhere.names if planned.elsewhere is not None else planned.records
        names = (planned.taking.name,) if planned.taking is not None else names
        if [name for name in names if name is not None and name.adopted]:
            planned.corrections = corrections_in(planned.recipe.key, names)
            if planned.state == states.MISSING and planned.elsewhere is None:
                self.lost.append(planned)
        elif [parent for parent in planned.parents if parent is not None and parent.corrections]:
            planned.corrections = corrections_of(filter(None, planned.parents))

    def _refuse(self, planned, error):
        """Note the error that a verb raises because of a node; the first one counts."""
        if not isinstance(error, DaskcacheError):
            error = files.storage_error(error, error.filename or planned.recipe.root)
        planned.error = planned.error or error
        planned.reasons.append(str(error))

    def _check_unchanged(self, recipe, parents):
        """Raise an error if the code, an argument or a source changed after the node was made."""
        if recipe.parts is not None:
            code = self._codes.get(recipe.spec)
            if code is None:
                code = self._codes[recipe.spec] = recipe.spec.code()
            recipe.check_code(code)
        if recipe.mutable or None in parents:
            recipe.revalidate()

    def _find_state(self, planned):
        recipe = planned.recipe
        if recipe.identity in self.running:
            planned.state, planned.unsettled, planned.corrections = states.PENDING, True, UNTOLD
            planned.reasons.append("is being computed")
            return
        planned.forced = planned.outdated = self.force_all or recipe.identity in self.forced
        trace = self._expected_trace(recipe, planned.parents)
        if recipe.paths:
            self._examine_targets(planned, trace)
        else:  # no target to hash: the trace stands for the data, as equal traces give equal data
            planned.state, planned.data_hash = states.MISSING, trace
            planned.reasons.append("is not cached")
            if recipe.spec.options.pure is False or recipe.taint:  # each run may give other data
                planned.data_hash = None
        self._consider_parents(planned)
        if planned.forced:
            planned.reasons.append("rerun was forced")
        if not (recipe.correction and self._corrections.settles(planned, trace)):
            self._consider_adopted(planned, trace)

    def _expected_trace(self, recipe, parents):
        """Return the trace that the node would have now, or None if a parent's data is unknown."""
        if not parents:
            return recipe.static
        identities = [
            source.identity if parent is None else parent.data_hash
            for source, parent in zip(recipe.upstream, parents, strict=True)
        ]
        return None if None in identities else combine(recipe.static, identities)

    def _examine_targets(self, planned: PlannedNode, trace: str | None) -> None:
        recipe = planned.recipe
        here = self._roots[recipe.root]
        vouching = []
        if recipe.correction:
            self._collisions.claim(recipe, recipe.correction, "correction")
        for position, path in enumerate(recipe.paths):
            self._collisions.claim(recipe, path)
            outcome = examine_target(planned, position, trace, here, self._findings)
            vouching.append(outcome.name)
            if outcome.state != states.COMPLETE:
                self._worsen(planned, outcome)
        planned.records = tuple(vouching)
        own_records = [name for name in vouching if name is not None and name.key == recipe.key]
        if len(own_records) == len(vouching):
            planned.data_hash = joint_hash([name.data_hash for name in own_records])
            self._compare_trace(planned, trace)
        if planned.state == states.MISSING or (planned.state == states.STALE and not planned.outdated):
            self._look_elsewhere(planned, trace)
        if recipe.key in here.failed and planned.state != states.COMPLETE:
            self._consider_failure(planned, here)

    def _consider_failure(self, planned, here):
        """Say why the node failed when it last ran, if it did not succeed since."""
        note = here.failure(planned.recipe.key)
        if note is None:
            return
        planned.failed = True
        reason = f"failed: {note.error}" if note.error else "failed when it last ran"
        if planned.state == states.MISSING:
            planned.state, planned.reasons = states.FAILED, [reason]
        else:
            planned.reasons.insert(0, reason)

    def _worsen(self, planned, outcome):
        """Add the outcome of a target that is not complete to its node."""
        planned.state = max(planned.state, outcome.state, key=BEST_FIRST.index)
        planned.outdated = planned.outdated or outcome.outdated
        if outcome.state == states.MISSING and planned.released:
            planned.reasons = []  # the release explains whatever is missing
        planned.reasons += outcome.reasons

    def _compare_trace(self, planned, trace):
        """Mark the node as stale if its targets were made from other data than the parents hold now."""
        recipe = planned.recipe
        if recipe.spec.options.check == "exists":
            return
        if planned.state not in (states.COMPLETE, states.MISSING):
            return
        name = planned.records[0]
        if trace == name.trace:
            return
        here = self._roots[recipe.root]
        changed = []
        if name.trace == ANY_TRACE or trace is None:
            changed = changed_parents(planned, here.read(name))
        if name.trace == ANY_TRACE and not changed:
            if trace is not None:  # what it was adopted without is known now
                self._keep(planned, trace)
            return
        if trace is not None and here.is_accepted(recipe, name):
            accepted = tuple(name._replace(trace=trace) for name in planned.records)
            self._replace_records(planned, accepted, self._findings.taken_over)
            return
        if trace is not None and not changed:
            planned.state = states.STALE
            planned.reasons.append("what it was made from holds other data now")
        for parent in changed:
            planned.state = states.STALE
            planned.reasons.append(f"{parent.recipe.title} holds other data now")

    def _look_elsewhere(self, planned, trace):
        """Find the result of equal code and equal data at other targets, to be copied if needed."""
        store = self.store(planned.recipe.root)
        if trace is None or store.is_empty:
            return
        in_variant = bool(planned.recipe.base)
        found = find_elsewhere(store, planned.recipe.spec, trace, self.verb, in_variant=in_variant)
        if found is None:
            return
        if found.is_alike:
            planned.data_hash = joint_hash([name.data_hash for name in found.names])
        if found.is_there and found.paths != planned.recipe.paths:
            planned.elsewhere = found
            planned.reasons = [f"will be copied from {', '.join(found.paths)}"]

    def _consider_parents(self, planned):
        """Mark a node as pending or unsettled if its parents may change.

        A complete node below a parent that may change can be decided only when that parent has run.  A
        missing target, or one that another recipe has overwritten, does not make a node unsettled.  Such
        a node gets the same data as before if its parents do, so only its parents count.
        """
        if planned.state == states.COMPLETE and planned.recipe.spec.options.check == "exists":
            return
        changing = [p for p in planned.parents if p is not None and p.may_change]
        if changing and planned.state == states.COMPLETE:
            planned.reasons.append(f"waits for {changing[0].recipe.title}")
            planned.state = states.PENDING
        elif changing and not planned.recipe.paths:
            planned.state = states.PENDING
        if changing and planned.state != states.COMPLETE:
            planned.data_hash = None
            planned.elsewhere = None
        has_target = planned.state in states.UNSETTLED and not _is_overwritten(planned)
        planned.unsettled = bool(changing) or has_target or planned.released

    def _consider_adopted(self, planned, trace):
        """Give a node with an adopted result its state.

        An adopted result stands for the recipe that it was made for.  For others, the user decides.
        """
        if planned.state in (states.MODIFIED, states.FOREIGN):
            return  # the file there now is not the adopted one
        # older records say it in their content, not in their name: read if the node would run again
        is_read = planned.state == states.STALE or planned.forced or planned.outdated
        adopted = [
            name
            for name in planned.records
            if name is not None and (name.adopted or is_read) and self._stands(planned, name)
        ]
        if not adopted:
            return
        here = self._roots[planned.recipe.root]
        record = here.read(adopted[0])
        if planned.state == states.COMPLETE and not planned.forced:
            planned.state = states.ADOPTED
        elif planned.state != states.PENDING:  # its worker decides, and replaces no adopted result
            self._contest(planned, adopted, trace, record)
        if planned.state == states.ADOPTED:
            planned.reasons.insert(0, _adopted_by(record, here, here.note(planned.records[0])))
            planned.forms = tuple(
                here.form(name) if name is not None and name.adopted else None
                for name in planned.records
            )

    def _stands(self, planned, name):
        """Return True if the record is of an adopted result whose file still exists."""
        recipe = planned.recipe
        if not self.store(recipe.root).is_adopted(name):
            return False
        path = next(path for path in recipe.paths if target_id(path) == name.target_id)
        return files.exists(f"{recipe.root}/{located(path, name.data_hash)}")

    def _contest(self, planned, adopted, trace, record):
        """Keep the adopted result of a node that would run again, or mark the node as contested.

        The result is kept if ``on_modified="adopt"`` or the user asked to keep it, unless it is damaged.
        """
        here = self._roots[planned.recipe.root]
        kept = planned.recipe.spec.options.on_modified == "adopt" or all(
            here.note(name).get("keep") == name.file_hash for name in adopted
        )
        planned.keeps = kept
        if kept and len(adopted) < len(planned.records):
            planned.unsettled, planned.data_hash = True, None
            return  # the function's other results have to be made; the worker keeps this one
        story = made_for(record, planned.recipe) if record is not None else ""
        if kept and planned.state != states.CORRUPT:
            planned.forced = planned.outdated = planned.unsettled = False
            planned.reasons = [f"kept: it was {story}"] if story else []
            self._keep(planned, trace)
        else:
            planned.contested = planned.unsettled = True
            planned.data_hash = None
            planned.reasons = [*([story] if story else []), *planned.reasons]
        planned.state = states.ADOPTED

    def _keep(self, planned, trace):
        """Make an adopted result the result of this recipe, whatever data it was made from."""
        recipe = planned.recipe
        trace = trace or ANY_TRACE
        is_adopted = self.store(recipe.root).is_adopted
        names = [n._replace(key=recipe.key, trace=trace, adopted=is_adopted(n)) for n in planned.records]
        self._replace_records(planned, names, self._findings.kept)
        planned.data_hash = joint_hash([name.data_hash for name in names])

    def _replace_records(self, planned, names, noted):
        """Replace a node's records by new ones of the same targets, and note them to be written."""
        store = self.store(planned.recipe.root)
        for old, new in zip(planned.records, names, strict=True):
            store.foresee(new, old)
            noted.append((planned, old, new))
        planned.records = tuple(names)

    # -- for verbs, and users' decisions ----------------------------------------------------------------

    def write_down(self) -> None:
        """Record the findings.  Verbs call this; plans only read.

        Findings are new mtimes of copied or touched targets, targets of another key that complete a
        node, and adopted or kept results.
        """
        self._findings.write_down()

    def is_own(self, planned: PlannedNode, path: str) -> bool:
        """Return True if a target of the node holds the node's own result as it was recorded."""
        recipe = planned.recipe
        names = self.store(recipe.root).with_key(recipe.key)
        found = files.stamp(f"{recipe.root}/{path}")
        return any(n.target_id == target_id(path) and n.stamp == found for n in names)

    def correction_of(self, planned: PlannedNode) -> str | None:
        """Return the hash of the file in the node's folder of corrections, or None without one."""
        recipe = planned.recipe
        corrections = self._roots[recipe.root].corrections
        stamp = corrections.stamp(recipe.correction) if recipe.correction else None
        if stamp is None:
            return None
        return corrections.look(recipe.correction, stamp, None).file_hash

    def takes_in(self, planned: PlannedNode) -> bool:
        """Return True if this verb adopts a target of the node."""
        return any(node is planned for node, *_ in self._findings.adopted)

    def record_of(self, planned: PlannedNode) -> dict[str, Any] | None:
        """Return the content of the record of a node's first target, or None."""
        if not planned.records or planned.records[0] is None:
            return None
        record = self.store(planned.recipe.root).read(planned.records[0])
        return record.document if record is not None else None

    def store(self, root: str) -> RecordStore:
        """Return the records of a root, as they were when this examiner first looked."""
        return self._roots[root].store


def _adopted_by(record, here, note):
    """Return the reason with the name of the user that adopted a node's result, and the time."""
    told = note if "content" in note else (record and record.edited) or {}
    by, when = told.get("by") or "on_modified", told.get("when")
    origin = record.taken_from if record is not None and "content" not in note else None
    if origin is None:
        return f"adopted by {by}{f', {when}' if when else ''}"
    fate = ", which is gone now" if here.corrections.stamp(origin) is None else ""
    return f"adopted ({origin}{fate}) by {by}{f', {when}' if when else ''}"


def _is_overwritten(planned):
    """Return True if the node is stale only because another recipe made a target of it."""
    others = [name for name in planned.records if name is not None and name.key != planned.recipe.key]
    return planned.state == states.STALE and not planned.outdated and bool(others)
