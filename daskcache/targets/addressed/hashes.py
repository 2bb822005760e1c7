"""CPR's hashes of data: xxh3_64, 16 hex digits.

Of arrays over dtype, shape and bytes; of tables over the rows' hashes by pandas.  Files and JSON that
CPR wrote hold them, so they stay as they are.
"""

from __future__ import annotations

from typing import Any

import xxhash

from ...errors import require


def hash_array(array: Any) -> str:
    """Of a NumPy array, whatever its layout in memory."""
    np = require("numpy", "numpy")
    state = xxhash.xxh3_64(f"{array.dtype},{array.shape},".encode("ascii"))
    state.update(np.ascontiguousarray(array).reshape(-1).view("u1").data if array.nbytes else b"")
    return state.hexdigest()


def hash_frame(frame: Any) -> str:
    """Of a pandas.DataFrame: values and index; dtypes and names do not count."""
    rows = require("pandas", "table").util.hash_pandas_object(frame)
    return xxhash.xxh3_64(rows.values.tobytes()).hexdigest()
