"""CPR's hashes of data: 16 hex digits of xxh3_64.

The hash of an array covers dtype, shape and bytes.  The hash of a table covers the hashes that pandas
gives its rows.  CPR's files and JSON hold these hashes, so they must not change.  `formats` uses them.
"""

from __future__ import annotations

from typing import Any

import xxhash

from ...errors import require


def hash_array(array: Any) -> str:
    """Return the hash of a NumPy array, which doesn't depend on its layout in memory."""
    np = require("numpy", "numpy")
    state = xxhash.xxh3_64(f"{array.dtype},{array.shape},".encode("ascii"))
    state.update(np.ascontiguousarray(array).reshape(-1).view("u1").data if array.nbytes else b"")
    return state.hexdigest()


def hash_frame(frame: Any) -> str:
    """Return the hash of a pandas.DataFrame: values and index count, dtypes and names do not."""
    rows = require("pandas", "table").util.hash_pandas_object(frame)
    return xxhash.xxh3_64(rows.values.tobytes()).hexdigest()
