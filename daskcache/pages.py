"""HTML for notebooks, made from the templates in ``templates``.

`planning.display` and other modules hand over rows and texts, and the templates put elements around
them.  Notebooks that are not trusted strip scripts, ``<style>`` and ``<svg>``, so styles are inline, and
pictures are the data of ``<img>``.  Texts and tables have the colours of the page, dark or light.
"""

from __future__ import annotations

import base64
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .printable import printable, printable_lines

if TYPE_CHECKING:
    import jinja2

_GREEN, _GREY, _ORANGE, _YELLOW, _RED, _BLUE, _PURPLE = (
    *("#1b7837", "#5c6566", "#b34700", "#7a5c00", "#b0124f", "#1f6aa5", "#6a3d9a"),
)
#: Colours behind the white letters of states, actions and outcomes.
GROUNDS = {
    **dict.fromkeys(("complete", "same"), _GREEN),
    **dict.fromkeys(("missing", "skip", "skipped"), _GREY),
    **dict.fromkeys(("run", "stale", "differs"), _ORANGE),
    **dict.fromkeys(("decide", "pending"), _YELLOW),
    **dict.fromkeys(("blocked", "failed", "modified", "corrupt", "foreign"), _RED),
    "load": _BLUE,
    "adopted": _PURPLE,
}
#: Colour of the letters of a `Badge`, and the ground of pictures.
LETTERS = PAPER = "#ffffff"


class Badge(str):
    """A state, action or outcome, which pages show on its colour."""


class Link(str):
    """The path of a file, which leads to it; relative to the current folder if it is below that."""

    #: The file's address; empty without a file.
    href: str = ""

    @classmethod
    def to(cls, path: str) -> Link:
        """Return a link to a file or folder of this machine, or only its path if it is not there."""
        is_here = os.path.isabs(path) and "://" not in path
        below = os.path.relpath(path) if is_here else os.pardir
        is_below = not below.startswith(os.pardir)
        link = cls(below if is_below else path)
        if is_here and os.path.exists(path):
            link.href = ("" if is_below else "file://") + quote(link, errors="surrogateescape")
        return link


def render(template: str, **values: Any) -> str:
    """Return the HTML of a template, with all texts escaped.

    Parameters
    ----------
    template : str
        Name of a file in ``templates``, without its suffix.
    **values : object
        The names in the template.  `Badge` and `Link` are texts of their own kinds.
    """
    return _environment().get_template(f"{template}.html").render(values)


def picture_data(content: bytes, kind: str = "image/png") -> str:
    """Return a picture as an address that holds it, for ``<img>``."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2  # takes as long as the rest of the package: only notebooks need it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "grounds": GROUNDS,
        "letters": LETTERS,
        "paper": PAPER,
        "picture_data": picture_data,
    }
    environment.tests |= {
        "badge": lambda value: isinstance(value, Badge),
        "link": lambda value: bool(getattr(value, "href", "")),
    }
    environment.filters["lines"] = _lines
    return environment


def _finalized(value):
    """Make a text printable, unless it is what another part of a template made."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _lines(text):
    """Escape a text of several lines for ``<pre>``."""
    import markupsafe

    return markupsafe.Markup(markupsafe.escape(printable_lines(text)))
