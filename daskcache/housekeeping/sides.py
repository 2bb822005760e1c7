"""The sides of a comparison: nodes' targets, recorded targets and other files, and their values.

`diff` finds them with `things` and compares the values that they hold.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .. import config
from ..calls.spec import Spec
from ..errors import DaskcacheError, NotANode, TargetCorrupt, TargetError, TargetMissing, UntrustedPickle
from ..graph.node import Node
from ..hashing.encoder import untagged
from ..planning.planner import Planner
from ..planning.states import ADOPTED, COMPLETE, PlannedNode
from ..runtime.named import Unknown, function_named, target_of
from ..storage import files
from ..storage.paths import located
from ..storage.record import Record, target_id
from ..storage.records import RecordStore
from ..storage.roots import Root, local_root
from ..storage.trust import check_runnable
from ..targets.base import Target
from ..targets.forms import as_recorded, in_form_if_it_fits
from ..targets.source import FileSource, Source
from .listing import Listed, find, signature


class Side(NamedTuple):
    """A value to compare."""

    name: str
    value: Any
    #: Hash of the data, if it is that of a target.
    data_hash: str | None = None
    notes: tuple[str, ...] = ()


class File(NamedTuple):
    """A file that is not a target of a known root."""

    path: str

    @property
    def shown(self) -> str:
        return self.path

    def side(self) -> Side:
        source = Source.from_path(self.path)
        value = source.get_data()
        return Side(self.path, _content(self.path) if type(source) is FileSource else value)


class Recorded(NamedTuple):
    """A target with a record."""

    root: Root
    item: Listed
    #: The function that makes it, and the node, if it was given by one.
    spec: Spec | None = None
    planned: PlannedNode | None = None

    @property
    def shown(self) -> str:
        return self.item.path

    @property
    def record(self) -> Record:
        return self.item.record

    @property
    def path(self) -> str:
        return self.root.absolute(self.item.path)

    def side(self) -> Side:
        value, data_hash = read_as(self, self.path)
        if self.record.edited is not None and self.item.state == ADOPTED:
            how = f", adopted {signature(self.record.edited)}"
        else:
            how = "" if self.item.state == COMPLETE else ", as it was edited"
        return Side(f"{self.item.path}{how}", value, data_hash)


def things(given: Any, root: str | None) -> list[Any]:
    """Return what a node or a path stands for: each a `File` or a `Recorded`, and there.

    Raises
    ------
    NotANode
        If it is neither a node nor a path.
    TargetMissing
        If there is no file, or none that can be read.
    """
    if isinstance(given, Node):
        return _results_of(given)
    if not isinstance(given, (str, os.PathLike)):
        raise NotANode(
            "this can't be compared",
            expected="a node of daskcache, or the path of a file",
            got=repr(given)[:100],
            hint="dc.diff(a) or dc.diff(a, b)",
        )
    path = os.fspath(given)
    for each in _roots(path, root):
        item = find(each, path)
        if item is not None:
            thing = Recorded(each, item, _function(item.record))
            _check_there(thing.path)
            return [thing]
    _check_there(os.path.abspath(path))
    return [File(os.path.abspath(path))]


def _check_there(path):
    if not files.exists(path):
        raise TargetMissing(
            "there is nothing to compare",
            target=path,
            expected="a file",
            hint="compute the node first; 'dask cache ls' lists targets",
        )


def _function(record):
    try:
        return function_named(record.function)
    except Unknown:
        return None


def _roots(path: str, root: str | None) -> Iterator[Root]:
    """Yield the roots in which a path may be that of a target."""
    around = [root] if root else [*map(str, Path(os.path.abspath(path)).parents), config.get("root")]
    for folder in around:
        found = Root(local_root(folder))
        if found.id() is not None:
            found.check_links()
            yield found


def _results_of(node) -> list[Recorded]:
    recipe = node._recipe
    planner = Planner()
    planned = planner.look_or_raise(recipe)
    root = Root(recipe.root)
    if not recipe.paths:
        raise TargetMissing(
            "the node has no target to compare", node=recipe.title, hint="decorate it with a target"
        )
    store, things = RecordStore(root), []
    names = planned.records or (None,) * len(recipe.paths)
    for path, known in zip(recipe.paths, names, strict=True):
        place = located(path, known.data_hash) if known is not None else path
        _check_there(root.absolute(place))
        read = {name: store.read(name) for name in store.with_target(target_id(path))}
        records = {name: record for name, record in read.items() if record and record.target == place}
        if not records:
            raise TargetMissing(
                "the file at the node's target has no record to read it by",
                node=recipe.title,
                target=root.absolute(place),
                expected="a target that daskcache stored, or that was adopted",
                hint="dc.adopt(node) takes it in; or name the file itself",
            )
        things.append(Recorded(root, Listed(store, place, records), recipe.spec, planned))
    return things


# ---- reading --------------------------------------------------------------------------------------


def read_as(thing: Recorded, path: str) -> tuple[Any, str]:
    """Return the value in a file of a target, in the target's form, and the hash of the data."""
    record = thing.record
    target = target_of(record, thing.spec)
    if target is None:
        raise TargetError(
            "the file can't be read: only its record names its format, and is not trusted to choose it",
            target=path,
            expected=record.format,
            hint="give the node, or name the module of its function with --module",
        )
    if target.runs_code:
        check_runnable(path, thing.root.path)
        _check_known(record, path)
    value = value_in(target, path, record.form)
    try:
        return value, as_recorded(target, record.form).hash_read(value, path)
    except (DaskcacheError, MemoryError):
        raise
    except Exception as error:
        raise _unreadable(target, path, error) from error


def _check_known(record, path):
    """Check that a file that runs code when it is read is one that was stored or adopted."""
    known = [record.file_hash, (record.edited or {}).get("file")]
    if files.file_hash(path) not in [untagged(each) for each in known if each]:
        raise UntrustedPickle(
            "a file that may run code when it is read was edited after it was stored",
            target=path,
            expected="the file as it was stored or adopted",
            hint="dc.adopt(node), if you trust it",
        )


def value_in(target: Target, path: str, form: dict[str, Any] | None) -> Any:
    try:
        value = in_form_if_it_fits(target.read(path), form)
        return _content(path) if isinstance(value, os.PathLike) else value
    except (DaskcacheError, MemoryError):
        raise
    except OSError as error:
        if error.errno is None:
            raise _unreadable(target, path, error) from error
        raise files.storage_error(error, path) from error
    except Exception as error:  # whatever a library raises on a file that is not in its format
        raise _unreadable(target, path, error) from error


def _unreadable(target, path, error):
    return TargetCorrupt(
        f"the file can't be read: {type(error).__name__}: {error}",
        target=path,
        expected=f"what {type(target).__name__} reads",
        hint="mend the file, or put a copy of it back",
    )


def _content(path):
    """Return the content of a file that no format reads: text if it is one, else bytes."""
    content = Path(path).read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content
