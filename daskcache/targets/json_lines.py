"""JSON Lines: a list of plain values, one on each line.

`objects` has JSON files of one value, and `tagged` the JSON form of values that JSON lacks.
"""

from __future__ import annotations

import json

from .base import CODEC_ERRORS, BytesTarget
from .source import Source
from .tagged import from_json, to_json


class JSONLinesTarget(BytesTarget):
    """A list of plain values as JSON Lines: each value is JSON (RFC 8259) on a line of its own.

    The values may be those of `JSONTarget`, with the same tags.  pandas, polars and DuckDB read the file
    as a table, if each value is a dict with the same keys.

    Parameters
    ----------
    path : str
        Path template ending in ``.jsonl``.

    Raises
    ------
    FormatLimit
        When saving anything but a list, or a list with a value that `JSONTarget` refuses.

    Examples
    --------
    >>> @dc.delayed(target="cells.jsonl")
    ... def cells():
    ...     return [{"cell": 1, "area": 2.5}, {"cell": 2, "area": 4.0}]
    >>> node = cells()
    >>> node.compute()[1]
    {'cell': 2, 'area': 4.0}
    >>> print(Path(node.dc.path).read_text().rstrip())
    {"cell": 1, "area": 2.5}
    {"cell": 2, "area": 4.0}
    """

    def encode(self, value):
        if type(value) is not list:
            hint = "return a list, or use a path that ends in .json or .pkl"
            if hasattr(value, "dtypes"):
                hint = 'return frame.to_dict("records"), or use a path that ends in .parquet or .csv'
            raise self.limit(value, f"it is a {type(value).__name__}, not a list", hint)
        return [self._line(position, item) for position, item in enumerate(value)]

    def _line(self, position, item):
        try:
            text = json.dumps(to_json(item), ensure_ascii=False, allow_nan=False)
        except CODEC_ERRORS as error:
            raise self.limit(
                [item],
                f"item {position}: {error}",
                "return plain values, or use a path that ends in .pkl",
            ) from error
        # lone surrogates as in `JSONTarget`
        return text.encode("utf-8", "backslashreplace") + b"\n"

    def decode(self, data):
        return [json.loads(line, object_hook=from_json) for line in _lines(data)]


class JSONLinesSource(Source):
    """An existing file of JSON Lines.

    A decorated function receives a list of the values that `json.loads` reads, one for each line.  Empty
    lines are left out.  Tags of `JSONTarget` stay dicts.

    Parameters
    ----------
    path : str or os.PathLike
        The file.  A relative path is taken from the current folder.

    Raises
    ------
    SourceMissing
        When the source is used and the file does not exist.
    SourceUnreadable
        When the file is read and a line of it is not JSON.  The error names the line.

    Examples
    --------
    >>> _ = Path("cells.jsonl").write_text("[1, 2]\\n[3]\\n")
    >>> dc.JSONLinesSource("cells.jsonl").get_data()
    [[1, 2], [3]]
    """

    format = JSONLinesTarget

    def decode(self, data):
        return [
            _value(number, line) for number, line in enumerate(_lines(data), start=1) if line.strip()
        ]


def _lines(data):
    """Return the lines of a file.

    Only a line feed ends a line: `bytes.splitlines` would also split at a carriage return, which JSON
    allows between values.
    """
    return data.decode().removesuffix("\n").split("\n") if data else []


def _value(number, line):
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from error
