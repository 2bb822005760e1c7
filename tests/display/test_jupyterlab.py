"""All that notebooks show, in JupyterLab: light and dark, as trusted and untrusted notebooks."""

from __future__ import annotations

from contextlib import contextmanager

import likeness
import pytest
from in_browser import listen, violations
from lab import jupyter_lab, write_notebook

pytestmark = pytest.mark.needs("chromium")

#: Screen of a small laptop.
SCREEN = {"width": 1280, "height": 720}
#: Styles without which pages are readable: JupyterLab takes them away where a notebook is not trusted.
DECORATION = {"color: inherit", "font-variant-numeric: tabular-nums"}

#: What of the saved HTML is not on the page, by cell: tags, texts, attributes, styles and pictures.
_LOST = """([sources, decoration]) => {
    const tags = (element) => [...element.querySelectorAll("*")];
    const styles = (element) => [...element.style].map((name) => `${name}: ${element.style[name]}`);
    return [...document.querySelectorAll(".jp-RenderedHTML")].flatMap((shown, i) => {
        const saved = new DOMParser().parseFromString(sources[i], "text/html").body;
        const [one, other] = [tags(saved), tags(shown)];
        if (one.length !== other.length) return [`${i}: ${one.length} tags, ${other.length} are shown`];
        const lost = [];
        if (saved.textContent !== shown.textContent) lost.push(shown.textContent);
        const box = shown.getBoundingClientRect();
        if (!box.width || !box.height) lost.push("nothing is visible");
        one.forEach((element, k) => {
            const found = styles(other[k]);
            const names = element.getAttributeNames().filter((name) => name !== "style");
            lost.push(
                ...styles(element).filter((each) => ![...found, ...decoration].includes(each)),
                ...names.filter((name) => !other[k].hasAttribute(name)),
            );
            if (element.tagName !== other[k].tagName) lost.push(element.tagName);
            if (other[k].tagName === "IMG" && !other[k].naturalWidth) lost.push(other[k].alt);
        });
        return lost.map((each) => `${i}: ${each}`);
    });
}"""

#: Whether a text of an element is in the browser's window, and in that of the notebook.
_ON_SCREEN = """(element, text) => {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    const notebook = document.querySelector(".jp-WindowedPanel-outer").getBoundingClientRect();
    while (walker.nextNode()) {
        const { data, parentElement } = walker.currentNode;
        if (!data.includes(text) || !parentElement.checkVisibility()) continue;
        const range = document.createRange();
        range.selectNode(walker.currentNode);
        const box = range.getBoundingClientRect();
        const end = Math.min(notebook.bottom, innerHeight);
        const isInside = box.top >= notebook.top && box.bottom <= end && box.right <= notebook.right;
        if (box.height && isInside) return true;
    }
    return false;
}"""

#: Show a notebook from its first cell, as when it was opened.
_TO_TOP = "document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0"


@pytest.fixture(scope="module")
def address(gallery, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    for trust in ("trusted", "untrusted"):
        write_notebook(folder, trust, gallery.cells.items(), is_trusted=trust == "trusted")
    with jupyter_lab(folder) as address:
        yield address


@pytest.fixture(scope="module", params=["trusted", "untrusted"])
def trust(request):
    return request.param


@pytest.fixture(scope="module", params=["light", "dark"])
def theme(request):
    return request.param


@pytest.fixture(scope="module")
def notebook(browser, address, gallery, trust):
    """The page of an opened notebook, and what it said on the console."""
    context = browser.new_context(viewport=SCREEN)
    page = context.new_page()
    said: list[str] = []
    listen(page, said)
    page.goto(f"{address}/tree/{trust}.ipynb?reset")
    count = "count => document.querySelectorAll('.jp-RenderedHTML').length === count"
    page.wait_for_function(count, arg=len(gallery.cells))
    page.wait_for_function("[...document.images].every((each) => each.complete)")
    yield page, said
    context.close()


@pytest.fixture(scope="module")
def page(notebook, theme, trust, keep):
    """An opened notebook in a theme."""
    page, _ = notebook
    page.emulate_media(color_scheme=theme)
    name = f"JupyterLab {theme.title()}"
    page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)
    page.evaluate(_TO_TOP)
    yield page
    keep(f"jupyterlab_{theme}_{trust}", lambda path: draw_whole(page, path))


