"""Folders of corrections: which file in one is new, and what becomes of the node that it corrects.

A user puts a file into a folder of corrections in place of editing a result.  Each record of the target
says which file was there when it was written.  A file with another hash is *new*: its copy becomes the
node's result, adopted for the recipe that the node has at that time.  A file that was seen stands for
that recipe only.  From then on, its copy is an adopted result like any other, but it is copied again if
the target is deleted or damaged.  If the file itself is removed, ``on_modified`` decides.

`examiner` loads this module when it meets the first node with a folder of corrections.  Like examining,
it only reads; `runtime.taking_in` makes the copies.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ..calls.annotations import dtype_of_result
from ..errors import DaskcacheError, FormatLimit, TargetCorrupt
from ..runtime.facts import facts_again, facts_of_adopted, facts_of_kept, facts_of_recipe
from ..runtime.work import TakeIn
from ..storage import files
from ..storage.correction_files import CorrectionFile, made_by
from ..storage.record import ANY_TRACE, RecordName, target_id
from ..targets.forms import form_of
from . import states
from .findings import described_inputs
from .reasons import changed_parents, made_for
from .states import PlannedNode
from .target_examiner import last_stored
from .target_state import Found, look_into

if TYPE_CHECKING:
    from .examiner import Examiner

#: States of a target from which the copy of a correction is missing.
_WITHOUT_COPY = (states.MISSING, states.FAILED, states.CORRUPT, states.MODIFIED)


class Corrections:
    """The folders of corrections, as an examiner meets their nodes.

    Parameters
    ----------
    examiner : Examiner
    """

    def __init__(self, examiner: Examiner):
        self._examiner = examiner

    def settles(self, planned: PlannedNode, trace: str | None) -> bool:
        """Consider the file in the folder of corrections of a node; return True if it settles its state.

        Raises
        ------
        FormatLimit, TargetCorrupt, UntrustedPickle, MissingExtra
            If a new file can't be the result.
        StorageError
            If it can't be read.
        """
        return _Look(self._examiner, planned, trace).settles()


class _Look:
    """A look at the file in the folder of corrections of one node."""

    def __init__(self, examiner: Examiner, planned: PlannedNode, trace: str | None):
        self.examiner = examiner
        self.planned = planned
        self.recipe = planned.recipe
        self.here = examiner._roots[planned.recipe.root]
        self.target_id = target_id(planned.recipe.paths[0])
        self.note = self.here.notes.get(self.target_id) or {}
        # if a parent may change, the data that the node would be made from are unknown
        self.is_changing = any(p is not None and p.may_change for p in planned.parents)
        self.trace = None if self.is_changing else trace

    @property
    def _policy(self):
        return self.recipe.spec.options.on_modified

    @functools.cached_property
    def name(self):
        """The record of the target's content, or of the last one if that is gone; or None."""
        (name,) = self.planned.records
        if name is not None and name.trace and self.planned.state not in _WITHOUT_COPY:
            return self.here.store.as_it_is(name)  # an edit that this verb adopts comes after it
        return last_stored(self.here.store.with_target(self.target_id), self.recipe.key)

    @functools.cached_property
    def record(self):
        return self.here.read(self.name)

    def settles(self):
        stamp = self.here.corrections.stamp(self.recipe.correction)
        if stamp is None:
            return self._consider_withdrawn()
        known = self.record.correction if self.record is not None else None
        found = self.here.corrections.look(self.recipe.correction, stamp, known)
        if not self.here.has_seen(found, self.target_id, self.name):
            return self._take_in_new(found)
        self.planned.correction = found
        if self.name is not None and known != found.described() and found.stamp is not None:
            self.examiner._findings.seen.append((self.here.store, self.name, found))
        return self._consider_restoring(found)

    # -- a new file -------------------------------------------------------------------------------------

    def _take_in_new(self, found):
        """Let the node's task copy a new file, unless something of a user's is at the target."""
        planned, recipe = self.planned, self.recipe
        if planned.error is not None or planned.state == states.FOREIGN:
            return False
        if planned.state == states.MODIFIED and self._policy == "error":
            planned.reasons.append(f"{recipe.correction} is new, too")
            return False
        location = f"{recipe.root}/{recipe.correction}"
        content, form, said = self._read(location)
        if content.file_hash != found.file_hash:  # saved again just now
            found = CorrectionFile(found.path, content.file_hash, None)
        made = made_by(location)
        inputs = described_inputs(planned)
        facts = facts_of_adopted(self.here.store, self.name, recipe, 0, inputs, made, found)
        if form is not None:
            facts["form"] = form
        self._take_in(found, content.data_hash, facts, f"{_adopted(found, made)}{said}")
        return True

    def _read(self, location) -> tuple[Found, dict[str, Any] | None, str]:
        """Read a new file; return its hashes, its form, and what is to be said about its dtype."""
        target = self.recipe.targets[0].at(location)
        form = self.record.form if self.record is not None else None
        try:
            content = look_into(target, self.here.root, form=form)
            if content is None:
                raise self._unreadable(target)
            if self.record is not None or target.runs_code:
                return content, form, ""
            form = form_of(target.read(location))
            if form is None or "dtype" not in form:
                return content, None, ""
            dtype = dtype_of_result(self.recipe.spec.func)
            if dtype is None:
                told = f": read as {form['dtype']}, as no result or annotation tells another dtype"
                return content, None, told
            form["dtype"] = dtype
            content = look_into(target, self.here.root, form=form)
            if content is None:
                raise self._unreadable(target)
            return content, form, f": read as {dtype}"
        except DaskcacheError as error:
            error.node, error.target = self.recipe.title, location
            if isinstance(error, FormatLimit):
                error.hint = "save it again with these dtypes and axes, or columns, or move it away"
            raise

    def _unreadable(self, target):
        return TargetCorrupt(
            "a correction can't be the result",
            expected=f"a file that {type(target).__name__} can read",
            got="another one, or one that is being written",
            hint="save it again, or move it away",
        )

    # -- a file that was seen ---------------------------------------------------------------------------

    def _consider_restoring(self, found):
        """Copy a file again if its copy is missing, for the recipe that it stands for."""
        planned, name, record = self.planned, self.name, self.record
        if planned.error is not None or not self._lacks_copy():
            return False
        if planned.state == states.MODIFIED and self._policy != "recompute":
            return False
        if record is None or not record.is_adopted or name.file_hash != found.file_hash:
            return False
        is_kept = self.note.get("keep") == name.file_hash or self._policy == "adopt"
        if name.key == self.recipe.key and self._has_inputs_of(name, record):
            self.trace = self.trace or name.trace
            facts = facts_again(record, found)
            self._take_in(found, name.data_hash, facts, _adopted(found, record.edited or {}))
            return True
        story = made_for(record, self.recipe) or "made for another recipe, or other inputs"
        if is_kept:
            of_recipe = facts_of_recipe(self.recipe, described_inputs(planned))
            facts = facts_of_kept(record, of_recipe, self.note, found)
            reason = f"{_adopted(found, record.edited or {})}; kept: it was {story}"
            self._take_in(found, name.data_hash, facts, reason)
            return True
        if self._policy == "recompute":
            return False
        planned.records = (name,)
        fate = "damaged" if planned.state == states.CORRUPT else "gone"
        self._contest([f"{found.path} was {story}, and its copy at the target is {fate}"])
        return True

    def _lacks_copy(self):
        """Return True if the target is missing or damaged, whatever its inputs hold now."""
        if self.planned.state == states.STALE:
            return not files.exists(f"{self.recipe.root}/{self.recipe.paths[0]}")
        return self.planned.state in _WITHOUT_COPY

    def _has_inputs_of(self, name, record):
        """Return True if the inputs hold the data of a record, as far as they are known."""
        if name.trace == self.trace:
            return True
        is_unknown = name.trace == ANY_TRACE or (self.trace is None and not self.is_changing)
        return is_unknown and not changed_parents(self.planned, record)

    def _consider_withdrawn(self):
        """Let the user decide about a copy whose file was removed from the folder of corrections."""
        planned = self.planned
        (there,) = planned.records
        is_there = planned.state in (states.COMPLETE, states.PENDING) and not planned.forced
        if not is_there or there is None or not there.adopted or self._policy == "adopt":
            return False
        name, record = self.name, self.record
        if record is None or record.taken_from != self.recipe.correction:
            return False
        if self.note.get("keep") == name.file_hash:
            self.examiner._keep(planned, self.trace)
            return False
        planned.withdrawn = planned.outdated = True
        self._contest([f"{self.recipe.correction} is gone, and the target is its copy"])
        return True

    def _contest(self, reasons):
        planned = self.planned
        planned.state, planned.contested, planned.unsettled = states.ADOPTED, True, True
        planned.data_hash, planned.elsewhere = None, None
        planned.reasons = reasons

    def _take_in(self, found, data_hash, facts, reason):
        """Let the node's task copy a file to the target."""
        planned, before = self.planned, self.name
        name = RecordName(
            self.recipe.key,
            self.target_id,
            self.trace or ANY_TRACE,
            data_hash,
            found.file_hash,
            *(found.stamp or (0, 0)),
            before.microseconds if before is not None else 0,
            adopted=True,
        )
        is_damaged = planned.state == states.CORRUPT
        planned.taking = TakeIn(found, name, facts, is_damaged, bool(self.note))
        planned.state, planned.data_hash, planned.reasons = states.ADOPTED, data_hash, [reason]
        planned.forced = planned.outdated = planned.unsettled = False
        planned.elsewhere = None


def _adopted(found: CorrectionFile, told):
    """Return the reason of a node whose result is the copy of a file."""
    by, when = told.get("by"), told.get("when")
    return f"adopted ({found.path}){f' by {by}' if by else ''}{f', {when}' if when else ''}"
