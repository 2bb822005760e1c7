"""What a file may ask for when it is read: a header of a few bytes can declare a petabyte."""

from __future__ import annotations

import os
from typing import Any

from dask.utils import format_bytes

from .. import config
from ..errors import FormatLimit


def check_decoded(nbytes: int, what: str) -> None:
    """Raise before a value is decoded that would not fit in memory.

    Parameters
    ----------
    nbytes : int
        Size of the decoded value in bytes, as its file declares it.
    what : str
        Name of the file or value, for the error.

    Raises
    ------
    FormatLimit
        If it is more than config ``daskcache.max-decoded`` (by default, than this machine's memory).
    """
    allowed = config.get_bytes("max-decoded") if config.get("max-decoded") else _physical_memory()
    if allowed is not None and nbytes > allowed:
        raise FormatLimit(
            f"{what} is too large to be read as a whole",
            expected=f"at most {format_bytes(allowed)}",
            got=f"{format_bytes(nbytes)} when decoded",
            hint="read it lazily (node.dc.open()), or set daskcache.max-decoded if it is meant to be so",
        )


def carried_by_dtype(dtype: Any) -> str | None:
    """Name what a NumPy dtype has that no format of arrays keeps; None if nothing."""
    if dtype.metadata:
        return f"metadata, {dict(dtype.metadata)}"
    if dtype.isalignedstruct:
        return "an aligned layout"
    inner = [dtype.base] if dtype.subdtype else [dtype[i] for i in range(len(dtype.names or ()))]
    return next(filter(None, map(carried_by_dtype, inner)), None)


def _physical_memory():
    """Bytes of memory of this machine; None where the system doesn't say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
