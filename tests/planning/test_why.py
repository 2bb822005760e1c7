"""The object that explains a state: its text, its HTML, and the causes upstream."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

import daskcache as dc
from daskcache.planning.why import MAX_CAUSES, Cause, Why


@dc.delayed(target="one/{x}.json", version=1)
def one(x, k=1):
    return x * k


@dc.delayed(target="two/{y.stem}.json", version=1)
def two(y, shift=0):
    return y + 1 + shift


@dc.delayed(target="three/{y.stem}.json", version=1)
def three(y):
    return y + 1


@dc.delayed(target="all.json", version=1)
def together(values):
    return sum(values)


def test_the_root_cause_is_named():
    """However far upstream it is."""
    three(two(one(1))).compute()
    why = dc.why(three(two(one(1, k=3))))
    assert why.reasons == ("two(two/1.json) changed",)
    assert why.causes == (Cause("one(one/1.json)", ("k: 1 -> 3",)),)
    assert str(why) == "two(two/1.json) changed\nroot cause: one(one/1.json): k: 1 -> 3"


def test_each_node_that_changed_by_itself_is_a_cause():
    """A node between that changed, too, is one."""
    three(two(one(1))).compute()
    why = dc.why(three(two(one(1, k=3), shift=1)))
    assert [cause.node for cause in why.causes] == ["two(two/1.json)", "one(one/1.json)"]
    assert why.causes[0].reasons == ("shift: 0 -> 1",)


def test_a_node_that_changed_itself_has_no_cause_upstream():
    """Its own reasons tell all."""
    three(two(one(1))).compute()
    why = dc.why(one(1, k=3))
    assert (why.reasons, why.causes) == (("k: 1 -> 3",), ())


def test_early_cutoff_upstream_is_no_cause():
    """What ran again and gave the same data changed nothing; what changes after that is named."""
    first = dc.delayed(lambda x, k=1: x * k, target="first.json", version=1)
    three(two(first(2, k=3))).compute()
    three(two(first(3, k=2))).compute()
    assert dc.why(three(two(first(3, k=2), shift=1))).causes == (
        Cause("two(two/first.json)", ("shift: 0 -> 1",)),
    )
    assert dc.why(three(two(first(3, k=4)))).causes == (Cause("lambda(first.json)", ("k: 2 -> 4",)),)
    assert str(dc.why(two(first(3, k=2), shift=1))) == "shift: 0 -> 1\nlambda(first.json) changed"


def test_many_causes_are_counted():
    """The object has all, the text some."""
    together([one(n) for n in range(5)]).compute()
    why = dc.why(together([one(n, k=2) for n in range(5)]))
    assert len(why.causes) == 5
    assert str(why).count("root cause:") == MAX_CAUSES
    assert str(why).splitlines()[-1] == "and 2 more root causes"


def test_what_happened_to_a_target_upstream_is_a_cause(root):
    """An edit blocks what follows; adopted, it explains what follows."""
    final = three(two(one(1)))
    final.compute()
    (root / "one/1.json").write_text("7")
    (cause,) = dc.why(final).causes
    assert cause == Cause("one(one/1.json)", ("one/1.json was edited after it was stored",))
    dc.adopt(one(1))
    (cause,) = dc.why(final).causes
    assert cause.reasons[0].startswith("adopted by ")


def test_a_source_that_is_gone_or_changed(tmp_path):
    """Even if the node at hand was never computed."""
    path = tmp_path / "raw.npy"
    np.save(path, np.arange(3))
    length = dc.delayed(len, target="length.json", version=1)
    before = two(length(dc.NumpySource(path)))
    before.compute()
    path.unlink()
    assert "raw.npy does not exist" in str(dc.why(three(before)))
    np.save(path, np.arange(4))
    (cause,) = dc.why(two(length(dc.NumpySource(path)))).causes
    assert cause.node == "len(length.json)"
    assert cause.reasons[0].endswith("raw.npy: content changed")


def test_a_cause_whose_record_is_gone():
    """The node is named at least."""
    three(two(one(1))).compute()
    two(one(1, k=3)).compute()
    why = dc.why(three(two(one(1, k=3))))
    assert why.causes
    assert "root cause: " in why


MEMBERS = {
    "edited": (lambda raw: (raw / "a.txt").write_text("new"), "a.txt changed"),
    "added": (lambda raw: (raw / "c.txt").write_text("c"), "c.txt added"),
    "removed": (lambda raw: (raw / "a.txt").unlink(), "a.txt removed"),
    "renamed": (lambda raw: (raw / "a.txt").rename(raw / "z.txt"), "z.txt added, a.txt removed"),
    "many": (
        lambda raw: [(raw / f"{n}.txt").write_text("") for n in range(5)],
        "0.txt added, 1.txt added, 2.txt added, and 2 more",
    ),
}


@pytest.fixture
def raw(tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in "ab":
        (raw / f"{name}.txt").write_text(name)
    monkeypatch.chdir(tmp_path)
    return raw


def counted():
    return dc.delayed(len, target="count.json", version=1)(dc.FolderSource("raw", "*.txt"))


@pytest.mark.parametrize("change", MEMBERS)
def test_a_folder_names_its_members(raw, change):
    """Also below another node."""
    two(counted()).compute()
    make, words = MEMBERS[change]
    make(raw)
    assert str(dc.why(counted())) == f"raw/*.txt: {words}"
    assert dc.why(two(counted())).causes[0].reasons == (f"raw/*.txt: {words}",)


@pytest.mark.parametrize("members", [None, "[]", "{", '{"a.txt": 5}', "{}"])
def test_records_that_do_not_tell_members_apart(raw, root, members):
    """As those of earlier versions, and what is none."""
    counted().compute()
    (path,) = (root / ".daskcache" / "records").rglob("*.json")
    record = json.loads(path.read_bytes())
    del record["upstream"][0]["members"]
    if members is not None:
        record["upstream"][0]["members"] = members
    path.write_text(json.dumps(record))
    (raw / "a.txt").write_text("new")
    assert str(dc.why(counted())) == "raw/*.txt: content changed"


def test_a_member_that_is_deleted_while_the_node_runs(raw):
    """The result is stored as before: members only explain."""

    @dc.delayed(target="count.json", version=1)
    def count(folder):
        os.unlink(folder[0])
        return len(folder)

    assert count(dc.FolderSource("raw", "*.txt")).compute() == 2


def test_it_is_empty_when_there_is_nothing_to_say():
    """As a text, as a truth value, and as an iterable."""
    one(1).compute()
    why = dc.why(one(1))
    assert (str(why), bool(why), list(why), why.state) == ("", False, [], "complete")
    assert repr(why) == "one(one/1.json): complete"
    missing = one(2).dc.why()
    assert (list(missing), bool(missing), "never" in missing) == (["was never computed"], True, True)


def test_as_html():
    """Whatever it names is text, and details of a reason are kept as they are."""
    why = Why("<b>node</b>", "stale", ("code <changed>\n  - old & gone",), (Cause("<i>", ("a > b",)),))
    shown = why._repr_html_()
    assert shown.startswith("<p><b>&lt;b&gt;node&lt;/b&gt;</b>: <span")
    assert "<li>code &lt;changed&gt;<pre" in shown
    assert ">  - old &amp; gone</pre></li><li>root cause: &lt;i&gt;: a &gt; b</li></ul>" in shown
    assert repr(why).splitlines()[0] == "<b>node</b>: stale"
    evil = Why("x\x1b[2J", "stale", ("\x1b[2J",))
    assert "\x1b" not in f"{evil}{evil!r}{evil._repr_html_()}"
