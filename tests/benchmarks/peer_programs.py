"""A program that each peer caches: run in a folder that has `functions.py`, it prints what they return.

    python peer_programs.py PEER

It needs the peer alone, in whatever version and environment that wants.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

sys.path.insert(0, os.getcwd())
INPUTS = range(3)


def daskcache(function):
    import dask

    import daskcache

    dask.config.set({"daskcache.root": "results"})
    node = daskcache.delayed(function, target="{i}.json")
    return dask.compute(*[node(i) for i in INPUTS], scheduler="sync")


def joblib(function):
    import joblib

    remembered = joblib.Memory("results", verbose=0).cache(function)
    return [remembered(i) for i in INPUTS]


def by_hand(function):
    os.makedirs("results", exist_ok=True)
    found = []
    for i in INPUTS:
        path = f"results/{i}.json"
        if not os.path.exists(path):
            with open(path, "w") as file:
                json.dump(function(i), file)
        with open(path) as file:
            found.append(json.load(file))
    return found


def redun(function):
    from redun import Scheduler, task
    from redun.config import Config

    cached = task(namespace="benchmark")(function)
    scheduler = Scheduler(config=Config({"backend": {"db_uri": "sqlite:///results.db"}}))
    scheduler.load()
    return scheduler.run([cached(i) for i in INPUTS])


def prefect(function):
    os.environ["PREFECT_LOCAL_STORAGE_PATH"] = os.path.abspath("results")
    from prefect import flow, task
    from prefect.cache_policies import INPUTS as BY_INPUTS
    from prefect.cache_policies import TASK_SOURCE
    from prefect.testing.utilities import prefect_test_harness

    cached = task(
        function,
        cache_policy=BY_INPUTS + TASK_SOURCE,
        persist_result=True,
        result_serializer="json",
    )
    with prefect_test_harness():
        return flow(lambda: [cached(i) for i in INPUTS], name="benchmark")()


def graphchain(function):
    import dask
    import graphchain

    node = dask.delayed(function, pure=True)
    calls = [node(i) for i in INPUTS]
    graph = {key: task for call in calls for key, task in dict(call.dask).items()}
    with dask.config.set(scheduler="sync"):
        return graphchain.get(graph, [call.key for call in calls], location="results")


def dask_checkpoint(function):
    import dask
    import dask_checkpoint

    os.makedirs("results", exist_ok=True)
    storage = dask_checkpoint.Storage.from_fsspec(os.path.abspath("results"))
    cached = dask_checkpoint.task(function, save=True)
    with storage():
        return dask.compute(*[cached(i) for i in INPUTS], scheduler="sync")


SNAKEFILE = """
rule all:
    input: expand("results/{i}.json", i=range(3))
rule one:
    output: "results/{i}.json"
    run:
        import functions, json
        json.dump(functions.scaled(int(wildcards.i)), open(output[0], "w"))
"""


def snakemake(function):
    with open("Snakefile", "w") as file:
        file.write(SNAKEFILE)
    subprocess.run([sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all"], check=True)
    found = []
    for i in INPUTS:
        with open(f"results/{i}.json") as file:
            found.append(json.load(file))
    return found


if __name__ == "__main__":
    import functions

    values = globals()[sys.argv[1]](functions.scaled)
    print(json.dumps({"values": list(values)}))
