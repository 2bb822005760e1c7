"""Plans and nodes as tables: what a user has to know comes first, and many nodes stay short."""

from __future__ import annotations

import re
import time

import pytest

import daskcache as dc
from daskcache.planning.display.groups import grouped

#: Lines of text, and characters of visible HTML, that a screen shows at once.
SCREEN, CHARACTERS = 30, 1500


def size(text):
    return len(text)


def total(sizes, factor=1, name=""):
    return factor * sum(sizes)


def fail(n):
    raise ValueError("no cells")


def program(folder, count):
    """Nodes for texts in a folder, and one that sums them up."""
    one = dc.delayed(size, target="size/{text.stem}.json", version=1)
    nodes = dc.Nodes(one(dc.TextSource(folder / f"a{i}.txt")) for i in range(count))
    return nodes, dc.delayed(total, target="total.json", version=1)(nodes)


@pytest.fixture
def texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(400):
        (tmp_path / f"a{i}.txt").write_text(str(i))
    return tmp_path


def visible(page):
    """The text of a page that is not folded."""
    unfolded = re.sub("<details>.*?</details>", "", page, flags=re.DOTALL)
    return re.sub("<[^>]*>", " ", unfolded)


def screen(text):
    return "\n".join(text.splitlines()[:SCREEN])


def test_one_stale_node_of_400_is_on_the_first_screen(texts):
    """Its name and its reason are, in plans and lists of nodes, as text and in notebooks."""
    program(texts, 400)[1].compute()
    (texts / "a399.txt").write_text("edited by hand")
    nodes, last = program(texts, 400)
    for shown in (dc.plan(last), nodes):
        for text in (screen(str(shown)), visible(shown._repr_html_())[:CHARACTERS]):
            assert "size/a399.json" in text
            assert "a399.txt: content changed" in text
            assert "size/a7.json" not in text or shown is nodes
    page = dc.plan(last)._repr_html_()
    assert "<summary>399 finished or not needed</summary>" in page
    assert visible(page).index("size/a399.json") < visible(page).index("total.json")


def test_alike_reasons_are_one_line(texts):
    """One line for each function and reason, with its count, and names of the first nodes."""
    program(texts, 40)[1].compute()
    for i in range(3, 40):
        (texts / f"a{i}.txt").write_text("edited by hand")
    nodes, last = program(texts, 40)
    run, decide = (line for line in str(dc.plan(last)).splitlines() if line.startswith(("run", "dec")))
    assert re.match(r"run +size +37 +stale .*a3.txt: content changed; 36 more like it +size/a3", run)
    assert "size/a3.json, size/a4.json, size/a5.json and 34 more" in run
    assert re.match(r"decide +total +1 +stale ", decide)
    groups = grouped(dc.plan(nodes))
    assert [(group.state, len(group.nodes)) for group in groups] == [("stale", 37), ("complete", 3)]


def test_other_reasons_are_other_lines(texts):
    """Other changes of arguments are, of whatever nodes."""
    step = dc.delayed(total, target="{name}.json")
    dc.compute([step([1], factor, name=name) for name, factor in (("a", 1), ("b", 1), ("c", 2))])
    plan = dc.plan([step([1], factor, name=name) for name, factor in (("a", 2), ("b", 2), ("c", 3))])
    assert [(group.reason, group.names) for group in grouped(plan)] == [
        ("factor: 1 -> 2", "a.json, b.json"),
        ("factor: 2 -> 3", "c.json"),
    ]


def test_long_paths_hide_no_reason(texts, monkeypatch):
    """They are cut in the middle."""
    far = texts / ("far" * 20) / ("away" * 20)
    far.mkdir(parents=True)
    (far / "a0.txt").write_text("1")
    program(far, 1)[0].compute()
    (far / "a0.txt").write_text("edited by hand")
    plan = dc.plan(program(far, 1)[0])
    assert "a0.txt: content changed" in str(plan)
    assert "a0.txt: content changed" in visible(plan._repr_html_())


def test_blocked_and_failed_nodes_come_first(root):
    """Then stale ones, then what was never computed."""
    step = dc.delayed(size, target="{text}.json", version=1)
    broken = dc.delayed(fail, target="broken.json")(1)
    dc.compute(step("stale"), broken, errors="collect")
    (root / "mine.json").write_text("3")
    other = dc.delayed(size, target="{text}.json", version=2)
    plan = dc.plan(other("new"), other("stale"), broken, other("mine"))
    found = [(group.action, group.state) for group in grouped(plan)]
    assert found == [("blocked", "foreign"), ("run", "failed"), ("run", "stale"), ("run", "missing")]
    page = visible(plan._repr_html_())
    places = [page.index(each) for each in ("mine.json", "no cells", "stale.json", "new.json")]
    assert places == sorted(places)


def test_details_are_open_and_end(root):
    """The changed lines of a function are seen at once, but not hundreds of them."""
    plan = dc.plan(dc.delayed(size, target="x.json")("a"))
    (node,) = plan
    node.reasons[:] = ["the code changed\n<i>first\n" + "\n".join(map(str, range(100)))]
    page = plan._repr_html_()
    assert "the code changed<pre" in page
    assert "&lt;i&gt;first" in page
    assert "… and 81 more lines</pre>" in page
    assert "first" not in str(plan)


def test_many_lines_are_folded(root):
    """A page has 30 lines, then some folded ones, then the number of others."""
    plan = dc.plan([dc.delayed(size, target="{text}.json")(str(i)) for i in range(200)])
    for i, node in enumerate(plan):
        node.reasons[:] = [f"reason {'x' * i}"]
    page = plan._repr_html_()
    assert page.count("reason x") == 129
    assert visible(page).count("reason x") == 29
    assert "and 70 more: <code>plan.to_frame()</code> has them all" in page
    assert "… and 170 more lines; plan.to_frame() has them all" in str(plan)


def test_20000_nodes_show_at_once(root):
    """In less than two seconds of this process's time, and 300 kB, whatever their reasons."""
    step = dc.delayed(size, target="{text:.2s}/{text}.json", version=1)
    plan = dc.plan([step(f"{i:05}") for i in range(20_000)])
    for reasons in (None, [f"reason {i}" for i in range(20_000)]):
        for node, reason in zip(plan, reasons or (), strict=False):
            node.reasons[:] = [reason]
        before = time.process_time()
        page = plan._repr_html_()
        assert time.process_time() - before < 2
        assert len(page.encode()) < 300_000
        assert len(str(plan)) < 20_000
