"""The state of one target of a node, and the reasons for it.

`examiner` calls `examine_target` for each target of a node, and puts the outcomes together.
`target_state` compares the file with its records.  The questions here are those that need the recipe:
whether the record is its own, whether another recipe made equal data, and what users decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..calls.recipe import Recipe
from ..errors import FormatLimit, MissingExtra, TargetCollision
from ..hashing import algorithms
from ..storage import files
from ..storage.paths import DATA_HASH, located
from ..storage.record import ANY_TRACE, RecordName, target_id
from ..storage.records import RecordStore
from .findings import Findings, RootRecords
from .reasons import differences
from .states import COMPLETE, CORRUPT, FOREIGN, MISSING, MODIFIED, STALE, PlannedNode
from .target_state import described_by, edited_or_damaged, look_into, newest_first

#: States of a target.  Of several targets, the one in the worst state decides.
BEST_FIRST = (COMPLETE, MISSING, STALE, CORRUPT, MODIFIED, FOREIGN)


class Outcome(NamedTuple):
    """The state of one target of a node."""

    #: One of `BEST_FIRST`.
    state: str
    #: The record that vouches for the content; without one, that of the result before it, if any.
    name: RecordName | None
    #: Empty if the target is complete.
    reasons: tuple[str, ...] = ()
    #: True if the target must not pass for the result, whatever its record says.
    outdated: bool = False


def examine_target(
    planned: PlannedNode, position: int, trace: str | None, here: RootRecords, findings: Findings
) -> Outcome:
    """Examine one target of a node.

    Parameters
    ----------
    planned : PlannedNode
        The node.  It gets marks that are not about this target alone: `released` and `refusal`.
    position : int
        Index of the target.
    trace : str or None
        The trace that the node would have now; None if unknown.
    here : RootRecords
        The records of the node's root.
    findings : Findings
        Gets what is to be recorded.

    Raises
    ------
    TargetCollision
        If another function made the target.
    """
    recipe = planned.recipe
    path = recipe.paths[position]
    identifier = target_id(path)
    own = [name for name in here.store.with_key(recipe.key) if name.target_id == identifier]
    location = f"{recipe.root}/{located(path, own[0].data_hash if own else DATA_HASH)}"
    note = here.notes.get(identifier)
    stamp = files.stamp(location)
    if note is None:
        if stamp is None:
            return _missing(own, planned)
        # most targets agree in size and mtime with a record of their own key, and are not opened
        for name in own:
            if (name.size, name.mtime_ns) == stamp:  # no Stamp is made: this is asked for every node
                outcome = _as_recorded(name, recipe.spec, location, here, findings.now)
                return outcome if len(own) == 1 else _without_others(outcome, own, here, findings)
    look = _Look(planned, position, trace, here, findings, identifier, own, location, note or {}, stamp)
    return _without_others(look.outcome(), own, here, findings)


def _without_others(outcome, own, here, findings):
    """Return an outcome; note the recipe's own records of what has been replaced at the target since.

    If they stayed, it could not be told from a missing target which of them describes what was there.
    """
    now = outcome.name
    if outcome.state in (COMPLETE, STALE) and now.trace:  # a record says what is there
        gone = [name for name in own if name.file_hash != now.file_hash]
        findings.replaced += [(here.store, name) for name in gone]
    return outcome


def examine_recorded(recipe: Recipe, path: str, here: RootRecords, now: float) -> Outcome:
    """Examine a target for the result that is recorded for this very recipe.

    Unlike `examine_target`, it takes nothing over from other recipes and nothing in from users, and
    notes no findings.  A result that a user corrected counts for the recipe for which it was adopted.

    Parameters
    ----------
    recipe : Recipe
    path : str
        Path of the target from the root.
    here, now
        The records of the root, and the time of the verb.

    Returns
    -------
    Outcome
        `MISSING` if the result is not there as recorded.
    """
    identifier = target_id(path)
    note = here.notes.get(identifier) or {}
    own = [name for name in here.store.with_key(recipe.key) if name.target_id == identifier]
    if not own and recipe.key in note.get("released", ""):
        return Outcome(MISSING, None, ("its adopted result was released",), outdated=True)
    if "content" in note or _has_new_correction(recipe, here, own):  # to be taken in at the base
        own = []
    for name in own:
        location = f"{recipe.root}/{located(path, name.data_hash)}"
        stamp = files.stamp(location)
        if stamp is None or described_by([name], location, stamp, newest_first) is None:
            continue
        record = here.read(name) if name.adopted else None
        if name.adopted and (record is None or record.kept is not None):
            continue
        now_there = here.store.foresee(name._replace(mtime_ns=stamp.mtime_ns), name)
        return _as_recorded(now_there, recipe.spec, location, here, now)
    return Outcome(MISSING, None)


def _has_new_correction(recipe, here, own):
    """Return True if a user put a file for this recipe into a folder of corrections."""
    stamp = here.corrections.stamp(recipe.correction) if recipe.correction else None
    if stamp is None:
        return False
    name = max(own, key=lambda name: name.mtime_ns, default=None)
    record = here.read(name)
    known = record.correction if record is not None else None
    found = here.corrections.look(recipe.correction, stamp, known)
    return not here.has_seen(found, target_id(recipe.paths[0]), name)


class _Look(NamedTuple):
    """A look at one target that does not simply agree with a record of its own key."""

    planned: PlannedNode
    position: int
    trace: str | None
    here: RootRecords
    findings: Findings
    target_id: str
    #: The node's own records of this target.
    own: list[RecordName]
    location: str
    #: The user's decision about the target, empty without one.
    note: dict[str, str]
    stamp: files.Stamp | None

    @property
    def recipe(self) -> Recipe:
        return self.planned.recipe

    @property
    def path(self) -> str:
        return self.recipe.paths[self.position]

    def outcome(self) -> Outcome:
        """Compare the target with records, the cheap evidence first.

        As a rule, a file is hashed only if no record has its size and mtime.
        """
        if self.recipe.key in self.note.get("released", ""):
            self._see_release()
        if self.stamp is None:
            return _missing(self.own, self.planned)
        if "content" in self.note:  # outranks records, which may know this content from before
            adopted = self._take_in(self.note["content"])
            if adopted is not None:
                return adopted
        for name in self.own:
            if name.stamp == self.stamp:
                if not self.note.keys().isdisjoint(("key", "keep")):
                    self.findings.unneeded.append((self.planned, self.target_id))
                return self._as_recorded(name)
        if self.recipe.spec.options.check == "exists":
            return self._as_it_is()
        name = self._describing([*self.own, *self._others()]) or self._written_since()
        if name is not None:
            return self._of_this_or_other(name)
        return self._unrecorded()

    def _see_release(self):
        """Mark the node as released until it has made its own result again."""
        self.planned.released = not self.own
        if self.own:
            self.findings.recomputed.append((self.here.store, self.target_id))

    # -- content that a record describes ----------------------------------------------------------------

    def _as_recorded(self, name):
        return _as_recorded(name, self.recipe.spec, self.location, self.here, self.findings.now)

    def _as_it_is(self):
        """Return the outcome for ``check="exists"``, which takes a file whoever made it."""
        name = self._describing(self.own)
        if name is None:  # a record that is never stored
            content = files.file_hash(self.location)
            name = RecordName(self.recipe.key, "", "", content, content, *self.stamp, 0)
        return Outcome(COMPLETE, name)

    def _others(self):
        """Return the records of this target, of any recipes, and intents.

        With the node's own key it is an intent: a commit was cut short just before its last step.
        """
        return self.here.store.with_target(self.target_id)

    def _describing(self, names):
        """Return the record of the target's content, with the mtime of now, or None."""
        name = described_by(names, self.location, self.stamp, _order_for(self.recipe, self.trace))
        if name is None or name.mtime_ns == self.stamp.mtime_ns:
            return name
        touched = name._replace(mtime_ns=self.stamp.mtime_ns)
        self.here.store.foresee(touched, name)
        self.findings.touched.append((self.here.store, touched))
        return touched

    def _written_since(self):
        """Return the record of a target that another program committed after the records were listed."""
        now = RecordStore(self.here.root)
        stamp = files.stamp(self.location)
        return now.vouching(self.target_id, self.location, stamp, self.recipe.key)

    def _of_this_or_other(self, name):
        """Return the outcome for a target whose content a record describes, of whatever recipe.

        A record of another recipe completes this node if their traces are equal or a user accepted the
        target.  Otherwise the node is stale.
        """
        recipe, trace = self.recipe, self.trace
        if name.key == recipe.key:
            return Outcome(COMPLETE, name)
        if trace is not None and (name.trace == trace or self.here.is_accepted(recipe, name)):
            taken_over = name._replace(key=recipe.key, trace=trace)
            self.here.store.foresee(taken_over, name)
            self.findings.taken_over.append((self.planned, name, taken_over))
            return self._as_recorded(taken_over)
        return Outcome(STALE, name, tuple(self._differences(name)))

    def _differences(self, name):
        """Explain a target that another recipe made.

        The other recipe is an earlier version of this one, or a rival for the path.

        Raises
        ------
        TargetCollision
            If another function made the target.
        """
        recipe = self.recipe
        record = self.here.store.read(name)
        if record is None:
            return ["its record can't be read"]
        if record.function != recipe.spec.qualified_name:
            raise TargetCollision(
                "the target belongs to another function",
                node=recipe.title,
                target=f"{recipe.root}/{self.path}",
                expected=f"made by {recipe.spec.qualified_name}",
                got=f"made by {record.function}",
                hint="give one of them another target, or delete the file if it is not needed",
            )
        before = record.trace.partition(":")[0]
        if before != algorithms.algorithm():
            return [f"hashed with {before} then, {algorithms.algorithm()} now"]
        if record.replaced == recipe.key:  # that recipe has overwritten this one's result
            self.findings.turns.append((self.planned, f"{recipe.root}/{self.path}"))
        return differences(record, recipe, self.here.told) or ["its recipe changed"]

    # -- content that no record describes ---------------------------------------------------------------

    def _unrecorded(self):
        """Return the outcome for a file that was edited, is damaged, or is from another program."""
        before = self._before()
        if before is None:
            return Outcome(FOREIGN, None, (f"{self.path} was not written by daskcache",))
        if self.recipe.spec.options.on_modified == "adopt":
            adopted = self._take_in()
            if adopted is not None:
                return adopted
        state, reason = edited_or_damaged(self._target(), self.here.root, before)
        return Outcome(state, before, (f"{self.path} {reason}",), outdated=state == CORRUPT)

    def _before(self):
        """Return the record of the result that daskcache stored here last, or None.

        Of several for the same content, the node's own comes first.
        """
        return last_stored(self._others(), self.recipe.key)

    def _target(self):
        return self.recipe.targets[self.position].at(self.location)

    def _take_in(self, content=None):
        """Return the outcome of adopting a user's file, or None if the file can't be the result.

        With a hash of the content that the user adopted, only a file with that content is taken in.
        """
        before = self._before()
        stored = before.file_hash if before is not None and content is None else None
        form = self.here.form(before)
        try:
            found = look_into(self._target(), self.here.root, stored, form)
        except FormatLimit as error:
            error.node, error.target = self.recipe.title, self.location
            self.planned.refusal = error
            reason = f"{error.message} (expected {error.expected}, got {error.got})"
            self.planned.reasons.append(reason)
            return None
        except MissingExtra:  # what the file is can't be known here
            return None
        if found is None or content not in (None, found.file_hash):
            return None
        adopted = RecordName(
            self.recipe.key,
            self.target_id,
            self.trace or ANY_TRACE,
            found.data_hash,
            found.file_hash,
            *self.stamp,
            before.microseconds if before is not None else 0,
            adopted=True,
        )
        if before is not None:
            self.here.store.foresee(adopted, before)
        self.findings.adopted.append((self.planned, self.position, before, adopted, found.manifest))
        return Outcome(COMPLETE, adopted)


