"""The corpus of the field: kinds of files that users have, made by a few lines, and what must arrive.

A `Kind` names one feature of a format, or a public report, and has at least three inputs.  Where another
library than daskcache's own reads the kind, it must find the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd


def as_it_was(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes
    ----------
    name : str
        Starts with the format.
    suffix : str
    values : sequence
        At least three inputs.
    write : callable
        Takes an input and the path, and makes the file or folder.
    source : callable
        Takes the path, and returns the source.
    expected : callable
        Takes an input, and returns the value that must arrive.
    others : sequence of callable
        Other libraries: each takes the path, and returns the value.
    refused : str
        Words of the error, if nothing can arrive.
    """

    name: str
    suffix: str
    values: Sequence
    write: Callable[[Any, str], Any]
    source: Callable[[str], Any]
    expected: Callable[[Any], Any] = as_it_was
    others: Sequence[Callable[[str], Any]] = ()
    refused: str = ""

    def __post_init__(self):
        assert len(self.values) >= 3, self.name


def check_same(got: Any, expected: Any) -> None:
    """Fail unless two values are equal, with their dtypes but for the byte order."""
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(got, expected)
    elif isinstance(expected, np.ndarray | np.generic):
        got = np.asarray(got)
        assert got.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(got, expected)
    elif isinstance(expected, dict):
        assert list(got) == list(expected)
        for name, value in expected.items():
            check_same(got[name], value)
    else:
        assert got == expected
