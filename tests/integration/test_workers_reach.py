"""Workers that can't do what a graph asks of them are named before it is sent, or when they join."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import dask
import pytest
from clusters import on_cluster, separate_processes, small_cluster
from distributed import Client

import daskcache as dc
from daskcache import config, errors
from daskcache.clients import notes_on

HERE = Path(__file__).parent
PACKAGES = Path(dc.__file__).parents[1]


@pytest.fixture
def client(local_client):
    with on_cluster(local_client):
        yield local_client


@dc.delayed(target="{i}.json")
def double(i):
    return 2 * i


def increment(x):
    return x + 1


VERBS = {
    "dask.compute": lambda node, client: dask.compute(node)[0],
    "Client.compute": lambda node, client: client.compute(node).result(),
    "persist": lambda node, client: node.persist().compute(),
}


@contextmanager
def extra_worker(client, *, hidden=None, modules=PACKAGES):
    """A worker that joins the client's cluster; in its view another disk is mounted at `hidden`.

    Yields the process.
    """
    command = [sys.executable, "-m", "dask", "worker", client.scheduler.address, "--no-nanny"]
    command += ["--no-dashboard", "--nthreads", "1", "--name", "extra"]
    if hidden is not None:
        script = f"mount -t tmpfs tmpfs '{hidden}' && exec \"$@\""
        command = ["unshare", "--mount", "sh", "-c", script, "worker", *command]
    process = subprocess.Popen(
        command,
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(modules), str(HERE)])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def join(client, count=3):
    client.wait_for_workers(count, timeout=60)


def address_of_extra(client):
    """The scheduler's own word: what the client knows of workers may be a moment old."""
    return client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.aliases["extra"])


@pytest.mark.needs("root")
@pytest.mark.parametrize("verb", VERBS)
def test_a_worker_that_does_not_see_the_root(client, root, verb):
    """The error names it and the cure, before anything runs; without that worker all is well."""
    root.mkdir()
    with extra_worker(client, hidden=root):
        join(client)
        with pytest.raises(errors.ReachError, match="root does not exist") as caught:
            VERBS[verb](double(3), client)
        assert address_of_extra(client) in str(caught.value)
        assert "shared" in str(caught.value)
        assert not (root / "3.json").exists()
    client.wait_for_workers(2)
    assert VERBS[verb](double(3), client) == 6


@pytest.mark.needs("root")
@pytest.mark.parametrize(
    "compose", [lambda n: dask.delayed(increment)(n), lambda n: dask.delayed(max)([n])]
)
def test_graphs_composed_of_nodes(client, root, compose):
    """They are planned while the client sends them, which must not be stopped: a warning names it."""
    root.mkdir()
    with warnings.catch_warnings(record=True) as caught, extra_worker(client, hidden=root):
        warnings.simplefilter("always")
        join(client)
        client.compute(compose(double(3)), retries=5)
        _wait_until(lambda: any("does not exist" in str(w.message) for w in caught))
        assert address_of_extra(client) in str(caught[-1].message)


@pytest.mark.needs("root")
def test_a_worker_that_sees_another_root(client, root):
    """A folder of the same path on a disk of its own: told by its id, and by the task if need be."""
    dask.compute(double(1))
    with extra_worker(client, hidden=root):
        join(client)
        address = address_of_extra(client)
        client.run(_make_root, str(root), workers=[address])
        with (
            dask.config.set({"daskcache.reach": "off"}),
            dask.annotate(workers=[address], allow_other_workers=False),
            pytest.raises(errors.ReachError, match="another root") as caught,
        ):
            dask.compute(double(2))
        assert address in "".join(caught.value.__notes__)
        notes_on(client).pop("reach", None)
        with pytest.raises(errors.ReachError, match="another root"):
            dask.compute(double(3))
        assert client.compute(double(4), workers=_others(client, address)).result() == 8


def _make_root(path):
    from daskcache.storage.roots import Root

    return Root(path).create()


def _others(client, address):
    return [worker for worker in client.scheduler_info(n_workers=-1)["workers"] if worker != address]


@pytest.mark.needs("root")
def test_a_worker_that_joins_later(client, root):
    """A warning names it when it joins."""
    dask.compute(double(1))
    with warnings.catch_warnings(record=True) as caught, extra_worker(client, hidden=root):
        warnings.simplefilter("always")
        join(client)
        address = address_of_extra(client)
        _wait_until(lambda: any(address in str(w.message) for w in caught))
    assert "does not exist" in str(caught[-1].message)


