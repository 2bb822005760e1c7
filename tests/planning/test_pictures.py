"""Files with pictures: their formats, and that nothing of a user's is replaced."""

from __future__ import annotations

import base64
import os
import re
import sys
from io import BytesIO

import picture_shapes
import pytest
from PIL import Image

from daskcache.errors import ForeignTarget, MissingExtra, StorageError, UnknownFormat
from daskcache.planning.display.pictures import FORMATS

PLAN = picture_shapes.screen(10)


def _needing(suffix):
    return pytest.param(suffix, marks=[pytest.mark.needs("cairo")] if suffix == ".png" else [])


@pytest.fixture(params=map(_needing, FORMATS))
def path(request, tmp_path):
    return tmp_path / f"plan{request.param}"


def test_a_picture_is_replaced_by_the_next_one(path):
    PLAN.visualize(path)
    before = path.read_bytes()
    picture = picture_shapes.screen(50).visualize(path)
    assert path.read_bytes() != before
    assert os.fspath(picture) == str(path)
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: b"mine",
        lambda content: b"",
        lambda content: content + b"x",
        lambda content: content + b"\n",
        lambda content: b"x" + content,
        lambda content: content.replace(b"d", b"e", 1),
        lambda content: content[: len(content) // 2],
    ],
)
def test_what_a_user_made_or_edited_is_never_replaced(path, edit):
    PLAN.visualize(path)
    mine = edit(path.read_bytes())
    path.write_bytes(mine)
    with pytest.raises(ForeignTarget, match="move the file away"):
        PLAN.visualize(path)
    assert path.read_bytes() == mine
    assert os.listdir(path.parent) == [path.name]


def test_a_file_that_comes_while_a_picture_is_drawn_stays(tmp_path, monkeypatch):
    path = tmp_path / "plan.svg"

    def draw(plan):
        path.write_text("mine")
        return "<svg/>"

    monkeypatch.setitem(FORMATS, ".svg", (draw, FORMATS[".svg"][1]))
    with pytest.raises(ForeignTarget):
        PLAN.visualize(path)
    assert path.read_text() == "mine"


@pytest.mark.needs("cairo")
def test_png_is_the_picture_twice_as_large(tmp_path):
    path = PLAN.visualize(tmp_path / "plan.PNG").path
    with Image.open(BytesIO(path.read_bytes())) as image:
        image.load()
        assert f'width="{image.width / 2:g}" height="{image.height / 2:g}"' in PLAN.svg()
        assert len(image.convert("RGB").getcolors(1 << 20)) > 20


def test_png_without_cairosvg(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    with pytest.raises(MissingExtra, match=r'pip install "daskcache\[picture\]"'):
        PLAN.visualize(tmp_path / "plan.png")
    assert os.listdir(tmp_path) == []


def test_png_without_cairo(tmp_path, monkeypatch):
    """CairoSVG is there, but its import does not find the library."""
    (tmp_path / "cairosvg.py").write_text("raise OSError('no library called cairo-2 was found')")
    monkeypatch.delitem(sys.modules, "cairosvg", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra, match="apt-get install libcairo2"):
        PLAN.visualize(tmp_path / "plan.png")


@pytest.mark.parametrize("name", ["plan.gif", "plan", "plan.svgz"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(UnknownFormat, match=r"expected: \.svg, \.png.*\n.*write 'plan\.svg'"):
        PLAN.visualize(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"No such file[^$]*nowhere"):
        PLAN.visualize(tmp_path / "nowhere" / "plan.svg")
    (tmp_path / "plan.svg").mkdir()
    with pytest.raises(StorageError, match="can't be replaced"):
        PLAN.visualize(tmp_path / "plan.svg")


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture = PLAN.visualize()
    assert picture._repr_svg_() == PLAN.svg()
    shown = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', picture._repr_html_())
    assert base64.b64decode(shown[1]).decode() == PLAN.svg()
    assert "<svg" not in picture._repr_html_()
    assert picture.path is None
    assert os.listdir(tmp_path) == []
