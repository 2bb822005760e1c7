"""What is told of each node, and `daskcache.history`."""

from __future__ import annotations

import time

import dask
import pytest
from clusters import on_cluster
from distributed import Client

import daskcache as dc
from daskcache import events
from daskcache.cluster.dashboard import EventCollector, unregister
from daskcache.errors import GraphError


@pytest.fixture(autouse=True)
def _nothing_remembered():
    events.recent.clear()


@pytest.fixture
def nodes():
    def load(i):
        time.sleep(0.05)
        return [i] * 1000

    def add(values):
        if values[0] > 5:
            raise ValueError("too many")
        return sum(values)

    loads = [dc.delayed(load, target="loads/{i}.json")(i) for i in range(8)]
    added = dc.delayed(add, target="sums/{values.stem}.json", label="sum of {values.stem}")
    return [added(values) for values in loads]


def told(client=None, expected=None):
    """Number of nodes by function and outcome; waits for those that are under way."""
    deadline = time.monotonic() + 10
    while True:
        frame = dc.history(client)
        counts = frame.groupby(["function", "outcome"])["nodes"].sum().to_dict()
        if expected in (None, counts) or time.monotonic() > deadline:
            return counts
        time.sleep(0.05)


def check(frame):
    """The facts in the events of two nodes that ran, and were then loaded."""
    ran = frame[(frame.function == "load") & (frame.outcome == "ran")]
    assert list(ran["target"].sort_values()) == ["loads/0.json", "loads/1.json"]
    assert (ran["seconds"] >= 0.05).all()
    assert (ran["bytes"] > 2000).all()
    assert (ran["key"].str.len() == 32).all()
    loaded = frame[frame.outcome == "loaded"]
    assert set(loaded["label"]) == {"sum of 0", "sum of 1"}
    complete = frame[frame.outcome == "complete"]
    assert list(complete["nodes"]) == [2]
    assert complete["saved"].iloc[0] == pytest.approx(ran["seconds"].sum(), abs=1e-4)
    assert frame["time"].is_monotonic_increasing


EXPECTED = {
    ("load", "ran"): 2,
    ("add", "ran"): 2,
    ("add", "loaded"): 2,
    ("load", "complete"): 2,
}


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_history_of_this_process(nodes, scheduler):
    """One event for each node; of what was finished, one for each function."""
    with dask.config.set(scheduler=scheduler):
        dask.compute(*nodes[:2])
        dask.compute(*nodes[:2])
    assert told() == EXPECTED
    check(dc.history())
    assert set(dc.history()["worker"]) == {""}


def test_history_of_a_cluster(nodes, cluster):
    """Events of workers name the worker; a client's own loads are among them, once."""
    cluster.gather(cluster.compute(nodes[:2]))
    cluster.gather(cluster.compute(nodes[:2]))
    first = events.recent.copy()
    assert told(cluster, EXPECTED) == EXPECTED
    frame = dc.history(cluster)
    check(frame)
    addresses = set(cluster.scheduler_info()["workers"])
    assert set(frame[frame.outcome.isin(["ran", "loaded"])]["worker"]) <= addresses
    assert [event.outcome for event in first] == ["complete"]
    dc.compute(*nodes[:2])
    expected = EXPECTED | {("add", "loaded"): 4, ("load", "complete"): 4}
    assert told(cluster, expected) == expected
    assert cluster.get_events("daskcache")[-1][1] != []


@pytest.fixture(autouse=True)
def _logs_are_empty(request):
    """Clusters are shared by the tests; what they remember isn't."""
    for name in ("local_client", "remote_client"):
        if name in request.fixturenames or "cluster" in request.fixturenames:
            client = request.getfixturevalue(name)
            client.run_on_scheduler(unregister)
            client.run_on_scheduler(
                lambda dask_scheduler: dask_scheduler._broker._topics.pop("daskcache", None)
            )


