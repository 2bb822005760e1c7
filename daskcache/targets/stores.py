"""`StoreTarget`: a format made from a user's class with ``save`` and ``load``, as in prefectx.

`modes.options` makes it from the ``store`` of a task.  `base` has the base class for new formats.
"""

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
    """A value that a user's class saves and loads: ``Store(location).save(data)``, ``.load()``.

    The class writes a file (or folder) at the given location.  While saving, that is a temporary path,
    not yet the target's path.

    A class may instead keep data elsewhere, e.g. in a database.  Then it has an attribute
    ``outside = True`` and a method ``exists()``, and receives the target's path as location.  The target
    is a small file with the data's hash, which is checked when the data are loaded.

    Parameters
    ----------
    path : str
        Path template.
    store : type or str
        The class, or its name, ``"package.module:Class"``.  Its name is part of the key, its code isn't.

    Raises
    ------
    TypeError
        If the class has no callable ``save`` and ``load``.
    FormatLimit
        When saving, if the class wrote no file; or if it keeps data elsewhere and the path has the field
        ``{data_hash}``.
    TargetMissing, TargetModified
        When reading data kept elsewhere that are gone, or differ from the saved ones.
    """

    runs_code = True

    def __init__(self, path: str | os.PathLike[str], store: type | str):
        super().__init__(path)
        self.store = imported(store) if isinstance(store, str) else store
        if not all(callable(getattr(self.store, name, None)) for name in ("save", "load")):
            raise TypeError(f"{store!r} is not a class with save and load")

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
        about = {"target": receipt["location"], "expected": tag(receipt["hash"])}
        hint = "compute the node with force"
        if not store.exists():
            raise TargetMissing(f"{self.store.__name__} no longer has what it saved", **about, hint=hint)
        value = store.load()
        got = self.hash(value)
        if got != receipt["hash"]:
            message = f"{self.store.__name__} has other data than it saved"
            raise TargetModified(message, **about, got=tag(got), hint=hint)
        return value

    hash = PickleTarget.hash

    def inherit(self, heritage):
        return self  # overriding it makes `runtime.store` set the node's path, which `write` needs

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
