"""Files whose content no record knows: what is in them."""

from __future__ import annotations

from typing import NamedTuple

from . import storage
from .errors import DaskcacheError
from .targets.base import Target
from .trust import check_runnable


class Found(NamedTuple):
    """What is in a file that no record knows."""

    data_hash: str
    file_hash: str


def look_into(target: Target) -> Found | None:
    """What is in a target; None if it can't be read in its format, or changes meanwhile.

    Parameters
    ----------
    target : Target
        With its absolute path.

    Raises
    ------
    UntrustedPickle, StorageError
        If it must not be read, or the system refuses.
    """
    try:
        file_hash = storage.file_hash(target.path)
        if target.runs_code:
            check_runnable(target.path)
        data_hash = target.hash_file(target.path)
        unchanged = storage.file_hash(target.path) == file_hash
    except DaskcacheError:
        raise
    except Exception:  # noqa: BLE001 (whatever a library raises on a file that is not in its format)
        return None
    return Found(data_hash, file_hash) if unchanged else None
