"""Outlines of a root's recorded targets: what lists and counts show, for a look at each file.

`listing` has the same targets with the content of their records, which takes longer.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property

from ..errors import DaskcacheWarning, StorageError
from ..planning.planner import garbage_later
from ..planning.states import ADOPTED, COMPLETE, CORRUPT, MISSING, MODIFIED
from ..planning.target_state import TargetState, newest_first, state_of
from ..storage import files as storage
from ..storage.briefs import Brief, Briefs
from ..storage.record import Record, RecordName
from ..storage.records import RecordStore
from ..storage.roots import Root

#: States of a target that matches its record.
AS_RECORDED = (COMPLETE, ADOPTED)
STATES = (*AS_RECORDED, MISSING, MODIFIED, CORRUPT)


class Outlined:
    """One recorded target.

    Its file is looked at only when that is asked for, and read only if its size or mtime differ from the
    record's.

    Parameters
    ----------
    store : RecordStore
    path : str
        Path from the root.
    found : dict
        What is known of the target's records, of any recipes and contents, by their names.
    """

    def __init__(self, store: RecordStore, path: str, found: Mapping[RecordName, Brief | Record]):
        self.path = path
        self._store = store
        self._found = found
        self._looked: TargetState | None = None

    @property
    def state(self) -> str:
        """One of `STATES`."""
        return self._look().state

    @property
    def name(self) -> RecordName:
        """The name of the record that describes the target, or else of the newest."""
        if len(self._found) == 1:
            return next(iter(self._found))
        return self._look().name or min(self._found, key=newest_first)

    @property
    def brief(self) -> Brief | Record:
        """What the record tells; see there."""
        return self._found[self.name]

    @cached_property
    def stamp(self) -> storage.Stamp | None:
        """Size and mtime of the target, None if it is missing or the system refuses to say."""
        with contextlib.suppress(StorageError):
            return storage.stamp(self._store.root.absolute(self.path))
        return None

    @property
    def is_adopted(self) -> bool:
        """True if a user made the target's content, or its last content if it is gone."""
        return self._store.is_adopted(self.name)

    def _look(self):
        """Look at the target, once."""
        if self._looked is None:
            self._looked = self._state()
        return self._looked

    def _state(self):
        try:
            return state_of(self._store, self.path, self._found)
        except FileNotFoundError:  # deleted by another process just now
            return TargetState(MISSING, None, None)
        except OSError as error:  # it can't be read, and is not as recorded by its size and mtime
            warnings.warn(f"{self.path} can't be looked at: {error}", DaskcacheWarning, stacklevel=2)
            return TargetState(MODIFIED, None, self.stamp)


def outlined(root: Root) -> Iterator[Outlined]:
    """Yield every target of a root that has a record, by path; only new records are read."""
    with garbage_later():
        yield from _outlined(root)


def _outlined(root):
    briefs = Briefs(root)
    store = RecordStore(root, briefs.parsed)
    names = store.all()
    new: dict[RecordName, Brief] = {}
    for name in names:
        if name not in briefs.known and (record := read_or_warn(store, name)) is not None:
            new[name] = Brief.of(record)
    briefs.keep(names, new)
    store.note({name: brief.is_adopted for name, brief in briefs.known.items()})
    found: dict[str, dict[RecordName, Brief]] = {}
    for name in names:
        brief = briefs.known.get(name)
        if brief is not None:
            found.setdefault(brief.target, {})[name] = brief
    return [Outlined(store, path, found[path]) for path in sorted(found)]


def read_or_warn(store: RecordStore, name: RecordName) -> Record | None:
    """Return a record, or None with a warning if it can't be read; one of them hides no other target."""
    try:
        return store.read(name)
    except StorageError as error:  # a newer daskcache wrote it
        warnings.warn(str(error), DaskcacheWarning, stacklevel=2)
        return None
