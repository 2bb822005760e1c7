"""Verbs in threads, coroutines, tasks and several programs; and verbs over mixed collections."""

from __future__ import annotations

import asyncio
import itertools
import operator
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from types import SimpleNamespace

import dask
import dask.array as da
import dask.bag as db
import numpy as np
import pytest
from clusters import on_cluster
from dask.delayed import Delayed
from distributed import Client, get_client, secede, worker_client

import daskcache as dc
from daskcache.testing.assertions import scheduler_tasks

THREADS = 8


@pytest.fixture
def made(runs):
    """Decorated functions that note their calls; `slow` takes a moment."""

    def number(i):
        runs.note("number")
        return i

    def double(x):
        runs.note("double")
        return 2 * x

    def slow(i):
        runs.note("slow")
        time.sleep(0.2)
        return i

    def total(values):
        runs.note("total")
        return sum(values)

    return SimpleNamespace(
        number=dc.delayed(number, target="number/{i}.json"),
        double=dc.delayed(double),
        slow=dc.delayed(slow, target="slow/{i}.json"),
        total=dc.delayed(total),
    )


@pytest.fixture
def client(local_client):
    with on_cluster(local_client) as client:
        yield client


def at_once(functions):
    """Results of functions that start at the same moment, each in a thread of its own."""
    start = threading.Barrier(len(functions))

    def run(function):
        start.wait()
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        # the current client is a context variable
        futures = [pool.submit(copy_context().run, run, function) for function in functions]
        return [future.result() for future in futures]


# ---- threads ---------------------------------------------------------------------------------------


def by_compute(client, node):
    return node.compute()


def by_dask_compute(client, node):
    return dask.compute(node)[0]


def by_composing(client, node):
    return dask.compute(dask.delayed(operator.pos)(node))[0]


def by_client_compute(client, node):
    return client.compute(node).result()


def by_client_persist(client, node):
    return client.persist(node).compute()


def by_daskcache(client, node):
    return dc.compute(node)[0]


VERBS = [by_compute, by_dask_compute, by_composing, by_client_compute, by_client_persist, by_daskcache]
verbs = pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)


@verbs
def test_threads_with_nodes_of_their_own(client, made, runs, verb):
    """Each of several threads computes its own graph: the values are right, each function runs once."""
    nodes = [made.total([made.double(made.number(i)), made.number(i)]) for i in range(THREADS)]
    values = at_once([lambda node=node: verb(client, node) for node in nodes])
    assert values == [3 * i for i in range(THREADS)]
    assert runs.take() == sorted(["double", "number", "total"] * THREADS)


@verbs
def test_threads_with_one_node(client, made, runs, verb):
    """Several threads compute one node at once on one cluster: it runs once."""
    node = made.double(made.slow(3))
    assert at_once([lambda: verb(client, node)] * THREADS) == [6] * THREADS
    assert runs.take() == ["double", "slow"]


@verbs
def test_threads_with_shared_ancestors(client, made, runs, verb):
    """Several threads compute nodes of their own over one that is slow: that runs once."""
    shared = made.slow(3)
    nodes = [made.total([shared, i]) for i in range(THREADS)]
    values = at_once([lambda node=node: verb(client, node) for node in nodes])
    assert values == [3 + i for i in range(THREADS)]
    assert runs.take() == ["slow"] + ["total"] * THREADS


def test_threads_with_different_verbs(client, made, runs):
    """Whatever verb each thread uses on what is shared, the functions run once."""
    node = made.double(made.slow(3))
    assert at_once([lambda verb=verb: verb(client, node) for verb in VERBS]) == [6] * len(VERBS)
    assert runs.take() == ["double", "slow"]


def test_threads_with_clients_of_their_own(client, made, runs):
    """Several clients of one scheduler, a thread each, compute their own graphs."""

    def compute(i):
        with Client(client.scheduler.address, set_as_default=False) as own:
            return own.compute(made.double(made.number(i))).result()

    assert at_once([lambda i=i: compute(i) for i in range(4)]) == [0, 2, 4, 6]
    assert runs.take() == ["double"] * 4 + ["number"] * 4


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_threads_on_local_schedulers(made, runs, scheduler):
    """Without a cluster, threads compute their own graphs, each function once."""
    nodes = [made.total([made.double(made.number(i))]) for i in range(THREADS)]
    values = at_once([lambda node=node: dask.compute(node, scheduler=scheduler)[0] for node in nodes])
    assert values == [2 * i for i in range(THREADS)]
    assert runs.take() == sorted(["double", "number", "total"] * THREADS)


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_threads_with_one_node_on_local_schedulers(made, scheduler):
    """Without a cluster nothing is shared, but the values are right and the targets whole."""
    node = made.double(made.slow(3))
    assert at_once([lambda: node.compute(scheduler=scheduler)] * THREADS) == [6] * THREADS
    assert node.dc.state == "complete"
    assert node.dc.load() == 6


