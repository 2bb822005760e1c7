"""What travels to a scheduler: few tasks, small ones, and none of the data."""

from __future__ import annotations

import importlib
import operator
import shutil
import sys

import dask
import numpy as np
import pytest
from distributed.protocol import pickle

import daskcache as dc
from daskcache.testing.assertions import scheduler_tasks

LINKS = 1000
ROOTS = 1000
TASKS = 5000
MEGABYTE = 10**6

#: Bytes that a task may take on its way, in a large graph.
BYTES_A_TASK = 250

#: And where plain Dask consumes the nodes, which adds names.
BYTES_A_COMPOSED_TASK = 300

#: Bytes that a task may take that loads what is finished: path, time, and three hashes.
BYTES_A_LOAD = 400

#: Bytes that something finished may add to the graph of what follows it.
BYTES_AN_ENTRY = 2000

PROGRAM = """
import daskcache as dc

@dc.delayed
def first(i):
    return i

@dc.delayed
def link(x, i):
    return x + 1

@dc.delayed(target="{funcname}/{i:05d}.json")
def end(x, i):
    return x + i

@dc.delayed(target="{funcname}.json")
def total(values):
    return sum(values)
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A module that can be imported, with decorated functions."""
    name = "daskcache_test_wire_program"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / f"{name}.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module(name)
    sys.modules.pop(name, None)


@pytest.fixture
def sent(local_client, monkeypatch):
    """What a client sends for a list of collections, and how many tasks that is; nothing runs."""
    messages = []

    def sent(collections):
        with monkeypatch.context() as patch, dask.config.set({"daskcache.reach": "off"}):
            patch.setattr(local_client, "_send_to_scheduler", messages.append)
            futures = local_client.compute(collections)
        (graph,) = [message for message in messages if message["op"] == "update-graph"]
        for future in futures:
            future.cancel()
        messages.clear()
        (pickled,) = [bytes(frame) for frame in graph["expr_ser"].frames]
        return pickled, len(pickle.loads(pickled).__dask_graph__())

    return sent


def chain(program, links):
    node = program.first(0)
    for i in range(links - 1):
        node = program.link(node, i)
    return node


def fan(program):
    """1,000 roots over a chain of 1,000."""
    last = chain(program, LINKS)
    return [program.end(last, i) for i in range(ROOTS)]


def chain_of_links(program):
    """A chain, of which the end is requested."""
    return [chain(program, TASKS)]


def wide_and_requested(program):
    """Nodes that don't depend on each other, all requested."""
    return [program.first(i) for i in range(TASKS)]


def wide_and_summed_up(program):
    """Nodes that don't depend on each other, and one that takes all of them."""
    return [program.total([program.first(i) for i in range(TASKS - 1)])]


# ---- how many tasks, and how large -----------------------------------------------------------------


def test_many_roots_over_a_chain_share_it(sent, program):
    """The chain is sent once: a task for each root, and for each link."""
    pickled, tasks = sent(fan(program))
    assert tasks == ROOTS + LINKS
    assert len(pickled) < MEGABYTE


def test_many_roots_of_local_functions_share_the_chain(sent):
    """Functions that travel by value, as those of a notebook, don't make the graph larger."""

    @dc.delayed
    def link(x, i):
        return x

    @dc.delayed(target="ends/{i}.json")
    def end(x, i):
        return x

    last = 0
    for i in range(LINKS):
        last = link(last, i)
    pickled, tasks = sent([end(last, i) for i in range(ROOTS)])
    assert tasks <= 2 * ROOTS + LINKS
    assert len(pickled) < MEGABYTE


def test_many_composed_roots_share_the_chain(sent, program):
    """Plain Dask values over many nodes send the chain once, and a task more each."""
    last = chain(program, LINKS)
    composed = [dask.delayed(operator.neg)(program.end(last, i)) for i in range(ROOTS)]
    _, tasks = sent(composed)
    assert tasks <= 3 * ROOTS + LINKS


def test_one_plain_value_of_many_roots_shares_the_chain(sent, program):
    """One plain Dask value of a list of 1,000 nodes sends each task once."""
    last = chain(program, 10)
    _, tasks = sent([dask.delayed(sum)([program.end(last, i) for i in range(ROOTS)])])
    assert tasks <= 2 * ROOTS + 10 + 2


@pytest.mark.parametrize("finished", ["chain", "roots"])
def test_what_is_finished_is_not_sent(sent, program, finished):
    """Over a finished chain each root costs a task; so does loading a finished root."""
    last = chain(program, LINKS)
    roots = [program.end(last, i) for i in range(ROOTS)]
    dask.compute(last if finished == "chain" else roots, scheduler="sync")
    pickled, tasks = sent(roots)
    assert tasks == ROOTS
    assert len(pickled) < MEGABYTE


@pytest.mark.parametrize(
    "graph", [chain_of_links, wide_and_requested, wide_and_summed_up], ids=lambda graph: graph.__name__
)
def test_tasks_of_functions_in_modules_are_small(sent, program, graph):
    """5,000 tasks take at most 250 bytes each."""
    pickled, tasks = sent(graph(program))
    assert tasks == TASKS
    assert len(pickled) <= BYTES_A_TASK * tasks