def draw_whole(page, path):
    """Draw a notebook on a screen that is high enough for all of it."""
    page.evaluate(_TO_TOP)
    bottom = page.locator(".jp-RenderedHTML").last.bounding_box()
    page.set_viewport_size({**SCREEN, "height": int(bottom["y"] + bottom["height"] + 100)})
    page.evaluate(_TO_TOP)
    page.locator(".jp-NotebookPanel").screenshot(path=path)
    page.set_viewport_size(SCREEN)


@pytest.fixture
def output(page, gallery):
    """Return what a cell shows."""
    sources = list(gallery.cells)
    return lambda source: page.locator(".jp-RenderedHTML").nth(sources.index(source))


#: One kind is enough for what is tested here.
untrusted = pytest.mark.parametrize("trust", ["untrusted"], indirect=True)


@contextmanager
def restyled(page, style):
    tag = page.add_style_tag(content=style)
    yield
    tag.evaluate("(each) => each.remove()")


def test_only_trusted_notebooks_show_html_as_it_is(page, trust):
    """JupyterLab cleans that of others, so both kinds are tested."""
    outputs = page.locator(".jp-RenderedHTML")
    trusted = page.locator(".jp-RenderedHTML.jp-mod-trusted")
    assert trusted.count() == (outputs.count() if trust == "trusted" else 0)


def test_everything_is_on_the_page(page, gallery):
    """JupyterLab takes nothing away, and every picture can be decoded."""
    saved = [bundle["text/html"] for bundle in gallery.cells.values()]
    assert page.evaluate(_LOST, [saved, list(DECORATION)]) == []


def test_axe_finds_nothing(page):
    """In the outputs: what is around them is JupyterLab's."""
    assert violations(page, ".jp-RenderedHTML") == []


def test_one_changed_text_of_400_is_on_the_first_screen(page, output):
    """Its name and its reason, in the plan and the list of nodes, without scrolling."""
    for kind in ("plan  # of", "nodes  #"):
        shown = output(f"{kind} 400 texts, one of which was changed")
        assert is_on_screen(shown, "letters/sample_399.json")
        assert is_on_screen(shown, "sample_399.txt: content changed")
        assert not is_on_screen(shown, "letters/sample_007.json")


def is_on_screen(output, text):
    return output.evaluate(_ON_SCREEN, text)


@pytest.mark.parametrize("source", likeness.PICTURES)
def test_pictures_are_like_the_approved_ones(output, source, theme, request):
    name = f"{source}_{theme}"
    picture = output(source).screenshot()
    if request.config.getoption("--approve"):
        likeness.approve(picture, name)
    assert likeness.is_like(picture, name)


@untrusted
@pytest.mark.parametrize("font", ["serif", "monospace"])
def test_other_fonts_make_no_difference(page, output, theme, font):
    with restyled(page, f".jp-RenderedHTML * {{ font-family: {font} !important }}"):
        for source in likeness.PICTURES:
            assert likeness.is_like(output(source).screenshot(), f"{source}_{theme}")


@untrusted
@pytest.mark.parametrize(
    ("style", "sources"),
    [
        ("table { display: none }", ["plan", "image", "table", "nodes"]),
        ("table { visibility: hidden }", ["plan", "nodes"]),
        ("img { display: none }", ["image"]),
    ],
)
def test_what_is_missing_makes_a_difference(page, output, theme, style, sources):
    with restyled(page, style):
        for source in sources:
            assert not likeness.is_like(output(source).screenshot(), f"{source}_{theme}")


def test_the_console_has_no_errors(page, notebook):
    """The last test of each notebook: nothing that was done above is an error."""
    _, said = notebook
    assert said == []
