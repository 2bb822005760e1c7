"""Hashes of files with unrecorded content: edited, damaged, or written by other programs.

`examiner` uses them to tell an edit from damage, and to adopt a user's file.  `corrections` uses them to
check a file before it is adopted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import FormatLimit, MissingExtra, StorageError, UntrustedPickle
from ..storage import files as storage
from ..storage.files import Part
from ..storage.roots import Root
from ..storage.trust import check_runnable
from ..storage.verified_folders import kept_files
from ..targets.base import Target
from ..targets.forms import in_form


class Found(NamedTuple):
    """The hashes of a file or folder with unrecorded content."""

    data_hash: str
    file_hash: str
    #: The files of a folder, None for a file; see `daskcache.storage.files.manifest_of`.
    manifest: list[tuple[str, int, str]] | None


def look_into(
    target: Target, root: Root, stored: str | None = None, form: dict[str, Any] | None = None
) -> Found | None:
    """Read and hash a target with unrecorded content.

    Parameters
    ----------
    target : Target
        The target with its absolute path.
    root : Root
        The root in which it lies.
    stored : str, optional
        File hash of the result that was stored there.  A folder that differs from it only by missing or
        empty files counts as damaged.  Its format may still read it, because Zarr reads missing chunks
        as fill values.
    form : dict, optional
        The form in which the target will be read; see `daskcache.targets.forms`.

    Returns
    -------
    Found or None
        None if the target is damaged, can't be read in its format, or changes while it is read.

    Raises
    ------
    FormatLimit
        If the target can't be read in `form`.
    UntrustedPickle
        If it is a pickle that must not be read.
    StorageError
        If the operating system refuses to read it.
    MissingExtra
        If the package that reads its format is not installed.
    """
    try:
        found = storage.part_of(target.path)
        if stored is not None and _has_lost_files(found, root, stored):
            return None
        if target.runs_code:
            check_runnable(target.path, root.path)
        data_hash = _hash_in_form(target, form)
        unchanged = storage.file_hash(target.path) == found.file_hash
    except (UntrustedPickle, StorageError, MissingExtra):
        raise
    except FormatLimit:
        if form is not None:
            raise
        return None
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno is None:  # raised by a library for a file that is not in its format
            return None
        raise storage.storage_error(error, target.path) from error  # says nothing about the file
    except Exception:  # noqa: BLE001 (whatever a library raises on a file that is not in its format)
        return None
    return Found(data_hash, found.file_hash, found.manifest) if unchanged else None


def _hash_in_form(target, form):
    if form is None:
        return target.hash_file(target.path)
    return target.hash_read(in_form(target.read(target.path), form), target.path)


def _has_lost_files(found: Part, root: Root, stored: str) -> bool:
    known = kept_files(root.manifests, stored) if found.manifest is not None else None
    if known is None:
        return False
    # only files with content count: lost ones are missing, or were left empty
    there = {(name, size, digest) for name, size, digest in found.manifest or () if size}
    return there < {(name, size, digest) for name, (size, digest) in known.items() if size}
