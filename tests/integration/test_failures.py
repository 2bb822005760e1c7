"""What is on disk after an exception, after a worker was killed, and after a race."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import dask
import pytest
from distributed import Client, KilledWorker, LocalCluster

import daskcache as dc
from daskcache.errors import ForeignTarget, NodeFailed

LARGE = 32 * 2**20  # bytes


def visible(root):
    """Root-relative paths of all that a user sees: no name in them starts with a dot."""
    found = [path.relative_to(root) for path in Path(root).rglob("*") if path.is_file()]
    return sorted(str(p) for p in found if not any(part.startswith(".") for part in p.parts))


def parts(root):
    """Names of the unfinished files of a root."""
    return [*os.listdir(Path(root) / ".daskcache" / "parts"), *Path(root).rglob("*.part")]


def intents(root):
    return os.listdir(Path(root) / ".daskcache" / "intents")


# ---- a function that raises -----------------------------------------------------------------------


@pytest.fixture
def pipeline(tmp_path, runs):
    """Three good nodes, one that raises as long as there is no cure, and a summary of them all."""
    cure = tmp_path / "cure"

    def good(i):
        runs.note(f"good {i}")
        return i

    def bad(x):
        runs.note("bad")
        if not os.path.exists(str_cure):
            raise ValueError("a bad day")
        return x

    def summary(values):
        runs.note("summary")
        return sum(values)

    str_cure = str(cure)
    goods = [dc.delayed(good, target="good/{i}.pkl")(i) for i in range(3)]
    ill = dc.delayed(bad, target="bad/{x.stem}.pkl")(goods[2])
    total = dc.delayed(summary, target="summary.pkl")([*goods, ill])
    return goods, ill, total, cure


def test_an_exception_says_in_which_node(anywhere, pipeline):
    """The user's own exception arrives, with node, arguments, key and target in a note."""
    _, ill, total, _ = pipeline
    with pytest.raises(ValueError, match="a bad day") as raised:
        total.compute()
    notes = "\n".join(raised.value.__notes__)
    assert "bad(x=" in notes
    assert "bad/2.pkl" in notes
    assert ill.dc.key in notes


def test_after_an_exception_only_what_is_missing_reruns(anywhere, pipeline, runs, tmp_path):
    """What had finished stays finished, nothing partial is visible, exceptions are not cached."""
    goods, _, total, cure = pipeline
    dask.compute(*goods)
    assert runs.take() == ["good 0", "good 1", "good 2"]
    for _ in range(2):
        with pytest.raises(ValueError, match="a bad day"):
            total.compute()
        assert runs.take() == ["bad"]
        assert visible(tmp_path / "root") == [f"good/{i}.pkl" for i in range(3)]
        assert parts(tmp_path / "root") == []
        assert intents(tmp_path / "root") == []
        assert [node.dc.state for node in goods] == ["complete"] * 3
    cure.touch()
    assert total.compute() == 5
    assert runs.take() == ["bad", "summary"]
    assert visible(tmp_path / "root") == [
        *("bad/2.pkl", *(f"good/{i}.pkl" for i in range(3)), "summary.pkl")
    ]


def test_collected_errors_let_the_others_go_on(anywhere, pipeline, runs, tmp_path):
    """With errors="collect" values stand beside `NodeFailed`; the failed node runs next time."""
    goods, ill, total, cure = pipeline
    *values, failed, after = dc.compute(*goods, ill, total, errors="collect")
    assert values == [0, 1, 2]
    for failure in (failed, after):
        assert isinstance(failure, NodeFailed)
        assert isinstance(failure.__cause__, ValueError)
        assert "a bad day" in str(failure)
        assert "bad/2.pkl" in str(failure)
    assert runs.take() == ["bad", "good 0", "good 1", "good 2"]
    assert ill.dc.state == "failed"
    assert visible(tmp_path / "root") == [f"good/{i}.pkl" for i in range(3)]
    assert parts(tmp_path / "root") == []
    cure.touch()
    assert dc.compute(*goods, ill, total, errors="collect") == (0, 1, 2, 2, 5)
    assert runs.take() == ["bad", "summary"]
    assert ill.dc.state == "complete"


def test_methods_of_nodes_collect_and_force_as_the_verb_does(anywhere, pipeline, runs):
    """They would go to Dask's scheduler otherwise, which takes any name without a word."""
    goods, ill, total, cure = pipeline
    assert isinstance(total.compute(errors="collect"), NodeFailed)
    *values, failed = dc.Nodes([*goods, ill]).compute(errors="collect")
    assert (values, type(failed)) == ([0, 1, 2], NodeFailed)
    with pytest.raises(ValueError, match="a bad day"):
        ill.compute(errors="raise")
    with pytest.raises(ValueError, match='must be "raise" or "collect"'):
        ill.compute(errors="collects")
    runs.take()
    cure.touch()
    assert total.compute() == 5
    assert runs.take() == ["bad", "summary"]
    assert total.compute(force=True) == 5
    assert "summary" in runs.take()
    assert dc.Nodes([goods[0]]).compute(force=True) == [0]
    assert runs.take() == ["good 0"]


