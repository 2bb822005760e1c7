"""What the code behind a fingerprint was: kept once in each root, for people and for workers.

``<root>/.daskcache/code/<fingerprint>.json`` lists the parts; ``code/sources/<hash>.txt`` holds the
source of each function once.  `daskcache.why` compares it with the code of today, and workers compare it
with the modules that they imported (`daskcache.code_check`).
"""

from __future__ import annotations

import functools
import json
import os
import uuid
from typing import Any

from . import atomic, storage
from .code import Body, Import, View
from .errors import StorageError
from .parts import Part
from .reach import Reach
from .roots import FORMAT, Root


def remember(
    root: Root, fingerprint: str, function: str, parts: list[Part], reach: Reach | None
) -> None:
    """Keep what the code behind a fingerprint is, unless it is there already.

    Raises
    ------
    StorageError
        If it can't be written.
    """
    made_here.add((root.path, fingerprint))
    path = _path(root, fingerprint)
    try:
        if not os.path.exists(path):
            os.makedirs(f"{root.code}/sources", exist_ok=True)
            _write(root, path, function, parts, reach)
    except StorageError:
        raise
    except OSError as error:
        raise storage.storage_error(error, path) from error


def _write(root, path, function, parts, reach):
    described = []
    for part in parts:
        fields = part._asdict()
        if part.kind == "function":
            text = fields.pop("text")
            _write_once(_source_path(root, part.hash), text)
        described.append(fields)
    content = {"daskcache": FORMAT, "function": function, "parts": described}
    if reach is not None:
        content["modules"] = sorted(reach.modules)
        content["bodies"] = {hashed: _plain(body) for hashed, body in reach.bodies().items()}
    _write_once(path, json.dumps(content, ensure_ascii=False))


#: Roots and fingerprints of the code that this process holds itself.
made_here: set[tuple[str, str]] = set()


def recall(root: Root, fingerprint: str) -> list[Part] | None:
    """The parts behind a fingerprint; None if they were not kept."""
    try:
        return [_part(root, fields) for fields in _read(root, fingerprint)["parts"]]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def recall_view(root: Root, fingerprint: str) -> View | None:
    """How the process that made a fingerprint saw the code; None if that was not kept."""
    try:
        content = _read(root, fingerprint)
        bodies = {hashed: _body(plain) for hashed, plain in content["bodies"].items()}
        return View(frozenset(content["modules"]), bodies)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _read(root, fingerprint) -> dict[str, Any]:
    with open(_path(root, fingerprint), encoding="utf-8") as file:
        return json.load(file)


def _plain(body):
    return [body.hash, body.chains, body.imports, sorted(body.assigned)]


def _body(plain):
    hashed, chains, imports, assigned = plain
    found = {name: Import(*fields) for name, fields in imports.items()}
    return Body(hashed, tuple(map(tuple, chains)), found, frozenset(assigned), None, "")


def _path(root, fingerprint):
    return f"{root.code}/{fingerprint}.json"


def _source_path(root, hashed):
    return f"{root.code}/sources/{hashed}.txt"


def _part(root, fields):
    if "text" not in fields:
        fields["text"] = _read_source(_source_path(root, fields["hash"]))
    return Part(**fields)


@functools.lru_cache(maxsize=4096)
def _read_source(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def _write_once(path, text):
    if os.path.exists(path):
        return
    part = storage.write_part(f"{path}.{uuid.uuid4().hex}.part", [text.encode("utf-8", "surrogatepass")])
    atomic.put_first(part.path, path)
