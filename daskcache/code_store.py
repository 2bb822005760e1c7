"""What the code behind a fingerprint was: kept once in each root, for people and for workers.

``<root>/.daskcache/code/<fingerprint>.json`` lists the parts; ``code/sources/<hash>.txt`` holds the
source of each function once.  `daskcache.why` compares it with the code of today.  A worker compares it
with the modules that it imported: other versions of them would make a wrong result under a right key.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import types
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from . import storage
from .code import code_hash
from .errors import CodeMismatch
from .hashing import hash_value
from .parts import Part
from .storage import Root


def remember(root: Root, fingerprint: str, function: str, parts: list[Part]) -> None:
    """Keep what the code behind a fingerprint is, unless it is there already.

    Raises
    ------
    StorageError
        If it can't be written.
    """
    path = _path(root, fingerprint)
    if os.path.exists(path):
        return
    os.makedirs(f"{root.code}/sources", exist_ok=True)
    described = []
    for part in parts:
        fields = part._replace(named=_is_named(part))._asdict()
        if part.kind == "function":
            text = fields.pop("text")
            _write_once(_source_path(root, part.hash), text)
        described.append(fields)
    content = {"daskcache": storage.FORMAT, "function": function, "parts": described}
    _write_once(path, json.dumps(content, ensure_ascii=False))


def recall(root: Root, fingerprint: str) -> list[Part] | None:
    """The parts behind a fingerprint; None if they were not kept."""
    try:
        with open(_path(root, fingerprint), encoding="utf-8") as file:
            described = json.load(file)["parts"]
        return [_part(root, fields) for fields in described]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def check_code(root: Root, fingerprint: str) -> None:
    """Check that this process holds the code that the client saw, where it imports it by name.

    Raises
    ------
    CodeMismatch
        If a function or a constant in a module differs.
    """
    checked = _checked.get((root.path, fingerprint))
    if checked is not None and all(look_up(name) is found for look_up, name, found in checked):
        return
    steps = []
    for part in recall(root, fingerprint) or ():
        if not part.named:
            continue  # it travelled with the task
        try:
            way = _way_to(part)
        except ImportError:
            continue  # if it is needed at all, the task says so itself
        steps += way
        if not _agrees(part, way[-1].found):
            raise CodeMismatch(
                f"{part.label} of the module {part.module} is another version on this worker",
                expected=f"{part.place or part.text}, as the client has it",
                got=_place(way[-1].found),
                hint="give workers the client's modules (client.upload_file, or the same installation), "
                "and restart them: client.restart()",
            )
    _checked[root.path, fingerprint] = steps


class _Step(NamedTuple):
    """A name that was looked up, and what it gave."""

    look_up: Callable[[str], Any]
    name: str
    found: Any


#: What was looked up to compare the code behind a fingerprint, by root and fingerprint.
_checked: dict[tuple[str, str], list[_Step]] = {}


def _way_to(part) -> list[_Step]:
    """How the name of a part is looked up in this process; the last step finds None if there is none."""
    found: Any = importlib.import_module(part.module)
    steps = [_Step(sys.modules.get, part.module, found)]
    for name in part.name.split("."):
        look_up = vars(found).get if hasattr(found, "__dict__") else {}.get
        found = look_up(name)
        steps.append(_Step(look_up, name, found))
    return steps


def _is_named(part):
    """Whether a part is what its module has by its name."""
    if part.module == "__main__" or part.module not in sys.modules or "<" in part.name:
        return False
    if part.kind not in ("function", "constant"):
        return False
    found = _way_to(part)[-1].found
    return found is not None and _agrees(part, found)


def _agrees(part, found):
    if part.kind == "constant":
        return type(found) not in _SIMPLE or hash_value(found) == part.hash
    hashes = [code_hash(func.__code__) for func in _functions_in(found)]
    return found is not None and (not hashes or part.hash in hashes)


def _functions_in(found):
    """The plain functions in what decorators and descriptors made of one, the outermost first."""
    functions = []
    while found is not None and len(functions) < _MAX_DECORATORS:
        if isinstance(found, types.FunctionType):
            functions.append(found)
        spec = getattr(type(found), "_spec", None) and found._spec
        inner = [getattr(found, name, None) for name in ("__wrapped__", "__func__", "fget", "func")]
        found = next(filter(callable, [spec and spec.func, *inner]), None)
    return functions


_MAX_DECORATORS = 20


_SIMPLE = (bool, int, float, complex, str, bytes, type(None))


def _place(found):
    functions = _functions_in(found)
    if not functions:
        return "nothing of that name" if found is None else repr(found)[:100]
    code = functions[-1].__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


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
    storage.put_first(part.path, path)