@pytest.mark.parametrize(
    "graph", [chain_of_links, wide_and_requested, wide_and_summed_up], ids=lambda graph: graph.__name__
)
def test_composed_tasks_of_functions_in_modules_are_small(sent, program, graph):
    """Consumed by one plain Dask value, 5,000 tasks take at most 300 bytes each."""
    pickled, tasks = sent([dask.delayed(len)(graph(program))])
    values = TASKS if graph is wide_and_requested else 1  # of the nodes that the plain value is given
    assert tasks == TASKS + values + 1
    assert len(pickled) <= BYTES_A_COMPOSED_TASK * tasks


def test_loads_of_functions_in_modules_are_small(sent, program):
    """The tasks that load finished nodes take at most 400 bytes each."""
    nodes = [program.first(i) for i in range(TASKS)]
    dask.compute(nodes, scheduler="sync")
    pickled, tasks = sent(nodes)
    assert tasks == TASKS
    assert len(pickled) <= BYTES_A_LOAD * tasks


def test_a_function_in_a_module_travels_by_name(sent, program):
    """Neither its code nor its text is in what is sent."""
    pickled, _ = sent([program.end(1, 2)])
    assert b"daskcache_test_wire_program" in pickled
    assert program.end.__wrapped__.__code__.co_code not in pickled


def test_a_local_function_travels_once(sent):
    """However many tasks it has, a function that can't be imported is sent one time."""

    @dc.delayed
    def note(i):
        return "the only text of its kind", i

    pickled, tasks = sent([note(i) for i in range(100)])
    assert tasks == 100
    assert pickled.count(b"the only text of its kind") == 1


# ---- no data ---------------------------------------------------------------------------------------


@pytest.fixture
def made():
    """Nodes of 10 MB, of 60 kB (which workers return inside an entry), and of a dict of both."""
    return {
        "large": dc.delayed(lambda: np.random.default_rng(0).bytes(10 * MEGABYTE), target="large.pkl")(),
        "small": dc.delayed(lambda: np.random.default_rng(0).bytes(60_000), target="small.pkl")(),
        "several": dc.delayed(
            lambda: {"a": np.random.default_rng(0).bytes(10 * MEGABYTE), "b": b"b" * 60_000},
            target={"a": "a.pkl", "b": "b.pkl"},
        )(),
    }


@pytest.mark.parametrize("size", ["large", "small", "several"])
@pytest.mark.parametrize("follow", [dc.delayed(len), dask.delayed(len)], ids=["node", "plain"])
def test_a_finished_parent_adds_no_data(sent, program, made, size, follow):
    """A graph after a finished node carries its path and hashes only, less than 2 kB."""
    without, _ = sent([follow(program.first(0))])
    dask.compute(made[size], scheduler="sync")
    pickled, tasks = sent([follow(made[size])])
    assert tasks == (1 if isinstance(follow, type(dc.delayed(len))) else 2)
    assert len(pickled) < len(without) + BYTES_AN_ENTRY


def test_the_load_of_a_finished_node_carries_no_data(sent, made):
    """What is sent to load 10 MB is less than 2 kB."""
    dask.compute(made, scheduler="sync")
    for node in made.values():
        pickled, tasks = sent([node])
        assert tasks == 1
        assert len(pickled) < BYTES_AN_ENTRY


def test_a_source_adds_no_data(sent, tmp_path):
    """A source of 10 MB is sent as path and hash, less than 2 kB."""
    path = tmp_path / "raw.bin"
    path.write_bytes(np.random.default_rng(0).bytes(10 * MEGABYTE))
    size = dc.delayed(len)
    without, _ = sent([size([1])])
    pickled, tasks = sent([size(dc.FileSource(path))])
    assert tasks == 1
    assert len(pickled) < len(without) + BYTES_AN_ENTRY


# ---- plain data ------------------------------------------------------------------------------------


def direct(program):
    """Nodes, in part finished."""
    half = chain(program, 20)
    half.compute(scheduler="sync")
    return [program.end(program.link(half, i), i) for i in range(20)]


def composed(program):
    """Plain Dask over nodes, in part finished."""
    return [dask.delayed(operator.neg)(node) for node in direct(program)]


@pytest.mark.parametrize("graph", [direct, composed], ids=lambda graph: graph.__name__)
def test_what_is_sent_plans_nothing_where_it_arrives(sent, program, graph, root):
    """Unpickled where the root can't be seen, the graph has the tasks that the client planned."""
    pickled, tasks = sent(graph(program))
    before = sorted(map(str, pickle.loads(pickled).__dask_graph__()))
    shutil.rmtree(root)
    expression = pickle.loads(pickled)
    assert sorted(map(str, expression.__dask_graph__())) == before
    assert len(before) == tasks
    assert not root.exists()


def import_from(folder):
    """Let a process find modules there."""
    sys.path.insert(0, folder)


def import_no_more_from(folder):
    sys.path.remove(folder)


@pytest.mark.parametrize("graph", [direct, composed], ids=lambda graph: graph.__name__)
def test_what_is_counted_here_is_what_a_scheduler_gets(sent, local_client, program, graph, tmp_path):
    """A control: a real scheduler gets as many tasks as the tests above count."""
    folder = str(tmp_path / "modules")
    local_client.run(import_from, folder)
    try:
        collections = graph(program)
        _, expected = sent(collections)
        with scheduler_tasks(local_client) as tasks:
            local_client.gather(local_client.compute(collections))
        assert len(tasks()) == expected
    finally:
        local_client.run(import_no_more_from, folder)
