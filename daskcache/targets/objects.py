"""Plain Python values: JSON and pickle."""

from __future__ import annotations

import json
import pickle
import sys
from types import SimpleNamespace

import cloudpickle

from .. import config
from ..errors import UnhashableArgument
from ..hashing.encoder import hash_value
from .base import CODEC_ERRORS, BytesTarget, Source
from .tagged import from_json, to_json


class JSONTarget(BytesTarget):
    """Plain values as indented JSON (RFC 8259), which every program reads.

    Texts, numbers, booleans, None, lists and dicts with text keys are written as what they are.  What
    JSON has no form for is tagged, e.g. ``{"$datetime": "2024-02-29T12:00:00"}``, and comes back as it
    was: tuples, sets, dicts with other keys, NaN and infinities, complex and decimal numbers, dates,
    times and time zones, paths, UUIDs, scalars of NumPy and pandas (see `daskcache.targets.tagged`).

    Parameters
    ----------
    path : str
        Path template ending in ``.json``.

    Raises
    ------
    FormatLimit
        When saving anything else: arrays, tables, instances of classes, subclasses of the above.
    """

    def encode(self, value):
        try:
            text = json.dumps(to_json(value), indent=1, ensure_ascii=False, allow_nan=False)
        except CODEC_ERRORS as error:
            raise self.limit(value, str(error), _json_hint(value)) from error
        # A lone surrogate stands as its escape; the check refuses two of them that would become one.
        return [text.encode("utf-8", "backslashreplace"), b"\n"]

    def decode(self, data):
        return json.loads(data.decode(), object_hook=from_json)


class JSONSource(Source):
    """An existing JSON file; arrives as `json.loads` reads it, tags of `JSONTarget` included."""

    format = JSONTarget

    def decode(self, data):
        return json.loads(data)


class PickleTarget(BytesTarget):
    """Any value that (cloud)pickle takes.

    Reading a pickle can run code: see `daskcache.storage.trust` for whose are read.

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
        return _pieces(value)

    def decode(self, data):
        return pickle.loads(data)

    def hash(self, value):
        try:
            return hash_value(value)
        except UnhashableArgument:
            return hash_value(("pickle", b"".join(_pieces(value))))


class PickleSource(Source):
    """An existing pickle, which must belong to oneself or to one of ``daskcache.trusted-owners``.

    Raises
    ------
    UntrustedPickle
        When it is used and belongs to somebody else.
    """

    format = PickleTarget
    runs_code = True


def _json_hint(value):
    if hasattr(value, "dtypes"):
        return "use a path that ends in .parquet or .csv"
    if hasattr(value, "tolist"):
        return "return array.tolist(), or use a path that ends in .npy"
    return "return plain values, or use a path that ends in .pkl"


def _pieces(value):
    """A pickle by reference where a class can be imported, else by value (notebooks), in pieces."""
    try:
        pieces = _pickled(value, _Pickler)
    except (pickle.PicklingError, AttributeError, TypeError):
        return _pickled(value, _CloudPickler)
    by_name = not any(b"__main__" in piece for piece in pieces if type(piece) is bytes)
    return pieces if by_name else _pickled(value, _CloudPickler)


def _pickled(value, pickler):
    """Pieces of a pickle; large buffers are not copied."""
    pieces: list = []
    pickler(SimpleNamespace(write=pieces.append), protocol=5).dump(value)
    return [piece.raw() if type(piece) is pickle.PickleBuffer else piece for piece in pieces]


class _Pickler(pickle.Pickler):
    """Keeps the byte order of arrays."""

    def reducer_override(self, obj):
        return _as_native(obj) or NotImplemented


class _CloudPickler(cloudpickle.Pickler):
    """The same for what is pickled by value."""

    def reducer_override(self, obj):
        return _as_native(obj) or super().reducer_override(obj)


def _as_native(obj):
    """How an array in another machine's byte order is pickled; None if `obj` is none.

    NumPy would turn those that it can't pickle as a buffer (of times, parts of others) to this machine's
    order.  So the bytes are taken for numbers in this order, until they are read.
    """
    np = sys.modules.get("numpy")
    if np is None or type(obj) not in (np.ndarray, np.memmap):
        return None
    dtype = obj.dtype
    if dtype.isnative or dtype.hasobject:
        return None
    return np.ndarray.view, (obj.view(dtype.newbyteorder("=")), dtype)
