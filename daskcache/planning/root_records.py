"""`RootRecords`: the records, failures and decisions in one root, as a verb found them.

`examiner` makes one for each root of its nodes.  `target_state` and `findings` look up their records and
notes there.  The files are those of `storage.records`.
"""

from __future__ import annotations

from typing import Any

from ..calls.recipe import Recipe
from ..storage import records
from ..storage.record import Record, RecordName
from ..storage.records import RecordStore
from ..storage.roots import Root


class RootRecords:
    """The contents of one root besides targets, listed once.

    Attributes
    ----------
    store : RecordStore
    failed : set of str
        Keys of the nodes whose last run failed.
    notes : Acceptances
        Decisions of users that no record has yet.
    """

    def __init__(self, path: str):
        self.store = RecordStore(Root(path))
        self.store.root.check_links()
        self.failed = records.failed_keys(self.store.root)
        self.notes = records.Acceptances(self.store.root)

    @property
    def root(self) -> Root:
        return self.store.root

    def read(self, name: RecordName | None) -> Record | None:
        """Return the content of a record; None without one, or if it can't be read."""
        return self.store.read(name) if name is not None else None

    def form(self, name: RecordName | None) -> dict[str, Any] | None:
        """Return the recorded form of a result, or None; see `daskcache.targets.forms`."""
        record = self.read(name)
        return record.form if record is not None else None

    def note(self, name: RecordName | None) -> dict[str, str]:
        """Return the decision about a record's target, empty without one."""
        return (name and self.notes.get(name.target_id)) or {}

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
