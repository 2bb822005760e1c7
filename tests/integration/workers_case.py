"""One case of the tests of what workers do, as a program: a cluster, tasks, and what became of them.

A task that holds the interpreter's lock would stop the tests, too, if its cluster were in their process.
Called with the name of a case, the kind of the cluster, a folder, and options as JSON.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dask
import psutil
from distributed import Client, LocalCluster

import daskcache as dc

#: `dask scheduler` and `dask worker`, with a nanny and without; LocalCluster, with processes or without.
KINDS = ["nanny", "no-nanny", "local", "local-threads"]

CASES = {}

TTL = 5.0


def case(function):
    CASES[function.__name__] = function
    return function


@contextmanager
def cluster(kind, folder, preload=False):
    """A client of a cluster of one worker, with a ttl of a few seconds."""
    with ExitStack() as stack:
        stack.enter_context(dask.config.set({"distributed.scheduler.worker-ttl": f"{TTL} s"}))
        if kind.startswith("local"):
            options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
            local = stack.enter_context(LocalCluster(processes=kind == "local", **options))
            yield stack.enter_context(Client(local))
            return
        address = folder / "scheduler.json"
        file = ["--scheduler-file", str(address)]
        preloads = ["--preload", "daskcache.workers"] if preload else []
        common = ["--host", "127.0.0.1", "--no-dashboard", *preloads, *file]
        stack.enter_context(running(["scheduler", "--port", "0", *common]))
        nanny = ["--nanny"] if kind == "nanny" else ["--no-nanny"]
        worker = ["worker", "--nthreads", "1", *nanny, *common, "--local-directory", str(folder)]
        stack.enter_context(running(worker))
        client = stack.enter_context(Client(scheduler_file=str(address), timeout=60))
        client.wait_for_workers(1, timeout=60)
        yield client


@contextmanager
def running(command):
    """A process of Dask's command line."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    env = {**kept, "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{TTL} s"}
    with subprocess.Popen([sys.executable, "-m", "dask", *command], env=env, stderr=2) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:  # it is blocked
                process.kill()


def timed_out(client):
    """How often the scheduler took a worker for dead because it was silent."""
    events = [message for _, message in client.get_events("scheduler")]
    return sum(message.get("action") == "worker-ttl-timed-out" for message in events)


def hold_the_lock(seconds):
    """Let no other thread of this process run."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    return os.getpid()


# ---- cases ---------------------------------------------------------------------------------------


@case
def lean_and_alive(client, attached=True):
    """What a worker keeps of what is freed, and whether it lives on when a node blocks it."""
    with dask.config.set({"daskcache.workers.attach": attached}):
        client.compute(dc.delayed(make_garbage)(1)).result()  # which attaches what there is to attach
        kept = freed(client, mebibytes=300, wait=30 if attached else 5)
        return {**kept, **blocked(client, seconds=14, wait=40)}


@case
def blocked(client, seconds, wait, **settings):
    """A node that blocks its worker: how it ended, within `wait` seconds."""
    if settings:
        dc.attach(client, **settings)
    node = dc.delayed(hold_the_lock)(seconds)
    started = time.monotonic()
    future = client.compute(node)
    before = set(client.scheduler_info()["workers"])
    last = 0
    while time.monotonic() - started < wait and not future.done():
        time.sleep(0.1)
        last = timed_out(client) or last
        if last:
            break
    time.sleep(1.0 if not last else 0.0)
    return {
        "timed out": timed_out(client),
        "after": time.monotonic() - started,
        "status": future.status,
        "same worker": set(client.scheduler_info()["workers"]) == before,
    }


@case
def killed(client, seconds):
    """How soon the death of a blocked worker is noticed."""
    dc.attach(client)
    (pid,) = client.run(os.getpid).values()
    (before,) = client.scheduler_info()["workers"]
    future = client.compute(dc.delayed(hold_the_lock)(seconds))
    time.sleep(2 * TTL)
    assert before in client.scheduler_info()["workers"]
    os.kill(pid, signal.SIGKILL)
    started = time.monotonic()
    while before in client.scheduler_info()["workers"]:
        time.sleep(0.005)
    noticed = time.monotonic() - started
    future.release()
    return {"noticed": noticed}


def make_garbage(mebibytes):
    """Many small objects, which are freed again."""
    things = [bytearray(1000) for _ in range(mebibytes * 1024)]
    return len(things)


def rss():
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


@case
def freed(client, mebibytes, wait=30, preloaded=False):
    """MiB that a worker keeps of what a task has freed, after `wait` seconds at most.

    A trim that comes while the task still frees gains a part; the next one waits a hundred times as long
    as it took.
    """
    client.submit(make_garbage, 1).result()
    (before,) = client.run(rss).values()
    client.submit(make_garbage, mebibytes).result()
    deadline = time.monotonic() + wait
    kept = float("inf")
    while kept > 32 and time.monotonic() < deadline:
        time.sleep(0.25)
        (after,) = client.run(rss).values()
        kept = after - before
    return {"kept": kept}


def run(name, kind, folder, options):
    preload = bool(options.get("preloaded"))
    with cluster(kind, Path(folder), preload) as client:
        print("outcome:", json.dumps(CASES[name](client, **options)), flush=True)


if __name__ == "__main__":
    name, kind, folder, options = sys.argv[1:]
    dask.config.set({"daskcache.root": f"{folder}/root"})
    run(name, kind, folder, json.loads(options))
    os._exit(0)  # what blocks a worker in this process may go on for long
