"""Pages with the graph of a plan: what they hold, without a browser; `test_page_in_browser` has one."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zlib

import dask
import numpy as np
import picture_shapes
import pytest
from PIL import Image

import daskcache as dc
from daskcache.planning.display import page_looks
from daskcache.planning.display.boxes import SHOWN_STATES
from daskcache.planning.display.page import plan_page
from daskcache.planning.display.tables import ACTIONS


@dc.delayed(target="clean/{text.stem}.txt", version=1)
def clean(text, sigma, ratio=0.5):
    return text * sigma


@dc.delayed(target="total.json", label="all \x1b[2J<b>", version=1)
def total(values):
    return len(values)


def content_of(page):
    (packed,) = re.findall(r'<script id="plan"[^>]*>([^<]*)</script>', page)
    return json.loads(zlib.decompress(base64.b64decode(packed)))


@pytest.fixture
def plan(root, tmp_path):
    """Two cleaned texts, of which one is complete, and their total."""
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name)
    cleaned = [clean(dc.TextSource(tmp_path / f"{name}.txt"), sigma=2) for name in "ab"]
    cleaned[0].compute()
    return dc.plan(total(cleaned))


def test_the_page_has_all_of_each_node(plan, tmp_path):
    content = content_of(plan_page(plan))
    nodes, texts = content["nodes"], content["texts"]

    def shown(column):
        return [texts[number] for number in nodes[column]]

    assert shown("title") == ["clean", "clean", r"all \x1b[2J<b>"]
    assert shown("path") == ["clean/a.txt", "clean/b.txt", "total.json"]
    assert shown("reasons") == ["", "was never computed", "was never computed"]
    assert shown("arguments") == [
        f"text: {tmp_path}/a.txt\nsigma: 2\nratio: 0.5",
        f"text: {tmp_path}/b.txt\nsigma: 2\nratio: 0.5",
        "values: [clean(clean/a.txt), clean(clean/b.txt)]",
    ]
    assert [ACTIONS[number] for number in nodes["action"]] == ["load", "run", "run"]
    assert [SHOWN_STATES[number] for number in nodes["state"]] == ["complete", "missing", "missing"]
    assert nodes["parents"] == [[], [], [1, 2]]
    assert nodes["box"] == [0, 1, 2]
    assert shown("size")[0] == "2 B"
    assert len(set(texts)) == len(texts)


def test_no_script_but_its_own_runs(plan):
    """The policy names the hash of each script, and allows no address."""
    page = plan_page(plan)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 4
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    style = "style-src 'unsafe-inline'; img-src data:"
    assert policy == f"default-src 'none'; script-src {allowed}; {style}"
    assert "sourceMappingURL" not in page
    assert re.findall(r"<[^>]*\s(?:src|href|on\w+)=", page.split("<script>")[0]) == []


def test_a_page_of_20_000_nodes_is_below_2_mb():
    plan = picture_shapes.screen(20_000)
    page = plan_page(plan)
    assert len(page.encode()) < 2_000_000
    content = content_of(page)
    assert len(content["nodes"]["title"]) == 20_000
    assert len(content["boxes"]) < 50


def test_thumbnails_are_by_key(plan):
    (node, *_) = plan
    page = plan_page(plan, {node.recipe.key: "data:image/png;base64,AAAA", "f" * 32: "no"})
    assert content_of(page)["thumbnails"] == {"0": "data:image/png;base64,AAAA"}


@pytest.fixture
def images(root, tmp_path):
    """A plan of nine images, of which seven are complete, and of a text."""
    image = dc.delayed(lambda n: np.full((300, 400), n, "uint16") * np.arange(400), target="{n}.tif")
    nodes = [image(n) for n in range(1, 10)]
    text = dc.delayed(str, target="text.txt")(3)
    dask.compute(*nodes[:7], text, scheduler="sync")
    return dc.plan(*nodes, text)


def test_looks_are_small_pictures_of_what_is_there(images, tmp_path):
    images.visualize(tmp_path / "plan.html")
    found = content_of((tmp_path / "plan.html").read_text())["thumbnails"]
    assert list(found) == [str(n) for n in range(7)]
    assert found["0"].startswith("data:image/png;base64,")
    content = base64.b64decode(found["0"].partition(",")[2])
    assert Image.open(io.BytesIO(content)).size == (160, 120)


def test_looks_are_few_and_evenly_spread(images, monkeypatch):
    monkeypatch.setattr(page_looks, "PICTURES", 4)
    complete = [node.recipe.key for node in images if node.recipe.paths[0].endswith(".tif")]
    assert list(page_looks.looks_of(images)) == complete[0:7:2]
    monkeypatch.setattr(page_looks, "BYTES", 10)
    assert page_looks.looks_of(images) == {}


def test_libraries_keep_their_licences():
    from importlib.resources import files

    folder = files("daskcache.planning.display").joinpath("web")
    licences = folder.joinpath("licenses.txt").read_text()
    for each in folder.iterdir():
        if each.name.endswith(".min.js"):
            assert each.name.removesuffix(".min.js").replace("-", " ") in licences.replace("-", " ")
    assert licences.count("The above copyright notice and this permission notice") == 3
