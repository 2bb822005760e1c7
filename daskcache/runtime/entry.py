"""`Entry`, the handle of a stored result, which nodes pass on in place of their data.

`node` and `store` make them on workers, and `planning` makes entries on clients.  An entry verifies the
files that it reads.  `hot_cache` keeps values that this process wrote or verified.  `held` has the
handles of results that are not stored.
"""

from __future__ import annotations

import functools
import io
import os
import sys
from contextlib import suppress
from typing import Any, NamedTuple

from ..errors import DaskcacheError, TargetCorrupt, TargetError, TargetMissing, TargetModified
from ..hashing import algorithms
from ..hashing.encoder import tag
from ..printable import printable
from ..storage.files import Stamp, digest_of, file_hash, stamp, storage_error
from ..storage.paths import located
from ..storage.record import RecordName, target_id
from ..storage.records import RecordStore
from ..storage.roots import Root
from ..storage.trust import check_runnable
from ..storage.verified_folders import TargetFolder
from ..targets.base import UNKNOWN, BytesTarget, FolderFormat, Target
from ..targets.forms import IMAGE, in_form
from . import hot_cache
from .data_hashes import joint_hash
from .obstacles import check_intact, check_not_replaced, set_aside


class Stored(NamedTuple):
    """A single result in its target."""

    #: Format, with the path relative to the root.
    target: Target
    data_hash: str
    file_hash: str
    stamp: Stamp
    #: For an adopted file, the form of the result that it replaces, see `daskcache.targets.forms`.
    form: dict[str, Any] | None = None
    #: For a result that this verb made, its form, {} without one; None if only the record has it.
    own_form: dict[str, Any] | None = None
    #: For a result that this verb made, its heritage; None if only the file tells.
    heritage: Any = None

    @classmethod
    def recorded(
        cls, target: Target, path: str, name: RecordName, form: dict[str, Any] | None = None
    ) -> Stored:
        """Return the result that a record describes, in a target at a path from the root."""
        place = located(path, name.data_hash)
        there = target if place == target.path else target.at(place)
        return cls(there, name.data_hash, name.file_hash, name.stamp, form)

    @property
    def content(self) -> str:
        """Hash of the file's bytes and, where they don't tell the data (see `forms`), of the data."""
        return f"{self.file_hash} {self.data_hash}" if self.target.keeps_form else self.file_hash


