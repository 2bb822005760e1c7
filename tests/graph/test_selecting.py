"""Selecting nodes of many: by position, name, pattern and mask, in `Nodes` and in plans."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import daskcache as dc
from daskcache.errors import GraphError, NoSuchNode


@dc.delayed(target="seg/{well}.npy", label="mask of {well}")
def segment(well):
    return np.zeros(2)


@dc.delayed(target=("{mask.stem}/areas.json", "{mask.stem}/counts.json"))
def measure(mask):
    return 1, 2


@dc.delayed
def plain(mask):
    return mask


@pytest.fixture
def masks():
    return segment.map(["A01", "A02", "B01"])


def wells(nodes):
    return [node._recipe.values[0] for node in nodes]


# ---- one node ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "index", [1, -2, np.int64(1), "A02", "A02.npy", "seg/A02", "seg/A02.npy", "mask of A02"]
)
def test_one_node(masks, index):
    """A position, or any name: stem, file name, path with or without suffix, label."""
    assert masks[index] is list(masks)[1]


def test_titles_are_names(masks):
    """A node without a label or target is called as plans show it."""
    nodes = plain.map(masks)
    assert nodes[nodes[1]._recipe.title] is nodes[1]


def test_any_target_of_a_node(masks):
    """Each of several targets has names."""
    nodes = measure.map(masks)
    assert nodes["A02/counts"] is nodes["A02/areas.json"] is nodes[1]


def test_an_unknown_name(masks):
    """The error is a KeyError, and lists near names, or any if none is near."""
    with pytest.raises(NoSuchNode, match=r"no node fits 'A03'(.|\n)*A0[12]"):
        masks["A03"]
    with pytest.raises(KeyError, match=r"3 nodes, with names such as seg/A01"):
        masks["qqqqqqqq"]
    with pytest.raises(NoSuchNode, match="no nodes"):
        dc.Nodes()["A01"]


def test_an_ambiguous_name(masks):
    """A name of several nodes is an error that lists them; that of one node, given twice, is not."""
    nodes = measure.map(masks)
    with pytest.raises(NoSuchNode, match=r"several nodes are called 'areas'(.|\n)*A01/areas(.|\n)*A02"):
        nodes["areas"]
    twice = dc.Nodes([masks[0], segment("A01")])
    assert twice["A01"] is masks[0]


@pytest.mark.parametrize("position", [3, -4])
def test_positions_out_of_range(masks, position):
    """They are IndexErrors, as in lists."""
    with pytest.raises(IndexError, match="among 3"):
        masks[position]


# ---- several nodes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "selected"),
    [
        (slice(1, None), ["A02", "B01"]),
        ("seg/A*", ["A01", "A02"]),
        ("A??.npy", ["A01", "A02"]),
        ("*[AB]01.npy", ["A01", "B01"]),
        ([2, 0], ["B01", "A01"]),
        (["B01", "A*"], ["B01", "A01", "A02"]),
        ([True, False, True], ["A01", "B01"]),
        (np.array([False, True, False]), ["A02"]),
        (np.array([2, 0]), ["B01", "A01"]),
        (pd.Series([True, False, True]), ["A01", "B01"]),
        (pd.Series([True, False, False], index=[2, 0, 1]), ["B01"]),
        ([], []),
    ],
    ids=str,
)
def test_several_nodes(masks, index, selected):
    """Slices, patterns, lists and masks give `Nodes`; labels of a pandas mask are positions."""
    found = masks[index]
    assert isinstance(found, dc.Nodes)
    assert wells(found) == selected


def test_a_mask_from_the_frame(masks):
    """A condition on the frame selects its rows, however the frame was sorted."""
    masks[1].compute()
    frame = masks.to_frame().sort_values("target", ascending=False)
    assert wells(masks[frame["state"] == "complete"]) == ["A02"]


def test_a_pattern_that_nothing_fits(masks):
    """It is an error, as an unknown name is: an empty selection would hide a slip."""
    with pytest.raises(NoSuchNode, match=r"no node fits 'seg/C\*'"):
        masks["seg/C*"]


def test_masks_that_do_not_fit(masks):
    """A mask of another length, or with labels that are not positions, is refused."""
    with pytest.raises(GraphError, match=r"3 values(.|\n)*got: 2"):
        masks[[True, False]]
    with pytest.raises(GraphError, match="labels of a mask"):
        masks[pd.Series([True, False, True], index=["a", "b", "c"])]


@pytest.mark.parametrize("index", [1.5, None, [1.5], [None], {"well": "A01"}.items()], ids=str)
def test_what_selects_nothing(masks, index):
    """Anything else is an error that says what is taken."""
    with pytest.raises(GraphError, match="selects no nodes"):
        masks[index]


# ---- plans ---------------------------------------------------------------------------------------


def test_plans_select_alike(masks):
    """A plan gives planned nodes, whose texts have state, action and path."""
    masks[0].compute()
    plan = dc.plan(measure.map(masks))
    assert plan["seg/A01"] is plan[plan.nodes.index(plan["seg/A01"])]
    assert repr(plan["seg/A01"]) == "<mask of A01: complete, load, seg/A01.npy>"
    assert repr(plan["A02/areas"]).endswith(": missing, run, A02/areas.json, A02/counts.json>")
    assert [node.recipe.name for node in plan["seg/*"]] == ["segment"] * 3
    assert plan[:2] == plan.nodes[:2]
    with pytest.raises(NoSuchNode, match="A03"):
        plan["A03"]
