"""What named loggers say on workers reaches the client's loggers of the same names."""

import logging
import os
import time

import pytest
from clusters import on_cluster
from distributed import Client, LocalCluster

import daskcache as dc


class Collector(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)

    def wait_for(self, number, seconds=20):
        """The records, once there are so many; a moment later, in case of more."""
        deadline = time.monotonic() + seconds
        while len(self.records) < number and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        return self.records


@pytest.fixture
def heard():
    """Collects what the logger ``mylib`` of this process, and those below it, say."""
    collector = Collector()
    logger = logging.getLogger("mylib")
    logger.addHandler(collector)
    yield collector
    logger.removeHandler(collector)


@pytest.fixture
def client(local_client):
    with Client(local_client.cluster, set_as_default=False) as client, on_cluster(client):
        yield client
        dc.detach(client)


def talk(x):
    logging.getLogger("mylib.sub").info("at %d %%", x)
    logging.getLogger("mylib").debug("not said")
    logging.getLogger("other").warning("not sent")
    return os.getpid()


def complain(x):
    try:
        raise ValueError(f"bad {x}")
    except ValueError:
        logging.getLogger("mylib").exception("it went wrong")


def test_records_reach_the_client(client, heard):
    """A record says its worker, node, key and line, in attributes and in the text."""
    dc.attach(client, loggers=["mylib"], level="INFO")
    node = dc.delayed(label="talk about {x}")(talk)(50)
    pid = client.compute(node).result()
    (record,) = heard.wait_for(1)
    assert (record.name, record.levelname, record.process) == ("mylib.sub", "INFO", pid)
    assert record.worker in client.scheduler_info()["workers"]
    assert (record.node, record.key) == ("talk about 50", node.dc.key)
    assert record.lineno == talk.__code__.co_firstlineno + 1
    place = f"test_workers_logs.py:{record.lineno}"
    assert record.getMessage() == f"at 50 % [talk about 50, {record.worker}, {place}]"


def test_attaching_again_does_not_double_records(client, heard):
    """However often the same is attached, and by whom, a record comes once; a new level holds."""
    for level in ("INFO", "INFO", "WARNING", "DEBUG"):
        dc.attach(client, loggers=["mylib"], level=level)
    client.compute(dc.delayed(talk)(1)).result()
    assert [record.levelname for record in heard.wait_for(2)] == ["INFO", "DEBUG"]


def test_detached_loggers_are_as_before(client, heard):
    """After `detach`, no record comes, and the workers' loggers have the level that they had."""

    def state():
        logger = logging.getLogger("mylib")
        return logger.level, len(logger.handlers)

    dc.detach(client)
    before = client.run(state)
    dc.attach(client, loggers=["mylib"])
    assert client.run(state) != before
    dc.detach(client)
    assert client.run(state) == before
    client.compute(dc.delayed(talk)(2)).result()
    assert heard.wait_for(1, seconds=0.5) == []


def test_tracebacks_come_along(client, heard):
    """The traceback that a worker logs is part of the record."""
    dc.attach(client, loggers=["mylib"])
    client.compute(dc.delayed(complain)(3)).result()
    (record,) = heard.wait_for(1)
    assert "ValueError: bad 3" in record.exc_text


def test_plain_tasks_speak_too(client, heard):
    """A record of a task that is no node comes with its worker."""
    dc.attach(client, loggers=["mylib"])
    client.submit(talk, 4).result()
    (record,) = heard.wait_for(1)
    assert (record.node, record.key) == ("", "")
    assert record.worker in record.getMessage()


def test_isolated_bodies_speak_too(client, heard):
    """What the body of an isolated node logs comes with the node, from the process that ran it."""
    dc.attach(client, loggers=["mylib"])
    pid = client.compute(dc.delayed(talk, isolate=True, label="far")(5)).result()
    (record,) = heard.wait_for(1)
    assert (record.process, record.node) == (pid, "far")
    assert record.process not in client.run(os.getpid).values()


def test_a_cluster_in_this_process_speaks_once(heard):
    """Where workers share the client's loggers, records are there already; they say worker and node."""
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        LocalCluster(processes=False, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
        on_cluster(client),
    ):
        dc.attach(client, loggers=["mylib"])
        client.compute(dc.delayed(talk, label="near")(6)).result()
        (record,) = heard.wait_for(1)
        assert record.getMessage() == "at 6 %"
        assert record.worker in client.scheduler_info()["workers"]
        assert record.node == "near"
    assert logging.getLogger("mylib").level == logging.NOTSET
