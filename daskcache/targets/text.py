"""Plain text files, as target and as source.  `registry` chooses them for ``.txt``."""

from __future__ import annotations

from .base import BytesTarget
from .source import Source


class TextTarget(BytesTarget):
    """A text in UTF-8.  Newlines stay unchanged, and no byte-order mark is added.

    Other suffixes than ``.txt`` need ``delayed(store=TextTarget)`` (HTML, Markdown, SVG …).

    Parameters
    ----------
    path : str
        Path template ending in ``.txt``.

    Raises
    ------
    FormatLimit
        When saving anything but a `str`, or a `str` with lone surrogates.

    Examples
    --------
    >>> @dc.delayed(target="report.txt")
    ... def report(cells):
    ...     return f"{cells} cells"
    >>> node = report(3)
    >>> node.compute(), Path(node.dc.path).read_text()
    ('3 cells', '3 cells')
    """

    exact = True

    def encode(self, value):
        if type(value) is not str:
            raise self.limit(
                value,
                f"it is a {type(value).__name__}, not a text",
                "return str(...), or use a path that ends in .json or .pkl",
            )
        try:
            return [value.encode()]
        except UnicodeEncodeError as error:
            raise self.limit(
                value,
                f"the character {value[error.start]!r} at {error.start} has no form in UTF-8",
                "use a path that ends in .json or .pkl",
            ) from error

    def decode(self, data):
        return data.decode()


class TextSource(Source):
    """An existing text file.  A decorated function receives a `str` with unchanged newlines.

    Parameters
    ----------
    path : str or os.PathLike
        The file.  A relative path is taken from the current folder.
    encoding : str
        Encoding of the characters, as Python names it.  It is part of the source's identity.

    Raises
    ------
    SourceMissing
        When the source is used and the file does not exist.
    UnicodeDecodeError
        When the file is read and has another encoding.

    Examples
    --------
    >>> _ = Path("notes.txt").write_text("two cells")
    >>> dc.TextSource("notes.txt").get_data()
    'two cells'
    """

    format = TextTarget

    def __init__(self, path, encoding="utf-8"):
        super().__init__(path)
        self.encoding = encoding

    def decode(self, data):
        return data.decode(self.encoding)

    def __daskcache_options__(self):
        return {"encoding": self.encoding} if self.encoding != "utf-8" else {}
