"""Pages that are files of their own, as a browser opens them: light and dark, without a server."""

from __future__ import annotations

import gallery as screens
import pytest
from in_browser import listen, violations
from lab import write_notebook
from nbconvert import HTMLExporter

pytestmark = pytest.mark.needs("chromium")


THEMES = ("light", "dark")


@pytest.fixture
def open_page(browser):
    """Open a file.  Nothing is said on the console or fetched from elsewhere."""
    said, asked, pages = [], set(), []

    def open_page(path, theme):
        page = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme=theme)
        pages.append(page)
        listen(page, said)
        page.on("request", lambda each: asked.add(each.url.partition(":")[0]))
        page.goto(path.as_uri())
        return page

    yield open_page
    for page in pages:
        page.close()
    assert said == []
    assert asked <= {"file", "data"}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", screens.FILES)
def test_axe_finds_nothing(open_page, gallery, keep, name, theme):
    page = open_page(gallery.files[name], theme)
    page.wait_for_selector(screens.FILES[name][1])
    assert violations(page) == []
    keep(f"{name}_{theme}", lambda path: page.screenshot(path=path))


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_in_notebooks_as_pages(open_page, gallery, tmp_path, theme):
    """As nbconvert writes them: rules of whole pages hold, such as those for regions and headings.

    Cells show no code, whose colours are those of nbconvert.
    """
    write_notebook(tmp_path, "notebook", gallery.cells.items(), is_trusted=False)
    exporter = HTMLExporter(theme=theme, exclude_input=True, require_js_url="", mathjax_url="")
    page, _ = exporter.from_filename(str(tmp_path / "notebook.ipynb"))
    (tmp_path / "notebook.html").write_text(page)
    assert violations(open_page(tmp_path / "notebook.html", theme)) == []
