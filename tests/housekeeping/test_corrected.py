"""The list of corrections: of a root or of nodes, in Python and on the command line."""

from __future__ import annotations

import getpass
import json

import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache.errors import NotANode
from daskcache.housekeeping.cli.main import cache


def listed(root):
    done = CliRunner().invoke(cache, ["corrections", "--json", "--root", str(root)])
    return json.loads(done.output)["corrections"]


@pytest.fixture
def limits(root):
    """Three nodes: one is corrected in a folder, one in place, one not."""
    limit = dc.delayed(lambda n: 10 * n, target="limits/{n}.json", corrections="corrected/{n}.json")
    nodes = [limit(n) for n in range(3)]
    dc.compute(nodes)
    (root / "corrected").mkdir()
    (root / "corrected/1.json").write_text("11")
    (root / "limits/2.json").write_text("22")
    dc.adopt(nodes[2])
    return nodes


def test_corrections_are_listed(limits, root):
    """What a verb has taken in and what was adopted; the command has the same data."""
    assert dc.compute(limits) == ([0, 11, 22],)
    first, second = found = dc.corrections()
    assert (first.target, first.file, first.state) == ("limits/1.json", "corrected/1.json", "adopted")
    assert (second.target, second.file, second.by) == ("limits/2.json", None, getpass.getuser())
    assert first.arguments == {"n": "1"}
    assert [each["file"] for each in listed(root)] == ["corrected/1.json", None]
    assert found.to_frame()["target"].tolist() == ["limits/1.json", "limits/2.json"]
    assert "corrected/1.json" in repr(found)
    assert "2 results are corrected" in repr(found)
    assert "<td" in found._repr_html_()
    assert "corrected/1.json" in found._repr_html_()


def test_those_of_nodes(limits, root):
    """Of given nodes only; slices are lists of corrections, too."""
    dc.compute(limits)
    assert [each.target for each in dc.corrections(limits[1])] == ["limits/1.json"]
    assert [each.target for each in dc.corrections(limits[:2], limits[2])] == [
        "limits/1.json",
        "limits/2.json",
    ]
    assert not dc.corrections(limits[0])
    assert repr(dc.corrections()[1:]).endswith("1 result is corrected")
    with pytest.raises(NotANode):
        dc.corrections(3)


def test_a_new_file_is_listed_once_it_is_taken_in(limits):
    """Plans show it before."""
    assert [each.target for each in dc.corrections()] == ["limits/2.json"]
    assert dc.status(limits[1]) == "adopted"


def test_a_root_without_corrections():
    """It need not exist."""
    assert repr(dc.corrections()) == "no corrections"
    assert "none" in dc.corrections()._repr_html_()
    assert dc.corrections().to_frame().empty
