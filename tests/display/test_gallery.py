"""The gallery: all that notebooks can show is in it, and what was approved in its pictures."""

from __future__ import annotations

import ast
from pathlib import Path

import gallery as screens
import likeness
import pytest
from PIL import Image

import daskcache as dc

THEMES = ("light", "dark")


def test_everything_that_notebooks_show_is_in_the_gallery(gallery):
    """Each class with HTML is, itself or by a subclass."""
    shown = {each.__qualname__ for cls in gallery.classes for each in cls.__mro__}
    defined = {
        node.name
        for path in Path(dc.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(each, ast.FunctionDef) and each.name == "_repr_html_" for each in node.body)
    }
    assert len(defined) > 12
    assert defined - shown == set()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("source", likeness.PICTURES)
def test_another_colour_scheme_makes_a_difference(source, theme):
    """Each approved picture is like itself, and not like that in the other theme."""
    other = {"light": "dark", "dark": "light"}[theme]
    picture = (likeness.APPROVED / f"{source}_{theme}.png").read_bytes()
    assert likeness.is_like(picture, f"{source}_{theme}")
    assert not likeness.is_like(picture, f"{source}_{other}")


def test_approved_pictures_are_small_and_were_looked_at():
    """Each has a line on what was checked by eye; so have the pictures that a run keeps."""
    pictures = list(likeness.APPROVED.glob("*.png"))
    checked = likeness.checked_by_eye()
    kept = {f"jupyterlab_{theme}_{trust}" for theme in THEMES for trust in ("trusted", "untrusted")}
    kept |= {f"{name}_{theme}" for name in screens.FILES for theme in THEMES}
    assert {path.stem for path in pictures} == {
        f"{n}_{theme}" for n in likeness.PICTURES for theme in THEMES
    }
    assert {path.stem for path in pictures} | kept == set(checked)
    assert all(len(seen) > 20 for seen in checked.values())
    for path in pictures:
        assert path.stat().st_size < 20_000
        with Image.open(path) as picture:
            assert picture.width == likeness.WIDTH
