"""The targets of a root, as their records tell: without any node, for the command line."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .. import config
from ..errors import DaskcacheError, StorageError, TargetMissing
from ..hashing.changes import code_changes
from ..hashing.encoder import tag
from ..runtime.named import Unknown, function_named
from ..storage import code_store, records, roots
from ..storage import files as storage
from ..storage.paths import check_path
from ..storage.records import RecordName, RecordStore
from ..storage.roots import METADATA, Root
from ..storage.tables.databases import is_table
from ..targets.registry import is_of_folder
from .rebuild import source_changes

#: States of a target that is as its record says.
AS_RECORDED = ("complete", "adopted")
STATES = (*AS_RECORDED, "missing", "modified")
#: Said of code that the root did not keep.
_CHANGED = "the code changed"


class Listed(NamedTuple):
    """One recorded target."""

    #: Path from the root.
    path: str
    #: One of `STATES`.
    state: str
    name: RecordName
    #: Content of the record.
    record: dict[str, Any]

    @property
    def is_adopted(self) -> bool:
        """Whether a person made what it holds, or held."""
        return self.name.adopted or "edited" in self.record


def find_root(given: str | None) -> Root:
    """The root that a command is about: the given one, the nearest upward, or the configured one.

    Raises
    ------
    StorageError
        If there is none.
    UnsafePath
        If a folder of its metadata is a link.
    """
    candidates = [given] if given else _candidates()
    for candidate in candidates:
        root = Root(roots.local_root(candidate))
        if root.id() is not None:
            root.check_links()
            return root
    raise StorageError(
        "no root of daskcache found",
        expected=f"a folder with {METADATA}/ in it",
        got=", ".join(candidates),
        hint="run the command in or below the folder, or name it with --root",
    )


def find_or_make_root(given: str | None) -> Root:
    """`find_root`, or else make a root of the folder that is given, or configured.

    Raises
    ------
    StorageError
        If there is no such folder, or it can't be written to.
    """
    try:
        return find_root(given)
    except StorageError:
        root = Root(roots.local_root(given or config.get("root")))
        if not os.path.isdir(root.path):
            raise
        root.create()
        return root


def listed(root: Root) -> Iterator[Listed]:
    """Every target of a root that has a record, by path."""
    store = RecordStore(root)
    found: dict[str, Listed] = {}
    for name in store.all():
        record = store.read(name)
        if record is None:
            continue
        item = _listed(root, record["target"], name, record)
        known = found.get(item.path)
        if known is None or known.state not in AS_RECORDED:
            found[item.path] = item
    yield from (found[path] for path in sorted(found))


def find(root: Root, given: str) -> Listed | None:
    """The recorded target at a path, given from here or from the root."""
    here = os.path.relpath(os.path.abspath(given), root.path).replace(os.sep, "/")
    candidates: list[Listed] = []
    for path in (given, here):
        identifier = records.target_id(path)
        store = RecordStore(root)
        for name in store.with_target(identifier):
            record = store.read(name)
            if record is not None and record["target"] == path:
                candidates.append(_listed(root, path, name, record))
    return next((c for c in candidates if c.state in AS_RECORDED), next(iter(candidates), None))


def paths_below(root: Root, given: str, known: Container[str]) -> list[str]:
    """Paths from the root of a file, of a target that is a folder, or of all files below a folder.

    Parameters
    ----------
    root : Root
    given : str
        Path from the root, or from here.
    known : container of str
        Targets that have a record, by their paths from the root.

    Raises
    ------
    TargetMissing
        If nothing is there.
    UnsafePath
        If it is outside of the root.
    """
    here = os.path.relpath(os.path.abspath(given), root.path).replace(os.sep, "/")
    path = given if not os.path.isabs(given) and storage.exists(root.absolute(given)) else here
    if path != ".":
        check_path(path, given)
    if is_table(path) and storage.exists(root.absolute(path)):
        return [path]
    top = Path(root.absolute(path))
    if not top.exists():
        raise TargetMissing("there is no such file", target=str(top), expected="a file to adopt")
    if top.is_file() or path in known or is_of_folder(path):
        return [path]
    files = [p.relative_to(root.path) for p in top.rglob("*") if p.is_file()]
    return sorted(p.as_posix() for p in files if p.parts[0] != METADATA)


def made_from(root: Root, items: list[Listed]) -> list[Listed]:
    """What was made from some targets, from what was made from them, and so on."""
    users: dict[str, list[Listed]] = {}
    for item in listed(root):
        for described in item.record.get("upstream", []):
            users.setdefault(described.get("target", ""), []).append(item)
    found: dict[str, Listed] = {}
    given = {item.path for item in items}
    left = list(items)
    while left:
        for user in users.get(left.pop().path, []):
            if user.path not in found and user.path not in given:
                found[user.path] = user
                left.append(user)
    return list(found.values())


def story(root: Root, item: Listed) -> list[str]:
    """What made a target and whether that still holds, in lines."""
    record = item.record
    lines = [
        f"{item.path}: {item.state}",
        f"  made by    {record['function']}()",
        f"  created    {record['created']} on {record['host']}, in {record['seconds']:.3g} s",
        f"  key        {record['key']}",
        f"  data hash  {record['data_hash']}",
    ]
    for name, (brief, *_) in record.get("arguments", {}).items():
        lines.append(f"  argument   {name} = {_resolved(brief, record)}")
    for described in record.get("upstream", []):
        lines.append(f"  input      {_input_story(root, described)}")
    if item.state == "missing":
        lines.append("  why        the target was deleted; it is made again when it is needed")
    if item.state == "modified":
        lines.append("  why        the file was edited after it was stored")
    if "edited" in record:
        lines.append(f"  adopted    {_signature(record['edited'])}")
    if "kept" in record:
        lines.append(f"  kept       for this recipe {_signature(record['kept'])}")
    lines += _code_story(root, record)
    return [line.encode(errors="backslashreplace").decode() for line in lines]


def _signature(told):
    """Who decided something about a target, and when."""
    by = told.get("by") or "on_modified"
    return f"by {by}, {told['when']}" if told.get("when") else f"by {by}"


def _code_story(root, record):
    """Return lines on how the code that made a target differs from its module's code of now."""
    try:
        spec = function_named(record["function"])
        now = spec.code()
    except (Unknown, DaskcacheError) as error:
        reason = getattr(error, "message", error)
        return [f"  code       not known whether it changed: {reason}"]
    if now.fingerprint == record["code"]:
        return []
    before = code_store.recall(root, record["code"]) or []
    own = getattr(spec.func, "__qualname__", "")
    changes = code_changes(before, now.parts, own) if before else []
    return [f"  why        {change}".replace("\n", "\n" + " " * 13) for change in changes or [_CHANGED]]


