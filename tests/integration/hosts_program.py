"""A user's program: many nodes that take a while, computed on the cluster at an address."""

import sys
import time

import dask
from distributed import Client, get_worker

import daskcache as dc
from daskcache.testing.assertions import RunCounter

NODES = 32


@dc.delayed(target="parts/{i:02d}.json", ignore="runs")
def part(i, runs):
    runs.note(f"{i} {time.time()!r} {get_worker().name}")
    time.sleep(0.4)
    return i * i


@dc.delayed(target="total.json")
def total(parts):
    return sum(parts)


if __name__ == "__main__":
    address, root, runs = sys.argv[1:]
    with dask.config.set({"daskcache.root": root}), Client(address, timeout=30):
        counter = RunCounter(runs)
        print("total", total([part(i, counter) for i in range(NODES)]).compute())
