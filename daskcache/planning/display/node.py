"""One node as text and HTML: its state and reasons, its call, and a look at its targets.

`graph.accessor` uses these functions, and returns a record as a `RecordView`.  `tables` has plans and
many nodes, and `targets.thumbnail` makes the looks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ... import pages
from ...calls.describe import texts_of, with_places
from ...calls.recipe import Recipe
from ...pages import Link
from ...printable import printable, printable_lines
from ...storage.paths import located
from ..states import PlannedNode
from ..why import Why
from .cells import as_size, as_time, both_ends

#: Characters of a value's text, and arguments or inputs that are named.
LONGEST, MAX_NAMED = 200, 30


def node_text(planned: PlannedNode, why: Why, record: Mapping[str, Any] | None) -> str:
    """Return a node as plain text.

    Parameters
    ----------
    planned : PlannedNode
    why : Why
        The reasons for its state.
    record : mapping or None
        Content of the record of its first target.
    """
    facts = [f"{name}: {value}" for name, value in _facts(planned, record)]
    lines = [*printable_lines(repr(why)).splitlines(), *(f"  {printable(fact)}" for fact in facts)]
    return "\n".join(lines)


def node_html(planned: PlannedNode, why: Why, record: Mapping[str, Any] | None) -> str:
    """Return a node as HTML, with looks at its targets; see `node_text`."""
    from ...targets.thumbnail import looks_at  # imports all formats

    return pages.render(
        "result",
        title=why.node,
        state=why.state,
        reasons=why.lines,
        facts=_facts(planned, record),
        looks=looks_at(zip(planned.recipe.targets, places(planned), strict=True)),
    )


def places(planned):
    """Return the absolute paths of a node's targets, with the hash of the data filled in if known."""
    recipe = planned.recipe
    names = planned.records or (None,) * len(recipe.paths)
    paths = [
        located(path, name.data_hash) if name else path
        for path, name in zip(recipe.paths, names, strict=True)
    ]
    return [f"{recipe.root}/{path}" for path in paths]


def _facts(planned, record):
    """Return the names and values of what is known about a node."""
    recipe = planned.recipe
    facts = [("function", f"{recipe.spec.qualified_name}()")]
    facts += _arguments(recipe)
    for target, path, place in zip(recipe.targets, recipe.paths, places(planned), strict=True):
        facts.append(("target", path if target.in_database else Link.to(place)))
    if planned.nbytes is not None:
        facts += [("size", as_size(planned.nbytes)), ("run time", as_time(planned.seconds))]
    if record is not None:
        facts.append(("made", f"{record.get('created', '')} on {record.get('host', '')}"))
    return facts


def _arguments(recipe: Recipe) -> list[tuple[str, str]]:
    """Return the names and short texts of the arguments, with the inputs by their names."""
    inputs = inputs_of(recipe)
    pairs = list(zip(recipe.spec.signature.names, recipe.values, strict=True))
    shown = [
        (name, both_ends(with_places(texts_of(value)[0], inputs), LONGEST))
        for name, value in pairs[:MAX_NAMED]
    ]
    more = len(pairs) - MAX_NAMED
    return [*shown, *([("…", f"and {more} more arguments")] if more > 0 else [])]


def inputs_of(recipe: Recipe) -> list[str]:
    """Return the names of a recipe's inputs.

    They are the titles of nodes and the paths of sources, relative to the current folder if below it.
    """
    return [_name_of(item) for item in recipe.upstream]


def _name_of(item):
    if isinstance(item, Recipe):
        return item.title
    source = getattr(item, "source", None)
    return str(Link.to(source.path)) if source else "a Dask value"


class RecordView(dict):
    """The content of a record: a plain dict, which notebooks show as a table."""

    def _repr_html_(self):
        facts: list[tuple[str, str]] = []
        for name, value in self.items():
            if name == "arguments":
                facts += [(f"argument {each}", text) for each, (text, *_) in _first(value.items())]
            elif name == "upstream":
                facts += [
                    ("input", each.get("target") or each.get("source", "…")) for each in _first(value)
                ]
            else:
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                facts.append((name, text))
        facts = [(name, both_ends(text, LONGEST)) for name, text in facts]
        title = f"Record of {self.get('target', '')}"
        return pages.render("result", title=title, state="", reasons=(), facts=facts, looks=())


def _first(items):
    return list(items)[:MAX_NAMED]
