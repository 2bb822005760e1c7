"""HTML for notebooks: escaped, readable on any page, and whole where a notebook is not trusted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

import daskcache as dc
from daskcache import pages
from daskcache.planning.states import STATES

TEMPLATES = sorted((Path(pages.__file__).parent / "templates").glob("*.html"))


def luminance(colour):
    """The relative luminance of ``#rrggbb``, as WCAG 2.2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("word", pages.GROUNDS)
def test_badges_are_readable_on_any_page(word):
    """The letters are on a ground of their own: 4.5 to 1, on white and dark pages alike."""
    assert contrast(pages.LETTERS, pages.GROUNDS[word]) >= 4.5
    shown = pages.render("why", node="x", state=word, reasons=[])
    assert f"background: {pages.GROUNDS[word]}; color: {pages.LETTERS}" in shown


def test_every_state_and_action_has_a_colour():
    """Nor is there a colour of something else."""
    actions = dc.plan(dc.delayed(abs, target="x.json")(1)).counts
    outcomes = {"same", "differs", "failed", "skipped"}
    assert set(pages.GROUNDS) == {*STATES, *actions, *outcomes}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_templates_keep_to_what_notebooks_show(path):
    """No script, style sheet, drawing or address; no colour but with its ground; nothing unescaped."""
    text = path.read_text()
    for banned in ("<script", "<style", "<svg", "<link", "class=", "http", "safe", "autoescape"):
        assert banned not in text, banned
    assert not re.search(r"<[^>]*\son[a-z]+=", text)
    for style in re.findall('style="([^"]*)"', text):
        assert ("color:" in style.replace("color: inherit", "")) <= ("background:" in style)
    for image in re.findall("<img[^>]*>", text):
        assert "background: {{ paper }}" in image
        assert "alt=" in image
    for link in re.findall("<a [^>]*>", text):  # it has the colour of other texts
        assert "text-decoration: underline" in link


def test_texts_are_escaped_wherever_they_stand():
    """In cells, badges, links, headlines, reasons and their details; and made printable."""
    evil = "<b>&\x1b[2J"
    link = pages.Link.to(f"/nowhere/{evil}")
    cells = [[evil, pages.Badge(evil), link]] * 2
    for shown in (
        pages.render("tables", title=evil, headline=evil, tables=[(cells, 1, evil)]),
        pages.render("why", node=evil, state=evil, reasons=[f"{evil}\n{evil}"]),
        pages.render("difference", text=evil, pictures=[(evil, evil)]),
        pages.render("sources", headline=evil, cells=cells, left_out=evil),
    ):
        assert "&lt;b&gt;&amp;\\x1b[2J" in shown
        assert "\x1b" not in shown
        assert set(re.findall("<b>(.*?)</b>", shown)) <= {"&lt;b&gt;&amp;\\x1b[2J"}


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("out/a b.tif", "out/a%20b.tif"),
        ("javascript:x#?.txt", "javascript%3Ax%23%3F.txt"),
        ("\udcff.txt", "%FF.txt"),
    ],
)
def test_links_below_the_notebook_are_relative(name, address, tmp_path, monkeypatch):
    """As JupyterLab opens them, and without the machine's folders; others are addresses of files."""
    there, elsewhere = tmp_path / name, tmp_path / "notebooks"
    there.parent.mkdir(exist_ok=True)
    there.touch()
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    link = pages.Link.to(str(there))
    assert (link, link.href) == (name, address)
    monkeypatch.chdir(elsewhere)
    link = pages.Link.to(str(there))
    assert (link, link.href) == (str(there), f"file://{quote(str(tmp_path))}/{address}")


@pytest.mark.parametrize("path", ["/nowhere/a.tif", "s3://bucket/a.tif", "sqlite:///x.db::t", "{n}.tif"])
def test_there_is_no_link_to_what_is_not_there(path):
    """Nor to what is not a file of this machine."""
    link = pages.Link.to(path)
    assert (link, link.href) == (path, "")


def test_jinja_is_imported_for_a_page_only():
    """Programs without a notebook don't wait for it."""
    code = "import sys, daskcache.pages as p; assert 'jinja2' not in sys.modules; p.render('why', "
    code += "node='', state='', reasons=[]); assert 'jinja2' in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
