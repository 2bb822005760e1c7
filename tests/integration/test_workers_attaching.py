"""What daskcache adds to a cluster: by itself or when asked, once, replaced, and taken away."""

import asyncio
import gc
import multiprocessing
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor

import dask
import psutil
import pytest
from clusters import on_cluster, separate_processes
from distributed import Client, LocalCluster, SpecCluster, Worker, WorkerPlugin
from distributed.scheduler import Scheduler
from tornado.ioloop import PeriodicCallback

import daskcache as dc
from daskcache.clients import notes_on
from daskcache.cluster import attaching, memory
from daskcache.cluster.attaching import NAME
from daskcache.cluster.keepalive import cluster_config
from daskcache.cluster.memory import TrimPlugin
from daskcache.errors import DaskcacheWarning


def increment(x):
    return x + 1


@pytest.fixture(scope="module")
def threads_client():
    """Client of a LocalCluster of two workers in this process."""
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        LocalCluster(processes=False, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(params=["local_client", "threads_client"], ids=["processes", "threads"])
def fresh(request):
    """A new client of a LocalCluster of two workers, to which nothing is attached."""
    used = request.getfixturevalue(request.param)
    dc.detach(used)
    with Client(used.cluster, set_as_default=False) as client, on_cluster(client):
        yield client
    dc.detach(used)


def guards(client):
    """Per worker, the identity of what is attached there; None if nothing is."""

    def guard(dask_worker):
        plugin = dask_worker.plugins.get("daskcache")
        return plugin and id(plugin)

    return client.run(guard)


def scheduler_of(client):
    return client.cluster.scheduler


VERBS = {
    "node": lambda client: dask.compute(dc.delayed(increment)(1)),
    "client": lambda client: client.compute(dc.delayed(increment)(1)).result(),
    "persist": lambda client: client.persist(dc.delayed(increment)(1)).compute(),
    "method": lambda client: dc.delayed(increment)(1).compute(),
    "composed": lambda client: dask.compute(dask.delayed(increment)(dc.delayed(increment)(1))),
    "list": lambda client: dask.compute(dask.delayed(sum)([dc.delayed(increment)(1)])),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_the_first_verb_attaches(local_client, verb):
    """Whatever sends a node first, its workers have what is configured before its tasks run."""
    with Client(local_client.cluster, set_as_default=False) as client, on_cluster(client):
        dc.detach(local_client)
        assert "prepared" not in notes_on(client)
        verb(client)
        found = guards(client)
        assert None not in found.values()
        verb(client)
        assert guards(client) == found


def test_plain_dask_attaches_nothing(fresh):
    """A graph without nodes leaves a cluster as it is."""
    assert dask.compute(dask.delayed(increment)(1)) == (2,)
    assert set(guards(fresh).values()) == {None}


def test_configuration_switches_it_off(fresh):
    """With ``daskcache.workers.attach: false`` nothing is attached, unless it is asked for."""
    with dask.config.set({"daskcache.workers.attach": False}):
        dc.delayed(increment)(1).compute()
        assert set(guards(fresh).values()) == {None}
        dc.attach(fresh)
        assert None not in guards(fresh).values()


def test_each_part_can_be_switched_off():
    """The configuration, and parameters before it, say which parts there are."""
    off = {"daskcache.workers.trim": False, "daskcache.workers.keepalive": False}
    with dask.config.set(off):
        settings = attaching.configured()
        assert attaching._worker_guard(settings).parts == []
        assert attaching._nanny_guard(settings, 300.0).parts == []
        assert len(attaching._worker_guard(attaching.configured(trim=True)).parts) == 1
    assert len(attaching._nanny_guard(attaching.configured(), 300.0).parts) == 1
    assert attaching._nanny_guard(attaching.configured(), None).parts == []
    assert attaching.configured(max_block=0).max_block == 0


def test_attaching_again_changes_nothing(fresh):
    """With the same parameters, what is attached stays; no client's verb replaces it."""
    dc.attach(fresh, max_block="1 hour")
    found = guards(fresh)
    dc.attach(fresh, max_block="1 hour")
    dc.delayed(increment)(1).compute()
    with Client(fresh.cluster, set_as_default=False) as other, on_cluster(other):
        dc.delayed(increment)(2).compute()
    assert guards(fresh) == found
    assert scheduler_of(fresh).plugins[NAME].settings.max_block == 3600


def live_timers():
    """Timers of this process that belong to daskcache, by the function that they call, and watches."""
    timers = [thing for thing in gc.get_objects() if isinstance(thing, PeriodicCallback)]
    ours = [t for t in timers if t.is_running() and t.callback.__module__.startswith("daskcache")]
    return sorted(timer.callback.__qualname__ for timer in ours)


def watches(client):
    """How many nannies of this process are looking after their workers."""

    async def count(dask_scheduler):
        return sum("_keep_watching" in repr(task) for task in asyncio.all_tasks())

    return client.run_on_scheduler(count)


def test_new_parameters_replace_old_ones(fresh):
    """What is replaced leaves no timer behind; what is detached leaves nothing, and stays away."""
    before = live_timers()
    has_nannies = any(worker.nanny for worker in scheduler_of(fresh).workers.values())
    own_timer = scheduler_of(fresh).periodic_callbacks["worker-ttl"]
    seen = []
    for hours in (1, 2, 3):
        dc.attach(fresh, max_block=f"{hours} hours")
        seen.append((len(live_timers()) - len(before), watches(fresh)))
        assert not own_timer.is_running()
    assert seen == [(1, 2) if has_nannies else (3, 0)] * 3
    dc.detach(fresh)
    assert (live_timers(), watches(fresh)) == (before, 0)
    assert own_timer.is_running()
    dc.delayed(increment)(1).compute()
    assert set(guards(fresh).values()) == {None}
    dc.detach(fresh)


def test_workers_that_join_later_are_attached_to(threads_client):
    """A worker that joins has it from the start."""
    dc.attach(threads_client)
    threads_client.cluster.scale(3)
    threads_client.wait_for_workers(3, timeout=60)
    assert len(guards(threads_client)) == 3
    assert None not in guards(threads_client).values()
    threads_client.cluster.scale(2)


def test_asynchronous_clients(root):
    """In the thread of its event loop a verb can't wait: it attaches beside the verb."""

    async def main():
        async with (
            LocalCluster(
                n_workers=1, processes=False, asynchronous=True, dashboard_address=":0"
            ) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            assert await client.compute(dc.delayed(increment)(1)) == 2
            deadline = time.monotonic() + 10
            while NAME not in cluster.scheduler.worker_plugins and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            assert NAME in cluster.scheduler.worker_plugins
            await dc.detach(client)
            assert NAME not in cluster.scheduler.worker_plugins
            await dc.attach(client)
            assert NAME in cluster.scheduler.worker_plugins

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_worker_without_daskcache_goes_on_without(tmp_path):
    """Workers that can't import daskcache are named in a warning, whenever they join, and live on."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "daskcache.py").write_text("raise ImportError('there is no daskcache here')")
    with (
        separate_processes(tmp_path) as (client, start_worker),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        start_worker("early", broken)
        client.wait_for_workers(1, timeout=60)
        dc.attach(client)
        start_worker("late", broken)
        client.wait_for_workers(2, timeout=60)
        addresses = list(client.scheduler_info()["workers"])
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            told = [str(w.message) for w in caught if w.category is DaskcacheWarning]
            if all(any(address in text for text in told) for address in addresses):
                break
            time.sleep(0.05)
        assert all(any(address in text for text in told) for address in addresses), told
        assert "there is no daskcache here" in told[0]
        assert len(set(client.run(os.getpid).values())) == 2
        assert client.submit(sum, [1, 2]).result() == 3


class Unwelcome(WorkerPlugin):
    """A plugin that no process can unpickle."""

    parts = ("one",)

    def __reduce__(self):
        return eval, ("1 / 0",)


def test_what_workers_cannot_unpickle_is_taken_back(local_client, monkeypatch):
    """A plugin that would keep workers from joining is not left for those that join later."""
    dc.detach(local_client)
    monkeypatch.setattr(attaching, "_guarded", lambda base, plugins: Unwelcome())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dc.attach(local_client)
        assert NAME not in scheduler_of(local_client).worker_plugins
        deadline = time.monotonic() + 20
        while not caught and time.monotonic() < deadline:
            time.sleep(0.05)
    assert "goes without" in str(caught[0].message)


def test_many_workers_come_and_go():
    """Each of 200 workers is attached to once; the scheduler keeps at most 50 kB of one that left.

    In a process of its own: what other tests have left in this one makes its size vary.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        setups, growth = pool.submit(many_workers).result()
    assert len(setups) == len(set(setups)) == 200
    print(f"{growth / 200 / 1000:.1f} kB a worker")
    assert growth / 200 <= 50_000


def many_workers():
    """Ids of the workers that were attached to while 200 came and went, and bytes kept of them."""
    setups = []
    setup = TrimPlugin.setup
    TrimPlugin.setup = lambda self, worker: (setups.append(worker.id), setup(self, worker))
    options = {"cls": Worker, "options": {"nthreads": 1, "memory_limit": None, "dashboard": False}}
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": ":0", "port": 0}}
    with (
        SpecCluster(scheduler=scheduler, worker=options) as cluster,
        Client(cluster, set_as_default=False) as client,
        on_cluster(client),
    ):
        dc.attach(client)
        for _ in range(2):
            come_and_go(cluster, client, 20)
        before = kept()
        setups.clear()
        for _ in range(10):
            come_and_go(cluster, client, 20)
        return setups, kept() - before


def come_and_go(cluster, client, number):
    cluster.scale(number)
    client.wait_for_workers(number, timeout=60)
    cluster.scale(0)
    deadline = time.monotonic() + 60
    while cluster.scheduler.workers and time.monotonic() < deadline:
        time.sleep(0.02)
    client.sync(cluster._correct_state)


def kept():
    """Bytes that this process holds."""
    gc.collect()
    if memory._trimmer.libc is not None:
        memory._trimmer.trim()
    return psutil.Process().memory_info().rss


def test_a_cluster_of_ones_own_needs_no_keepalive():
    """Started with `cluster_config`, a scheduler never takes silence for death, and nothing is added."""
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        dask.config.set(cluster_config()),
        LocalCluster(processes=False, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        dc.attach(client)
        assert cluster.scheduler.worker_ttl is None
        assert NAME not in cluster.scheduler.nanny_plugins
        assert cluster.scheduler.plugins[NAME]._timer is None