def test_early_cutoff_and_failures_are_told(nodes, local_client, define):
    """What was skipped on the worker says what it saved; what failed says why."""

    def program(expression):
        source = f"""
        import time
        import daskcache as dc

        @dc.delayed(target="loads/{{i}}.json")
        def load(i):
            return {expression}

        @dc.delayed(target="sums/{{values.stem}}.json")
        def add(values):
            time.sleep(0.05)
            return sum(values)
        """
        module = define(source)
        return module.add(module.load(1))

    with dask.config.set(scheduler="threads"):
        program("[i] * 1000").compute()
        program("[i] * (999 + 1)").compute()
    with on_cluster(local_client), pytest.raises(ValueError, match="too many"):
        nodes[7].compute()
    expected = {
        ("load", "ran"): 3,
        ("add", "ran"): 1,
        ("add", "skipped"): 1,
        ("add", "failed"): 1,
    }
    assert told(local_client, expected) == expected
    frame = dc.history(local_client)
    (failed,) = frame[frame.outcome == "failed"].itertuples()
    assert failed.error == "ValueError: too many"
    (skipped,) = frame[frame.outcome == "skipped"].itertuples()
    assert skipped.saved >= 0.05
    assert skipped.seconds == 0


def test_a_copy_is_told(nodes):
    """A result that is copied from another target has saved its run time."""
    load = nodes[0]._recipe.upstream[0].spec.func
    dc.delayed(load, target="loads/{i}.json")(1).compute(scheduler="sync")
    dc.delayed(load, target="elsewhere/{i}.json")(1).compute(scheduler="sync")
    ran, copied = dc.history().itertuples()
    assert (ran.outcome, copied.outcome) == ("ran", "copied")
    assert copied.target == "elsewhere/1.json"
    assert copied.saved >= 0.05


def test_the_collector_remembers_more(nodes, local_client):
    """A scheduler keeps 1,000 events of a topic; the plugin keeps more, and adds up all."""
    local_client.register_plugin(EventCollector())
    try:
        message = events.NodeEvent(1.0, "ran", "many", seconds=1.0)._asdict()
        for _ in range(12):
            local_client.log_event("daskcache", [message | {"time": float(n)} for n in range(250)])
        local_client.log_event("daskcache", {"something": "else"})
        assert told(local_client) == {("many", "ran"): 250}  # equal ones are one
        sums = local_client.run_on_scheduler(
            lambda dask_scheduler: dask_scheduler.plugins["daskcache-events"].tally.total.ran
        )
        assert sums == 3000
    finally:
        local_client.run_on_scheduler(unregister)


def test_what_is_remembered_is_bounded(monkeypatch):
    """A process remembers the newest events."""
    for number in range(events.MAX_EVENTS + 10):
        events.emit("ran", "f", key=str(number))
    assert len(events.recent) == events.MAX_EVENTS
    assert events.recent[0].key == "10"


def test_texts_that_are_no_unicode_can_be_told(local_client):
    """An error with the name of a file that is no valid Unicode reaches the scheduler all the same."""

    def fail():
        raise ValueError("a\udcffb")

    with on_cluster(local_client), pytest.raises(ValueError, match=r"a.*b"):
        dc.delayed(fail, target="bad.json")().compute()
    assert told(local_client, {("fail", "failed"): 1}) == {("fail", "failed"): 1}
    assert dc.history(local_client)["error"][0] == r"ValueError: a\udcffb"


def test_a_function_whose_name_is_no_unicode_is_told(nodes):
    events.emit(events.RAN, "make\udcff")
    assert list(dc.history()["function"]) == [r"make\udcff"]


def test_an_asynchronous_client_is_refused():
    """`history` can't wait in an event loop, and says what to do."""

    class Asynchronous:
        asynchronous = True

    with pytest.raises(GraphError, match="asynchronous"):
        dc.history(Asynchronous())


def test_a_closed_client_is_no_obstacle(nodes, local_client):
    """Events that can't be sent any more are still remembered here."""
    with Client(local_client.scheduler.address, set_as_default=False) as client:
        pass
    events.emit("loaded", "f", client)
    assert events.recent[-1].function == "f"
