"""Plans as DOT and Mermaid: what they say, and that no label breaks them."""

from __future__ import annotations

import html
import re

import picture_shapes
from hypothesis import example, given
from hypothesis import strategies as st

from daskcache.planning.display.graph_texts import plan_dot, plan_mermaid
from daskcache.printable import printable

HOSTILE = '"]; x [label="\\N\\"<b>#35;`%%{init}`\n-->|a|'


def labelled(label):
    """A plan of a node with this label and one below it."""
    first = picture_shapes.node("f", 0, label=label)
    return picture_shapes.plan_of([first, picture_shapes.node("g", 1, [first])])


def test_dot():
    first, second, line = plan_dot(labelled("")).splitlines()[3:-1]
    assert first == (
        r'  n0 [label="f\nf/sample_00000.tif", color="#d95f02", '
        'tooltip="f: run, stale, f/sample_00000.tif; sigma: 1 -> 0"]'
    )
    assert second.startswith(r'  n1 [label="g\ng/sample_00001.tif"')
    assert line == "  n0 -> n1"


@given(st.text(max_size=30))
@example(HOSTILE)
def test_dot_keeps_any_label(label):
    """Each line is a statement, whose strings hold the label as it was."""
    lines = plan_dot(labelled(label)).splitlines()
    assert len(lines) == 7
    string = r'"((?:[^"\\]|\\.)*)"'
    found = re.fullmatch(rf"  n0 \[label={string}, color={string}, tooltip={string}\]", lines[3])
    text = re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), found[1])
    assert text == f"{printable(label) or 'f'}\nf/sample_00000.tif"


def test_mermaid():
    assert plan_mermaid(labelled("")).splitlines() == [
        "flowchart LR",
        '  n0["f<br>f/sample_00000.tif"]:::run',
        '  n1["g<br>g/sample_00001.tif"]:::run',
        "  n0 --> n1",
        "  classDef run stroke:#d95f02,stroke-width:2px",
    ]


@given(st.text(max_size=30))
@example(HOSTILE)
def test_mermaid_keeps_any_label(label):
    """Nothing in it can end the string, or act as Markdown, HTML or an entity."""
    lines = plan_mermaid(labelled(label)).splitlines()
    assert len(lines) == 5
    written = re.fullmatch(r'  n0\["([^"`<>&\\]*)<br>.*"\]:::run', lines[1])[1]
    assert html.unescape(re.sub(r"#(\d+);", r"&#\1;", written)) == (printable(label) or "f")


def test_large_plans_have_the_boxes_of_the_picture():
    plan = picture_shapes.screen(5000)
    assert 'label="denoise × 1,249\\n' in plan_dot(plan)
    assert len(plan_mermaid(plan).splitlines()) < 30
