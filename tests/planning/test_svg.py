"""Pictures of plans, read as the XML that they are."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

import daskcache as dc
from daskcache.planning.display import svg

SVG = "{http://www.w3.org/2000/svg}"


@dc.delayed(target="read/{n}.json", version=1)
def read(n):
    return n


@dc.delayed(target="add/{n}.json", label="sum {n}", version=1)
def add(a, b, n):
    return a + b


@dc.delayed(save=False, version=1)
def total(values):
    return sum(values)


@pytest.fixture
def plan(root):
    """Four nodes that are read, of which one is complete, two sums of them, and their total."""
    reads = [read(n) for n in range(4)]
    reads[0].compute()
    return dc.plan(total([add(reads[0], reads[1], 0), add(reads[2], reads[3], 1)]))


def drawn(plan):
    """The boxes, each with its left edge, and the number of lines between them."""
    picture = ElementTree.fromstring(plan.svg())
    boxes = {
        group.find(f"{SVG}title").text: float(group.find(f"{SVG}rect").get("x"))
        for group in picture.iter(f"{SVG}g")
    }
    return boxes, len(list(picture.iter(f"{SVG}path")))


def test_each_node_has_a_box(plan):
    """Its column is one to the right of those upstream of it; a line leads from each of them."""
    boxes, lines = drawn(plan)
    (last,) = [title for title in boxes if title.startswith("total")]
    assert last == "total: run, not cached"
    columns = sorted(set(boxes.values()))
    assert {title: columns.index(x) for title, x in boxes.items()} == {
        "read: load, read/0.json": 0,
        "read: run, read/1.json": 0,
        "read: run, read/2.json": 0,
        "read: run, read/3.json": 0,
        "sum 0: run, add/0.json": 1,
        "sum 1: run, add/1.json": 1,
        last: 2,
    }
    assert lines == 6


def test_each_function_of_a_large_plan_has_a_box(plan, monkeypatch):
    """It says what is to be done with its nodes, the action that counts most first."""
    monkeypatch.setattr(svg, "MAX_NODES", 6)
    boxes, lines = drawn(plan)
    assert list(boxes) == [
        "read × 4: run, 3 run, 1 load",
        "add × 2: run, 2 run",
        "total × 1: run, 1 run",
    ]
    assert list(boxes.values()) == sorted(boxes.values())
    assert lines == 2
