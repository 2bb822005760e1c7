"""Listings of a root's recorded targets, made from the records without any node.

The commands in `cli` use them; `gc`, `repair` and `transfer` start from `listed`, and `lineage` says
which targets were made from which.  `verify` is the thorough counterpart: a listing compares sizes and
times, not bytes.
"""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from pathlib import Path

from .. import config
from ..calls.describe import with_places
from ..errors import DaskcacheError, StorageError, TargetMissing
from ..hashing.encoder import tag
from ..planning.reasons import code_differences
from ..planning.states import CORRUPT, MISSING, MODIFIED
from ..printable import printable
from ..runtime.named import Unknown, function_named
from ..storage import files as storage
from ..storage.paths import check_path
from ..storage.record import Record, RecordName, target_id
from ..storage.records import RecordStore
from ..storage.roots import METADATA, Root, local_root
from ..targets.registry import is_of_folder
from .outlines import AS_RECORDED, Outlined, read_or_warn
from .rebuild import source_changes


class Listed(Outlined):
    """One recorded target, with the content of its records.

    Parameters
    ----------
    store : RecordStore
    path : str
        Path from the root.
    found : dict
        The target's records by their names.
    """

    def __init__(self, store: RecordStore, path: str, found: dict[RecordName, Record]):
        super().__init__(store, path, found)
        self.records = found

    @property
    def record(self) -> Record:
        """The content of the record."""
        return self.records[self.name]


def find_root(given: str | None, named: Iterable[str] = ()) -> Root:
    """Find the root for a command: the given folder, or else the first root among the usual places.

    The folders above files that the user named come first.  Then come the current folder, the folders
    above it and the configured root.  The last places are the folders inside the current one, and
    folders named ``working`` here and above.

    Parameters
    ----------
    given : str or None
        The folder that the user named.
    named : iterable of str
        Targets that the user named, from here or from the root.

    Returns
    -------
    Root

    Raises
    ------
    StorageError
        If no root is found.
    UnsafePath
        If a folder of the root's metadata is a link.
    """
    candidates = [given] if given else _candidates(filter(os.path.lexists, named))
    for candidate in candidates:
        root = Root(local_root(candidate))
        if root.id() is not None:
            root.check_links()
            return root
    raise StorageError(
        "no root of daskcache found",
        expected=f"a folder with {METADATA}/ in it",
        got=", ".join(candidates),
        hint="run the command in or below the folder, or name it with --root",
    )


def find_or_make_root(given: str | None, named: Iterable[str] = ()) -> Root:
    """Find the root for a command as `find_root` does, or make the given or configured folder a root.

    Parameters
    ----------
    given, named
        See `find_root`.

    Returns
    -------
    Root

    Raises
    ------
    StorageError
        If the folder does not exist or can't be written to.
    """
    try:
        return find_root(given, named)
    except StorageError:
        root = Root(local_root(given or config.get("root")))
        if not os.path.isdir(root.path):
            raise
        root.create()
        return root


def listed(root: Root, paths: Collection[str] | None = None) -> Iterator[Listed]:
    """Yield every target of a root that has a record, or those at some paths, by path."""
    store = RecordStore(root)
    found: dict[str, dict[RecordName, Record]] = {}
    wanted = None if paths is None else set(map(target_id, paths))
    for name in store.all():
        if wanted is not None and name.target_id not in wanted:
            continue
        record = read_or_warn(store, name)
        if record is not None:
            found.setdefault(record.target, {})[name] = record
    yield from (Listed(store, path, found[path]) for path in sorted(found))


def find(root: Root, given: str) -> Listed | None:
    """Return the recorded target at a path from the root or the current folder, or None."""
    here = storage.relative(given, root.path)
    store = RecordStore(root)
    candidates: list[Listed] = []
    for path in (given, here):
        told = {name: read_or_warn(store, name) for name in store.with_target(target_id(path))}
        found = {name: record for name, record in told.items() if record and record.target == path}
        if found:
            candidates.append(Listed(store, path, found))
    return next((c for c in candidates if c.state in AS_RECORDED), next(iter(candidates), None))


def matching(root: Root, given: str) -> Callable[[str], bool]:
    """Return a test whether a target's path is meant by a path, a folder or a shell pattern.

    Parameters
    ----------
    root : Root
    given : str
        Path or pattern from the root or from the current folder.  A folder stands for all in it.
    """
    meant = {posixpath.normpath(given), storage.relative(given, root.path)}
    if "." in meant:
        return lambda path: True
    folders = tuple(f"{each}/" for each in meant)
    pattern = re.compile("|".join(map(fnmatch.translate, meant))).match

    def matches(path):
        return path in meant or path.startswith(folders) or pattern(path) is not None

    return matches


