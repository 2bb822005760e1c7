"""Base classes of targets and sources that hold data frames, of pandas or polars.

`csv_parquet` has the formats.  `daskcache.targets.carried` checks that a frame of pandas comes back
whole, and `polars_frames` that one of polars does.
"""

from __future__ import annotations

import os
from copy import copy
from typing import Any, Literal

from ...errors import GraphError, LazyModule
from ..base import CODEC_ERRORS, BytesTarget
from ..carried import TO_PICKLE, check_frame, difference, is_whole
from ..source import Source
from .polars_frames import POLARS, is_frame, is_polars, pl, polars_difference

pd = LazyModule("pandas", "table")


class FrameTarget(BytesTarget):
    """A format of data frames, which come back with all that they carry.

    Subclasses define the two ways to encode a frame.
    """

    #: Package of the frames; None if the file or its record says it.
    frame: str | None = None
    #: Name of the format, and the remedy for what it can't hold.
    _name: str
    _otherwise: str = TO_PICKLE

    def _pandas_content(self, value: Any) -> bytes:
        """Return a file's content for a frame of pandas, or refuse it."""
        raise NotImplementedError

    def _polars_content(self, value: Any) -> bytes:
        """Return a file's content for a frame of polars, or raise ValueError."""
        raise NotImplementedError

    def encode(self, value):
        if is_frame(value):
            try:
                return [self._polars_content(value)]
            except CODEC_ERRORS as error:
                raise self.limit(value, str(error), self._otherwise) from error
        if is_polars(value):
            hint = "return a polars.DataFrame: frame.collect(), series.to_frame() …"
            raise self.limit(value, f"it is a {type(value).__name__}, not a DataFrame", hint)
        check_frame(self, value)
        if self.frame == POLARS:
            raise self.limit(
                value,
                "it is a frame of pandas, and the annotation or the target says polars",
                "return polars.from_pandas(frame), or correct the annotation",
            )
        return [self._pandas_content(value)]

    def of_package(self, package: str) -> FrameTarget:
        """Return the target of a function whose annotation says a frame of this package."""
        if package != POLARS or self.frame is not None:
            return self
        twin = copy(self)
        twin.frame = package
        return twin

    def is_same(self, value, decoded):
        return is_frame(value) or is_whole(value, decoded)

    def difference(self, value, decoded):
        if not is_frame(value):
            return difference(value, decoded, self._name, self._remedy)
        reason = polars_difference(value, decoded, self._name)
        return reason, self._polars_remedy()

    def _remedy(self, name: Any, dtype: Any) -> str:
        return self._otherwise

    def _polars_remedy(self) -> str:
        return self._otherwise


class FrameSource(Source):
    """A file of a data frame, read by a function of pandas or polars with some options."""

    def __init__(
        self, path: str | os.PathLike[str], frame: Literal["polars"] | None = None, **read_options: Any
    ):
        super().__init__(path)
        self.frame = checked_frame(frame)
        self.read_options = read_options

    def reader(self, name):
        """Return the function of pandas or polars with this name."""
        return getattr(pd if self.frame is None else pl, name)

    def __daskcache_options__(self):
        return self.read_options | ({"frame": self.frame} if self.frame else {})


def checked_frame(frame: str | None) -> str | None:
    """Return the option `frame` of a target or source.

    Raises
    ------
    GraphError
        If it names another package than polars.
    """
    if frame not in (None, POLARS):
        raise GraphError(
            "frame= names no package of data frames that differs from the default",
            expected=f"{POLARS!r}, or None for pandas",
            got=repr(frame),
        )
    return frame
