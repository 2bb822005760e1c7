"""The page on the scheduler's dashboard, as Chromium shows it while nodes run, fail and are done."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import dask
import pytest
from clusters import on_cluster, small_cluster
from distributed import wait
from in_browser import violations

import daskcache as dc
from daskcache.cluster.dashboard_page import _BARS

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture(scope="module")
def client():
    """Client of a cluster whose page is there from the start."""
    preload = {"distributed.scheduler.preload": ["daskcache.cluster.dashboard"]}
    with dask.config.set(preload), small_cluster() as client:
        yield client


@pytest.fixture
def page(client, request):
    """The page in Chromium, which has nothing to complain of."""
    from playwright.sync_api import sync_playwright

    said = []
    pictures = request.config.getoption("--pictures")
    with sync_playwright() as playwright:
        program = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.on("console", lambda message: said.append((message.type, message.text)))
        page.on("pageerror", lambda error: said.append(("error", str(error))))
        page.on("dialog", lambda dialog: (said.append(("error", dialog.message)), dialog.dismiss()))
        page.goto(client.dashboard_link.removesuffix("/status") + "/daskcache")
        yield page
        if pictures:
            name = re.sub(r"\W+", "_", request.node.name)
            page.screenshot(path=f"{pictures}/pages/dashboard_{name}.png")
        browser.close()
    assert [text for kind, text in said if kind in ("error", "warning")] == []


def see(page, text):
    """Wait until a text is on the page, and return all of the page's texts."""
    page.wait_for_selector(f"text={text}", timeout=10_000)
    return texts(page)


def texts(page):
    return " ".join(page.locator("p, td, th").all_inner_texts())


def test_nothing_has_run(page):
    see(page, "nothing is left to run")


def test_what_runs_is_shown_by_label(page, client, tmp_path):
    """No Dask key is on the page, neither now nor when all is done."""

    def slow(name, folder):
        deadline = time.monotonic() + 30
        while not (Path(folder) / name).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return name

    slow = dc.delayed(slow, target="slow/{name}.json", label="wait for {name}")
    with on_cluster(client):
        futures = client.compute([slow(name, str(tmp_path)) for name in ("a", "b")])
        shown = see(page, "2 left")
        shown = see(page, "wait for a")
        assert re.search(r"wait for a tcp://127\.0\.0\.1:\d+ ", shown)
        assert not re.search("[0-9a-f]{32}", shown)
        for name in ("a", "b"):
            (tmp_path / name).touch()
        wait(futures)
        shown = see(page, "2 ran")
        assert "wait for" not in shown
        assert not re.search("[0-9a-f]{32}", shown)


def test_failures_stand_out(page, client):
    """With the message and the node, as texts; in red, which ordinary work is not."""

    def segment(n):
        if n == 7:
            raise ValueError("<img src=x onerror=alert(1)> no cells\nsecond line")
        return n

    segment = dc.delayed(segment, target="seg/{n:03d}.json")
    with on_cluster(client):
        wait(client.compute([segment(n) for n in range(5, 10)]))
        shown = see(page, "segment(seg/007.json)")
        assert (
            "failed segment(seg/007.json) ValueError: <img src=x onerror=alert(1)> no cells tcp" in shown
        )
        assert "second line" not in shown
        assert page.locator("img[src=x]").count() == 0
        assert reddish(ground_of(page.locator("td span"))) == [True]
        assert set(reddish(ground_of(page.locator("td")))) == {False}
    bars = [[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in _BARS.values()]
    assert dict(zip(_BARS, reddish(bars), strict=True)) == {
        "ran": False,
        "skipped": False,
        "left": False,
        "failed": True,
    }


def ground_of(elements):
    """The colours behind elements, as texts."""
    return elements.evaluate_all(
        "all => all.map((each) => getComputedStyle(each).backgroundColor).map((c) => c.match(/\\d+/g))"
    )


def reddish(colors):
    """For each colour, if red is far stronger than green: orange is reddish, too."""
    return [int(red) > 1.5 * int(green) for red, green, *_ in colors]


def test_axe_finds_nothing_in_what_daskcache_shows(page, client):
    """Links, lists and whole-page rules are about Dask's head and frame."""
    see(page, "failed")
    assert [each for each in violations(page) if each.partition(":")[0] not in OF_DASK] == []


#: Rules that Dask's own part of the page breaks.
OF_DASK = {
    *("html-has-lang", "image-alt", "landmark-one-main", "link-name", "list", "listitem"),
    *("meta-viewport", "page-has-heading-one", "region"),
}
