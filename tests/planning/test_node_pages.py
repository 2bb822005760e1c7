"""One node as text and as HTML: state, reasons, call, link and look; of whatever node, without harm."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import dask
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from IPython.lib.pretty import pretty

import daskcache as dc


@pytest.fixture(autouse=True)
def here(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def scaled(image, factor, note="x"):
    return image * factor


def fail(n):
    raise ValueError("no <b>cells</b>")


@pytest.fixture
def node(tmp_path):
    np.save("raw.npy", np.arange(100.0))
    return dc.delayed(scaled, target="scaled/{image.stem}.npy", version=1)(dc.NumpySource("raw.npy"), 2)


def facts(page):
    return dict(re.findall(r"<th[^>]*>(.*?)</th><td[^>]*>(.*?)</td>", page))


def test_a_finished_node(node, root):
    """State, function, arguments, a link below the notebook's folder, size, run time and a histogram."""
    node.compute()
    page = node._repr_html_()
    assert page == node.dc._repr_html_()
    assert re.search(r"<b>scaled\(scaled/raw.npy\)</b>: <span[^>]*>complete</span>", page)
    found = facts(page)
    assert found["function"] == f"{__name__}.scaled()"
    assert (found["factor"], found["note"]) == ("2", "&#39;x&#39;")
    assert found["image"] == "raw.npy"
    assert found["size"] == "0.91 kiB"
    assert {"run time", "made"} <= set(found)
    (href,) = re.findall('href="([^"]*)"', page)
    assert href == f"{root.name}/scaled/raw.npy"
    assert Path(href).exists()
    (data,) = re.findall('src="data:image/png;base64,([^"]*)"', page)
    assert base64.b64decode(data).startswith(b"\x89PNG")
    assert "float64 array, 100; min 0, mean 99, max 198" in page


def test_as_text(node):
    """In a terminal it says the same; among others in a list, and as `repr`, it looks at nothing."""
    assert pretty(node).startswith("scaled(scaled/raw.npy): missing\n  was never computed\n  function: ")
    node.compute()
    text = pretty(node)
    assert text == str(node.dc)
    assert text.splitlines()[0] == "scaled(scaled/raw.npy): complete"
    assert "  factor: 2\n" in text
    assert "  target: root/scaled/raw.npy\n" in text
    assert pretty([node]) == "[Node('scaled(scaled/raw.npy)')]"
    assert DisplayFormatter().format(node)[0].keys() == {"text/plain", "text/html"}


def test_a_missing_node_has_neither_link_nor_look(node):
    """But the reason."""
    page = node._repr_html_()
    assert "<li>was never computed</li>" in page
    assert "href" not in page
    assert "<img" not in page


def test_a_stale_node_shows_what_is_there(node):
    """Its present file, and why it is stale, with the root cause."""
    node.compute()
    other = dc.delayed(scaled, target="scaled/{image.stem}.npy", version=1)(dc.NumpySource("raw.npy"), 3)
    page = other._repr_html_()
    assert "<li>factor: 2 -&gt; 3</li>" in page
    assert "max 198" in page
    last = dc.delayed(scaled, target="last.npy", version=1)
    last(node, 1).compute()
    assert "root cause: scaled(scaled/raw.npy): factor: 2 -&gt; 3" in last(other, 1)._repr_html_()


def test_several_results_and_none(root):
    """A look at each of several targets; a node without a target has none."""
    both = dc.delayed(lambda: (1, "two"), target=("a.json", "b.txt"), version=1)()
    both.compute()
    page = both._repr_html_()
    assert page.count("href=") == page.count("<pre") == 2
    assert "two</pre>" in page
    loose = dc.delayed(abs, save=False)(-1)
    assert "is not cached" in loose._repr_html_()


def test_the_hash_in_a_path_is_filled_in(root):
    """The link leads to the file."""
    node = dc.delayed(lambda: 1, target="{data_hash}.json", version=1)()
    assert "{data_hash}.json" in node._repr_html_()
    node.compute()
    (href,) = re.findall('href="([^"]*)"', node._repr_html_())
    assert Path(href).read_text() == "1\n"


def test_nothing_becomes_markup(root):
    """Not a label, an argument, an error, a path, nor what a file or a table in it holds."""
    evil = "<b>x</b>\x1b[2J"
    table = dc.delayed(lambda text: text, target="<b>.txt", label="<b>{funcname}", version=1)(evil)
    table.compute()
    failed = dc.delayed(fail, target="fail.json", version=1)(evil)
    dc.compute(failed, errors="collect")
    csv = dc.delayed(lambda: "<b>a</b>,<i>\n1,2\n", target="t.csv", store=dc.TextTarget, version=1)()
    csv.compute()
    for node in (table, failed, csv):
        page = node._repr_html_()
        assert "\x1b" not in page + str(node.dc)
        assert page.count("<b>") == 1
        assert "<i>" not in page
        assert "&lt;b&gt;" in page


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_a_damaged_file_raises_nothing(node, content, root):
    """The state and the look say what is wrong."""
    node.compute()
    (root / "scaled" / "raw.npy").write_bytes(content)
    page = node._repr_html_()
    assert "not shown: " in page
    assert "complete</span>" not in page


# ---- entries, targets, records, states --------------------------------------------------------------


def test_an_entry_and_a_target_show_their_file(node):
    """With a link and a look; a template has none."""
    node.compute()
    with dask.config.set({"daskcache.mode": "cache"}):
        entry = dc.task(scaled, target="scaled/{image.stem}.npy", version=1)(
            dc.NumpySource("raw.npy"), 2
        )
    for page in (entry._repr_html_(), node.dc.target._repr_html_()):
        assert 'href="root/scaled/raw.npy"' in page
        assert "float64 array, 100; min 0" in page
        assert page.count("<img") == 1
    assert entry.key in entry._repr_html_()
    page = dc.NumpyTarget("<b>{n}.npy")._repr_html_()
    assert "NumpyTarget(&#39;&lt;b&gt;{n}.npy&#39;, compressed=False" in page
    assert "href" not in page
    assert "SQLTarget" in dc.SQLTarget("lab::cells")._repr_html_()
    address = dc.Target.from_path("out/values.npy")
    assert "<img" not in address._repr_html_()
    address.set_data(np.arange(9))
    address.save()
    assert "<img" in address._repr_html_()


def test_a_record_is_a_dict_that_shows(node):
    """Arguments and inputs have a line each; it is plain JSON for programs."""
    assert node.dc.record is None
    node.compute()
    record = node.dc.record
    assert json.loads(json.dumps(record)) == record
    assert record["arguments"]["factor"][0] == "2"
    found = facts(record._repr_html_())
    assert (found["argument factor"], found["format"]) == ("2", "daskcache:NumpyTarget")
    assert found["input"].endswith("raw.npy")
    assert found["size"] == str(record["size"])
    record["host"] = "<b>\x1b"
    assert facts(record._repr_html_())["host"] == "&lt;b&gt;\\x1b"


def test_states_are_a_list_that_shows(root):
    """The number of nodes in each state."""
    nodes = dc.Nodes(dc.delayed(abs, target=f"{n}.json")(n) for n in range(3))
    nodes[0].compute()
    states = dc.status(nodes)
    assert states == ["complete", "missing", "missing"]
    assert repr(states) == "['complete', 'missing', 'missing']"
    assert re.findall("<td[^>]*>([0-9]+)</td>", states._repr_html_()) == ["1", "2"]
