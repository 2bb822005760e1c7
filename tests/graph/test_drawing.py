"""`visualize` of nodes, by daskcache and by Dask."""

from __future__ import annotations

import os

import dask
import dask.base
import pytest

import daskcache as dc
from daskcache.errors import UnknownFormat


@dc.delayed(target="squares/{n}.json", version=1)
def square(n):
    return n * n


@pytest.fixture
def here(root, tmp_path, monkeypatch):
    """An empty folder, on a machine without Graphviz's programs."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.parametrize("nodes", [square(2), square.map([2, 3])], ids=["node", "nodes"])
def test_pictures_need_no_program(here, nodes):
    """The suffix or the format decides; without either, it is SVG."""
    assert nodes.visualize().path.name == "mydask.svg"
    assert nodes.visualize("a.mmd").path.read_text().startswith("flowchart")
    assert nodes.visualize("b", format="dot").path.read_text().startswith("digraph plan")
    assert nodes.visualize(here / "c.svg").path.read_text().startswith("<svg")
    assert sorted(os.listdir(here)) == ["a.mmd", "b.dot", "c.svg", "mydask.svg"]
    assert "square" in nodes.visualize(None)._repr_svg_()
    assert nodes.visualize("b.dot", format="svg").path.name == "b.dot.svg"
    with pytest.raises(UnknownFormat):
        nodes.visualize("d.gif")


@pytest.mark.parametrize(
    "arguments",
    [
        {"engine": "graphviz"},
        {"filename": "a.pdf"},
        {"format": "jpg"},
        {"optimize_graph": True},
        {"color": "order"},
    ],
)
def test_options_of_dask_are_for_dask(here, monkeypatch, arguments):
    asked = []
    monkeypatch.setattr(dask.base, "visualize", lambda *args, **options: asked.append(options))
    square(2).visualize(**arguments)
    (options,) = asked
    assert arguments.items() <= options.items()
    assert os.listdir(here) == []


def test_dask_draws_nodes_without_graphviz(here):
    """Its own setting chooses the engine that needs no program: there is no other hook."""
    with dask.config.set({"visualization.engine": "cytoscape"}):
        dask.visualize(square(2), dask.delayed(sum)([square(3)]), filename="tasks")
    assert "square" in (here / "tasks.html").read_text()
