"""The records of roots as a verb found them, and the findings that they don't contain yet.

`examiner` makes one `RootRecords` for each root of its nodes, and `target_examiner` looks up records and
notes there.  Examining only reads, and so do plans.  A verb calls `Findings.write_down` once its plan
stands.  The functions that write the records are in `runtime.facts`.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..calls.recipe import Recipe, SourceInput
from ..errors import DaskcacheWarning
from ..hashing.encoder import tag
from ..runtime import facts
from ..runtime.held import Held
from ..runtime.work import FileData
from ..storage import failures, records
from ..storage.failures import FailureNote
from ..storage.record import Record, RecordName
from ..storage.roots import Root
from ..storage.verified_folders import forget_manifest, keep_manifest
from .reasons import Told
from .states import PlannedNode

if TYPE_CHECKING:
    from ..storage.correction_files import CorrectionFile, CorrectionFiles


class RootRecords:
    """The contents of one root besides targets, listed once.

    Attributes
    ----------
    store : RecordStore
    failed : set of str
        Keys of the nodes with a note of a failure.
    notes : Acceptances
        Decisions of users that no record has yet.
    told : dict
        See `daskcache.planning.reasons.differences`.
    """

    def __init__(self, path: str):
        self.store = records.RecordStore(Root(path))
        self.store.root.check_links()
        self.failed = failures.failed_keys(self.store.root)
        self.notes = records.Acceptances(self.store.root)
        self.told: Told = {}

    @property
    def root(self) -> Root:
        return self.store.root

    @functools.cached_property
    def corrections(self) -> CorrectionFiles:
        """The files in folders of corrections."""
        from ..storage.correction_files import CorrectionFiles  # most nodes have no such folder

        return CorrectionFiles(self.store.root)

    def read(self, name: RecordName | None) -> Record | None:
        """Return the content of a record; None without one, or if it can't be read."""
        return self.store.read(name) if name is not None else None

    def form(self, name: RecordName | None) -> dict[str, Any] | None:
        """Return the recorded form of a result, or None; see `daskcache.targets.forms`."""
        record = self.read(name)
        return record.form if record is not None else None

    def failure(self, key: str) -> FailureNote | None:
        """Return the note of a node's failure; None if it succeeded since."""
        return failures.last_failure(self.store, key)

    def note(self, name: RecordName | None) -> dict[str, str]:
        """Return the decision about a record's target, empty without one."""
        return (name and self.notes.get(name.target_id)) or {}

    def has_seen(self, found: CorrectionFile, identifier: str, name: RecordName | None) -> bool:
        """Return True if a correction was there already when the record of its target was written.

        It also counts as seen if the target was adopted with the same content in another way, or if the
        user released it.
        """
        if name is not None and self._says_seen(found, name):
            return True
        known = self.store.with_target(identifier)
        note = self.notes.get(identifier) or {}
        latest = max((each.mtime_ns for each in known), default=0)
        if found.file_hash in note.get("correction", "").split():
            # a release counts until something is stored at the target
            return "released" not in note or str(latest) == note.get("latest")
        if name is None or not self.store.is_adopted(name):
            return False
        # a correction that was kept for several recipes has a record for each
        return any(self._says_seen(found, n) for n in known if n.file_hash == name.file_hash)

    def _says_seen(self, found, name):
        record = self.read(name)
        seen = record.correction["file"] if record is not None and record.correction else None
        return found.file_hash in (seen, name.file_hash if self.store.is_adopted(name) else None)

    def is_accepted(self, recipe: Recipe, name: RecordName) -> bool:
        """Return True if a user accepted another recipe's target as the result of this one."""
        if self.note(name).get("key") != name.key:
            return False
        record = self.read(name)
        return record is not None and record.function == recipe.spec.qualified_name


class Roots(dict[str, RootRecords]):
    """The roots of a verb by path, each listed when it is first asked for."""

    def __missing__(self, path: str) -> RootRecords:
        self[path] = found = RootRecords(path)
        return found


