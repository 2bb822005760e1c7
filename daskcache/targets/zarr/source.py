"""Existing Zarr arrays and groups as inputs, with the metadata of OME-Zarr images.

`values` loads the arrays, and `ngff` understands the metadata.  `target` has arrays as results.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

from ...errors import FormatLimit, GraphError, UnsafePath
from ...hashing.encoder import hash_value
from ...storage.source_hashes import SourceFolder, folder_hashes
from ..images.metadata import Described, ImageMetadata, described, part_of
from ..source import Source
from ..unreadable import reading
from . import ngff
from .values import dimension_names, is_group, open_node, value_of


class ZarrSource(Source):
    """An existing Zarr array or group (v2 or v3), as an input.

    An array arrives as a NumPy array, a group as a dict of them by name.  A parameter annotated with
    ``zarr.Array``, ``zarr.Group`` or ``dask.array.Array`` gets it open and read-only.  Its data are then
    verified as they are read.  `get_data` returns the array in memory, too; if the source was made with
    CPR's fields, without slices, it is open.

    Its identity is the content of all files in its folder, of whatever kind.  For an array in an
    OME-Zarr image, the image's axes, pixel sizes and channels count too.  Images that are made from it
    take these over, as from an `ImageSource`.

    Parameters
    ----------
    path : str or os.PathLike
        The folder.  A relative path is taken from the current folder.
    group : str
        Path of the array or group within the folder; the rest of the folder doesn't count.
    slices_start, slices_stop : sequence of int or None, optional
        Index along each axis at which the wanted part of an array begins, and before which it ends.
        None stands for the beginning or end of the axis.
    mode : {"r"}
        Mode of opening it: always read-only.

    Raises
    ------
    SourceMissing
        When the source is used, if the array or group doesn't exist.
    GraphError
        If `mode` is not "r", or the slices don't fit together.  When the source is used, if slices are
        given for a group.
    SourceChanged
        When a file changed since the node was made.
    SourceUnreadable, StorageError
        When the source is used, if it can't be decoded, or the system refuses to read it.
    UnsafePath
        If `group` leads out of the folder.

    Examples
    --------
    >>> import zarr
    >>> array = zarr.create_array("stack.zarr", shape=(3, 4), chunks=(1, 4), dtype="int16")
    >>> array[:] = 7
    >>> dc.ZarrSource("stack.zarr", slices_start=(0, 0), slices_stop=(1, 4)).get_data()
    array([[7, 7, 7, 7]], dtype=int16)
    """

    address_fields = {"group": "0", "slices_start": (), "slices_stop": (), "mode": "r"}  # noqa: RUF012

    of_folder = True
    #: True if `get_data` gives the open array or group, as CPR does, unless slices are given.
    _lazy = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        group: str = "",
        slices_start: Sequence[int | None] = (),
        slices_stop: Sequence[int | None] = (),
        mode: Literal["r"] = "r",
    ):
        super().__init__(path)
        self.slices = _slices(slices_start or (), slices_stop or ())
        self.mode = mode
        if mode != "r":
            raise GraphError(
                f"a source is read, and mode={mode!r} would write to {self.path}",
                expected="mode='r'",
                hint="write with zarr.open_group(path, mode=...), or return the array to a ZarrTarget",
            )
        self.group = group.strip("/")
        if any(part in ("", ".", "..") for part in self.group.split("/")) and self.group:
            raise UnsafePath(
                f"the group {group!r} is not in the Zarr folder", expected="names with / between them"
            )

    @property
    def _folder(self):
        return f"{self.path}/{self.group}" if self.group else self.path

    def _read_now(self):
        opened = self.open()
        return opened if self._lazy else value_of(opened, self._folder)

    def open(self) -> Any:
        """Return the ``zarr.Array`` or ``zarr.Group``, read-only; with slices, the part in memory.

        Returns
        -------
        zarr.Array, zarr.Group or numpy.ndarray
            The array has the source's slices applied.
        """
        with reading(self):
            return self.open_verified(self.content_hash())

    @classmethod
    def at_address(cls, location, name, ext=None, **fields):
        source = super().at_address(location, name, ext, **fields)
        source._lazy = True
        return source

    def content_hash(self) -> str:
        """Return the joint hash of the files' names and content; only touched files are read again.

        For an array in an OME-Zarr image, the image's metadata count too.

        Returns
        -------
        str
            32 hex digits.
        """
        return self._joint_hash(hash_value(folder_hashes(self._folder)))

    def load_verified(self, expected: str) -> Any:
        return value_of(self.open_verified(expected), self._folder)

    def open_verified(self, expected: str) -> Any:
        opened = self._opened(expected)
        if not self.slices:
            return opened
        if is_group(opened):
            raise GraphError(
                f"{self._folder} is a group, which can't be cut", hint="name an array in it"
            )
        return opened[self.slices]

    def verify(self, expected: str) -> None:
        files = hash_value(folder_hashes(self._folder, fresh=True))
        self._compare(self._joint_hash(files), expected)

    def read_metadata(self) -> ImageMetadata:
        """Return the image's axes, pixel sizes and channel names.

        For an array outside of OME-Zarr images, only the names of its dimensions are known.

        Returns
        -------
        ImageMetadata
            The file's metadata; empty fields are unknown.

        Raises
        ------
        FormatLimit
            If it is a group without an image.
        """
        return read_metadata(self._folder, self.slices)

    def heritage(self) -> Described | None:
        return _described(open_node(self._folder), self._folder, self.slices)

    def heritage_verified(self, expected: str) -> Described | None:
        return _described(self._opened(expected), self._folder, self.slices)

    def _opened(self, expected):
        """Open the array or group, which must have the content hash `expected`.

        Each file is verified when it is read.  In an OME-Zarr image the hash covers the metadata too.
        Then it is compared here, and the joint hash of the files verifies the reads.
        """
        files = expected
        if ngff.of_level(self._folder) is not None:
            files = hash_value(folder_hashes(self._folder))
            self._compare(self._joint_hash(files), expected)
        return open_node(SourceFolder(self._folder, files))

    def _joint_hash(self, files):
        """Return the content hash: the joint hash of the files, combined with any image metadata."""
        metadata = ngff.of_level(self._folder)
        if metadata is None:
            return files
        return hash_value(("level of an image", files, metadata.counted))

    def identify(self, content_hash: str) -> str:
        return super().identify(content_hash) + (f":{self.group}" if self.group else "")

    def __daskcache_options__(self):
        options: dict[str, Any] = {"group": self.group} if self.group else {}
        if self.slices:
            options["slices_start"] = [cut.start for cut in self.slices]
            options["slices_stop"] = [cut.stop for cut in self.slices]
        return options

    def __repr__(self):
        options = [f", {name}={option!r}" for name, option in self.__daskcache_options__().items()]
        return f"ZarrSource({self.path!r}{''.join(options)})"


def _slices(starts, stops):
    bounds = [*starts, *stops]
    if len(starts) != len(stops) or not all(each is None or type(each) is int for each in bounds):
        raise GraphError(
            f"slices from {starts!r} to {stops!r} don't fit together",
            expected="a whole number, or None, for each axis",
        )
    return tuple(map(slice, starts, stops))


def read_metadata(folder: str, slices: tuple[slice, ...] = ()) -> ImageMetadata:
    """Return the metadata of an image in a Zarr folder, or of a part of it; only metadata are read.

    Raises
    ------
    SourceMissing
        If the folder holds neither an array nor a group.
    FormatLimit
        If it is a group without an image.
    """
    found = _described(open_node(folder), folder, slices)
    if found is None:
        raise FormatLimit(f"{folder} is not an image", hint="name an array in it with group=")
    return found.metadata


def _described(opened, folder, slices):
    """Return metadata and shape of an open array (or part of it) or image; None without an image."""
    if is_group(opened):
        return described_image(opened)
    metadata = ngff.of_level(folder) or ngff.of_names(dimension_names(opened))
    return part_of(described(metadata, opened.shape), slices)


def described_image(group: Any) -> Described | None:
    """Return the metadata and shape of the image that a group holds in several sizes.

    None if the group doesn't hold an image.
    """
    found = ngff.metadata_of(group.attrs.asdict(), group.store.folder.path)
    if found is None or found[0] not in group:
        return None
    return described(found[1], group[found[0]].shape)