def test_a_node_that_others_compose_meanwhile(client, made):
    """While threads compose and plan one and the same node object, verbs on it give its value."""
    node = made.double(made.number(3))
    node.compute()
    done = threading.Event()

    def meanwhile():
        while not done.is_set():
            dask.delayed(operator.pos)(node)
            dask.delayed([node])

    def compute():
        try:
            for _ in range(50):
                assert dask.compute(node, node + 0, scheduler="sync") == (6, 6)
                assert client.compute(node).result() == 6
        finally:
            done.set()

    at_once([compute, meanwhile, meanwhile])


def test_threads_that_build_and_plan(client, made):
    """Building and planning in threads gives the keys and plans that it gives in one."""

    def look():
        node = made.total([made.number(i) for i in range(50)])
        return node.dc.key, dc.plan(node).counts["run"]

    assert set(at_once([look] * THREADS)) == {look()}


# ---- coroutines ------------------------------------------------------------------------------------


def in_loop(client, coroutine):
    """Run a coroutine function with an asynchronous client of the scheduler."""

    async def main():
        async with Client(client.scheduler.address, asynchronous=True, set_as_default=False) as own:
            return await coroutine(own)

    return asyncio.run(main())


def test_awaiting_futures(local_client, made, runs):
    """`await client.compute(node)` gives the value; a second time, and composed, runs nothing."""

    async def go(client):
        node = made.double(made.number(3))
        first = await client.compute(node)
        return first, await client.compute(node), await client.compute(node + 1)

    assert in_loop(local_client, go) == (6, 6, 7)
    assert runs.take() == ["double", "number"]


def test_awaiting_gather(local_client, made, runs):
    """`await client.gather(client.compute(...))` gives all values, direct, nested and composed."""

    async def go(client):
        nodes = [made.double(made.number(i)) for i in range(5)]
        futures = client.compute([*nodes, nodes[1] + 1, dask.delayed(sum)(nodes)])
        return await client.gather(futures)

    assert in_loop(local_client, go) == [0, 2, 4, 6, 8, 3, 20]
    assert runs.take() == ["double"] * 5 + ["number"] * 5


def test_awaiting_persist(local_client, made, runs):
    """A node persisted by an asynchronous client is a node, and computes with `await`."""

    async def go(client):
        persisted = client.persist(made.double(made.number(3)))
        if not isinstance(persisted, dc.Node):
            persisted = await persisted
        assert isinstance(persisted, dc.Node)
        return await client.compute(persisted), await client.compute(made.total([persisted, 1]))

    assert in_loop(local_client, go) == (6, 7)
    assert runs.take() == ["double", "number", "total"]


def test_many_coroutines_at_once(local_client, made, runs):
    """Coroutines that compute at once share what they have in common."""

    async def go(client):
        async def one(i):
            await asyncio.sleep(0)
            return await client.compute(made.total([made.slow(3), i]))

        return await asyncio.gather(*[one(i) for i in range(5)])

    assert in_loop(local_client, go) == [3, 4, 5, 6, 7]
    assert runs.take() == ["slow"] + ["total"] * 5


def test_local_verbs_in_a_running_loop(made, runs):
    """In a coroutine (as in a notebook) the local schedulers and reads work as elsewhere."""

    async def main():
        node = made.double(made.number(3))
        first = node.compute(scheduler="threads")
        return first, dask.compute(node, scheduler="sync"), dc.compute(node), node.dc.load()

    assert asyncio.run(main()) == (6, (6,), (6,), 6)
    assert runs.take() == ["double", "number"]