def last_stored(names: Iterable[RecordName], key: str) -> RecordName | None:
    """Return the newest record of a target; of those with the same content, that of a key, if any."""
    known = list(names)
    latest = max(known, key=lambda name: name.mtime_ns, default=None)
    if latest is None:
        return None
    return next((n for n in known if n.key == key and n.file_hash == latest.file_hash), latest)


def _missing(own, planned):
    """Return the outcome for a target where nothing is."""
    name = own[0] if own else None
    if planned.released:
        reason = "its adopted result was released"
    elif name is None:
        reason = "was never computed"
    else:
        reason = f"the {'adopted result' if name.adopted else 'target'} was deleted"
    return Outcome(MISSING, name, (reason,))


def _as_recorded(name, spec, location, here, now):
    """Return the outcome for a target that agrees with a record, unless it is damaged or too old."""
    is_damaged = (
        spec.options.check == "content"
        and files.file_hash(location) != name.file_hash
        and files.stamp(location) == name.stamp  # else it was replaced while it was hashed
    )
    is_too_old = (
        spec.max_age is not None
        and not name.adopted  # a correction doesn't age
        and now - _written(name, location, here) > spec.max_age
    )
    if not (is_damaged or is_too_old):
        return Outcome(COMPLETE, name)
    damage = [f"{location} is damaged"] if is_damaged else []
    age = [f"older than {spec.options.expires}"] if is_too_old else []
    return Outcome(CORRUPT if is_damaged else STALE, name, (*damage, *age), outdated=True)


def _written(name, location, here):
    """Return the time when a target was written, in seconds since 1970."""
    # a table has no mtime, but its record has the time
    if files.place_of(location).has_files:
        return name.mtime_ns / 1e9
    record = here.read(name)
    return record.created_at if record is not None else 0.0


def _order_for(recipe: Recipe, trace: str | None) -> Callable[[RecordName], tuple[Any, ...]]:
    """Return a sort key for the records that describe one target equally; the first one is used.

    The node's own record comes first, then one that completes the node, then the newest.  Of equals, the
    record of an adopted result comes first.  So the choice does not depend on how the folder of records
    is listed.
    """
    return lambda name: (
        name.key != recipe.key,
        name.trace != trace,
        -name.mtime_ns,
        not name.adopted,
    )
