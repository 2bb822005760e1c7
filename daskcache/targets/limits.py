"""Limits that formats of arrays share: the size of a decoded value, and extras of a dtype.

The size is checked before decoding, as a header of a few bytes can declare a petabyte.  Used by
`arrays`, `images` and `zarr`.
"""

from __future__ import annotations

import os
from typing import Any

from dask.utils import format_bytes

from .. import config
from ..errors import FormatLimit


def check_decoded(nbytes: int, what: str) -> None:
    """Raise if a value would not fit in memory, before it is decoded.

    Parameters
    ----------
    nbytes : int
        Size of the decoded value in bytes, as its file declares it.
    what : str
        Name of the file or value, for the error.

    Raises
    ------
    FormatLimit
        If it exceeds config ``daskcache.max-decoded`` (by default, this machine's memory).
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
    """Name the extra of a NumPy dtype that no format of arrays keeps, or return None."""
    if dtype.metadata:
        return f"metadata, {dict(dtype.metadata)}"
    if dtype.isalignedstruct:
        return "an aligned layout"
    inner = [dtype.base] if dtype.subdtype else [dtype[i] for i in range(len(dtype.names or ()))]
    return next(filter(None, map(carried_by_dtype, inner)), None)


def _physical_memory():
    """Return the bytes of memory of this machine, or None if the system doesn't report them."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