def test_an_error_is_raised_where_it_is_awaited(local_client):
    """Awaiting a failed node raises its error."""

    @dc.delayed
    def broken(x):
        raise ValueError(f"broken {x}")

    async def go(client):
        with pytest.raises(ValueError, match="broken 3"):
            await client.compute(broken(3))
        return True

    assert in_loop(local_client, go)


# ---- inside of tasks -------------------------------------------------------------------------------


@pytest.fixture
def inside(root):
    """A context for tasks: a client of the worker, and the root of this process."""
    folder = str(root)

    @contextmanager
    def inside():
        with worker_client() as client, dask.config.set({"daskcache.root": folder}):
            yield client

    return inside


def test_a_worker_client_computes_nodes(cluster, made, runs, inside):
    """A plain task with a `worker_client` builds and computes nodes, which are then finished."""

    def task(n):
        with inside() as client:
            nodes = [made.double(made.number(i)) for i in range(n)]
            return sum(client.gather(client.compute(nodes)))

    assert cluster.submit(task, 5, pure=False).result() == 20
    assert cluster.submit(task, 5, pure=False).result() == 20
    assert runs.take() == ["double"] * 5 + ["number"] * 5
    assert dc.plan([made.double(made.number(i)) for i in range(5)]).left == 0


@pytest.mark.parametrize("verb", ["dask.compute", "node.compute", "composed", "persist"])
def test_verbs_in_a_task(cluster, made, runs, inside, verb):
    """All verbs of Dask compute nodes on the cluster from inside a task."""

    def task(i):
        with inside() as client:
            node = made.double(made.number(i))
            if verb == "dask.compute":
                return dask.compute(node)[0]
            if verb == "node.compute":
                return node.compute()
            if verb == "composed":
                return dask.delayed(operator.pos)(node).compute()
            return client.compute(node.persist()).result()

    assert cluster.gather([cluster.submit(task, i, pure=False) for i in range(3)]) == [0, 2, 4]
    assert runs.take() == ["double"] * 3 + ["number"] * 3


def test_get_client_in_a_task_of_a_composed_graph(cluster, made, runs, root):
    """A task of plain Dask that follows a node computes further nodes with `get_client`."""
    folder = str(root)

    def task(x):
        client = get_client()
        secede()
        with dask.config.set({"daskcache.root": folder}):
            futures = client.compute([made.double(made.number(x)), made.total([x, 1])])
            return sum(client.gather(futures))

    assert dask.delayed(task)(made.number(3)).compute() == 10
    assert runs.take() == ["double", "number", "total"]


def test_tasks_at_once_that_compute_one_node(cluster, made, runs, inside):
    """Tasks on two workers ask for one node at once: all get its value, and it is stored whole."""

    def task(i):
        with inside() as client:
            return client.compute(made.double(made.slow(3))).result() + i

    assert cluster.gather(cluster.map(task, range(4), pure=False)) == [6, 7, 8, 9]
    assert set(runs.take()) == {"double", "slow"}
    assert made.double(made.slow(3)).dc.state == "complete"


def test_a_node_whose_body_computes_nodes_locally(client, made, runs):
    """Inside a decorated function calls are plain calls; nodes made outside compute as values do."""
    inner = made.double(made.number(3))

    @dc.delayed
    def outer(x):
        return inner.compute(scheduler="sync") + x

    assert client.compute(outer(1)).result() == 7
    assert runs.take() == ["double", "number"]


# ---- several programs ------------------------------------------------------------------------------

PROGRAM = """
import os, sys, time
import dask
import daskcache as dc
from daskcache.testing import RunCounter

runs = RunCounter({counter!r})

@dc.delayed(target="first/{{i}}.json")
def first(i):
    runs.note(f"first-{{i}}")
    while not os.path.exists({gate!r}):
        time.sleep(0.01)
    return i

@dc.delayed(target="second/{{x.stem}}.json")
def second(x):
    runs.note("second")
    time.sleep(0.01)
    return 2 * x

@dc.delayed(target="third.json")
def third(values):
    runs.note("third")
    return sum(values)
"""

NOTEBOOK = """
import dask, sys
import daskcache as dc
from distributed import Client
exec(compile(open(sys.argv[3]).read(), "cell", "exec"))
with Client(sys.argv[1]) as client, dask.config.set({{"daskcache.root": sys.argv[2]}}):
    node = third([second(first(i)) for i in range(30)])
    print("ready", flush=True)
    sys.stdin.readline()
    print({verb}, flush=True)
"""