def meant(root: Root, given: str, known: Collection[str]) -> list[str]:
    """Return the recorded targets that a path, a folder or a shell pattern means; see `matching`.

    Raises
    ------
    TargetMissing
        If it means none.
    """
    exact = [path for path in (given, storage.relative(given, root.path)) if path in known][:1]
    found = exact or list(filter(matching(root, given), known))
    if not found:
        raise TargetMissing(
            "there is no record of this target",
            target=given,
            expected=f"a path, folder or pattern of results in {root.path}",
            hint="'dask cache ls' lists them",
        )
    return found


def paths_below(root: Root, given: str, known: Container[str]) -> list[str]:
    """List the files or targets to adopt at a path.

    A file, a recorded target or a folder that is one target by its name stands for itself.  Any other
    folder stands for all files below it.

    Parameters
    ----------
    root : Root
    given : str
        Path from the root or from the current folder.
    known : container of str
        Targets that have a record, by their paths from the root.

    Returns
    -------
    list of str
        Paths from the root.

    Raises
    ------
    TargetMissing
        If nothing is at the path.
    UnsafePath
        If the path is outside of the root.
    """
    here = storage.relative(given, root.path)
    is_inside = not os.path.isabs(given) and ".." not in Path(given).parts
    path = given if is_inside and storage.exists(root.absolute(given)) else here
    if path != ".":
        check_path(path, given)
    if not storage.place_of(path).has_files and storage.exists(root.absolute(path)):
        return [path]
    top = Path(root.absolute(path))
    if not top.exists():
        raise TargetMissing("there is no such file", target=str(top), expected="a file to adopt")
    if top.is_file() or path in known or is_of_folder(path):
        return [path]
    files = [p.relative_to(root.path) for p in top.rglob("*") if p.is_file()]
    return sorted(p.as_posix() for p in files if p.parts[0] != METADATA)


def story(root: Root, item: Listed) -> list[str]:
    """Describe, line by line, how a target was made and whether it is still up to date."""
    record = item.record
    lines = [
        f"{item.path}: {item.state}",
        f"  made by    {record.function}()",
        f"  created    {record.created} on {record.host}, in {record.seconds:.3g} s",
        f"  key        {record.key}",
        f"  data hash  {record.data_hash}",
    ]
    for name, (brief, *_) in record.arguments.items():
        lines.append(f"  argument   {name} = {resolved(brief, record)}")
    for described in record.upstream:
        lines.append(f"  input      {_input_story(root, described)}")
    if item.state in WHY:
        lines.append(f"  why        {WHY[item.state]}")
    if record.edited is not None:
        origin = f"({record.taken_from}) " if record.taken_from else ""
        lines.append(f"  adopted    {origin}{signature(record.edited)}")
    if record.kept is not None:
        lines.append(f"  kept       for this recipe {signature(record.kept)}")
    return [*map(printable, lines), *_code_story(root, record)]


#: Reasons for the states of targets that are not as recorded.
WHY = {
    MISSING: "the target was deleted; it is made again when it is needed",
    MODIFIED: "the file was edited after it was stored",
    CORRUPT: "the file is damaged; it is made again when it is needed",
}


def signature(told: dict[str, str | None]) -> str:
    """Format the name of the user who decided something about a target, and the time."""
    by = told.get("by") or "on_modified"
    return f"by {by}, {told['when']}" if told.get("when") else f"by {by}"


def _code_story(root, record):
    """Describe how the code that made a target differs from the module's current code."""
    try:
        spec = function_named(record.function)
        now = spec.code()
    except (Unknown, DaskcacheError) as error:
        reason = getattr(error, "message", error)
        return [f"  code       not known whether it changed: {reason}"]
    if now.fingerprint == record.code:
        return []
    changes = code_differences(root, record.code, now.parts, spec)
    return [f"  why        {change}".replace("\n", "\n" + " " * 13) for change in changes]


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


def resolved(brief: str, record: Record) -> str:
    """Format an argument, with paths in place of the references to upstream results."""
    return with_places(
        brief, [str(d.get("target") or d.get("source") or "a Dask value") for d in record.upstream]
    )


def _candidates(named):
    here = Path.cwd()
    around = [str(folder) for path in named for folder in (here / path, *(here / path).parents)]
    upward = [str(folder) for folder in (here, *here.parents)]
    below = sorted(str(folder.parent) for folder in here.glob(f"*/{METADATA}"))
    usual = [*upward, config.get("root"), *below, *(f"{folder}/working" for folder in upward)]
    return [*filter(os.path.isdir, around), *usual]