class Entry:
    """Handle of a stored result, with its location and hashes.

    Attributes
    ----------
    key : str
        Hash of the recipe.
    root : str
        Absolute path of the root.
    stored : tuple of Stored
        One for each result of the function.
    layout : None, int or tuple of str
        None for a single result, the length of a tuple, or the names in a dict of results.
    inline : tuple of bytes, or None
        Contents of the files if they are small.
    label : str
        Display name of the node.
    corrections : str
        Hash of the corrections that the data depend on, see `data_hashes`; "" without any.
    read_only : bool
        True to leave a damaged file in place.  Otherwise it goes to the trash, so that the node reruns.
    algorithm : str
        Hash algorithm of the process that made the entry.
    unread : list of list
        Values that were read back as the file was written, for the first one in this process who asks.
    """

    # Not a dataclass: Dask and Prefect look into those, for collections and for results of other tasks.
    __slots__ = (
        *("key", "root", "stored", "layout", "inline", "label", "corrections", "read_only", "algorithm"),
        *("unread", "__weakref__"),
    )

    def __init__(self, key, root, stored, layout=None, inline=None, label="", corrections=""):
        self.key = key
        self.root = root
        self.stored = stored
        self.layout = layout
        self.inline = inline
        self.label = label
        self.corrections = corrections
        self.read_only = False
        self.unread = []
        self.algorithm = algorithms.configured()

    @property
    def data_hash(self) -> str:
        """Hash of the value, which enters the traces of the nodes downstream."""
        return joint_hash([result.data_hash for result in self.stored])

    @property
    def place(self) -> str:
        """Path of the (first) target, from the root."""
        return self.stored[0].target.path

    def load(self) -> Any:
        """Read the value.

        Raises
        ------
        TargetMissing, TargetModified, TargetCorrupt
            If the file is gone, or does not hold the bytes that were recorded.
        """
        return self._load(shared=False)

    get_data = load

    def lend(self) -> Any:
        """Read the value for a function, sharing the arrays that this process keeps.

        Shared arrays are read-only.

        Raises
        ------
        TargetMissing, TargetModified, TargetCorrupt
            As `load` does.
        """
        return self._load(shared=hot_cache.shares())

    def open(self) -> Any:
        """Open the value lazily, for example as a memory map, a Zarr array or a Dask collection.

        The value is read if its format has no lazy access, or if it is an adopted file with a form.

        Raises
        ------
        TargetMissing, TargetModified, TargetCorrupt
            As `load` does.
        """
        values = [
            self._from_file(result, self._open_verified if result.form is None else self._read_in_form)
            for result in self.stored
        ]
        return arrange(values, self.layout)

    def singles(self) -> list[Entry]:
        """Return an entry for each result."""
        contents = self.inline or (None,) * len(self.stored)
        return [
            Entry(
                self.key,
                self.root,
                (result,),
                None,
                content and (content,),
                self.label,
                self.corrections,
            )
            for result, content in zip(self.stored, contents, strict=True)
        ]

    def heritage(self) -> list[Any]:
        """Return the facts that targets may take over; see `daskcache.targets.base.Target.heritage`.

        The list has an item for each result that has any.

        Raises
        ------
        TargetMissing, TargetModified, TargetCorrupt
            As `load` does.
        """
        found = []
        for position, result in enumerate(self.stored):
            if result.heritage is not None:
                found.append(result.heritage)
            elif result.target.keeps_metadata_beside:
                found.append(self._metadata_beside(result))
            elif not _has_heritage(type(result.target)):
                continue
            elif self.inline is not None:
                found.append(result.target.heritage(io.BytesIO(self.inline[position])))
            else:
                found.append(self._from_file(result, self._heritage_verified))
        return [each for each in found if each is not None]

    @property
    def may_have_heritage(self) -> bool:
        """True if `heritage` may return any facts."""
        targets = [result.target for result in self.stored]
        return any(each.keeps_metadata_beside or _has_heritage(type(each)) for each in targets)

    def _load(self, shared):
        if self.unread:
            with suppress(IndexError):  # another thread was faster
                values = self.unread.pop()
                return arrange([hot_cache.likewise(v) if shared else v for v in values], self.layout)
        values = [self._value(position, shared) for position in range(len(self.stored))]
        return arrange(values, self.layout)

    def _value(self, position, shared):
        result = self.stored[position]
        if self.inline is not None:
            kept = hot_cache.find(result.target, result.content, shared) if hot_cache.cache else UNKNOWN
            if kept is not UNKNOWN:
                return kept
            path = f"{self.root}/{result.target.path}"
            value = self._as_stored(result.target.decode(self.inline[position]), path, result)
        elif result.form is not None:
            value = self._from_file(result, self._read_in_form)
        else:
            return self._from_file(result, functools.partial(self._keep_or_find, shared))
        return hot_cache.likewise(value) if shared else value

    def _keep_or_find(self, shared, path, result):
        """Return the value from the hot cache, or read it from the file and keep it.

        A kept value counts only while the file looks as it was stored.
        """
        place = result.target, result.content
        if hot_cache.cache and stamp(path) == result.stamp:
            value = hot_cache.find(*place, shared)
            if value is not UNKNOWN:
                return value
        value = self._read_verified(path, result)
        if hot_cache.shares() and hot_cache.keep(*place, value, is_alone=True, owner=self):
            return hot_cache.handed_out(value, shared)
        return hot_cache.likewise(value) if shared else value

    def _from_file(self, result, access):
        algorithms.use(self.algorithm)
        path = f"{self.root}/{result.target.path}"
        try:
            if result.target.runs_code:
                check_runnable(path, self.root)
            return access(path, result)
        except FileNotFoundError:
            raise TargetMissing(
                "a result that was to be loaded is no longer there",
                node=self.label,
                target=path,
                expected=tag(result.file_hash),
                got="no file",
                hint="compute again: the node will rerun",
            ) from None
        except DaskcacheError:
            raise
        except OSError as error:
            raise storage_error(error, path) from error
        except Exception as error:  # each format raises other errors for bytes that it can't read
            raise TargetError(
                f"a result can't be read as what it is recorded to be: {type(error).__name__}: {error}",
                node=self.label,
                target=path,
                expected=f"what {type(result.target).__name__} reads",
                hint=f"'dask cache rm {path}' and compute again",
            ) from error

    def _read_in_form(self, path, result):
        return in_form(self._read_verified(path, result), result.form, path)

    def _read_verified(self, path, result):
        if isinstance(result.target, FolderFormat):
            return self._from_folder(path, result, result.target.read_folder)
        value = result.target.read_verified(path, functools.partial(check_intact, self, path, result))
        return self._as_stored(value, path, result)

    def _as_stored(self, value, path, result):
        """Return a value that was read, in its recorded form if the file does not tell all dtypes.

        Raise `TargetModified` if it is not what was stored.
        """
        target = result.target
        if not (target.options_matter or target.keeps_form) or target.hash(value) == result.data_hash:
            return value
        if target.keeps_form:
            record = self._record(result)
            value = target.restored(value, record and record.form)
            if target.hash(value) == result.data_hash:
                return value
        raise TargetModified(
            "a result is read as other data than was stored: its target has other options now, its "
            "record is damaged, or pandas has other defaults",
            node=self.label,
            target=path,
            expected=tag(result.data_hash),
            hint="give the target the options that it had, or compute the node with force",
        )

    def _record(self, result):
        """Return a record of a result that can be read, or None."""
        store = RecordStore(Root(self.root))
        same = (result.data_hash, result.file_hash)
        # The second look lists the whole root, so it waits until the first has found nothing.
        for look_up, name_of in (
            (store.with_key, self.key),
            (store.with_target, target_id(result.target.path)),
        ):
            for name in look_up(name_of):
                record = store.read(name) if (name.data_hash, name.file_hash) == same else None
                if record is not None:
                    return record
        return None

    def _metadata_beside(self, result):
        """Return the metadata beside a result, with its shape, or None if it has none."""
        form = result.form or result.own_form
        if form is None:
            record = self._record(result)
            if record is None:
                raise TargetError(
                    "the record of a result, which has the metadata of an image, can't be read",
                    node=self.label,
                    target=f"{self.root}/{result.target.path}",
                    hint="compute the node with force",
                )
            form = record.form
        if not form or IMAGE not in form:
            return None
        from ..targets.beside import recorded_metadata  # only images need these modules

        is_adopted = result.form is not None  # then its shape may differ from that of the form
        shape = self._from_file(result, self._read_in_form).shape if is_adopted else form["shape"]
        return recorded_metadata(form[IMAGE], shape)

    def _heritage_verified(self, path, result):
        if isinstance(result.target, FolderFormat):
            return self._from_folder(path, result, result.target.heritage_folder)
        try:
            return result.target.heritage(path)
        finally:  # even if reading failed: for a damaged file, `TargetCorrupt` is the better error
            check_intact(self, path, result, file_hash(path))

    def _open_verified(self, path, result):
        if isinstance(result.target, FolderFormat):
            return self._from_folder(path, result, result.target.open_folder)
        if not isinstance(result.target, BytesTarget):
            if result.target.options_matter:
                return self._read_verified(path, result)
            check_intact(self, path, result, file_hash(path))
            return result.target.open(path)
        with open(path, "rb") as file:
            check_intact(self, path, result, digest_of(file))
            opened = result.target.open(path)
            if not os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                check_intact(self, path, result, "another file")  # it was replaced since it was hashed
        return opened

    def _from_folder(self, path, result, access):
        folder = TargetFolder(path, result.file_hash, Root(self.root).manifests, self.label)
        check_not_replaced(self, path, result)
        try:
            folder.check_names()
            return access(folder)
        except TargetCorrupt as error:
            set_aside(self, error)
            raise

    def __reduce__(self):
        where = (self.key, self.root, self.stored, self.layout, self.inline)
        return _entry, (self.algorithm, *where, self.label, self.corrections)

    def __daskcache_encode__(self, encoder):
        encoder.add_stand_in(self.data_hash)

    def __sizeof__(self):
        return 300 * len(self.stored) + sum(map(sys.getsizeof, self.inline or ()))

    def __repr__(self):
        paths = ", ".join(result.target.path for result in self.stored)
        return printable(f"<Entry {self.label}: {paths}>")

    def _repr_html_(self):
        from .. import pages
        from ..targets.thumbnail import looks_at  # imports all formats

        results = [(each.target, f"{self.root}/{each.target.path}") for each in self.stored]
        links = [
            target.path if target.in_database else pages.Link.to(place) for target, place in results
        ]
        facts = [*(("target", link) for link in links), ("key", self.key), ("data hash", self.data_hash)]
        looks = looks_at(results)
        return pages.render("result", title=self.label, state="", reasons=(), facts=facts, looks=looks)


def _entry(algorithm, *fields):
    entry = Entry(*fields)
    entry.algorithm = algorithm
    return entry


def arrange(values: list, layout) -> Any:
    """Arrange results as the function returned them: a single value, a tuple or a dict."""
    if layout is None:
        return values[0]
    if isinstance(layout, int):
        return tuple(values)
    return dict(zip(layout, values, strict=True))


def _has_heritage(target):
    """Return True if a target class defines a heritage for other results."""
    if issubclass(target, FolderFormat):
        return target.heritage_folder is not FolderFormat.heritage_folder
    return target.heritage is not Target.heritage
