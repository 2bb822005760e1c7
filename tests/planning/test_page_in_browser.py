"""Pages with the graph of a plan, as Chromium shows them and a person uses them."""

from __future__ import annotations

import re
from statistics import median

import picture_shapes
import pytest

from daskcache.planning.display.page import plan_page

pytestmark = pytest.mark.needs("chromium")

#: The interactive graph of the page.
GRAPH = "document.getElementById('graph')._cyreg.cy"

#: Where the middle of an element is on the screen.
_PLACE = f"""id => {{
    const {{ x, y }} = {GRAPH}.getElementById(id).renderedPosition();
    const frame = document.getElementById("graph").getBoundingClientRect();
    return [frame.left + x, frame.top + y];
}}"""

#: Keep the milliseconds from each turn of the wheel to the drawn graph, and from each move to the hint.
_WATCH = f"""() => {{
    const keep = (name, done) => {{
        window[name] = [];
        addEventListener(name, (event) => {{
            done(() => window[name].push(performance.now() - event.timeStamp));
        }}, true);
    }};
    keep("wheel", (drawn) => {GRAPH}.one("render", drawn));
    keep("mousemove", (shown) => requestAnimationFrame(() => setTimeout(shown)));
}}"""


@pytest.fixture
def show(browser, tmp_path, request):
    """Show the page of a plan.  Nothing is said on the console, or fetched from elsewhere."""
    said, asked = [], []
    pictures = request.config.getoption("--pictures")
    context = browser.new_context(viewport={"width": 1600, "height": 900})

    def shown(plan, **options):
        page = context.new_page()
        page.emulate_media(**options)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda each: asked.append(each.url.partition(":")[0]))
        page.goto(plan.visualize(tmp_path / f"{len(asked)}.html").path.as_uri())
        page.wait_for_selector("body[data-ready]")
        return page

    yield shown
    if pictures:
        name = re.sub(r"\W+", "_", request.node.name)
        context.pages[-1].screenshot(path=f"{pictures}/pages/{name}.png")
    context.close()
    assert said == []
    assert set(asked) <= {"file", "data"}


def ids(page):
    return page.evaluate(f"{GRAPH}.nodes().map(node => node.id())")


def click(page, identifier):
    page.mouse.click(*page.evaluate(_PLACE, identifier))


def go_to(page, identifier, zoom=1):
    """Show an element in the middle of the graph."""
    page.evaluate(f"zoom => void {GRAPH}.zoom(zoom)", zoom)
    page.evaluate(f"id => void {GRAPH}.center({GRAPH}.getElementById(id))", identifier)


def panel(page):
    return page.inner_text("#panel")


def chosen(page):
    return page.evaluate(f"{GRAPH}.nodes('.chosen').map(node => node.data('label').split('\\n')[1])")


def test_hover_shows_the_reason(show):
    page = show(picture_shapes.screen(10))
    page.mouse.move(*page.evaluate(_PLACE, "n1"))
    assert page.inner_text("#hint").splitlines()[0] == "denoise"
    assert "sigma: 1 -> 1" in page.inner_text("#hint")
    page.mouse.move(5, 890)
    assert page.is_hidden("#hint")


def test_click_shows_arguments_and_what_belongs_to_a_node(show):
    page = show(picture_shapes.screen(10))
    click(page, "n1")
    assert re.search(r"path\s+denoise/sample_00001\.tif", panel(page))
    assert re.search(r"arguments\s+sigma: 1", panel(page))
    assert "Inputs (1)\nload/sample_00000.tif" in panel(page)
    far = page.evaluate(f"{GRAPH}.nodes('.far').map(node => node.id())")
    assert "n0" not in far
    assert "n3" not in far
    page.click("#panel >> text=load/sample_00000.tif")
    assert chosen(page) == ["load/sample_00000.tif"]
    page.mouse.click(300, 850)
    assert page.evaluate(f"{GRAPH}.elements('.far').length") == 0


def test_what_is_not_complete_is_listed(show):
    """Adopted results are complete; headings have their levels, with and without a chosen node."""
    nodes = [picture_shapes.node("f", i) for i in range(2)]
    nodes[0].state = "adopted"
    page = show(picture_shapes.plan_of([*nodes, picture_shapes.node("g", 2, nodes)]))
    assert panel(page).endswith("Not complete (2)\nf/sample_00001.tif\ng/sample_00002.tif")
    assert headings(page) == ["H1", "H2"]
    click(page, "n2")
    assert headings(page) == ["H1", "H2", "H3"]
    page.fill("#search", "sample")
    assert headings(page) == ["H1", "H2"]


def headings(page):
    return page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((each) => each.tagName)")


def test_boxes_open_on_a_second_click_and_close(show):
    page = show(picture_shapes.screen(1000))
    before = ids(page)
    assert len(before) < 20
    click(page, "b0")
    assert "Nodes (249)" in panel(page)
    click(page, "b0")
    assert len(ids(page)) == len(before) + 100
    assert "149 more of load × 249" in page.evaluate(f"{GRAPH}.getElementById('b0').data('label')")
    page.click("#none")
    assert ids(page) == before


def test_no_more_than_2_000_nodes_are_drawn_one_by_one(show):
    page = show(picture_shapes.screen(9000))
    assert page.is_disabled("#all")
    for _ in range(6):  # 100, 100, 200, 400, 800 and 400
        go_to(page, "b0")
        click(page, "b0")
        page.click("#panel >> text=Open the first")
    count = len(ids(page))
    assert count == 2000 + len(["b0", "b1", "b2", "b3", "plate", "plate", "report", "extra"])
    go_to(page, "b0")
    click(page, "b0")
    assert "close other boxes" in panel(page)
    click(page, "b0")
    assert len(ids(page)) == count


