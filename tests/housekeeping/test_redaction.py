"""Texts without the names of users and machines, and without absolute paths."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import NamedTuple

import pytest

from daskcache.housekeeping import redaction
from daskcache.housekeeping.redaction import Redactor, redacted_svg
from daskcache.pages import Badge

FOLDERS = ["/srv/my data/screen", "/data", "/"]


@pytest.fixture
def redact(monkeypatch):
    monkeypatch.setattr(redaction.getpass, "getuser", lambda: "mmuster")
    monkeypatch.setattr(redaction.platform, "node", lambda: "lab7.example.org")
    return Redactor(["anna", "root"], ["node3.cluster"], FOLDERS)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("open /home/mmuster/raw/a.tif now", "open …/a.tif now"),
        ("'/home/my name/raw/a.tif'", "'…/a.tif'"),
        ('  File "/opt/a b/analysis.py", line 12', '  File "…/analysis.py", line 12'),
        ("PosixPath('/raw')", "PosixPath('…/raw')"),
        ("/home/somebody", "…"),
        ("/Users/somebody/", "…"),
        ("~/raw/a.tif", "…/a.tif"),
        (r"C:\Users\somebody\a.tif", "…/a.tif"),
        (r"'C:\\Users\\some body\\a.tif'", "'…/a.tif'"),
        (r"\\server\share\a.tif", "…/a.tif"),
        ("file:///mnt/x/a.tif", "…/a.tif"),
        ("sqlite:////mnt/x/a.db::cells", "…/a.db::cells"),
        ("../../home/somebody/raw/a.tif", "…/a.tif"),
        ("…me/somebody/raw/a.tif", "…/a.tif"),
        ("/srv/my data/screen/masks/a.tif: gone", "…/a.tif: gone"),
        ("in /data, or /data/a", "in …, or …/a"),
        ("path=/mnt/x/a.tif,b", "path=…/a.tif,b"),
    ],
)
def test_absolute_paths_are_cut_to_their_last_part(redact, text, shown):
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "masks/a.tif",
        "a/b and/or 1 / 2, 0.5 µm/px",
        "</b> (a)/b [c]/d",
        'f"{x}/{y}"',
        "https://example.org/a/b",
        "s3://bucket/a/b.tif",
        "/* c */ // comment",
        "…",
        "the root of a plant, root_01.tif",
        "annas and lab77",
    ],
)
def test_other_texts_stay(redact, text):
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("by mmuster and anna", "by ‹user› and ‹user›"),
        ("masks/anna_01.tif", "masks/‹user›_01.tif"),
        ("tcp://node3:8786 on node3.cluster", "tcp://‹host›:8786 on ‹host›"),
        ("lab7, lab7.example.org", "‹host›, ‹host›"),
    ],
)
def test_names_are_replaced_as_whole_words(redact, text, shown):
    assert redact(text) == shown


class _Pair(NamedTuple):
    text: str
    content: int


def test_containers_are_redacted_throughout(redact):
    """Keys of dicts, too; kinds of texts and tuples stay what they are."""
    found = redact([{"anna": ("anna", None, 2.5)}, _Pair("by anna", 3), Badge("anna")])
    assert found == [{"‹user›": ("‹user›", None, 2.5)}, _Pair("by ‹user›", 3), "‹user›"]
    assert type(found[1]) is _Pair
    assert type(found[2]) is Badge


def test_what_may_hold_texts_unseen_is_refused(redact):
    with pytest.raises(TypeError, match="object would not be redacted"):
        redact([object()])


_SVG = """<?xml version="1.0"?>
<!-- saved by anna -->
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
     xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape"
     inkscape:export-filename="/home/anna/a.png" onload="x()">
<metadata>anna</metadata><script>x()</script><title>/mnt/anna/a.svg</title>
<image xlink:href="data:image/png;base64,/anna/+anna/x"/><image xlink:href="file:///mnt/a.png"/>
<use xlink:href="#anna-glyph"/><text class="anna">by anna, /mnt/x/a.tif</text>
</svg>"""


def test_pictures_in_svg(redact):
    """What is seen stays, with its texts redacted; what is not seen, acts or leads elsewhere goes."""
    top = ET.fromstring(redacted_svg(_SVG, redact))
    names = [element.tag.rpartition("}")[2] for element in top.iter()]
    assert names == ["svg", "image", "image", "use", "text"]
    _, first, second, use, text = top.iter()
    assert text.text == "by ‹user›, …/a.tif"
    assert list(first.attrib.values()) == ["data:image/png;base64,/anna/+anna/x"]
    assert (top.attrib, second.attrib) == ({}, {})
    assert list(use.attrib.values()) == ["#‹user›-glyph"]
