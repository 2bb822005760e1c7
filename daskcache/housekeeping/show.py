"""What one target is: a look at its content, and how it was made.

`cli.reports` has the command.  Pictures are drawn in terminals by half blocks, each with two pixels.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from dask.utils import format_bytes

from ..errors import require
from ..planning.display.cells import text_table
from ..printable import printable
from ..runtime.named import target_of
from ..storage import files
from ..storage.record import Record
from ..storage.roots import Root
from ..targets.preview import Preview
from .listing import Listed, resolved, signature

if TYPE_CHECKING:
    from rich.console import Console
    from rich.segment import Segment

#: Columns and lines of a terminal that a picture takes at most.
COLUMNS, LINES = 80, 30
#: A character whose upper half has the colour of letters, and the lower half that of the ground.
_HALF = "▀"
#: Systems of colours in which a picture can be recognized.
_COLOURS = ("256", "truecolor")


class Shown(NamedTuple):
    """A target, a look at what is there, and its record."""

    #: Absolute path of the file or folder, or the address of a table.
    place: str
    item: Listed
    #: None if nothing is there, or the format is not looked at.
    look: Preview | None

    def to_dict(self) -> dict[str, Any]:
        """Return what is shown, without the picture, as plain data."""
        look = self.look or Preview("")
        return {
            "target": self.item.path,
            "place": self.place,
            "state": self.item.state,
            "bytes": self.item.name.size,
            "summary": look.summary,
            "rows": look.rows,
            "text": look.text,
            "record": self.item.record.document,
        }

    def lines(self, width: int | None = None) -> list[str]:
        """Return what is shown besides a picture as lines of text; tables fit into `width` columns."""
        size = format_bytes(self.item.name.size)
        summary = f"{self.look.summary}, {size}" if self.look is not None else size
        head = f"{printable(self.item.path)}: {self.item.state}, {summary}"
        return [head, *_content(self.look, width), *_origin(self.item.record)]


def shown(root: Root, item: Listed) -> Shown:
    """Return what a target is.  Nothing is run that a file or record chooses."""
    from ..targets.thumbnail import thumbnail  # imports all formats

    place = root.absolute(item.path)
    target = target_of(item.record)
    if target is None or not files.place_of(item.path).has_files:
        return Shown(place, item, None)
    return Shown(place, item, thumbnail(target.at(place), place))


def _content(look, width):
    if look is None:
        return []
    if look.rows:
        heads = list(look.rows[0])
        cells = [heads, *[list(row.values()) for row in look.rows]]
        return ["", *text_table(cells, width).splitlines(), ""]
    return ["", *look.text.splitlines(), ""] if look.text else []


def _origin(record: Record) -> Iterator[str]:
    arguments = ", ".join(
        f"{n}={resolved(brief, record)}" for n, (brief, *_) in record.arguments.items()
    )
    yield printable(f"made by {record.function}({arguments})")
    yield printable(f"created {record.created} on {record.host}, in {record.seconds:.3g} s")
    if record.edited is not None:
        yield printable(f"adopted {signature(record.edited)}")


# ---- pictures in terminals ------------------------------------------------------------------------


def draw(look: Preview | None) -> bool:
    """Draw the picture of a look in the terminal, if there is a picture and the terminal can show it."""
    from rich.console import Console  # not needed for texts

    console = Console(highlight=False)
    if look is None or look.picture is None or look.kind != "image/png" or not _can_draw(console):
        return False
    from rich.segment import Segments

    console.print(Segments(_blocks(look.picture, min(COLUMNS, console.width))), end="")
    return True


def _can_draw(console: Console) -> bool:
    has_colours = console.color_system in _COLOURS and not console.no_color
    return console.is_terminal and has_colours and console.encoding.startswith("utf")


def _blocks(picture: bytes, columns: int) -> Iterator[Segment]:
    """Yield a picture as half blocks, at most so many columns wide."""
    from rich.color import Color
    from rich.segment import Segment
    from rich.style import Style

    image = require("PIL.Image", "image").open(io.BytesIO(picture)).convert("RGB")
    scale = min(columns / image.width, 2 * LINES / image.height, 1)
    width, height = max(1, round(image.width * scale)), max(2, round(image.height * scale / 2) * 2)
    image = image.resize((width, height), require("PIL.Image", "image").Resampling.BOX)
    for row in range(0, height, 2):
        for column in range(width):
            upper, lower = (Color.from_rgb(*image.getpixel((column, row + i))) for i in (0, 1))
            yield Segment(_HALF, Style(color=upper, bgcolor=lower))
        yield Segment.line()
