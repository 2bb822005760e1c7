"""Reports as Chromium shows them: without scripts, on wide and narrow screens, light and dark."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import daskcache as dc

pytestmark = pytest.mark.needs("chromium")

#: The smallest contrast between a text and the ground behind it, and that text.
_CONTRAST = """() => {
    const parts = (css) => css.match(/[\\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (element) => {
        for (let e = element; e; e = e.parentElement) {
            const found = parts(getComputedStyle(e).backgroundColor);
            if (found.length < 4 || found[3] > 0) return found;
        }
        return [255, 255, 255];
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let worst = [99, ""];
    while (walker.nextNode()) {
        const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement;
        if (!text || !element.checkVisibility()) continue;
        const pair = [parts(getComputedStyle(element).color), ground(element)].map(luminance);
        const [dark, bright] = pair[0] < pair[1] ? pair : pair.reverse();
        const found = (bright + 0.05) / (dark + 0.05);
        if (found < worst[0]) worst = [found, text];
    }
    return worst;
}"""

_OPEN = "document.querySelectorAll('details').forEach(each => { each.open = true; })"


@dc.delayed(target="images/{plate}_{well}.tif")
def image(plate, well):
    if well == "C03":
        raise ValueError("no cells")
    return (np.add.outer(np.arange(64), np.arange(64)) * 3).astype("uint16")


@dc.delayed(target="means/{image.stem}.json")
def mean(image):
    return float(image.mean())


@dc.delayed(target="a_table_with_a_long_name_that_does_not_fit_on_a_telephone/cells.csv")
def table(means):
    return pd.DataFrame({f"mean_{n}": means for n in range(20)})


@pytest.fixture
def show(browser, tmp_path, request):
    """Show a report on a screen with a failure.  Nothing is said on the console, or fetched."""
    means = [mean(image("P1", f"{row}{n:02d}")) for row in "ABC" for n in (1, 3, 12)]
    dc.compute(means, table(means[:6]), errors="collect")
    path = dc.report([means, table(means[:6])], tmp_path / "out.html")
    said, asked, contexts = [], [], []

    def shown(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda each: asked.append(each.url.partition(":")[0]))
        page.goto(path.as_uri())
        return page

    yield shown
    pictures = request.config.getoption("--pictures")
    if pictures:
        contexts[-1].pages[-1].screenshot(path=f"{pictures}/{request.node.name}.png", full_page=True)
    for context in contexts:
        context.close()
    assert said == []
    assert set(asked) <= {"file", "data"}


@pytest.mark.parametrize("width", [1400, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read(show, scheme, width):
    """By WCAG 2.2, AA, also those that are folded; the page itself never scrolls sideways."""
    page = show(color_scheme=scheme, viewport={"width": width, "height": 800})
    page.evaluate(_OPEN)
    contrast, text = page.evaluate(_CONTRAST)
    assert contrast >= 4.5, text
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_schemes_differ(show):
    """The ground follows the reader's choice."""
    grounds = {
        show(color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    assert len(grounds) == 2


def test_pictures_are_drawn_without_scripts(show):
    """The graph and all thumbnails have pixels, where no script may run."""
    page = show(java_script_enabled=False)
    sizes = page.locator("img").evaluate_all(
        "all => all.map(each => [each.complete, each.naturalWidth])"
    )
    assert len(sizes) == 1 + 8
    assert all(complete and width > 0 for complete, width in sizes)
    page.get_by_text("and where they come from").first.click()
    assert page.get_by_text("images/P1_A01.tif", exact=True).first.is_visible()


def test_links_lead_to_sections(show):
    page = show()
    for link in page.locator("nav a").all():
        link.click()
        assert page.evaluate("document.querySelector(location.hash) !== null")


def test_pictures_have_texts_for_readers_that_do_not_see_them(show):
    page = show()
    texts = page.locator("img").evaluate_all("all => all.map(each => each.alt)")
    assert texts[0].startswith("The graph of the results: ")
    assert [text.partition(":")[0] for text in texts[1:4]] == [
        f"images/P1_A{n}.tif" for n in ("01", "03", "12")
    ]
