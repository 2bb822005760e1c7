"""Plain Python values: JSON and pickle."""

from __future__ import annotations

import json
import pickle

import cloudpickle

from .. import config, hashing
from ..errors import UnhashableArgument
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
    """Any value that (cloud)pickle takes.

    Reading a pickle can run code: see `daskcache.trust` for whose are read.

    Parameters
    ----------
    path : str
        Path template; ``.pkl``, ``.pickle`` or no suffix.
    """

    exact = True
    runs_code = True

    def encode(self, value):
        if config.get("pickle") == "refuse":
            raise self.limit(value, "pickles are refused", "let the path end in .npy, .parquet, .json …")
        return [_dumps(value)]

    def decode(self, data):
        return pickle.loads(data)

    def hash(self, value):
        try:
            return super().hash(value)
        except UnhashableArgument:
            return hashing.hash_value(("pickle", _dumps(value)))


def _dumps(value):
    """Pickle by reference where a class can be imported, else by value (notebooks)."""
    try:
        data = pickle.dumps(value, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError):
        return cloudpickle.dumps(value, protocol=5)
    return data if b"__main__" not in data else cloudpickle.dumps(value, protocol=5)
