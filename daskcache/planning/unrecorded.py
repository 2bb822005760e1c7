"""Files whose content no record knows: what is in them."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import FormatLimit, StorageError, UntrustedPickle
from ..storage import files as storage
from ..storage.files import Part
from ..storage.manifests import kept_files
from ..storage.roots import Root
from ..storage.trust import check_runnable
from ..targets.base import Target
from ..targets.forms import in_form


class Found(NamedTuple):
    """What is in a file that no record knows."""

    data_hash: str
    file_hash: str
    #: Of a folder, see `daskcache.storage.files.manifest_of`.
    manifest: list[tuple[str, int, str]] | None


def look_into(
    target: Target, root: Root, stored: str | None = None, form: dict[str, Any] | None = None
) -> Found | None:
    """What is in a target; None if it is damaged, can't be read in its format, or changes meanwhile.

    Parameters
    ----------
    target : Target
        With its absolute path.
    root : Root
    stored : str, optional
        Hash of the bytes that were stored there.  A folder which is just that, but for files that are
        missing or empty, is damaged, though its format may read it: Zarr fills in for such chunks.
    form : dict, optional
        The form in which it will be read; see `daskcache.targets.forms`.

    Raises
    ------
    FormatLimit
        If it can't be read in that form.
    UntrustedPickle, StorageError
        If it must not be read, or the system refuses.
    """
    try:
        found = storage.part_of(target.path)
        if stored is not None and _has_lost_files(found, root, stored):
            return None
        if target.runs_code:
            check_runnable(target.path, root.path)
        data_hash = _hash_in_form(target, form)
        unchanged = storage.file_hash(target.path) == found.file_hash
    except (UntrustedPickle, StorageError):
        raise
    except FormatLimit:
        if form is not None:
            raise
        return None
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno is None:  # a library's name for a file that is not in its format
            return None
        raise storage.storage_error(error, target.path) from error  # says nothing of the file
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
    there = {(name, size, digest) for name, size, digest in found.manifest or () if size}
    return there < {(name, size, digest) for name, (size, digest) in known.items() if size}