def test_an_exception_while_writing_leaves_nothing_behind(anywhere, tmp_path):
    """A target class that raises half-way leaves neither a target nor a part."""

    class HalfTarget(dc.Target):
        def write(self, value, path):
            with open(path, "wb") as file:
                file.write(value[: len(value) // 2])
            raise OSError("the disk is full")

        def read(self, path):
            return Path(path).read_bytes()

    def make():
        return b"x" * 1000

    node = dc.delayed(make, target="half.bin", store=HalfTarget)()
    with pytest.raises(OSError, match="the disk is full"):
        node.compute()
    assert visible(tmp_path / "root") == []
    assert parts(tmp_path / "root") == []
    assert node.dc.state == "failed"


# ---- a worker that is killed ------------------------------------------------------------------------


@pytest.fixture(params=["target class", "target_path"])
def deadly(request, tmp_path, runs):
    """A finished node, and a large one whose first write is cut short by the death of its process.

    What the writer sees of the root half-way is kept in a file.
    """
    root, marker, seen = (str(tmp_path / name) for name in ("root", "died", "seen"))

    def write_or_die(value, path):
        with open(path, "wb") as file:
            file.write(value[: LARGE // 2])
            file.flush()
            if not os.path.exists(marker):
                open(marker, "x").close()
                names = os.listdir(f"{root}/out") if os.path.exists(f"{root}/out") else []
                with open(seen, "w") as report:
                    report.write(repr(names))
                os.kill(os.getpid(), signal.SIGKILL)
            file.write(value[LARGE // 2 :])

    class DeadlyTarget(dc.Target):
        def write(self, value, path):
            write_or_die(value, path)

        def read(self, path):
            return Path(path).read_bytes()

    def first():
        runs.note("first")
        return 7

    def large(number):
        runs.note("large")
        return bytes([number]) * LARGE

    def large_by_itself(number, target_path):
        runs.note("large")
        write_or_die(bytes([number]) * LARGE, target_path)

    before = dc.delayed(first, target="first.pkl")()
    options = {"target": "out/large.bin", "store": DeadlyTarget}
    if request.param == "target_path":
        large = large_by_itself
    # a version: the counters and paths in the closures are no part of the key
    node = dc.delayed(large, version=1, **options)(before)
    return before, node, tmp_path / "seen"


def test_a_killed_worker_leaves_no_partial_target(own_cluster, deadly, runs, tmp_path):
    """Half a file is never visible, what had finished stays finished, and a rerun succeeds."""
    before, node, seen = deadly
    own_cluster(**{"distributed.scheduler.allowed-failures": 0})
    with pytest.raises(KilledWorker):
        dask.compute(node)
    assert seen.read_text() == "[]"
    assert visible(tmp_path / "root") == ["first.pkl"]
    assert before.dc.state == "complete"
    assert node.dc.state == "missing"
    assert runs.take() == ["first", "large"]
    assert dask.compute(node) == (bytes([7]) * LARGE,)
    assert runs.take() == ["large"]
    assert visible(tmp_path / "root") == ["first.pkl", "out/large.bin"]
    assert node.dc.state == "complete"


def test_dask_retries_the_node_of_a_killed_worker(own_cluster, deadly, runs, tmp_path):
    """With Dask's own retries the verb itself succeeds, and finished nodes don't run again."""
    _, node, seen = deadly
    own_cluster()
    assert dask.compute(node) == (bytes([7]) * LARGE,)
    assert seen.read_text() == "[]"
    assert runs.take() == ["first", "large", "large"]
    assert visible(tmp_path / "root") == ["first.pkl", "out/large.bin"]


# ---- a race -----------------------------------------------------------------------------------------

RACES = 20

MEET = """
import os, sys, time
import dask
import daskcache as dc

def meet(place):
    os.makedirs(f"meeting/{place}", exist_ok=True)
    open(f"meeting/{place}/{os.getpid()}", "x").close()
    deadline = time.monotonic() + 10
    while len(os.listdir(f"meeting/{place}")) < 2 and time.monotonic() < deadline:
        pass
"""

IN_THE_BODY = """
def same(i):
    meet(i)
    return [i] * 100

def different(i):
    meet(i)
    return os.getpid()

function = {"same": same, "different": different}[sys.argv[1]]
for i in range(20):
    node = dc.delayed(function, target="raced/{i}.pkl")(i)
    print(repr(node.compute(scheduler="sync")))
"""

BESIDE = """
def fast(i):
    return i

nodes = [dc.delayed(fast, target="raced/{i}.pkl")(i) for i in range(400)]
meet("start")
if sys.argv[1] == "forth":
    print(sum(dask.compute(*nodes, scheduler="threads")))
if sys.argv[1] == "back":
    print(sum(dask.compute(*nodes[::-1], scheduler="threads")))
if sys.argv[1] == "plan":
    states = set()
    while not states or plan.counts["run"]:
        plan = dc.plan(*nodes)
        states |= {node.state for node in plan}
    print(sorted(states - {"complete", "missing"}))
"""


@pytest.fixture
def race(tmp_path):
    """A function that runs two programs at once, and returns their outputs as lists of lines."""
    racers = []

    def race(text, *arguments):
        script = tmp_path / "race.py"
        script.write_text(MEET + text)
        environment = {**os.environ, "DASK_DASKCACHE__ROOT": str(tmp_path / "root")}
        command = [sys.executable, "-W", "ignore::UserWarning", str(script)]
        for number, argument in enumerate(arguments):
            with open(tmp_path / f"output-{number}", "wb") as output:
                racers.append(
                    subprocess.Popen(
                        [*command, argument],
                        cwd=tmp_path,
                        env=environment,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
                )
        deadline = time.monotonic() + 120
        while None in (codes := [racer.poll() for racer in racers]) and not any(codes):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        outputs = [(tmp_path / f"output-{n}").read_text() for n in range(len(racers))]
        assert codes == [0] * len(racers), "\n".join(outputs)
        return [output.splitlines() for output in outputs]

    yield race
    for racer in racers:
        racer.kill()
        racer.wait()


def assert_settled(root, count):
    """One target and one record for each of `count` nodes, and nothing else."""
    assert visible(root) == sorted(f"raced/{i}.pkl" for i in range(count))
    assert len(list((root / ".daskcache" / "records").rglob("*.json"))) == count
    assert parts(root) == []
    assert intents(root) == []


@pytest.mark.parametrize("kind", ["same", "different"])
def test_of_two_programs_that_race_for_a_node_one_wins(race, tmp_path, kind):
    """Both bodies run at the same time; both programs get the winner's value, and no error."""
    first, second = race(IN_THE_BODY, kind, kind)
    assert len(first) == RACES
    assert first == second
    if kind == "same":
        assert first == [repr([i] * 100) for i in range(RACES)]
    met = [len(list((tmp_path / "meeting" / str(i)).iterdir())) for i in range(RACES)]
    assert met == [2] * RACES
    assert_settled(tmp_path / "root", RACES)


def test_two_programs_can_compute_one_graph_from_both_ends(race, tmp_path):
    """Programs that commit the same nodes at any moment relative to each other both succeed."""
    assert race(BESIDE, "forth", "back") == [[str(sum(range(400)))]] * 2
    assert_settled(tmp_path / "root", 400)


def test_a_plan_beside_a_running_program_is_right(race, tmp_path):
    """A target that appears while a plan is made is complete or missing, never foreign."""
    assert race(BESIDE, "forth", "plan") == [[str(sum(range(400)))], ["[]"]]
    assert_settled(tmp_path / "root", 400)


def test_two_clients_of_one_cluster_can_compute_one_node_at_once(local_client, tmp_path, runs):
    """Both get the same value, and afterwards the node is complete."""
    arrived = str(tmp_path / "arrived")

    def slow(i):
        runs.note("slow")
        with open(arrived, "a") as file:
            file.write("x")
        deadline = time.monotonic() + 2
        while os.path.getsize(arrived) < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        return [i] * 1000

    node = dc.delayed(slow, target="slow.pkl")(3)
    address = local_client.scheduler.address
    values = []

    def compute():
        with Client(address, set_as_default=False) as client:
            values.append(client.compute(node).result(timeout=60))

    threads = [threading.Thread(target=compute) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == [[3] * 1000] * 2
    assert node.dc.state == "complete"
    assert visible(tmp_path / "root") == ["slow.pkl"]
    assert node.compute() == [3] * 1000
    assert set(runs.take()) == {"slow"}


# ---- a verb that is refused -----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_error_that_is_kept_keeps_no_results_on_the_scheduler(root):
    """A notebook keeps its last error, which holds the futures of the verb that it ended."""
    one = dc.delayed(lambda n: n, target="one/{n}.json")
    total = dask.delayed(sum, pure=True)([one(1), one(2)])
    foreign = root / "one" / "1.json"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("5")
    with (
        LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        kept = []
        for verb in (client.compute, client.persist, dask.persist):
            with pytest.raises((ForeignTarget, TypeError)) as caught:  # Dask's own, if pickling fails
                verb(total)
            kept.append(caught.value)
        foreign.unlink()
        assert client.compute(total).result() == 3
        deadline = time.monotonic() + 20
        while cluster.scheduler.tasks and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not cluster.scheduler.tasks
        del kept
