"""Draw the map of the package, from its imports: docs/map.svg.

    python docs/make_map.py [--check]

A box is a room, and a line an import from a room below it; the wider, the more modules import from it.
Lines to the ground, which each room stands on, are left out.
With --check nothing is written: the exit status says whether the picture is as it should be.
"""

from __future__ import annotations

import html
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent)]

from architecture import FLOORS, imports, room_of  # noqa: E402

ABOUT = {
    "aliases": "older module paths",
    "calls": "functions and their calls",
    "clients": "client, worker here",
    "cluster": "plugins for a cluster",
    "config": "part of Dask's",
    "errors": "the error tree",
    "events": "what happened",
    "dataframes": "what is told, as tables",
    "graph": "plans to Dask graphs",
    "hashing": "values, code to hashes",
    "housekeeping": "a root, its commands",
    "modes": "task and flow",
    "monitor": "progress of verbs",
    "pages": "HTML for notebooks",
    "planning": "what is left, and why",
    "prefect": "the Prefect adapter",
    "printable": "texts for terminals",
    "runtime": "one node on a worker",
    "storage": "files, records, commits",
    "targets": "formats and sources",
    "testing": "helpers for tests",
    "tracebacks": "without our frames",
}
#: Rooms that any other may use.
GROUND = {"aliases", "clients", "config", "errors", "pages", "printable", "tracebacks"}
GROUND |= {"dataframes", "events"}
WIDTH, BOX, HEIGHT, GAP, MARGIN = 820, 172, 44, 34, 16


def arrows() -> Counter:
    """Return how many modules of one room import something of another."""
    found: Counter = Counter()
    for module, imported in imports().items():
        for room in {room_of(name) for name in imported} - {room_of(module)} - GROUND:
            found[room_of(module), room] += 1
    return found


def places() -> dict[str, tuple[float, float]]:
    """Return the middle of each room's box."""
    found = {}
    for row, rooms in enumerate(reversed(FLOORS)):
        for column, room in enumerate(sorted(rooms)):
            x = WIDTH / 2 + (column - (len(rooms) - 1) / 2) * (BOX + 2 * MARGIN)
            if len(rooms) == 1:
                x += 60 * (-1) ** row
            found[room] = x, MARGIN + HEIGHT / 2 + row * (HEIGHT + GAP)
    return found


def picture() -> str:
    """Return the map as SVG."""
    at = places()
    height = 2 * MARGIN + len(FLOORS) * (HEIGHT + GAP) - GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" text-anchor="middle">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for (upper, lower), count in sorted(arrows().items()):
        (x, y), (to_x, to_y) = at[upper], at[lower]
        y, to_y = y + HEIGHT / 2, to_y - HEIGHT / 2
        bend = (to_y - y) / 2
        parts.append(
            f'<path d="M{x:g},{y:g} C{x:g},{y + bend:g} {to_x:g},{to_y - bend:g} {to_x:g},{to_y:g}" '
            f'fill="none" stroke="#7a8ca3" stroke-opacity="0.45" stroke-width="{0.6 + count / 4:g}"/>'
        )
    for room, (x, y) in sorted(at.items()):
        left, top = x - BOX / 2, y - HEIGHT / 2
        parts += [
            f'<rect x="{left:g}" y="{top:g}" width="{BOX}" height="{HEIGHT}" rx="6" fill="#eef3f8" '
            'stroke="#3d5a80"/>',
            f'<text x="{x:g}" y="{y - 3:g}" font-size="14" font-weight="600" fill="#1d3557">',
            f"{room}</text>",
            f'<text x="{x:g}" y="{y + 14:g}" font-size="11" fill="#44556b">',
            f"{html.escape(ABOUT[room])}</text>",
        ]
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    path = HERE / "map.svg"
    if "--check" in sys.argv:
        sys.exit(path.read_text() != picture() and f"{path} is not current: python docs/make_map.py")
    path.write_text(picture())