PROGRAM_VERBS = {
    "compute": "client.compute(node).result()",
    "node": "node.compute()",
    "composed": "dask.delayed(int)(node).compute()",
    "persist": "client.persist(node).compute()",
}


@pytest.mark.parametrize(
    "verbs", list(itertools.combinations_with_replacement(PROGRAM_VERBS, 2)), ids=str
)
def test_two_notebooks_on_one_scheduler(remote_client, tmp_path, runs, verbs):
    """Two programs that plan one graph before any of it has run: equal values, each node runs once."""
    path, gate = tmp_path / "cells.py", tmp_path / "both have planned"
    path.write_text(PROGRAM.format(counter=str(runs.path), gate=str(gate)))
    programs = []

    def clients_that_wait(dask_scheduler):
        return len({client for task in dask_scheduler.tasks.values() for client in task.who_wants or ()})

    for name in verbs:
        code = NOTEBOOK.format(verb=PROGRAM_VERBS[name])
        arguments = (remote_client.scheduler.address, str(tmp_path / "root"), str(path))
        programs.append(
            subprocess.Popen(
                [sys.executable, "-c", code, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
        )
    try:
        for program in programs:
            line = program.stdout.readline()
            assert line == "ready\n", program.stderr.read()
        for program in programs:
            program.stdin.write("\n")
            program.stdin.flush()
        deadline = time.monotonic() + 60
        while remote_client.run_on_scheduler(clients_that_wait) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        gate.touch()
        ends = [program.communicate(timeout=60) for program in programs]
    finally:
        gate.touch()
        for program in programs:
            program.kill()
    assert [output for output, _ in ends] == ["870\n", "870\n"], ends
    assert runs.take() == sorted([f"first-{i}" for i in range(30)] + ["second"] * 30 + ["third"])


INSIDE = """
import sys
import dask
import daskcache as dc
from daskcache.testing import RunCounter
from distributed import Client, get_client, worker_client

OFFSET = {offset}
runs = RunCounter({counter!r})

def shift(x):
    {comment}
    return x + OFFSET

@dc.delayed(target="made/{{n}}.json", ignore="runs")
def made(n, runs):
    runs.note(str(n))
    return shift(n)

class Model:
    def made(self, n):
        return made(n, runs)

def in_a_task(n, root):
    with worker_client() as client, dask.config.set({{"daskcache.root": root}}):
        node = Model().made(n)
        return node.dc.key, client.compute(node).result()

if __name__ == "__main__":
    with Client(sys.argv[1]) as client, dask.config.set({{"daskcache.root": sys.argv[2]}}):
        keys, values = zip(*client.gather(client.map(in_a_task, range(4), root=sys.argv[2], pure=False)))
        nodes = [made(n, runs) for n in range(4)]
        assert list(keys) == [node.dc.key for node in nodes]
        assert all(node.dc.state == "complete" for node in nodes)
        assert dask.compute(*nodes) == values
        print(list(values), flush=True)
"""


def test_nodes_made_in_tasks_of_a_script(remote_client, tmp_path, runs):
    """Workers that have neither its source nor its `__main__` make them with the script's keys."""
    script = tmp_path / "script.py"

    def run(offset, comment="# nothing"):
        script.write_text(INSIDE.format(counter=str(runs.path), offset=offset, comment=comment))
        command = [sys.executable, str(script), remote_client.scheduler.address, str(tmp_path / "root")]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip(), runs.take()

    ran = ["0", "1", "2", "3"]
    assert run(10) == ("[10, 11, 12, 13]", ran)
    assert run(10) == ("[10, 11, 12, 13]", [])
    assert run(10, "# another comment") == ("[10, 11, 12, 13]", [])
    assert run(20) == ("[20, 21, 22, 23]", ran)


# ---- direct and composed collections in one verb ---------------------------------------------------


# Dask itself mixes up the order of the results where delayed values, arrays and bags are in one verb,
# so the arrays and bags here are reduced within delayed values.

COLLECTIONS = {
    "node": lambda m, ends: ends[0],
    "composed": lambda m, ends: dask.delayed(operator.pos)(ends[1]),
    "operator": lambda m, ends: ends[2] + 0,
    "list": lambda m, ends: dask.delayed([ends[3], ends[0]])[0],
    "array": lambda m, ends: dask.delayed(da.from_delayed(dask.delayed(np.asarray)(ends[4]), (), int)),
    "bag": lambda m, ends: dask.delayed(db.from_delayed([dask.delayed(lambda x: [x])(ends[5])]).sum()),
    "node of composed": lambda m, ends: m.total([ends[0] + 1, ends[1]]),
}
EXPECTED = dict(zip(COLLECTIONS, (0, 3, 6, 9, 12, 15, 4), strict=True))


def orders():
    """Some orders of the collections: each of them is first in one and last in another."""
    names = list(COLLECTIONS)
    for i in range(len(names)):
        yield names[i:] + names[:i]
    yield names[::-1]


def ends_of(made):
    """Six chains of two over one common ancestor."""
    common = made.number(1)
    return [made.total([common, made.number(1), 3 * i, -2]) for i in range(6)]


def compute_in(client, made, names):
    """Values and number of tasks of one verb over collections of these names."""
    ends = ends_of(made)
    collections = [COLLECTIONS[name](made, ends) for name in names]
    before = known_to(client)
    with scheduler_tasks(client) as tasks:
        values = client.gather(client.compute(collections))
        settled(client, before)
    return dict(zip(names, map(int, values), strict=True)), tasks()


def known_to(client):
    """Keys of the tasks that the scheduler knows."""
    return client.run_on_scheduler(lambda dask_scheduler: set(dask_scheduler.tasks))


def settled(client, before):
    """Wait until the scheduler has forgotten all tasks since `before` that nobody holds."""
    deadline = time.monotonic() + 20
    while known_to(client) - before and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("state", ["missing", "half", "complete"])
def test_the_order_of_collections_makes_no_difference(client, made, runs, state, tmp_path):
    """In whatever order direct and composed collections stand, a verb takes the same tasks."""
    sizes = set()
    for position, names in enumerate(orders()):
        with dask.config.set({"daskcache.root": str(tmp_path / f"root-{position}")}):
            finished = {"missing": [], "half": [made.number(1)], "complete": ends_of(made)}[state]
            dask.compute(finished)
            runs.take()
            values, tasks = compute_in(client, made, names)
            assert values == EXPECTED
            ran = runs.take()
            assert ran.count("number") == (1 if state == "missing" else 0)
            assert ran.count("total") == (1 if state == "complete" else 7)
            assert len(tasks) == len(set(tasks))
            if state != "missing":
                assert not [key for key in tasks if key.startswith("number")]
            sizes.add(len(tasks))
    assert len(sizes) == 1


@pytest.mark.parametrize(
    "names", list(itertools.permutations(["node", "composed", "operator"])), ids=str
)
def test_a_mixed_verb_has_the_tasks_of_its_parts(client, made, runs, names):
    """Three finished nodes, direct and composed, take a load each, and what plain Dask adds."""
    dask.compute(ends_of(made))
    runs.take()
    values, tasks = compute_in(client, made, names)
    assert values == {name: EXPECTED[name] for name in names}
    assert len(tasks) <= 3 + 2
    assert runs.take() == []


@pytest.mark.parametrize("first", ["node", "composed"])
def test_one_verb_makes_one_plan(client, made, runs, first):
    """A node that finishes while a verb reads its collections does not get two different tasks."""
    ancestor = made.slow(1)
    shared = made.double(ancestor)

    class Meanwhile(Delayed):
        """Finishes the ancestor when its graph is read."""

        __slots__ = ()

        @property
        def dask(self):
            if made.slow(1).dc.state != "complete":
                made.slow(1).compute(scheduler="sync")
            return super().dask

        def __dask_graph__(self):
            return self._dask

    def meanwhile():
        plain = dask.delayed(abs)(1)
        return Meanwhile(plain.key, plain.__dask_graph__())

    collections = [shared, meanwhile(), dask.delayed(operator.pos)(shared)]
    if first == "composed":
        collections.reverse()
    with scheduler_tasks(client) as tasks:
        values = client.gather(client.compute(collections))
        found = tasks()
    assert sorted(values) == [1, 2, 2]
    kinds = [key.partition(shared.dc.key)[0] for key in found if shared.dc.key in key]
    assert len(kinds) == len(set(kinds)) > 0
    assert runs.take() == ["double", "slow"]
