"""The arrangement of boxes in columns, with few crossings of lines, by the library `grandalf`.

`svg` draws boxes where they are put here.  The method is that of Sugiyama, Tagawa and Toda (1981): lines
that pass a column get a place there, and the places of each column are sorted by those of the columns
beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from .boxes import Box

#: A place in a column: of the box at a position, or of the line between the boxes at two positions.
Slot: TypeAlias = "int | tuple[int, int]"

_ROUNDS = 4


def columns_of(boxes: Sequence[Box]) -> list[list[Slot]]:
    """Return the slots of each column from left to right, from top to bottom."""
    from grandalf.graphs import Edge, Graph, Vertex
    from grandalf.layouts import SugiyamaLayout, VertexViewer

    vertices = [Vertex(position) for position in range(len(boxes))]
    for vertex in vertices:
        vertex.view = VertexViewer()
    edges = [Edge(vertices[p], vertices[i]) for i, box in enumerate(boxes) for p in box.parents]
    columns: list[list[Slot]] = [[] for _ in range(1 + max((box.column for box in boxes), default=-1))]
    components = Graph(vertices, edges).C
    for component in sorted(components, key=lambda found: min(v.data for v in found.sV)):
        layout = SugiyamaLayout(component)
        layout.init_all(inverted_edges=[])
        for _ in range(_ROUNDS):
            for _ in layout.ordering_step():
                pass
        slots: dict = {vertex: vertex.data for vertex in component.sV}
        for edge, passed in layout.ctrls.items():
            line = edge.v[0].data, edge.v[1].data
            slots |= {each: line for each in passed.values() if each not in slots}
        first = [v.data for v in layout.layers[0]]
        step = -1 if first[0] > first[-1] else 1  # the mirror image has as few crossings
        for column, layer in zip(columns, layout.layers, strict=False):
            column += [slots[v] for v in layer[::step]]
    return columns
