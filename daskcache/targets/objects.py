"""Formats of Python values: plain text, JSON for plain values, pickle for any.

`registry` chooses these classes by the suffix.  `tagged` holds the JSON form of tuples, dates and other
values.  `storage.trust` decides which pickles may be read.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from types import SimpleNamespace

import cloudpickle

from .. import config
from ..errors import UnhashableArgument
from ..hashing.encoder import hash_value
from .base import CODEC_ERRORS, BytesTarget
from .source import Source
from .tagged import from_json, to_json


class TextTarget(BytesTarget):
    """A text in UTF-8.  Newlines stay unchanged, and no byte-order mark is added.

    Other suffixes than ``.txt`` need ``delayed(store=TextTarget)`` (HTML, Markdown, SVG …).

    Parameters
    ----------
    path : str
        Path template ending in ``.txt``.

    Raises
    ------
    FormatLimit
        When saving anything but a `str`, or a `str` with lone surrogates.

    Examples
    --------
    >>> @dc.delayed(target="report.txt")
    ... def report(cells):
    ...     return f"{cells} cells"
    >>> node = report(3)
    >>> node.compute(), Path(node.dc.path).read_text()
    ('3 cells', '3 cells')
    """

    exact = True

    def encode(self, value):
        if type(value) is not str:
            raise self.limit(
                value,
                f"it is a {type(value).__name__}, not a text",
                "return str(...), or use a path that ends in .json or .pkl",
            )
        try:
            return [value.encode()]
        except UnicodeEncodeError as error:
            raise self.limit(
                value,
                f"the character {value[error.start]!r} at {error.start} has no form in UTF-8",
                "use a path that ends in .json or .pkl",
            ) from error

    def decode(self, data):
        return data.decode()


class TextSource(Source):
    """An existing text file.  A decorated function receives a `str` with unchanged newlines.

    Parameters
    ----------
    path : str or os.PathLike
        The file.  A relative path is taken from the current folder.
    encoding : str
        Encoding of the characters, as Python names it.  It is part of the source's identity.

    Raises
    ------
    SourceMissing
        When the source is used and the file does not exist.
    SourceUnreadable
        When the file is read and has another encoding.

    Examples
    --------
    >>> _ = Path("notes.txt").write_text("two cells")
    >>> dc.TextSource("notes.txt").get_data()
    'two cells'
    """

    format = TextTarget

    def __init__(self, path: str | os.PathLike[str], encoding: str = "utf-8"):
        super().__init__(path)
        self.encoding = encoding

    def decode(self, data):
        return data.decode(self.encoding)

    def __daskcache_options__(self):
        return {"encoding": self.encoding} if self.encoding != "utf-8" else {}


class JSONTarget(BytesTarget):
    """Plain values as indented JSON (RFC 8259), which every program reads.

    Texts, numbers, booleans, None, lists and dicts with text keys are written as themselves.  Some other
    values are tagged, e.g. ``{"$datetime": "2024-02-29T12:00:00"}``, and come back unchanged.  These are
    tuples, sets, dicts with other keys, NaN and infinities, complex and decimal numbers.  Dates, times
    with and without zones, paths, UUIDs, and scalars of NumPy and pandas are tagged, too.  See
    `daskcache.targets.tagged`.

    Parameters
    ----------
    path : str
        Path template ending in ``.json``.

    Raises
    ------
    FormatLimit
        When saving anything else: arrays, tables, instances of other classes, subclasses of the above.

    Examples
    --------
    >>> @dc.delayed(target="sizes.json")
    ... def sizes():
    ...     return {"cells": 3, "areas": (1.5, 2.0)}
    >>> node = sizes()
    >>> node.compute()
    {'cells': 3, 'areas': (1.5, 2.0)}
    >>> node.dc.load() == node.compute()
    True
    """

    def encode(self, value):
        try:
            written = to_json(value)
            # indents are made by Python code, and there are none in a single value
            encoder = _INDENTED if isinstance(written, (dict, list)) else _IN_ONE_LINE
            text = encoder.encode(written)
        except CODEC_ERRORS as error:
            raise self.limit(value, str(error), _json_hint(value)) from error
        # A lone surrogate is written as its escape.  Two that would be read as one are refused: the
        # class is not `exact`, so the text is read back before it is saved.
        return [text.encode("utf-8", "backslashreplace"), b"\n"]

    def decode(self, data):
        return _DECODER.decode(data.decode())


_INDENTED = json.JSONEncoder(indent=1, ensure_ascii=False, allow_nan=False)
_IN_ONE_LINE = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_DECODER = json.JSONDecoder(object_hook=from_json)


class JSONSource(Source):
    """An existing JSON file.

    A decorated function receives the value that `json.loads` reads.  Tags of `JSONTarget` stay dicts.

    Parameters
    ----------
    path : str or os.PathLike
        The file.  A relative path is taken from the current folder.

    Raises
    ------
    SourceMissing
        When the source is used and the file does not exist.
    SourceUnreadable
        When the file is read and is not JSON.

    Examples
    --------
    >>> _ = Path("settings.json").write_text('{"sigma": 2}')
    >>> dc.JSONSource("settings.json").get_data()
    {'sigma': 2}
    """

    format = JSONTarget

    def decode(self, data):
        return json.loads(data)


class PickleTarget(BytesTarget):
    """Any value that pickle or cloudpickle can store.

    Reading a pickle can run code.  `daskcache.storage.trust` describes which pickles are read.

    Parameters
    ----------
    path : str
        Path template ending in ``.pkl``, ``.pickle`` or no suffix.

    Raises
    ------
    FormatLimit
        When saving, if config ``daskcache.pickle`` is ``refuse``.
    UntrustedPickle
        When reading a pickle that does not belong to the user or to ``daskcache.trusted-owners``.

    Examples
    --------
    >>> @dc.delayed(target="model.pkl")
    ... def model():
    ...     return {1, 2, frozenset([3])}
    >>> model().compute() == {1, 2, frozenset([3])}
    True
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
    """An existing pickle, which must belong to the user or to one of ``daskcache.trusted-owners``.

    A decorated function receives the unpickled value.

    Parameters
    ----------
    path : str or os.PathLike
        The file.  A relative path is taken from the current folder.

    Raises
    ------
    SourceMissing
        When the source is used and the file does not exist.
    UntrustedPickle
        When the file is read and belongs to another user, or pickles are refused.
    SourceUnreadable
        When the file is read and is not a pickle.

    Examples
    --------
    >>> import pickle
    >>> _ = Path("model.pkl").write_bytes(pickle.dumps({"weights": [1, 2]}))
    >>> dc.PickleSource("model.pkl").get_data()
    {'weights': [1, 2]}
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
    """Pickle a value in pieces.

    Classes are pickled by reference if they can be imported, else by value (notebooks).
    """
    try:
        pieces = _pickled(value, _Pickler)
    except (pickle.PicklingError, AttributeError, TypeError):
        return _pickled(value, _CloudPickler)
    # pickle names classes of __main__, but in another process __main__ is another program
    by_name = not any(b"__main__" in piece for piece in pieces if type(piece) is bytes)
    return pieces if by_name else _pickled(value, _CloudPickler)


def _pickled(value, pickler):
    """Return the pieces of a pickle, without a copy of large buffers."""
    pieces: list = []
    pickler(SimpleNamespace(write=pieces.append), protocol=5).dump(value)
    return [piece.raw() if type(piece) is pickle.PickleBuffer else piece for piece in pieces]


class _Pickler(pickle.Pickler):
    """Pickler that keeps the byte order of arrays."""

    def reducer_override(self, obj):
        return _as_native(obj) or NotImplemented


class _CloudPickler(cloudpickle.Pickler):
    """Pickler by value that keeps the byte order of arrays."""

    def reducer_override(self, obj):
        return _as_native(obj) or super().reducer_override(obj)


def _as_native(obj):
    """Return the reduce value of an array in foreign byte order, or None for any other object.

    NumPy converts such an array to this machine's order if it can't pickle it as a buffer: an array of
    times, or a part of another array.  So the pickle holds a view of the same bytes in this machine's
    order, and reading it views them in the foreign order again.
    """
    np = sys.modules.get("numpy")
    if np is None or type(obj) not in (np.ndarray, np.memmap):
        return None
    dtype = obj.dtype
    if dtype.isnative or dtype.hasobject:
        return None
    return np.ndarray.view, (obj.view(dtype.newbyteorder("=")), dtype)
