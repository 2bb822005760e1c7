"""What the code behind a fingerprint was: kept once in each root, for people and for workers.

``<root>/.daskcache/code/<fingerprint>.json`` lists the parts; ``code/sources/<hash>.py`` holds the
source of each function once.  `daskcache.why` compares it with the code of today.  A worker compares it
with the modules that it imported: other versions of them would make a wrong result under a right key.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import os
import types
import uuid
from typing import Any

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
        fields = part._asdict()
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
    if checked is not None and all(_find(part) is found for part, found in checked):
        return
    checked = []
    for part in recall(root, fingerprint) or ():
        if part.module == "__main__" or "<" in part.name or part.kind not in ("function", "constant"):
            continue  # it travelled with the task
        try:
            found = _find(part)
        except ImportError:
            continue  # if it is needed at all, the task says so itself
        if not _agrees(part, found):
            raise CodeMismatch(
                f"{part.label} of the module {part.module} is another version on this worker",
                expected=f"{part.place or part.text}, as the client has it",
                got=_place(found),
                hint="give workers the client's modules (client.upload_file, or the same installation), "
                "and restart them: client.restart()",
            )
        checked.append((part, found))
    _checked[root.path, fingerprint] = checked


#: What was compared, by root and fingerprint.
_checked: dict[tuple[str, str], list[tuple[Part, Any]]] = {}


def _find(part):
    """What goes by the name of a part in this process; None if nothing does."""
    found: Any = importlib.import_module(part.module)
    for name in part.name.split("."):
        found = inspect.getattr_static(found, name, None)
    return found


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
    return f"{root.code}/sources/{hashed}.py"


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
