"""Results that are files or folders of any kind: their value is their path.

`calls.options` chooses `FileTarget` for a function that writes its own file under a suffix without a
format.  `figures` and `png` derive formats from it.  `source.FileSource` and `folders.FolderSource` are
the inputs of these kinds.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from ..hashing.encoder import hash_value
from ..storage import files
from ..storage.atomic import refused
from ..storage.files import Part
from ..storage.paths import DATA_HASH
from ..storage.verified_folders import VerifiedFolder
from .base import FolderFormat, Target

#: The remedy for functions that return something else.
WRITE_IT = (
    "let the function write to its parameter target_path, with save=False; or return the pathlib.Path "
    "of what is to be copied"
)


class _ValueIsPath:
    """Mixin of the targets below: name and content of what is at the path count as the data."""

    gives_path = True

    def hash(self, value: Any) -> str:
        self._check(value)  # type: ignore[attr-defined]
        return data_hash(value.name, files.file_hash(str(value)))

    def hash_file(self, path: str) -> str:
        with refused(path, FileNotFoundError):
            return super().hash_file(path)  # type: ignore[misc]

    def hash_result(self, value: Any, path: str) -> str:
        return self.hash_file(path)


class FileTarget(_ValueIsPath, Target):
    """A file of any kind.  Its value is its path.

    The node's function writes the file.  With ``save=False`` it takes a parameter ``target_path``, which
    receives a temporary path with the target's file name.  What the function leaves there becomes the
    target.  Without ``save=False``, a function may return the path of another file, which is copied.

    The value of the node is the target's absolute path, in the first run and in later ones.  A function
    downstream receives it once the file is verified.  The function must not change the file: that is an
    edit, which the next plan notices.

    File name and bytes count as the data, as with `FileSource`.  The folder does not.

    Parameters
    ----------
    path : str
        Path template.  With ``save=False``, a suffix that no format has chooses this class.

    Raises
    ------
    FormatLimit
        When saving anything but the path of an existing file with the target's suffix.  When a function
        leaves a folder or a link in place of the file.

    See Also
    --------
    FolderTarget : a folder of any kind.
    FigureTarget : a figure.

    Examples
    --------
    >>> @dc.delayed(target="movies/{name}.mp4", save=False)
    ... def movie(name, target_path):
    ...     Path(target_path).write_bytes(b"frames")
    >>> @dc.delayed(target="sizes/{movie.stem}.json")
    ... def size(movie):
    ...     return movie.stat().st_size
    >>> node = movie("day 1")
    >>> node.compute().name, size(node).compute()
    ('day 1.mp4', 6)
    """

    def write(self, value: Any, path: str) -> Part | None:
        self._check(value)
        if _suffix(value) != _suffix(path):
            raise self.limit(
                value,
                f"it is a file with the suffix {_suffix(value)!r}, not {_suffix(path)!r}",
                "give the target that suffix, or convert the file",
            )
        return _copied(value, path)

    def read(self, path: str) -> Any:
        os.stat(path)  # a file that is gone is an error, as in other formats
        return _absolute(path)

    def hash_part(self, part: Part) -> str:
        return data_hash(os.path.basename(part.path), part.file_hash)

    def _check(self, value):
        if not isinstance(value, Path):
            reason = f"it is a {type(value).__name__}, not the path of a file"
            raise self.limit(value, reason, WRITE_IT)
        if not value.is_file():
            raise self.limit(value, f"there is no file at {value}", WRITE_IT)


class FolderTarget(_ValueIsPath, FolderFormat):
    """A folder of files of any kind.  Its value is its path.

    The node's function makes the folder.  With ``save=False`` it takes a parameter ``target_path``,
    which receives a temporary path at which nothing exists.  Without ``save=False``, a function may
    return the path of another folder, which is copied.

    The value of the node is the target's absolute path.  A function downstream receives it once every
    file is verified.  A file that is missing, changed or added is noticed.  Empty folders don't count.

    The folder's name, and the names and bytes of its files, count as the data.

    Parameters
    ----------
    path : str
        Path template.  This class has no suffix of its own: name it, or ``store=FolderTarget``.

    Raises
    ------
    FormatLimit
        When saving anything but the path of an existing folder.  When a function leaves a file in place
        of the folder, or links to folders in it.

    See Also
    --------
    FileTarget : a single file.

    Examples
    --------
    >>> @dc.delayed(target=dc.FolderTarget("tiles/{name}"), save=False)
    ... def tiles(name, target_path):
    ...     Path(target_path).mkdir()
    ...     for i in range(2):
    ...         Path(target_path, f"{i}.txt").write_text(f"tile {i}")
    >>> folder = tiles("cells").compute()
    >>> folder.name, sorted(file.name for file in folder.iterdir())
    ('cells', ['0.txt', '1.txt'])
    """

    def write(self, value: Any, path: str) -> Part:
        self._check(value)
        return _copied(value, path)

    def read(self, path: str) -> Path:
        os.stat(path)
        return _absolute(path)

    def read_folder(self, folder: VerifiedFolder) -> Path:
        folder.check_content()
        return _absolute(folder.path)

    def open_folder(self, folder: VerifiedFolder) -> Path:
        return self.read_folder(folder)

    def hash_part(self, part: Part) -> str:
        self._check(Path(part.path))
        return data_hash(os.path.basename(part.path), part.file_hash)

    def _check(self, value):
        if not isinstance(value, Path):
            reason = f"it is a {type(value).__name__}, not the path of a folder"
            raise self.limit(value, reason, WRITE_IT)
        if not value.is_dir():
            raise self.limit(value, f"there is no folder at {value}", WRITE_IT)
        for folder, names, _ in os.walk(value):
            for name in names:
                if os.path.islink(f"{folder}/{name}"):
                    reason = f"{name!r} in it is a link to a folder, whose files are not verified"
                    raise self.limit(value, reason, "put the files themselves there")


def data_hash(name: str, content: str) -> str:
    """Return the data hash of a file or folder from its name and the hash of its content.

    A downstream function may take a label from the name, as from that of a `FileSource`.  So the results
    of two blank wells must not pass for each other.  A name with ``{data_hash}`` follows from the
    content, and does not count.
    """
    if DATA_HASH in name or content in name:
        return content
    return hash_value(("file", name, content))


def written(path: str, content: bytes) -> Part:
    """Write the content of a new file, and return it as a part."""
    _check_new(path)
    return files.write_part(path, [content])


def _copied(value, path):
    _check_new(path)
    return files.copied_part(str(value), path)


def _check_new(path):
    """Raise an error if something is there, which would be taken for a part that is cut short."""
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)


def _absolute(path):
    return Path(os.path.abspath(path))


def _suffix(path):
    return os.path.splitext(path)[1].lower()