class Findings:
    """The findings of one examiner, to be recorded.

    Attributes
    ----------
    now : float
        Time of the verb, in seconds since 1970.
    touched : list of (RecordStore, RecordName)
        Targets that were copied or touched, by the names that their records will have.
    taken_over : list of (PlannedNode, RecordName, RecordName)
        Targets that another recipe made from equal data with equal code, or that a user accepted: the
        present record and the one to come.
    adopted : list of (PlannedNode, int, RecordName or None, RecordName, list or None)
        Files that a user edited or put in place, and that become the result: index of the target, the
        record of the result before it, the one to come, and the files of a folder.
    kept : list of (PlannedNode, RecordName, RecordName)
        Adopted results that become the result of a recipe other than their own.
    recomputed : list of (RecordStore, str)
        Targets (ids) that were computed again after an adopted result was released.
    replaced : list of (RecordStore, RecordName)
        Records of results that something else has replaced at their targets.
    turns : list of (PlannedNode, str)
        Targets (absolute paths) at which two recipes take turns.
    unneeded : list of (PlannedNode, str)
        Targets (ids) that a user decided about, and that may be as recorded for their node anyway.  A
        decision that stayed would be taken for one about a later change.
    seen : list of (RecordStore, RecordName, CorrectionFile)
        Corrections with other sizes or mtimes than their records say, but with the same content.
    """

    def __init__(self, roots: Roots):
        self._roots = roots
        self.now = time.time()
        self.touched: list[tuple[records.RecordStore, RecordName]] = []
        self.taken_over: list[tuple[PlannedNode, RecordName, RecordName]] = []
        self.adopted: list[tuple[PlannedNode, int, RecordName | None, RecordName, list | None]] = []
        self.kept: list[tuple[PlannedNode, RecordName, RecordName]] = []
        self.recomputed: list[tuple[records.RecordStore, str]] = []
        self.replaced: list[tuple[records.RecordStore, RecordName]] = []
        self.turns: list[tuple[PlannedNode, str]] = []
        self.unneeded: list[tuple[PlannedNode, str]] = []
        self.seen: list[tuple[records.RecordStore, RecordName, CorrectionFile]] = []

    def write_down(self) -> None:
        """Record the findings, each once."""
        while self.touched:
            store, touched = self.touched.pop()
            store.refresh(touched)
        while self.taken_over:
            self._record_taken_over(*self.taken_over.pop())
        while self.recomputed:
            store, identifier = self.recomputed.pop()
            records.clear_acceptance(store.root, identifier)
        while self.adopted:
            self._record_adopted(*self.adopted.pop())
        kept = [old for _, old, new in self.kept if old.key != new.key]
        while self.kept:
            self._record(facts.record_kept, *self.kept.pop())
        while self.replaced:
            store, name = self.replaced.pop()
            store.remove(name)
            forget_manifest(store.root, name.file_hash)
        self._tell_of_turns()
        while self.unneeded:
            planned, identifier = self.unneeded.pop()
            if planned.is_complete:
                records.clear_acceptance(self._roots[planned.recipe.root].root, identifier)
        while self.seen:
            facts.record_seen(*self.seen.pop())
        if kept:
            warnings.warn(
                f"{len(kept)} adopted results are kept for other recipes than they were made for: "
                "'dask cache ls' lists them, 'dask cache release' gives them up",
                DaskcacheWarning,
                stacklevel=3,
            )

    def _tell_of_turns(self):
        """Warn once of all nodes that run because another recipe has replaced their results."""
        replaced = [place for planned, place in self.turns if planned.is_to_do]
        self.turns = []
        if replaced:
            where = replaced[0] if len(replaced) == 1 else f"{len(replaced)} targets, e.g. {replaced[0]}"
            warnings.warn(
                f"two recipes take turns at {where}, and each rerun replaces the other's result: make "
                'one of them within daskcache.variant("…"), which gives it a folder of its own, or put '
                "what differs between them, or {key}, into the path template",
                DaskcacheWarning,
                stacklevel=4,
            )

    def _record_taken_over(self, planned, old, new):
        if new.trace == old.trace:  # early cutoff, and not a user's decision to be recorded
            facts.record_under_new_key(self._roots[planned.recipe.root].store, old, new.key)
        else:
            self._record(facts.record_accepted, planned, old, new)

    def _record(self, record: Callable[..., None], planned, old, new):
        """Record that an existing result stands for a recipe, and clear the user's note about it."""
        recipe = planned.recipe
        here = self._roots[recipe.root]
        of_recipe = facts.facts_of_recipe(recipe, described_inputs(planned), planned.correction)
        recipe.keep_code()
        record(here.store, old, new, of_recipe, here.note(old))
        records.clear_acceptance(here.root, old.target_id)

    def _record_adopted(self, planned, position, before, adopted, manifest):
        recipe = planned.recipe
        here = self._roots[recipe.root]
        inputs = described_inputs(planned)
        here.root.create()
        recipe.keep_code()
        keep_manifest(here.root, adopted.file_hash, manifest)
        note, seen = here.note(adopted), planned.correction
        facts.record_adopted(here.store, before, adopted, recipe, position, inputs, note, seen)
        records.clear_acceptance(here.root, adopted.target_id)
        if before is not None and before.file_hash != adopted.file_hash:
            forget_manifest(here.root, before.file_hash)


def described_inputs(planned: PlannedNode) -> list[dict[str, Any]]:
    """Return a node's inputs as its record describes them."""
    recipe = planned.recipe
    pairs = zip(recipe.upstream, planned.parents, strict=True)
    return [_described(recipe.root, item, parent) for item, parent in pairs]


def _described(root, item, parent):
    if isinstance(item, SourceInput):
        return facts.describe_input(root, FileData(item))
    if parent is None:
        return facts.describe_input(root, Held(None, item.identity))
    if parent.taking or (parent.is_complete and parent.records):
        return facts.describe_input(root, parent.entry)
    if parent.recipe.paths:
        data_hash = tag(parent.data_hash) if parent.data_hash else ""
        where = (parent.recipe.root, parent.recipe.paths[0])
        return facts.describe_result(root, parent.recipe.key, *where, data_hash, parent.corrections)
    handle = Held(None, parent.data_hash or "", corrections=parent.corrections)
    return facts.describe_input(root, handle)
