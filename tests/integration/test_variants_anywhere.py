"""Variants on every scheduler: what the base holds is used, and the rest is made in their folders."""

from __future__ import annotations

from types import SimpleNamespace

import dask
import pytest

import daskcache as dc


@pytest.fixture
def pipeline(runs):
    """A function that makes the nodes of a pipeline of two steps, the steps, and a counter of runs."""

    def raw(n):
        runs.note("raw")
        return n

    def scale(raw, factor):
        runs.note("scale")
        return raw * factor

    raw = dc.delayed(raw, target="raw/{n}.json")
    scale = dc.delayed(scale, target="scaled/{raw.stem}.json")

    def nodes(variant=None, factor=10):
        with dc.variant(variant):
            return [scale(raw(n), factor) for n in range(3)]

    return SimpleNamespace(nodes=nodes, runs=runs, raw=raw, scale=scale)


def test_a_verb_shares_what_it_makes_for_the_base(anywhere, pipeline, files):
    variants = [pipeline.nodes("a", factor=3), pipeline.nodes("b", factor=4)]
    found = dc.compute(*variants, pipeline.nodes())
    assert found == ([0, 3, 6], [0, 4, 8], [0, 10, 20])
    assert pipeline.runs.take() == ["raw"] * 3 + ["scale"] * 9
    assert [path for path in files() if "raw" in path] == [f"raw/{n}.json" for n in range(3)]


def test_what_the_base_holds_is_used(anywhere, pipeline, files):
    dask.compute(pipeline.nodes())
    before = files()
    pipeline.runs.clear()
    assert dask.compute(pipeline.nodes("a")) == ([0, 10, 20],)
    assert dask.delayed(sum)(pipeline.nodes("a")).compute() == 30
    assert [node.compute() for node in dc.persist(*pipeline.nodes("a"))] == [0, 10, 20]
    assert pipeline.runs.names() == []
    assert files() == before


def test_a_composed_graph_may_move_the_base_on(anywhere, pipeline, root):
    """In whatever order its tasks are planned."""
    dask.compute(pipeline.nodes())
    pipeline.runs.clear()
    moved = pipeline.nodes(factor=3)
    mixed = [node for pair in zip(pipeline.nodes("a"), moved, strict=True) for node in pair]
    assert dask.delayed(list)(mixed).compute() == [0, 0, 10, 3, 20, 6]
    assert {(root / f"{place}scaled/2.json").read_text().strip() for place in ("", "a/")} == {"6", "20"}
    assert "raw" not in pipeline.runs.names()


def test_combinations_of_a_sweep_share_steps(anywhere, pipeline, files):
    """A step runs once for all combinations that need it, in Dask's verbs and in a composed graph."""

    def scaled(factor, rows):
        return [pipeline.scale(pipeline.raw(n), factor) for n in range(rows)]

    made = dc.sweep(scaled, factor=[3, 4], rows=[2, 3])
    assert dask.compute(made) == ([0, 3, 0, 3, 6, 0, 4, 0, 4, 8],)
    assert pipeline.runs.take() == ["raw"] * 3 + ["scale"] * 6
    raw = [path for path in files() if "raw" in path]
    assert raw == ["rows=3/raw/2.json", "shared/raw/0.json", "shared/raw/1.json"]
    assert dask.delayed(sum)(list(made)).compute() == 28
    assert pipeline.runs.names() == []
