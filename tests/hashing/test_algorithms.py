"""The hash algorithm: chosen by configuration, one for a process, named in every record."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import blake3
import pytest
import xxhash

from daskcache.hashing import algorithms

_PROGRAM = """
import json, sys
import dask, numpy as np
import daskcache as dc
from daskcache import hashing
from daskcache.hashing import algorithms

root, name = sys.argv[1:3]
dask.config.set({"daskcache.root": root, "daskcache.hash": name, "scheduler": "sync"})
ran = []

@dc.delayed(target="x.json", version=1)
def x(a):
    ran.append("x")
    return a

@dc.delayed(target="y.npy", version=1)
def y(x):
    ran.append("y")
    return np.arange(x)

node = y(x(3))
before, why = dc.status(node), str(dc.why(x(3)))
node.compute()
print(json.dumps({
    "before": before, "why": why, "after": dc.status(node), "ran": ran, "record": node.dc.record,
    "bytes": algorithms.digest(b"abc"), "array": hashing.hash_value(np.arange(100_000)),
}))
"""


@pytest.fixture
def program(root):
    """Run a program that hashes with an algorithm; what it found out."""

    def run(name):
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(root), name], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


EXPECTED = {
    "xxh3_128": ("xxh3_128", xxhash.xxh3_128_hexdigest(b"abc")),
    "blake3": ("blake3_128", blake3.blake3(b"abc").hexdigest()[:32]),
    "sha256": ("sha256_128", hashlib.sha256(b"abc").hexdigest()[:32]),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_each_algorithm_makes_and_finds_results(program, name):
    """Keys, data and files are hashed with the configured algorithm, and records name it."""
    tag, digest = EXPECTED[name]
    first = program(name)
    assert first["bytes"] == digest
    assert first["ran"] == ["x", "y"]
    assert first["after"] == "complete"
    for field in ("trace", "data_hash", "file_hash"):
        assert first["record"][field].startswith(f"{tag}:")
        assert len(first["record"][field]) == len(tag) + 33
    again = program(name)
    assert (again["before"], again["ran"]) == ("complete", [])


def test_another_algorithm_is_a_reason(program):
    """With another algorithm everything is stale, and `why` says that it is for the algorithm."""
    first = program("xxh3_128")
    changed = program("sha256")
    assert changed["before"] == "stale"
    assert changed["why"] == "hashed with xxh3_128 then, sha256_128 now"
    assert changed["ran"] == ["x", "y"]
    assert changed["array"] != first["array"]


def isolated(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_change_after_the_first_hash_is_an_error():
    """The algorithm can't change under nodes that exist."""
    out = isolated("""
import dask, daskcache as dc
node = dc.delayed(lambda: 1)()
with dask.config.set({"daskcache.hash": "sha256"}):
    try:
        dc.plan(node)
    except dc.errors.GraphError as error:
        print(error)
""")
    assert "changed after something was hashed" in out
    assert "DASK_DASKCACHE__HASH" in out


def test_an_unknown_algorithm_is_an_error():
    """A name that is none is refused with those that are."""
    out = isolated("""
import dask, daskcache as dc
dask.config.set({"daskcache.hash": "md5"})
try:
    dc.delayed(lambda: 1)()
except dc.errors.GraphError as error:
    print(error)
""")
    assert "xxh3_128, blake3, sha256" in out


def test_workers_hash_as_their_client_does(root):
    """Work says how its client hashes: workers follow, and one that hashed otherwise refuses."""
    out = isolated(f"""
import dask, daskcache as dc
from distributed import Client, LocalCluster
if __name__ == "__main__":
    dask.config.set({{"daskcache.root": {str(root)!r}, "daskcache.hash": "sha256"}})

    @dc.delayed(target="{{key}}.json")
    def f(n):
        return n

    def otherwise():
        from daskcache.hashing import algorithms
        algorithms._chosen = None
        algorithms.use("blake3")

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        with Client(cluster) as client:
            node = f(1)
            print(client.compute(f(node)).result(), node.dc.record["file_hash"].partition(":")[0])
            client.run(otherwise)
            try:
                client.compute(f(2)).result(timeout=30)
            except Exception as error:
                print(type(error).__name__, "different hash algorithms" in str(error))
""")
    assert out.split("\n")[:2] == ["1 sha256_128", "GraphError True"]


def test_use_is_idempotent():
    """What is in use may be used again."""
    before = algorithms.configured()
    algorithms.use(before)
    algorithms.check()
    assert algorithms.configured() == before
