"""Validation of a record's content: any program can write such a file.

`records` checks each record that it reads, and housekeeping those of archives.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..errors import StorageError, UnsafePath
from ..hashing.encoder import untagged
from .paths import check_path
from .roots import FORMAT


def check_record(content: Any, key: str, file_hash: str) -> None:
    """Raise unless `content` is valid for the record of a key and a file.

    Parameters
    ----------
    content : object
        The parsed JSON.
    key, file_hash : str
        Fields of the record's name, which the content must repeat.

    Raises
    ------
    ValueError
        If a field is missing or invalid, or a path is unsafe.
    StorageError
        If a newer daskcache wrote the record.
    """
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    _check_version(content)
    for field, fits in _FIELDS.items():
        if field not in content:
            raise ValueError(f"it has no field {field!r}")
        if not fits(content[field]):
            raise ValueError(f"its field {field!r} can't be {content[field]!r:.80}")
    for field, fits in _OPTIONAL.items():
        if field in content and not fits(content[field]):
            raise ValueError(f"its field {field!r} can't be {content[field]!r:.80}")
    if content["key"] != key or untagged(content["file_hash"]) != file_hash:
        raise ValueError("its name is that of another record")


def _check_version(content):
    version = content.get("daskcache")
    if _is_count(version) and version > FORMAT:
        raise StorageError(
            "a record was written by a newer daskcache",
            target=str(content.get("target")),
            expected=f"format {FORMAT} or older",
            got=f"format {version}",
            hint="pip install --upgrade daskcache",
        )


_NOT_IN_A_LINE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def is_line(value):
    """Return True for a text that a terminal can show in one line."""
    return isinstance(value, str) and not _NOT_IN_A_LINE.search(value)


def _is_count(value):
    return type(value) is int and value >= 0


def _is_duration(value):
    return type(value) in (int, float) and 0 <= value < 2**63


def _is_path(value):
    if not isinstance(value, str):
        return False
    try:
        check_path(value, value)
    except UnsafePath:
        return False
    return True


def _is_lines(value):
    return isinstance(value, dict) and all(map(is_line, value.values()))


def _is_decision(value):
    """Return True for a decision: user, time and content as texts, or None where unknown."""
    return _is_lines(
        {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
    )


def _are_paths(value):
    """Return True for the paths of several results, by position or by name."""
    paths = value.values() if isinstance(value, dict) else value
    return isinstance(value, (dict, list)) and all(map(_is_path, paths))


def _are_arguments(value):
    """Return True for arguments by name: each a text, a hash and optionally a longer text."""
    return isinstance(value, dict) and all(
        isinstance(item, list) and len(item) in (2, 3) and _are_texts(item) for item in value.values()
    )


def _are_inputs(value):
    return isinstance(value, list) and all(isinstance(item, dict) and _is_input(item) for item in value)


def _is_input(item):
    told = "data_hash" in item and ("target" not in item or ("key" in item and _is_path(item["target"])))
    return told and _are_texts(item.values()) and not any("\0" in text for text in item.values())


def _are_texts(values):
    """Return True if all values are texts; names of files and results of `repr` may hold any character.

    See `listing.story`.
    """
    return all(isinstance(value, str) for value in values)


def _is_form(value):
    """Return True for the dtype and shape of an array, or the names and dtypes of columns."""
    if not isinstance(value, dict):
        return False
    if value.keys() == {"dtype", "shape"}:
        shape = value["shape"]
        return is_line(value["dtype"]) and isinstance(shape, list) and all(map(_is_count, shape))
    columns = value.get("columns")
    return value.keys() == {"columns"} and isinstance(columns, list) and all(map(_is_column, columns))


def _is_column(value):
    return isinstance(value, list) and len(value) == 2 and _are_texts(value)


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "daskcache": _is_count,
    "function": is_line,
    "code": is_line,
    "target": _is_path,
    "format": is_line,
    "arguments": _are_arguments,
    "upstream": _are_inputs,
    "key": is_line,
    "trace": is_line,
    "data_hash": is_line,
    "file_hash": is_line,
    "size": _is_count,
    "seconds": _is_duration,
    "created": is_line,
    "host": is_line,
    "packages": _is_lines,
}
_OPTIONAL: dict[str, Callable[[Any], bool]] = {
    "options": is_line,
    "results": _are_paths,
    "replaced": is_line,
    "same_as": is_line,
    "accepted": _is_decision,
    "edited": _is_decision,
    "kept": _is_decision,
    "form": _is_form,
}