def test_a_worker_without_daskcache(client, tmp_path):
    """It is named, and lives; so does one that joins later."""
    blocked = tmp_path / "blocked" / "daskcache"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ImportError('not here')")
    with extra_worker(client, modules=blocked.parent) as process:
        join(client)
        with pytest.raises(errors.ReachError, match="can't import daskcache"):
            dask.compute(double(1))
        assert process.poll() is None
    client.wait_for_workers(2)
    assert dask.compute(double(1)) == (2,)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with extra_worker(client, modules=blocked.parent) as process:
            _wait_until(lambda: any("can't import daskcache" in str(w.message) for w in caught))
            assert process.poll() is None


def test_workers_without_the_users_module(tmp_path, monkeypatch):
    """The error names module and workers, and ``client.upload_file``, which is a cure."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "reached_module.py").write_text("def treble(x):\n    return 3 * x\n")
    monkeypatch.syspath_prepend(str(folder))
    from reached_module import treble

    (tmp_path / "processes").mkdir()
    with separate_processes(tmp_path / "processes", modules=folder) as (client, start_worker):
        start_worker("worker-0")
        client.wait_for_workers(1, timeout=60)
        node = dc.delayed(treble, target="treble.json")(2)
        with on_cluster(client), pytest.raises(errors.ReachError, match="reached_module") as caught:
            dask.compute(node)
        assert "upload_file" in str(caught.value)
        client.upload_file(str(folder / "reached_module.py"))
        with on_cluster(client):
            assert dask.compute(node) == (6,)


@pytest.mark.timeout(120)
def test_a_worker_that_can_not_import_a_decorated_function_lives(tmp_path, monkeypatch):
    """Unasked, it fails the task, by an error that names the function, and goes on."""
    folder = tmp_path / "modules"
    folder.mkdir()
    source = "import daskcache as dc\n\n@dc.delayed(target='late.json')\ndef late(x):\n    return x\n"
    (folder / "decorated_module.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder))
    from decorated_module import late

    (tmp_path / "processes").mkdir()
    unasked = dask.config.set({"daskcache.reach": "off"})
    with unasked, separate_processes(tmp_path / "processes") as (client, start_worker):
        start_worker("worker-0")
        client.wait_for_workers(1, timeout=60)
        before = list(client.scheduler_info(n_workers=-1)["workers"])
        with pytest.raises(
            errors.GraphError, match=r"decorated_module\.late .*not a decorated function"
        ):
            client.compute(late(2)).result(timeout=60)
        assert list(client.scheduler_info(n_workers=-1)["workers"]) == before
        client.upload_file(str(folder / "decorated_module.py"))
        assert client.compute(late(2)).result(timeout=60) == 2


def test_no_workers_yet(root):
    """Nothing is waited for: who joins is asked then, and the work goes on."""
    with small_cluster() as client:
        client.cluster.scale(0)
        _wait_until(lambda: not client.scheduler_info(n_workers=-1)["workers"])
        started = time.monotonic()
        future = client.compute(double(5))
        assert time.monotonic() - started < 5
        client.cluster.scale(1)
        assert future.result(timeout=60) == 10


def test_an_asynchronous_client(client, root):
    """Its loop is never waited for; tasks, and a warning, say what is wrong."""

    async def compute():
        async with Client(client.scheduler.address, asynchronous=True, set_as_default=False) as own:
            return await own.compute(double(6)), await own.compute(dask.delayed(increment)(double(7)))

    assert asyncio.run(asyncio.wait_for(compute(), 60)) == (12, 15)


def test_workers_are_asked_once(client, monkeypatch):
    """Not at every verb; and again for a new root or a new function."""
    asked = []
    run = Client._run

    async def counted(self, function, *args, **kwargs):
        if function.__name__ == "_probe":
            asked.append(function)
        return await run(self, function, *args, **kwargs)

    monkeypatch.setattr(Client, "_run", counted)
    for i in range(3):
        dask.compute(double(i))
    assert len(asked) == 1
    dask.compute(dc.delayed(increment, target="new.json")(1))
    assert len(asked) == 2
    with dask.config.set({"daskcache.root": config.get("root") + "-other"}):
        dask.compute(double(1))
    assert len(asked) == 3


def test_a_relative_root(client, tmp_path, monkeypatch):
    """It is taken from the client's folder, wherever workers run."""
    monkeypatch.chdir(tmp_path)
    assert client.run(os.getcwd) != os.getcwd()
    with dask.config.set({"daskcache.root": "./working"}):
        node = double(8)
        assert dask.compute(node) == (16,)
    assert node.dc.path == str(tmp_path / "working" / "8.json")
    assert (tmp_path / "working" / "8.json").exists()


def _wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
