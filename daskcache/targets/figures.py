"""Figures of Matplotlib as targets.

`png` has the format of ``.png`` files, which hold a figure or an array.  Matplotlib is never imported
here: a program that has a figure has imported it.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from ..errors import GraphError
from ..hashing.encoder import digest
from ..storage.files import Part
from .files import FileTarget, data_hash, written

#: Metadata by suffix: without times and versions, equal figures give equal bytes.
_METADATA: dict[str, dict[str, str | None]] = {
    ".png": {"Software": "Matplotlib"},
    ".svg": {"Creator": None, "Date": None},
    ".pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


class FigureTarget(FileTarget):
    """A Matplotlib figure as an image (PNG), or as a drawing (SVG, PDF).  Its value is its path.

    A figure can't be read back from these files.  So the value of the node is the target's absolute
    path, in the first run and in later ones, as with `FileTarget`.

    Figures that `matplotlib.pyplot` keeps are closed once they are saved, or a worker would keep them
    all.  They can still be used, but pyplot does not show them any more.  A figure in a window, or in an
    interactive widget, stays open.

    Parameters
    ----------
    path : str
        Path template ending in ``.png``, ``.svg`` or ``.pdf``.
    dpi : float, optional
        Dots per inch, as in `matplotlib.figure.Figure.savefig`.
    bbox_inches : str, optional
        ``"tight"`` to cut the margins, as in `savefig`.

    Raises
    ------
    GraphError
        If the path has another suffix.
    FormatLimit
        When saving anything but a figure, or the path of a file with this suffix, which is copied.

    Notes
    -----
    Equal figures give equal bytes with the same versions of Matplotlib and its fonts.  The files have no
    date, and the ids in SVG are made with a fixed ``svg.hashsalt`` unless one is set.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> @dc.delayed(target=dc.FigureTarget("plots/{name}.svg", bbox_inches="tight"))
    ... def plot(name, values):
    ...     figure = Figure()
    ...     figure.subplots().plot(values)
    ...     return figure
    >>> plot("growth", [1, 2, 4]).compute().name
    'growth.svg'
    """

    known_exts = tuple(_METADATA)

    def __init__(
        self,
        path: str | os.PathLike[str],
        dpi: float | None = None,
        bbox_inches: Literal["tight"] | None = None,
    ):
        super().__init__(path)
        if _suffix(self.path) not in self.known_exts:
            raise GraphError(
                f"{type(self).__name__} is not for {self.path!r}",
                expected=f"a path that ends in {' or '.join(self.known_exts)}",
                hint="for other files: save=False, and figure.savefig(target_path) in the function",
            )
        self.dpi = dpi
        self.bbox_inches = bbox_inches

    def counted_options(self) -> dict[str, Any]:
        return {name: given for name, given in self._given().items() if given is not None}

    def write(self, value: Any, path: str) -> Part | None:
        if not is_figure(value):
            self._check_not_part(value)
            return super().write(value, path)
        part = written(path, self._drawn(value))
        close(value)
        return part

    def hash(self, value: Any) -> str:
        if not is_figure(value):
            return super().hash(value)
        return data_hash(self.path.rpartition("/")[2], digest(self._drawn(value)))

    def _drawn(self, figure):
        return drawn(figure, _suffix(self.path), **self._given())

    def _given(self):
        return {"dpi": self.dpi, "bbox_inches": self.bbox_inches}

    def _check(self, value):
        if not hasattr(value, "__fspath__"):
            hint = "return a matplotlib Figure, or name the format: delayed(store=...)"
            raise self.limit(value, f"it is a {type(value).__name__}, not a figure", hint)
        super()._check(value)

    def _check_not_part(self, value):
        """Refuse a part of a figure, such as its axes, with the figure as the remedy."""
        if is_figure(getattr(value, "figure", None)):
            reason = f"it is a {type(value).__name__}, which is part of a figure"
            raise self.limit(value, reason, "return its attribute .figure")


def is_figure(value: Any) -> bool:
    """Return True for a figure of Matplotlib."""
    kind = getattr(sys.modules.get("matplotlib.figure"), "Figure", None)
    return kind is not None and isinstance(value, kind)


def drawn(figure: Any, suffix: str, **options: Any) -> bytes:
    """Return the content of a figure's file, with the same bytes each time.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    suffix : str
        ``".png"``, ``".svg"`` or ``".pdf"``.
    **options : object
        See `matplotlib.figure.Figure.savefig`.
    """
    file = io.BytesIO()
    with _steady_ids():
        figure.savefig(file, format=suffix[1:], metadata=_METADATA[suffix], **options)
    return file.getvalue()


def close(figure: Any) -> None:
    """Let `matplotlib.pyplot` forget a figure that no window or widget shows."""
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None and type(figure.canvas.manager) is pyplot.FigureManagerBase:
        pyplot.close(figure)


def close_all() -> None:
    """Let `matplotlib.pyplot` forget all figures of this process, which is about to end.

    A figure that pyplot knows is pickled with that fact.  The process that unpickles it would import
    pyplot, and perhaps open a window.
    """
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")


#: One figure is drawn at a time: Matplotlib's settings belong to the process.
_drawing = threading.Lock()


@contextmanager
def _steady_ids() -> Iterator[None]:
    """Let SVG derive its ids from the drawing alone; by default they are random."""
    settings = sys.modules["matplotlib"].rcParams
    with _drawing:
        before = settings["svg.hashsalt"]
        settings["svg.hashsalt"] = before or "daskcache"
        try:
            yield
        finally:
            settings["svg.hashsalt"] = before


def _suffix(path: str) -> str:
    """Return the last suffix of a path in lower case, with its dot."""
    return f".{path.rpartition('.')[2].lower()}"
