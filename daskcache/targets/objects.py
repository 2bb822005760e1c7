"""Plain Python values: JSON and pickle."""

from __future__ import annotations

import json
import os
import pickle
import sys

import cloudpickle

from .. import config, hashing
from ..errors import UnhashableArgument, UntrustedPickle
from .base import BytesTarget


class JSONTarget(BytesTarget):
    """Texts, numbers, booleans, None, lists and dicts with text keys, as indented JSON.

    What JSON would change (tuples, sets, keys that are numbers) is refused when saving.

    Parameters
    ----------
    path : str
        Path template ending in ``.json``.
    """

    def encode(self, value):
        try:
            text = json.dumps(value, indent=1, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise self.limit(
                value, str(error), "return plain values, or use a path that ends in .pkl"
            ) from error
        return [text.encode("utf-8", "surrogatepass"), b"\n"]

    def decode(self, data):
        return json.loads(data.decode("utf-8", "surrogatepass"))

    def difference(self, value, decoded):
        return (
            "JSON would change tuples to lists, keys to texts or NumPy numbers to plain ones",
            "return lists and dicts with text keys, or use a path that ends in .pkl",
        )


class PickleTarget(BytesTarget):
    """Any value that (cloud)pickle takes.  A pickle can run code: see ``daskcache.trusted-owners``.

    Parameters
    ----------
    path : str
        Path template; ``.pkl``, ``.pickle`` or no suffix.
    """

    exact = True
    runs_code = True

    def encode(self, value):
        return [_dumps(value)]

    def decode(self, data):
        return pickle.loads(data)

    def check_owner(self, file):
        if sys.platform == "win32":
            return
        owner = os.fstat(file.fileno()).st_uid
        if owner not in (os.getuid(), *map(_user_id, config.get("trusted-owners"))):
            raise UntrustedPickle(
                "a pickle that belongs to somebody else is not loaded",
                target=file.name,
                expected=f"owner {os.getuid()}, or one of daskcache.trusted-owners",
                got=f"owner {owner}",
                hint="delete the file to recompute it, or add its owner to daskcache.trusted-owners",
            )

    def hash(self, value):
        try:
            return super().hash(value)
        except UnhashableArgument:
            return hashing.hash_value(("pickle", _dumps(value)))


def _user_id(owner):
    if isinstance(owner, int):
        return owner
    import pwd

    return pwd.getpwnam(owner).pw_uid


def _dumps(value):
    """Pickle by reference where a class can be imported, else by value (notebooks)."""
    try:
        data = pickle.dumps(value, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError):
        return cloudpickle.dumps(value, protocol=5)
    return data if b"__main__" not in data else cloudpickle.dumps(value, protocol=5)
