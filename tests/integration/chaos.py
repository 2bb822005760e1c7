"""A graph that many processes work on, of which some are killed: what `test_chaos` runs.

All processes are forked from one server that has imported everything, so that starting one costs little.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
from multiprocessing import get_context
from pathlib import Path

import dask
from dask import config
from distributed import Client, Scheduler, Worker

import daskcache as dc
from daskcache import events
from daskcache.runtime import node as node_run
from daskcache.testing.assertions import RunCounter

NODES, WIDTH = 100, 25
WORKERS, THREADS = 3, 8

#: What becomes of a run, after so many of its nodes have been begun.
KILL, RETIRE, RESTART, STOP_CLIENT = "kill", "retire", "restart scheduler", "kill client"
EVENTS = (KILL, KILL, KILL, KILL, RETIRE, RESTART, STOP_CLIENT)

#: Everything that a process of a run must have imported: by the server, before it forks.
_forks = get_context("forkserver")
_forks.set_forkserver_preload(
    ["chaos", "daskcache.graph", "daskcache.runtime.node", "distributed.worker"]
)


# ---- the graph ----------------------------------------------------------------------------------


def value(number: int, parents: list[list[int]]) -> list[int]:
    """What a node is worth: depends on all that comes before it."""
    return [number, (7 * number + sum(3 * p[1] + p[0] for p in parents)) % 1_000_003]


def parents_of(number: int, seed: int) -> list[int]:
    """Up to three nodes of the layer before."""
    if number < WIDTH:
        return []
    layer = number // WIDTH - 1
    chosen = random.Random(f"{seed} {number}")
    return sorted(chosen.sample(range(layer * WIDTH, (layer + 1) * WIDTH), chosen.randint(1, 3)))


def serial_values(seed: int) -> list[list[int]]:
    """What a plain loop makes of the graph."""
    values: list[list[int]] = []
    for number in range(NODES):
        values.append(value(number, [values[parent] for parent in parents_of(number, seed)]))
    return values


@dc.delayed(target="values/{number:03d}.json", ignore=("runs", "seed"), version=1)
def work(number, parents, runs, seed):
    runs.note(f"{number} {vars(_looked).pop('at', time.time())!r}")
    time.sleep(random.Random(f"{seed} {number} time").uniform(0.1, 0.5))
    return value(number, parents)


#: When this thread last looked whether a node is finished already.
_looked = threading.local()
_find_finished = node_run.find_finished


def _find_and_note(*args):
    _looked.at = time.time()
    return _find_finished(*args)


node_run.find_finished = _find_and_note


def graph(folder: Path, seed: int) -> list:
    """The nodes, in the order of `serial_values`."""
    runs = RunCounter(folder / "runs")
    nodes: list = []
    with config.set({"daskcache.root": str(folder / "root")}):
        for number in range(NODES):
            parents = [nodes[parent] for parent in parents_of(number, seed)]
            nodes.append(work(number, parents, runs, seed))
    return nodes


# ---- processes ----------------------------------------------------------------------------------


def _quiet(folder, name):
    log = os.open(folder / f"{name}.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.getLogger("distributed").setLevel(logging.ERROR)


_CONFIG = {
    "distributed.scheduler.allowed-failures": 1000,
    "distributed.scheduler.worker-ttl": "30 s",
    "distributed.comm.timeouts.connect": "10 s",
    "distributed.comm.retry.count": 0,
    "distributed.deploy.cluster-repr-interval": "1 h",
    "distributed.worker.profile.enabled": False,
}


def run_scheduler(folder, port):
    async def serve():
        async with Scheduler(host="127.0.0.1", port=port, dashboard=False) as scheduler:
            await scheduler.finished()

    _quiet(folder, "scheduler")
    with config.set(_CONFIG):
        asyncio.run(serve())


def run_worker(folder, name, port):
    async def serve():
        scratch = str(folder / "scratch")
        address = f"tcp://127.0.0.1:{port}"
        async with Worker(
            address, name=name, nthreads=THREADS, local_directory=scratch, dashboard=False
        ) as worker:
            retire = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, retire.set)
            done = [asyncio.create_task(retire.wait()), asyncio.create_task(worker.finished())]
            await asyncio.wait(done, return_when=asyncio.FIRST_COMPLETED)
            if retire.is_set():
                await worker.close_gracefully()

    def note(event):
        if event.outcome == events.RAN:
            number = int(Path(event.target).stem)
            commits.note(f"{number} {time.time()!r}")

    _quiet(folder, f"worker-{name}")
    commits = RunCounter(folder / "commits")
    events.listeners.append(note)
    with config.set(_CONFIG), contextlib.suppress(OSError, asyncio.TimeoutError):
        asyncio.run(serve())  # without a scheduler, it ends
    os._exit(0)  # bodies that are still running are not waited for


def run_client(folder, seed, port, force):
    """What a user runs, again and again until it has come to its end."""
    _quiet(folder, "client")
    RunCounter(folder / "starts").note(repr(time.time()))
    with config.set(_CONFIG), Client(f"tcp://127.0.0.1:{port}", timeout=10) as client:
        nodes = graph(folder, seed)
        if force:
            dc.compute(*nodes, force=True)
        assert list(client.gather(client.compute(nodes))) == serial_values(seed)
        assert list(dask.compute(*nodes)) == serial_values(seed)


class Run:
    """One run: a scheduler, workers and a client, and what happens to them.

    Parameters
    ----------
    folder : Path
    seed : int
    force : bool
        Whether the client runs every node again, finished or not: the control.

    Attributes
    ----------
    counts : dict of str to int
        How often each kind of event took place.
    """

    def __init__(self, folder: Path, seed: int, force: bool = False):
        self.folder = folder
        self.force = force
        self.seed = seed
        self.runs = RunCounter(folder / "runs")
        self.counts = dict.fromkeys(EVENTS, 0)
        self._random = random.Random(f"{seed} events")
        self._port = _free_port()
        self._workers: list = []
        self._started = 0

    def to_its_end(self, seconds: float = 120) -> None:
        """Run the program until it has come to its end, whatever happens."""
        deadline = time.monotonic() + seconds
        coming = self._events()
        self._scheduler = self._start(run_scheduler, self._port)
        try:
            self._fill_up()
            self._client = self._start(run_client, self.seed, self._port, self.force)
            while self._client.exitcode != 0 or coming:
                assert time.monotonic() < deadline, f"not done: {self.counts}, {self._logs()}"
                if coming and len(self.runs.names()) >= coming[0][0] and self._happen(coming[0][1]):
                    coming.pop(0)
                self._fill_up()
                if self._client.exitcode is not None and (self._client.exitcode or coming):
                    self._client = self._start(run_client, self.seed, self._port, self.force)
                time.sleep(0.02)
        finally:
            for process in (self._client, *self._workers, self._scheduler):
                process.kill()
            for process in (self._client, *self._workers, self._scheduler):
                process.join()

    def _events(self):
        """After how many calls what happens, in order."""
        kinds = self._random.sample(EVENTS, len(EVENTS))
        places = sorted(self._random.sample(range(5, NODES - 15), len(EVENTS)))
        return list(zip(places, kinds, strict=True))

    def _happen(self, kind):
        alive = [worker for worker in self._workers if worker.is_alive()]
        if kind == KILL:
            done = bool(alive) and _kill(self._random.choice(alive))
        elif kind == RETIRE:
            done = bool(alive)
            if alive:
                self._random.choice(alive).terminate()
        elif kind == RESTART:
            done = _kill(self._scheduler)
            self._scheduler = self._start(run_scheduler, self._port)
        else:
            done = _kill(self._client)
        self.counts[kind] += done
        return done

    def _fill_up(self):
        """Start a worker for each that is gone, as a batch system does."""
        self._workers = [worker for worker in self._workers if worker.is_alive()]
        while len(self._workers) < WORKERS:
            self._started += 1
            self._workers.append(self._start(run_worker, str(self._started), self._port))

    def _start(self, function, *args):
        process = _forks.Process(target=function, args=(self.folder, *args), daemon=True)
        process.start()
        return process

    def _logs(self):
        return {log.name: log.read_text()[-1500:] for log in self.folder.glob("*.log")}


def _kill(process):
    """Kill a process; whether it was alive until then."""
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def main(folder: str, seeds: list[str], force: bool) -> None:
    """Runs one after the other, each in a folder named by its seed; prints what happened in each."""
    for seed in seeds:
        place = Path(folder) / seed
        place.mkdir(parents=True)
        run = Run(place, int(seed), force)
        run.to_its_end()
        print(json.dumps(run.counts), flush=True)


if __name__ == "__main__":  # python chaos.py FOLDER SEED ... [force]
    main(sys.argv[1], [arg for arg in sys.argv[2:] if arg != "force"], "force" in sys.argv)
