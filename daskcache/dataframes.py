"""Data frames of what daskcache tells: paths, labels, reasons and numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .errors import require


def frame_of(rows: Any, columns: Iterable[str] | None = None) -> Any:
    """Return a `pandas.DataFrame` of rows, or of columns by name.

    File systems allow names that are not UTF-8, which the dtype of texts in pandas 3 refuses.  With such
    a name, texts have the dtype object.

    Raises
    ------
    MissingExtra
        If pandas is not installed.

    Examples
    --------
    >>> frame_of([("a.tif", 2)], columns=["target", "bytes"])
      target  bytes
    0  a.tif      2
    """
    pandas = require("pandas", "table")
    try:
        return pandas.DataFrame(rows, columns=columns)
    except UnicodeEncodeError:
        with pandas.option_context("future.infer_string", False):
            return pandas.DataFrame(rows, columns=columns)
