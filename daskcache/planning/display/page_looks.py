"""Small pictures of results for the page of a plan: so many that the file stays small.

`page` makes the page, and `targets.thumbnail` the looks.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from ...errors import MissingExtra, require
from ..states import PlannedNode
from .node import places
from .page import plan_page

if TYPE_CHECKING:
    from ...graph.plan import Plan

#: Pictures on a page, and bytes of all of them, at most.  A picture costs about 10 ms.
PICTURES, BYTES = 200, 2**20
#: Pixels on the longer side of a picture, at most.
PIXELS = 160


def page_with_looks(plan: Plan) -> str:
    """Return the page of a plan, with pictures of results that are there.

    Of many results those of evenly spread nodes are shown.
    """
    return plan_page(plan, looks_of(plan))


def looks_of(plan: Plan) -> dict[str, str]:
    """Return small PNG pictures of results as ``data:`` URIs, by the keys of their nodes."""
    there = [node for node in plan if node.is_complete and node.recipe.paths]
    step = -(-len(there) // PICTURES) or 1
    found: dict[str, str] = {}
    left = BYTES
    for node in there[::step]:
        picture = _picture_of(node)
        if picture is not None and len(picture) <= left:
            left -= len(picture)
            found[node.recipe.key] = picture
    return found


def _picture_of(node: PlannedNode) -> str | None:
    from ...targets.thumbnail import thumbnail  # imports all formats

    target, place = node.recipe.targets[0], places(node)[0]
    look = thumbnail(target.at(place), place)
    if look is None or look.picture is None or look.kind != "image/png":
        return None
    return f"data:image/png;base64,{base64.b64encode(_smaller(look.picture)).decode()}"


def _smaller(picture):
    try:
        image = require("PIL.Image", "image").open(io.BytesIO(picture))
    except MissingExtra:
        return picture
    image.thumbnail((PIXELS, PIXELS))
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()
