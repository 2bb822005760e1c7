"""`StoreTarget`: classes with ``save`` and ``load``, as users of prefectx wrote them, as formats."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..errors import FormatLimit, TargetMissing, TargetModified
from ..hashing.encoder import tag
from ..hashing.names import imported, public_name
from ..storage.paths import DATA_HASH
from .base import Target
from .objects import PickleTarget


class StoreTarget(Target):
    """What a class of the user's saves and loads: ``Store(location).save(data)``, ``.load()``.

    The class writes a file (or folder) at the location that it is given, which is not yet that of the
    target.  Or it keeps data elsewhere, in a database, say: then it says so by an attribute
    ``outside = True`` and has ``exists()``; it is given the target's path as location, and the target is
    a small file with the hash of the data, with which they are compared when they are loaded.

    Parameters
    ----------
    path : str
        Path template.
    store : type or str
        The class, or its name, ``"package.module:Class"``.  Its name is part of the key, its code isn't.

    Raises
    ------
    FormatLimit
        When saving, if there is no file afterwards.
    TargetMissing, TargetModified
        When reading what is outside, and is not there any more, or is something else.
    """

    runs_code = True

    def __init__(self, path, store):
        super().__init__(path)
        self.store = imported(store) if isinstance(store, str) else store
        if not (
            callable(getattr(self.store, "save", None)) and callable(getattr(self.store, "load", None))
        ):
            raise TypeError(f"{store!r} is no class with save and load")

    def counted_options(self):
        return {"store": public_name(self.store)}

    def write(self, value, path):
        if getattr(self.store, "outside", False):
            self._write_outside(value, path)
            return
        self.store(path).save(value)
        if not os.path.lexists(path):
            raise FormatLimit(
                f"{self.store.__name__} saved a result, but wrote no file",
                expected=path,
                hint="a store that keeps data elsewhere has an attribute outside = True",
            )

    def read(self, path):
        if not getattr(self.store, "outside", False):
            return self.store(path).load()
        receipt = json.loads(Path(path).read_bytes())
        store = self.store(receipt["location"])
        if not store.exists():
            raise TargetMissing(
                f"{self.store.__name__} has not any more what it saved",
                target=receipt["location"],
                expected=tag(receipt["hash"]),
                hint="compute the node with force",
            )
        value = store.load()
        if self.hash(value) != receipt["hash"]:
            raise TargetModified(
                f"{self.store.__name__} has other data than it saved",
                target=receipt["location"],
                expected=tag(receipt["hash"]),
                got=tag(self.hash(value)),
                hint="compute the node with force",
            )
        return value

    hash = PickleTarget.hash

    def inherit(self, heritage):
        return self  # overridden, so that `write` finds the node's own path

    def _write_outside(self, value, path):
        if DATA_HASH in self.path:
            raise FormatLimit(
                f"{self.store.__name__} keeps data elsewhere, where {{data_hash}} is not known",
                target=self.path,
                hint="use {key}",
            )
        self.store(self.path).save(value)
        receipt = {"location": self.path, "hash": self.hash(value)}
        Path(path).write_text(json.dumps(receipt), encoding="utf-8")
