"""Pages with the graph of a plan: one HTML file that needs no network, to zoom, search and click.

The folder `web` has the scripts and the style of the page, and the libraries Cytoscape.js and dagre,
which are read when a page is written.  All nodes go into the page: as columns of numbers, with each text
once, compressed.  A graph of many nodes begins with the boxes of `boxes`, which open on a click.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import zlib
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ...calls.describe import brief, with_places
from ...printable import printable, printable_lines
from ..states import PlannedNode
from .boxes import SHOWN_STATES, STATE_COLORS, boxes_of
from .cells import COLORS, as_size, as_time
from .tables import ACTIONS, headline

if TYPE_CHECKING:
    from ...graph.plan import Plan

_SCRIPTS = "cytoscape-3.35.0.min.js", "cytoscape-dagre-4.0.1.min.js", "data.js", "page.js"


def plan_page(plan: Plan, thumbnails: Mapping[str, str] | None = None) -> str:
    """Return the page of a plan.

    Parameters
    ----------
    plan : Plan
    thumbnails : mapping of str to str, optional
        By key of a node, a small PNG picture of its result as a ``data:`` URI.
    """
    title = html.escape(f"Plan: {headline(plan)}")
    content = json.dumps(_content(plan, thumbnails or {}), separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(content.encode(), 9)).decode()
    scripts = [_script(name) for name in _SCRIPTS]
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_source, scripts))}; "
        "style-src 'unsafe-inline'; img-src data:"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{_read("page.css")}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<label>Search <input id="search" type="search" placeholder="name, path, state, function"></label>
<button id="fit" type="button">Fit</button>
<button id="all" type="button">Open all</button>
<button id="none" type="button">Close all</button>
<div id="legend"></div>
</header>
<main>
<div id="graph" tabindex="0" role="application" aria-label="Graph of the plan. The arrow keys go to
inputs, results and neighbours, Enter opens a box, plus and minus zoom, 0 shows all, / searches."></div>
<aside id="panel" aria-live="polite" aria-label="Details"></aside>
</main>
<div id="hint" role="tooltip" hidden></div>
<noscript>This page needs JavaScript.</noscript>
<script id="plan" type="application/octet-stream">{packed}</script>
{"".join(f"<script>{script}</script>" for script in scripts)}
</body>
</html>"""


def _read(name):
    return files(__package__).joinpath("web", name).read_text(encoding="utf-8")


def _script(name):
    """Return a script without the address of its source map, which is not there."""
    return re.sub(r"\n//# sourceMappingURL=\S+\s*$", "\n", _read(name))


def _source(script):
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _content(plan: Plan, thumbnails: Mapping[str, str]) -> dict[str, Any]:
    """Return what the page's script draws: columns with one value for each node, and texts by number."""
    nodes = list(plan)
    texts: dict[str, int] = {}

    def number(text: str) -> int:
        return texts.setdefault(text, len(texts))

    position = {node.recipe.identity: i for i, node in enumerate(nodes)}
    parents = [
        sorted({i - position[p.recipe.identity] for p in node.parents if p is not None})
        for i, node in enumerate(nodes)
    ]
    boxes = boxes_of(nodes)
    box_of = {node.recipe.identity: at for at, box in enumerate(boxes) for node in box.nodes}
    columns = {
        "title": [number(printable(node.recipe.label or node.recipe.name)) for node in nodes],
        "function": [number(printable(node.recipe.name)) for node in nodes],
        "path": [number(printable(", ".join(node.recipe.paths))) for node in nodes],
        "reasons": [number(printable_lines("\n".join(node.reasons))) for node in nodes],
        "arguments": [number(printable_lines(_arguments(node))) for node in nodes],
        "time": [number(as_time(plan.estimate(node))) for node in nodes],
        "size": [number(as_size(node.nbytes)) for node in nodes],
        "action": [ACTIONS.index(node.action) for node in nodes],
        "state": [SHOWN_STATES.index(node.state) for node in nodes],
        "box": [box_of[node.recipe.identity] for node in nodes],
        # distances, which repeat from node to node
        "parents": parents,
    }
    pictures = {i: thumbnails[n.recipe.key] for i, n in enumerate(nodes) if n.recipe.key in thumbnails}
    return {
        "texts": list(texts),
        "nodes": columns,
        "boxes": [printable(box.title) for box in boxes],
        "actions": [[action, COLORS[action]] for action in ACTIONS],
        "states": [[state, STATE_COLORS[state]] for state in SHOWN_STATES],
        "thumbnails": pictures,
    }


def _arguments(node: PlannedNode) -> str:
    """Return one line for each argument, with names of nodes and files in place of their data."""
    recipe = node.recipe
    places = [_name_of(item) for item in recipe.upstream]
    spec = recipe.spec
    pairs = [(spec.signature.names[i], brief.repr(recipe.values[i])) for i in spec.counted]
    return "\n".join(f"{name}: {with_places(text, places)}" for name, text in pairs)


def _name_of(item):
    source = getattr(item, "source", None)
    return item.title if hasattr(item, "title") else str(source.path) if source else "a Dask value"
