"""Whether a picture is like the one that was approved, whatever the fonts of the machine.

Pictures are compared by the mean colours of cells that are a tenth as wide.  Other fonts of one
size differ by up to 7.3 and, where lines break elsewhere, 18 % in height.  A missing table differs by
more than 10 or 40 %, and the other theme by more than 170.  ``pytest tests/display --approve`` replaces
the approved pictures: look at them, and say in ``checked_by_eye.txt`` what you saw.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

#: Cells of the gallery whose pictures were looked at and approved.
PICTURES = ("plan", "why", "image", "table", "nodes")
#: The folder with these pictures, reduced, and the file that says what was checked in each picture.
APPROVED = Path(__file__).parent / "approved"
CHECKED = APPROVED / "checked_by_eye.txt"

#: Width of the approved pictures in pixels, and the number of cells side by side.
WIDTH, CELLS = 400, 10
#: Largest mean difference of colours, of 255, and largest difference in height, as a share.
MOST, MOST_HEIGHT = 9.0, 0.25


def checked_by_eye() -> dict[str, str]:
    """Return what was checked by eye, by the name of the picture."""
    lines = CHECKED.read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines)


def approve(picture: bytes, name: str) -> None:
    """Keep a picture as an approved one, small enough for the repository."""
    APPROVED.mkdir(exist_ok=True)
    reduced = _resized(Image.open(io.BytesIO(picture)), WIDTH)
    reduced.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        APPROVED / f"{name}.png", optimize=True
    )


def is_like(picture: bytes, name: str) -> bool:
    """Return True if a picture is like the approved one of this name."""
    shown, approved = Image.open(io.BytesIO(picture)), Image.open(APPROVED / f"{name}.png")
    difference, height = differences(shown, approved)
    return difference <= MOST and height <= MOST_HEIGHT


def differences(one: Image.Image, other: Image.Image) -> tuple[float, float]:
    """Return the mean difference of colours, from 0 to 255, and that of heights, as a share."""
    heights = [picture.height / picture.width for picture in (one, other)]
    size = CELLS, max(1, round(CELLS * heights[1]))
    cells = [
        np.asarray(p.convert("RGB").resize(size, Image.Resampling.BOX), "float64") for p in (one, other)
    ]
    return float(np.abs(cells[0] - cells[1]).mean()), abs(heights[0] / heights[1] - 1)


def _resized(picture, width):
    size = width, round(width * picture.height / picture.width)
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
