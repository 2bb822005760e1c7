"""Plain text."""

from __future__ import annotations

from .base import BytesTarget, Source


class TextTarget(BytesTarget):
    """A text in UTF-8.  Newlines stay as they are, and no byte-order mark is added.

    Suffixes other than ``.txt`` find it by ``delayed(store=TextTarget)`` (HTML, Markdown, SVG …).

    Parameters
    ----------
    path : str
        Path template; ``.txt``.

    Raises
    ------
    FormatLimit
        When saving anything but a `str`, or one with lone surrogates.
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
    """An existing text file; arrives as a `str`, with the newlines that it has.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    encoding : str
        How its characters are encoded; part of the source's identity.
    """

    format = TextTarget

    def __init__(self, path, encoding="utf-8"):
        super().__init__(path)
        self.encoding = encoding

    def decode(self, data):
        return data.decode(self.encoding)

    def __daskcache_options__(self):
        return {"encoding": self.encoding} if self.encoding != "utf-8" else {}
