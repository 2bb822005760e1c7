"""The code behind each fingerprint, stored once per root.

``<root>/.daskcache/code/<fingerprint>.json`` lists the parts; ``code/sources/<hash>.txt`` holds the
source of each function once.  `calls.recipe` and `prefect.preparing` write them.  `planning.reasons`
compares them with the code of today (`daskcache.why`).  Workers compare them with the modules that they
imported (`runtime.code_check`).
"""

from __future__ import annotations

import functools
import json
import os
import re
import uuid
from pathlib import Path
from typing import Any

from ..hashing.changes import Part
from ..hashing.code_objects import Import
from ..hashing.functions import Body
from ..hashing.ownership import View
from ..hashing.reach import Reach
from . import files
from .atomic import put_first
from .roots import FORMAT, Root, parsed


def remember(
    root: Root, fingerprint: str, function: str, parts: list[Part], reach: Reach | None
) -> None:
    """Store the code behind a fingerprint, unless it is stored already.

    Parameters
    ----------
    root : Root
    fingerprint : str
        Hash of the code, 32 hex digits.
    function : str
        Name of the function.
    parts : list of Part
        The parts of the code, as `daskcache.why` shows them.
    reach : Reach or None
        The code as this process saw it, for `recall_view`.

    Raises
    ------
    StorageError
        If the code can't be written.
    """
    made_here.add((root.path, fingerprint))
    path = _path(root, fingerprint)
    with files.refused(path):
        if not os.path.exists(path):
            _write(root, path, function, parts, reach)


def _write(root, path, function, parts, reach):
    described = []
    for part in parts:
        fields = part._asdict()
        if part.kind == "function":
            text = fields.pop("text")
            write_once(_source_path(root, part.hash), _encoded(text))
        described.append(fields)
    content = {"daskcache": FORMAT, "function": function, "parts": described}
    if reach is not None:
        content["modules"] = sorted(reach.modules)
        content["bodies"] = {hashed: _plain(body) for hashed, body in reach.bodies().items()}
    write_once(path, _encoded(json.dumps(content, ensure_ascii=False)))


def _encoded(text):
    return text.encode("utf-8", "surrogatepass")


def write_once(path: str, content: bytes) -> None:
    """Write a file of the code unless it is there; no reader sees a part of it."""
    if not os.path.exists(path):
        put_first(files.write_new(f"{path}.{uuid.uuid4().hex}.part", content), path)


#: Pairs of root path and fingerprint whose code this process has itself: workers need no check of it.
made_here: set[tuple[str, str]] = set()


def recall(root: Root, fingerprint: str) -> list[Part] | None:
    """Return the parts of the code behind a fingerprint, or None if they are missing or unreadable."""
    try:
        return [_part(root, fields) for fields in _read(root, fingerprint)["parts"]]
    except _UNREADABLE:
        return None


def recall_view(root: Root, fingerprint: str) -> View | None:
    """Return the view of the code in the process that made a fingerprint, or None if not stored."""
    try:
        content = _read(root, fingerprint)
        bodies = {hashed: _body(plain) for hashed, plain in content["bodies"].items()}
        _check_texts(content["modules"])
        return View(frozenset(content["modules"]), bodies)
    except _UNREADABLE:
        return None


#: Errors from reading a file that is missing, or that another program wrote.
_UNREADABLE = OSError, ValueError, TypeError, KeyError, AttributeError
_HASH = re.compile(r"[0-9a-f]{32}\Z")


def files_behind(root: Root, fingerprint: str) -> list[str]:
    """Return the paths, from ``code/``, of the files that hold the code behind a fingerprint."""
    parts = recall(root, fingerprint)
    if parts is None:  # the code was not stored
        return []
    sources = sorted({part.hash for part in parts if part.kind == "function"})
    there = [hashed for hashed in sources if os.path.isfile(_source_path(root, hashed))]
    return [f"{fingerprint}.json", *(f"sources/{hashed}.txt" for hashed in there)]


def _read(root, fingerprint) -> dict[str, Any]:
    return parsed(Path(_path(root, fingerprint)).read_bytes())


def _plain(body):
    return [body.hash, body.chains, body.imports, sorted(body.assigned)]


def _body(plain):
    hashed, chains, imports, assigned = plain
    found = {name: Import(*fields) for name, fields in imports.items()}
    _check_texts([hashed, *assigned, *(name for chain in chains for name in chain)])
    _check_texts([text for each in found.values() for text in (each.module, each.name or "")])
    if not all(type(each.level) is int for each in found.values()):
        raise ValueError("the level of an import is not a number")
    return Body(hashed, tuple(map(tuple, chains)), found, frozenset(assigned), None, "")


def _path(root, fingerprint):
    return f"{root.code}/{_checked(fingerprint)}.json"


def _source_path(root, hashed):
    return f"{root.code}/sources/{_checked(hashed)}.txt"


def _checked(hashed):
    """Return `hashed`, which names a file; raise ValueError for a text that could lead elsewhere."""
    if not _HASH.match(hashed):
        raise ValueError(f"no hash: {hashed!r:.80}")
    return hashed


def _part(root, fields):
    if "text" not in fields:
        fields["text"] = _read_source(_source_path(root, fields["hash"]))
    part = Part(**fields)
    _check_texts(part)
    if part.kind == "function":
        _checked(part.hash)
    return part


def _check_texts(values):
    """Raise ValueError unless all values are texts: the file may come from any program."""
    if not all(isinstance(value, str) for value in values):
        raise ValueError("it has something else in place of a text")


@functools.lru_cache(maxsize=4096)
def _read_source(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError):  # the file is gone, or not valid UTF-8
        return ""
