"""Pictures of plans, read as the XML that they are."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import picture_shapes
import pytest

import daskcache as dc

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


def pipeline(count):
    """`count` nodes that are read, one of them complete, the sums of pairs of them, and their total."""
    reads = [read(n) for n in range(count)]
    reads[0].compute()
    return dc.plan(total([add(*reads[n : n + 2], n // 2) for n in range(0, count, 2)]))


def boxes_in(picture):
    """By title, the rectangle of each box: left, top, width and height."""
    return {
        group.find(f"{SVG}title").text: rectangle(group.find(f"{SVG}rect[@class='box']"))
        for group in picture.iter(f"{SVG}g")
    }


def rectangle(element):
    return tuple(float(element.get(name)) for name in ("x", "y", "width", "height"))


def drawn(plan):
    """The boxes, each with its left edge, and the number of lines between them."""
    picture = ElementTree.fromstring(plan.svg())
    boxes = {title: box[0] for title, box in boxes_in(picture).items()}
    return boxes, len(list(picture.iter(f"{SVG}path")))


def test_each_node_has_a_box(root):
    """Its column is one to the right of those upstream of it; a line leads from each of them."""
    boxes, lines = drawn(pipeline(4))
    columns = sorted(set(boxes.values()))
    never = "; was never computed"
    assert {title: columns.index(x) for title, x in boxes.items()} == {
        "read: load, complete, read/0.json": 0,
        f"read: run, missing, read/1.json{never}": 0,
        f"read: run, missing, read/2.json{never}": 0,
        f"read: run, missing, read/3.json{never}": 0,
        f"sum 0: run, missing, add/0.json{never}": 1,
        f"sum 1: run, missing, add/1.json{never}": 1,
        "total: run, missing, not cached; is not cached": 2,
    }
    assert lines == 6


def test_boxes_of_a_column_are_in_the_order_of_the_plan(root):
    boxes = boxes_in(ElementTree.fromstring(pipeline(4).svg()))
    reads = [box[1] for title, box in boxes.items() if title.startswith("read")]
    assert reads == sorted(reads)


def test_a_crowded_column_has_a_box_for_each_function(root):
    """It says what is to be done with its nodes and in which states they are; others stay single."""
    boxes, lines = drawn(pipeline(14))
    assert [title for title in boxes if not title.startswith("sum")] == [
        "read × 14: 13 run, 1 load; 13 missing · 1 complete",
        "total: run, missing, not cached; is not cached",
    ]
    assert len(boxes) == 9
    assert lines == 14


@pytest.mark.parametrize("shape", picture_shapes.SHAPES)
@pytest.mark.parametrize("size", [1, 10, 50, 132, 199, 201, 5000, 100_000])
def test_pictures_are_readable(shape, size):
    """On a screen of 1600 × 900, no text is below 10 pixels, and no boxes overlap, whatever the size."""
    picture = ElementTree.fromstring(shape(size).svg())
    width, height = float(picture.get("width")), float(picture.get("height"))
    scale = min(1600 / width, 900 / height)
    assert min(float(text.get("font-size")) for text in picture.iter(f"{SVG}text")) * scale >= 10
    boxes = [rectangle(box) for box in picture.iter(f"{SVG}rect") if box.get("class") == "box"]
    for x, y, w, h in boxes:
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    for a, b in itertools.combinations(boxes, 2):
        assert a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]
    elements = sum(1 for _ in picture.iter())
    assert size <= 200 or elements <= 300


def test_texts_stay_in_their_boxes():
    """Long names are cut, those of wide letters sooner."""
    picture = ElementTree.fromstring(picture_shapes.tangle(100).svg())
    for group in picture.iter(f"{SVG}g"):
        left, _, width, _ = rectangle(group.find(f"{SVG}rect[@class='box']"))
        for text in group.iter(f"{SVG}text"):
            letters = sum(1 if each.isascii() else 2 for each in text.text if each != "…")
            size = float(text.get("font-size"))
            assert float(text.get("x")) + 0.56 * size * letters <= left + width


def test_each_state_has_a_part_of_the_bar():
    """A single failed node among thousands is still seen."""
    nodes = [picture_shapes.node("f", i) for i in range(5000)]
    nodes[77].state = "failed"
    picture = ElementTree.fromstring(picture_shapes.plan_of(nodes).svg())
    (box,) = picture.iter(f"{SVG}g")
    assert box.find(f"{SVG}title").text == "f × 5,000: 5,000 run; 1 failed · 4,999 stale"
    parts = [float(r.get("width")) for r in box.iter(f"{SVG}rect") if r.get("height") == "4"]
    assert parts[0] == 3
    assert parts[1] > 50


def test_a_box_of_several_functions_names_them():
    """Here all functions of a chain of 55 nodes alternate, and each box has five nodes of the chain."""
    boxes = boxes_in(ElementTree.fromstring(picture_shapes.chain(55).svg()))
    assert len(boxes) == 11
    assert all(title.startswith("3 functions × 5: ") for title in boxes)
    assert next(iter(boxes)).endswith("; step0, step1, step2")


def test_the_ground_follows_light_and_dark():
    picture = picture_shapes.screen(10).svg()
    assert "prefers-color-scheme: dark" in picture
    (ground,) = [r for r in ElementTree.fromstring(picture) if r.get("class") == "ground"]
    assert rectangle_size(ground) == rectangle_size(ElementTree.fromstring(picture))


def rectangle_size(element):
    return element.get("width"), element.get("height")


def test_an_empty_plan_has_a_picture():
    picture = ElementTree.fromstring(picture_shapes.plan_of([]).svg())
    assert boxes_in(picture) == {}
