"""What listings say of each record, kept in the cache folder, so that they need not read the records.

Records are written once and never changed: what was read of one holds as long as there is one of its
name.  So a listing reads the names of all records, as planning does, and the content of new ones only.

Per root there is a file for each folder of records.  These files can be deleted at any time: then, or
if one can't be read or written, records are read again.  Those of roots without new results for
`_KEPT_DAYS` are deleted.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .. import config
from ..hashing.encoder import short_digest
from . import trust
from .files import names_in
from .record import Record, RecordName
from .roots import Root, parsed

#: Counts up when the form of the files changes.
_FORM = 1
_KEPT_DAYS = 90


class Brief(NamedTuple):
    """The fields of a record that listings show and that its name does not tell."""

    #: Path from the root.
    target: str
    #: Module and qualified name of the function.
    function: str
    #: Time (UTC), see `Record`.
    created: str
    #: True if the target holds, or held, a user's edit or file.
    is_adopted: bool

    @classmethod
    def of(cls, record: Record) -> Brief:
        return cls(record.target, record.function, record.created, record.is_adopted)


class Briefs:
    """The briefs of a root's records that earlier listings have kept.

    Parameters
    ----------
    root : Root
    """

    def __init__(self, root: Root):
        cache, key = config.cache_folder(), trust.seal_key()
        place = f"{root.id()} {root.path}".encode("utf-8", "surrogatepass")
        # records that another key has sealed are none, and a seal gives nothing of the key away
        identity = short_digest(place) if key is None else trust.seal(place, key)
        self._folder = cache and f"{cache}/records/{identity}"
        #: Briefs by the names of their records.
        self.known: dict[RecordName, Brief] = {}
        #: Names of records by those of their files.
        self.parsed: dict[str, RecordName] = {}
        for file in names_in(self._folder) if self._folder else ():
            files, names, briefs = _read(f"{self._folder}/{file}")
            self.known.update(zip(names, briefs, strict=True))
            self.parsed.update(zip(files, names, strict=True))

    def keep(self, names: Iterable[RecordName], new: dict[RecordName, Brief]) -> None:
        """Write new briefs for later listings, without records that are not among `names` any more."""
        self.known |= new
        if not new or not self._folder:
            return
        shards: dict[str, list[RecordName]] = {name.shard: [] for name in new}
        for name in names:
            if name.shard in shards and name in self.known:
                shards[name.shard].append(name)
        with suppress(OSError):
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            for shard, those in shards.items():
                _write(f"{self._folder}/{shard}", those, [self.known[name] for name in those])
            _delete_old(os.path.dirname(self._folder))


def _delete_old(folder):
    for root in os.scandir(folder):
        if root.stat().st_mtime < time.time() - _KEPT_DAYS * 24 * 3600:
            shutil.rmtree(root.path, ignore_errors=True)


def _write(path, names, briefs):
    """Write names and briefs by columns, which are read fastest."""
    columns = [
        [name.file_name() for name in names],
        *zip(*names, strict=True),
        *zip(*briefs, strict=True),
    ]
    part = f"{path}.{uuid.uuid4().hex[:16]}.part"
    Path(part).write_text(json.dumps([_FORM, *columns]), encoding="utf-8")
    os.replace(part, path)


def _read(path):
    """Return the names of files of records, the names that they have, and their briefs."""
    try:
        form, files, *columns = parsed(Path(path).read_bytes())
        if form == _FORM:
            fields = len(RecordName._fields)
            names = list(map(RecordName._make, zip(*columns[:fields], strict=True)))
            return files, names, list(map(Brief._make, zip(*columns[fields:], strict=True)))
    except (OSError, ValueError, TypeError):
        pass  # records are read again
    return (), (), ()