def _input_story(root, described):
    if "source" in described:
        place = described.get("folder", described["source"])
        if not storage.exists(os.path.join(root.path, place)):
            return f"source {described['source']}, which is gone"
        changed = source_changes(root.path, described)
        return f"source {described['source']}{', whose content changed' if changed else ''}"
    if "target" not in described:
        return "a value of plain Dask"
    current = find(root, described["target"])
    if current is None:
        return f"{described['target']}, which has no record any more"
    if tag(current.name.data_hash) != described["data_hash"]:
        return f"{described['target']}, which holds other data now"
    return f"{described['target']} ({current.state})"


def _resolved(brief, record):
    """The text of an argument, with paths in place of references to what is upstream."""
    for position, described in enumerate(record.get("upstream", [])):
        place = described.get("target") or described.get("source") or "a Dask value"
        brief = brief.replace(f"<upstream {position}>", str(place))
    return brief


def _listed(root, path, name, record):
    stamp = storage.stamp(root.absolute(path))
    item = Listed(path, "missing" if stamp is None else "modified", name, record)
    if stamp != name.stamp:
        return item
    return item._replace(state="adopted" if item.is_adopted else "complete")


def _candidates():
    here = Path.cwd()
    upward = [str(folder) for folder in (here, *here.parents)]
    below = sorted(str(folder.parent) for folder in here.glob(f"*/{METADATA}"))
    return [*upward, config.get("root"), *below, *(f"{folder}/working" for folder in upward)]