def test_search_finds_what_is_in_boxes(show):
    page = show(picture_shapes.screen(1000))
    page.fill("#search", "SEGMENT/sample_00102")
    assert panel(page).splitlines() == ["Found (1)", "segment/sample_00102.tif"]
    page.keyboard.press("Enter")
    assert chosen(page) == ["segment/sample_00102.tif"]
    page.fill("#search", "failed")
    assert re.match(r"Found \(\d+\)", panel(page))
    page.fill("#search", "no such thing")
    assert "Nothing has this" in panel(page)


def test_the_keyboard_is_enough(show):
    page = show(picture_shapes.screen(1000))
    page.keyboard.press("/")
    page.keyboard.type("measure/sample_00003")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "graph"
    page.keyboard.press("ArrowRight")
    assert chosen(page) == ["plate/sample_00000.tif"]
    page.keyboard.press("ArrowRight")
    assert chosen(page) == ["report/sample_00000.tif"]
    zoom = page.evaluate(f"{GRAPH}.zoom()")
    page.keyboard.press("+")
    assert page.evaluate(f"{GRAPH}.zoom()") == pytest.approx(1.25 * zoom)
    page.keyboard.press("Escape")
    assert chosen(page) == []
    page.focus("#search")
    go_to(page, "b0")
    click(page, "b0")
    assert page.evaluate("document.activeElement.id") == "graph"
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")  # begins at the first box
    assert len(chosen(page)) == 1
    count = len(ids(page))
    page.keyboard.press("Enter")
    assert len(ids(page)) > count


def test_zoom_and_hover_are_quick_with_2_000_nodes(show):
    """The median of ten is below 100 ms, with each node drawn by itself."""
    page = show(picture_shapes.screen(2000))
    page.click("#all")
    assert len(ids(page)) == 2000
    go_to(page, "n1001", zoom=0.4)
    page.mouse.move(*page.evaluate(_PLACE, "n1001"))
    page.evaluate(_WATCH)
    for turn in range(10):
        zoom = page.evaluate(f"{GRAPH}.zoom()")
        page.mouse.wheel(0, 60 if turn % 2 else -60)
        page.wait_for_function("count => window.wheel.length === count", arg=turn + 1)
        assert page.evaluate(f"{GRAPH}.zoom()") != zoom
    for turn in range(10):
        page.mouse.move(*page.evaluate(_PLACE, "n1001" if turn % 2 else "n1005"))
        page.wait_for_function("count => window.mousemove.length === count", arg=turn + 1)
        assert page.is_visible("#hint")
    zooms, hovers = page.evaluate("[window.wheel, window.mousemove]")
    assert median(zooms) < 100, zooms
    assert median(hovers) < 100, hovers


@pytest.mark.parametrize("shape", picture_shapes.SHAPES)
def test_any_shape_can_be_opened(show, shape):
    page = show(shape(300))
    page.click("#all")
    assert len(ids(page)) == 300
    go_to(page, "n7")
    click(page, "n7")
    assert chosen(page) == page.evaluate(f"[{GRAPH}.getElementById('n7').data('label').split('\\n')[1]]")


def test_a_large_plan_is_shown(show):
    """Also one in which a node has more inputs than a function of JavaScript may have arguments."""
    nodes = [picture_shapes.node("f", i) for i in range(130_000)]
    page = show(picture_shapes.plan_of([*nodes, picture_shapes.node("g", 0, nodes)]))
    assert ids(page) == ["b0", "n130000"]


def test_texts_are_never_acted_upon(show):
    label = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    first = picture_shapes.node(label, 0, label=label)
    first.reasons[0] = label
    page = show(picture_shapes.plan_of([first]))
    click(page, "n0")
    assert panel(page).count(label) == 4  # title, reason, function and path
    page.mouse.move(*page.evaluate(_PLACE, "n0"))
    assert label in page.inner_text("#hint")


_CONTRAST = """() => {
    const light = (color) => {
        const parts = color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
        const [r, g, b] = parts.map((p) => (p <= 0.03928 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        const color = getComputedStyle(element).backgroundColor;
        return color === "rgba(0, 0, 0, 0)" ? ground(element.parentElement) : color;
    };
    return [...document.querySelectorAll("h1, h2, dt, dd, button, input, label, #hint, #legend span")]
        .filter((element) => element.textContent || element.tagName === "INPUT")
        .map((element) => {
            const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(show, scheme):
    """Each text has the contrast of 4.5 that level AA of WCAG asks for, also in the graph."""
    page = show(picture_shapes.screen(1000), color_scheme=scheme)
    page.mouse.move(*page.evaluate(_PLACE, "b0"))
    click(page, "b0")
    ratios = page.evaluate(_CONTRAST)
    assert len(ratios) > 20
    assert min(ratios) >= 4.5
    ground, text = page.evaluate(f"['background-color', 'color'].map(s => {GRAPH}.nodes()[0].style(s))")
    light, dark = ["rgb(255,255,255)", "rgb(29,35,39)"], ["rgb(32,38,43)", "rgb(240,243,245)"]
    assert [ground, text] == (light if scheme == "light" else dark)


#: A PNG file of one grey pixel.
_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJ"
    "RU5ErkJggg=="
)


def test_thumbnails_are_shown(browser, tmp_path):
    plan = picture_shapes.screen(10)
    path = tmp_path / "page.html"
    path.write_text(plan_page(plan, {plan.nodes[0].recipe.key: _PIXEL}))
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]")
    click(page, "n0")
    assert page.evaluate("document.querySelector('img.thumbnail').decode().then(() => true)")
    page.close()
