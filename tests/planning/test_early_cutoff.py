"""Early cutoff: what equal code made of equal data is not made again, whatever keys and paths are."""

from __future__ import annotations

import os
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
import tifffile

import daskcache as dc
from daskcache.errors import TargetModified
from daskcache.testing.assertions import count_runs


def first(edit):
    return max(edit // 10, 1)


def step(x, i):
    return x + i


def chain(n, edit=1, target=None, **options):
    """The last of n nodes, of which the first has an argument whose last digit changes no data."""
    node = dc.delayed(first, target=target and target.format(i=0), version=1)(edit)
    for i in range(1, n):
        place = target and target.format(i=i)
        node = dc.delayed(step, target=place, version=1, **options)(node, i)
    return node


VERBS = {
    "compute": lambda node: node.compute(scheduler="sync"),
    "threads": lambda node: node.compute(scheduler="threads"),
    "dc": lambda node: dc.compute(node)[0],
    "composed": lambda node: dask.delayed(int)(node).compute(scheduler="sync"),
    "list": lambda node: dask.delayed(sum)([node]).compute(scheduler="sync"),
    "persist": lambda node: dask.persist(node, scheduler="sync")[0].compute(scheduler="sync"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("target", [None, "{{key}}.json", "{i}.json"])
def test_a_chain_of_100_whose_data_stays_runs_one_call(verb, target):
    """The edited step runs; all others are found, under the default template too."""
    value = VERBS[verb](chain(100, 1, target))
    with count_runs() as runs:
        assert VERBS[verb](chain(100, 2, target)) == value
    assert len(runs()) == 1
    with count_runs() as runs:
        assert VERBS[verb](chain(100, 2, target)) == value
        if target != "{i}.json":  # else the two take turns at the first target
            assert VERBS[verb](chain(100, 1, target)) == value
    assert not runs()


def test_the_requested_node_is_at_its_own_path():
    """It was copied there; what is before it is not, as nothing needs its data."""
    old, new = chain(5, 1), chain(5, 2)
    assert old.compute() == new.compute()
    assert Path(new.dc.path).exists()
    assert new.dc.path != old.dc.path
    assert new.dc.record["data_hash"] == old.dc.record["data_hash"]
    assert not os.path.samefile(new.dc.path, old.dc.path)  # an edit of one must not edit the other


@pytest.mark.parametrize("target", [None, "{i}.json"])
@pytest.mark.parametrize("deleted", [{50}, {1, 2, 3}, set(range(1, 99))])
def test_deleted_intermediates_are_not_made_again(target, deleted, root):
    """An upstream rerun that gives the same data runs nothing but the upstream."""
    nodes = [chain(n, 1, target) for n in range(1, 101)]
    value = nodes[-1].compute()
    for i in deleted:
        Path(nodes[i].dc.path).unlink()
    edited = chain(100, 2, target)
    with count_runs() as runs:
        assert edited.compute() == value
    assert runs() == {"first": 1}
    if target:
        assert not any((root / f"{i}.json").exists() for i in deleted)
    with count_runs() as runs:
        assert edited.compute() == value
    assert not runs()


def test_a_deferred_node_is_made_where_its_data_is_needed(root):
    """If something after it runs for another reason, what it needs is copied, or runs, once."""

    def second(x):
        return x + 1

    def third(x, k):
        return x * k

    def graph(edit, k):
        two = dc.delayed(second, target="{key}.json", version=1)(
            dc.delayed(first, target="first.json", version=1)(edit)
        )
        return two, dc.delayed(third, target="{k}.json", version=1)(two, k)

    two, three = graph(1, 2)
    assert three.compute() == 4
    with count_runs() as runs:
        assert graph(2, 3)[1].compute() == 6
    assert runs() == {"first": 1, "third": 1}
    Path(two.dc.path).unlink()
    Path(graph(2, 3)[0].dc.path).unlink()
    with count_runs() as runs:
        assert graph(3, 5)[1].compute() == 10
    assert runs() == {"first": 1, "second": 1, "third": 1}


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".zarr", ".parquet", ".pkl"])
def test_every_format_is_copied_as_it_is(suffix):
    """Bytes, data hash, and what it takes to read it."""
    value = pd.DataFrame({"a": [1]}) if suffix == ".parquet" else np.arange(12, dtype="u2").reshape(3, 4)

    def image(edit):
        return value

    def same(image):
        return image

    def last(edit):
        first = dc.delayed(image, target="first.pkl", version=1)(edit)
        return dc.delayed(same, target="{key}" + suffix, version=1)(first)

    last(1).compute()
    with count_runs() as runs:
        again = last(2).compute()
    assert runs() == {"image": 1}
    assert np.asarray(again).tolist() == np.asarray(value).tolist()
    one, two = last(1).dc.record, last(2).dc.record
    assert (one["data_hash"], one["file_hash"]) == (two["data_hash"], two["file_hash"])


@pytest.mark.parametrize(
    ("first", "second"),
    [(".csv", ".tsv"), (".csv", ".csv.gz"), (".csv.gz", ".csv"), (".tif", ".ome.tif"), (".npy", ".npz")],
)
def test_another_suffix_of_the_same_class_is_written_anew(first, second):
    """The suffix decides the separator, the compression or the metadata."""
    import numpy as np
    import pandas as pd

    def made():
        if "csv" in first:
            return pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
        return np.arange(12, dtype="u2").reshape(3, 4)

    values = [dc.delayed(made, target=f"t{suffix}", version=1)().compute() for suffix in (first, second)]
    fresh = [dc.delayed(made, target=f"t{suffix}", version=1)().compute() for suffix in (first, second)]
    for value in (*values, *fresh):
        assert np.array_equal(np.asarray(value), np.asarray(made()))


def test_several_results_are_copied_together():
    """In the form in which the function returned them."""

    def both(x):
        return x + 1, {"n": x}

    def last(edit):
        one = dc.delayed(first, target="first.json", version=1)(edit)
        return dc.delayed(both, target=("{key}/a.json", "{key}/b.json"), version=1)(one)

    assert last(1).compute() == (2, {"n": 1})
    with count_runs() as runs:
        assert last(2).compute() == (2, {"n": 1})
    assert runs() == {"first": 1}


def test_what_was_edited_or_damaged_elsewhere_is_not_copied():
    """Only what is as it was recorded stands for a result."""
    old = chain(3, 1)
    old.compute()
    path = Path(old.dc.path)
    before = path.stat()
    path.write_bytes(b"5\n" if path.suffix == ".json" else path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert chain(3, 2).compute() == 4


def test_a_correction_goes_along():
    """A corrected result stands for equal code and data at another path, and stays adopted."""

    def image(edit):
        return np.arange(12, dtype="u1").reshape(3, 4)

    def mask(image):
        return image > 3

    def masks(edit):
        first = dc.delayed(image, target="image.npy", version=1)(edit)
        return dc.delayed(mask, target="{key}.tif", version=1)(first)

    node = masks(1)
    node.compute()
    tifffile.imwrite(node.dc.path, np.eye(3, 4, dtype="u1") * 255)
    node.dc.adopt()
    with count_runs() as runs:
        again = masks(2).compute()
    assert runs() == {"image": 1}
    assert again.dtype == bool
    assert again.sum() == 3
    assert masks(2).dc.state == "adopted"
    assert masks(2).dc.record["edited"] == masks(1).dc.record["edited"]


def correct(node, content):
    """Write a number into the target of a node, and adopt it."""
    Path(node.dc.path).write_text(content)
    node.dc.adopt()


def test_of_several_corrections_the_newest_goes_along():
    """Nodes with one trace were corrected in different ways: the person's last word counts."""
    nodes = [chain(2, edit, "{{key}}.json") for edit in range(10, 16)]
    for node in nodes:
        node.compute()
    for number, node in enumerate(sorted(nodes, key=lambda node: node.dc.key, reverse=True)):
        correct(node, f"{900 + number}")
        newest = 900 + number
        os.utime(node.dc.path, ns=(number, number))
        assert node.compute() == newest
    assert chain(2, 17, "{{key}}.json").compute() == newest


def test_a_correction_goes_along_although_the_function_made_something_else():
    """A record that knows of what was at the target before does not hide it."""
    chain(2, 10, "{i}.json").compute()
    chain(1, 11, "{i}.json").compute()
    correct(chain(2, 11, "{i}.json"), "900")
    with count_runs() as runs:
        assert chain(2, 12, "{{key}}.json").compute() == 900
    assert runs() == {"first": 1}


def test_nodes_that_are_bound_to_workers_run_in_tasks_of_their_own(root):
    """They are not deferred: their target is there in the end."""
    old = chain(4, 1, "{i}.json")
    old.compute()
    (root / "2.json").unlink()
    with dask.annotate(resources={"GPU": 1}):
        chain(4, 2, "{i}.json").compute(scheduler="sync")
    assert (root / "2.json").exists()


def test_a_changed_value_runs_what_follows(root):
    """No more than that."""
    chain(5, 1, "{i}.json").compute()
    (root / "2.json").unlink()
    with count_runs() as runs:
        assert chain(5, 70, "{i}.json").compute() == 17
    assert runs() == {"first": 1, "step": 4}


def test_what_was_planned_to_be_copied_is_made_if_an_input_gives_other_data(root, runs):
    """A random input that is gone gives other data than those that were planned with."""

    @dc.delayed(target="measured.json")
    def measured():
        runs.note("measured")
        return len(runs.names())

    @dc.delayed(target="{name}.json", ignore=["name"])
    def twice(value, name):
        return 2 * value

    assert twice(measured(), "first").compute(scheduler="sync") == 2
    (root / "measured.json").unlink()
    value = measured()
    second = twice(value, "second")
    assert "will be copied" in repr(dc.plan(value, second))
    assert dask.compute(value, second, scheduler="sync") == (2, 4)
    assert dask.compute(measured(), twice(measured(), "second"), scheduler="sync") == (2, 4)


def test_roots_are_searched_each_by_itself(tmp_path):
    """An index of one root is not taken for that of another."""
    chain(5, 1).compute()
    with dask.config.set({"daskcache.root": str(tmp_path / "fresh")}), count_runs() as runs:
        chain(5, 2).compute()
    assert runs() == {"first": 1, "step": 4}


def test_plans_say_what_will_be_copied():
    """Where the data before it is known."""
    chain(3, 1).compute()
    chain(2, 2).compute()
    planned = dc.plan(chain(3, 2)).nodes[-1]
    assert "will be copied from" in planned.reasons[0]


def test_a_correction_in_the_way_is_not_replaced_by_a_copy():
    """What equal code made elsewhere does not replace what a person made here."""

    def image(edit):
        return np.arange(12, dtype="u1").reshape(3, 4)

    def mask(image, sigma):
        return image > sigma

    def at(target, sigma):
        first = dc.delayed(image, target="image.npy", version=1)(1)
        return dc.delayed(mask, target=target, version=1)(first, sigma)

    at("elsewhere.tif", 3).compute()
    node = at("here.tif", 2)
    node.compute()
    tifffile.imwrite(node.dc.path, np.eye(3, 4, dtype="u1") * 255)
    node.dc.adopt()
    with pytest.raises(TargetModified):
        at("here.tif", 3).compute()
