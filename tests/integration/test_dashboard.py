"""The page on the scheduler's dashboard.  A test that fails here says what a release of Dask changed."""

from __future__ import annotations

import json
import logging
import os
import re
import time
import urllib.error
import urllib.request
from pathlib import Path

import dask
import pytest
from clusters import on_cluster, separate_processes
from distributed import Client, LocalCluster, wait

import daskcache as dc
from daskcache.cluster import dashboard, dashboard_page
from daskcache.cluster.dashboard import register, unregister


@pytest.fixture(scope="module")
def client():
    """Client of a cluster of one worker in this process, which no other test has."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as own,
        Client(own, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def link(client):
    """Address of a dashboard that has the page."""
    assert client.run_on_scheduler(register)
    yield address(client)
    client.run_on_scheduler(unregister)


def address(client):
    return client.dashboard_link.removesuffix("/status")


def fetch(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read().decode()


def texts(link):
    """Head, failures, running nodes and functions, as a browser gets them: through a session."""
    from bokeh.client import pull_session

    session = pull_session(url=f"{link}/individual-daskcache")
    try:
        head, _, *tables = session.document.roots[0].children
        return [head.text, *[table.text for table in tables]]
    finally:
        session.close()


def shown(link, wanted):
    """The texts, once they contain what is wanted."""
    deadline = time.monotonic() + 10
    while True:
        found = texts(link)
        if all(want in "".join(found) for want in wanted) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def test_the_page_is_there(link, client):
    """The page is served, all pages link to it, and JupyterLab's extension finds its pane."""
    assert 'href="status"' in fetch(f"{link}/daskcache")
    assert 'href="daskcache"' in fetch(f"{link}/status")
    panes = json.loads(fetch(f"{link}/individual-plots.json"))
    assert panes["Individual Daskcache"] == "/individual-daskcache"
    assert "daskcache" in fetch(f"{link}/individual-daskcache")


def test_it_is_there_once(link, client):
    """To register again changes nothing, and loses no number."""
    client.log_event("daskcache", {"time": 1.0, "outcome": "ran", "function": "once"})
    assert client.run_on_scheduler(register)
    assert fetch(f"{link}/status").count('href="daskcache"') == 1
    assert "once" in texts(link)[3]


def cells(table):
    rows = table.split("<tr>")[1:]
    return [[cell.rpartition(">")[2] for cell in re.split("</t[dh]>", row)[:-1]] for row in rows]


def test_it_shows_what_happens(link, client):
    """What ran and was skipped by function, bytes written, time saved, and what runs, by its name."""

    def slow(i):
        time.sleep(i)
        return i

    def add(x):
        return x + 1

    slows = [dc.delayed(slow, target="slow/{i}.json")(i) for i in (0.2, 1.5)]
    nodes = [dc.delayed(add, target="<b>/{x.stem}.json")(each) for each in slows]
    with on_cluster(client):
        nodes[0].compute()
        client.compute(nodes[0]).result()
        future = client.compute(nodes[1])
        head, _, running, functions = shown(link, ["slow(slow/1.5.json)", "2 left"])
        assert cells(running)[1][0] == "slow(slow/1.5.json)"
        assert cells(running)[1][1].startswith("inproc://")
        assert "2 left" in head
        assert not re.search("[0-9a-f]{32}", "".join(texts(link)))
        future.result()
    head, _, running, functions = shown(link, ["4 ran", "nothing is left"])
    assert "4 ran, 2 skipped (0.2 s saved)</p>" in head
    assert "nothing is left to run · 16 B written in " in head
    assert cells(functions)[0][:6] == ["function", "ran", "copied", "skipped", "failed", "left"]
    rows = sorted(row[:6] for row in cells(functions)[1:])
    assert rows == [["add", "2", "", "1", "", ""], ["slow", "2", "", "1", "", ""]]
    assert cells(running) == []


def test_it_shows_what_is_asked_for(link, client):
    """A node whose value is wanted is shown under its function, too, while it runs and before."""

    def asked(i):
        time.sleep(i)
        return i

    nodes = [dc.delayed(asked, target="asked/{i}.json")(i) for i in (0.01, 2.1, 2.2, 2.3)]
    with on_cluster(client):
        nodes[0].compute()
        futures = client.compute(nodes[1:])
        found = shown(link, ["asked(asked/2."])
        (row,) = [row for row in cells(found[3]) if row[0] == "asked"]
        assert row[5] == "3"
        client.gather(futures)


def test_an_end_is_estimated(link, client):
    """From recorded run times, as in the progress of verbs."""

    def timed(i, add=0):
        time.sleep(0.3)
        return i + add

    timed = dc.delayed(timed, target="timed/{i}.json")
    with on_cluster(client):
        dc.compute(*map(timed, range(3)))
        futures = client.compute([timed(i, add=1) for i in range(6)])
        head, _, _, functions = shown(link, ["about"])
        assert re.search(r"<p[^>]*>\d\.\d s, about \d\.\d s left · ", head)
        (row,) = [row for row in cells(functions) if row[0] == "timed"]
        assert re.fullmatch(r"\d\.\d s", row[6])
        client.gather(futures)


def test_failures_are_listed_until_they_are_mended(link, client, tmp_path):
    """With the node, the first line of the message, and where it ran."""
    mended = str(tmp_path / "mended")

    def fragile(i):
        if not os.path.exists(mended):
            raise ValueError("no <b>cells</b>\nin 3 of 4 fields")
        return i

    fragile = dc.delayed(fragile, target="fragile/{i}.json")
    with on_cluster(client):
        wait(client.compute([fragile(1), fragile(2)]))
        failures = shown(link, ["2 failed"])[1]
        first, second = sorted(cells(failures)[1:], key=lambda row: row[1])
        assert [first[1], second[1]] == ["fragile(fragile/1.json)", "fragile(fragile/2.json)"]
        assert first[2] == "ValueError: no &lt;b&gt;cells&lt;/b&gt;"
        assert first[3].startswith("inproc://")
        assert re.fullmatch(r"\d\d:\d\d:\d\d", first[4])
        Path(mended).touch()
        client.compute(fragile(2)).result()
        failures = shown(link, ["1 failed"])[1]
        assert [row[1] for row in cells(failures)[1:]] == ["fragile(fragile/1.json)"]


def test_a_worker_that_dies_is_a_failure():
    """The worker can't tell it; the scheduler's word for it names the node in place of the task."""

    def kill(i):
        os._exit(1)

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as own,
        Client(own) as client,
    ):
        wait(client.compute(dc.delayed(kill, target="kill/{i}.json")(1)))
        (event,) = client.run_on_scheduler(kept_failures)
    assert (event.function, event.label, event.target) == ("kill", "kill(kill/1.json)", "kill/1.json")
    assert event.error.startswith("KilledWorker: Attempted to run task 'kill(kill/1.json)' on 1 ")
    assert event.worker.startswith("tcp://")


def kept_failures(dask_scheduler):
    return list(dask_scheduler.plugins["daskcache-events"].tally.failures.values())


def count_tasks(dask_scheduler):
    return len(dask_scheduler.tasks)


def test_what_was_sent_before_counts(client, tmp_path):
    """A page that comes when tasks are there already knows what is left."""
    gate = tmp_path / "gate"

    def early(i, gate):
        while not os.path.exists(gate):
            time.sleep(0.05)
        return i

    client.run_on_scheduler(unregister)
    nodes = [dc.delayed(early, target="early/{i}.json")(i, str(gate)) for i in (1, 2)]
    with dask.config.set({"daskcache.workers.attach": False}), on_cluster(client):
        futures = client.compute(nodes)
        while client.run_on_scheduler(count_tasks) < len(nodes):
            time.sleep(0.05)
        assert client.run_on_scheduler(register)
        head, *_ = texts(address(client))
        gate.touch()
        assert "0 ran, 2 left" in head
        client.gather(futures)
    client.run_on_scheduler(unregister)


def test_names_are_no_markup(link, client):
    """What is shown is text, whatever a function is called."""
    client.log_event("daskcache", {"time": 1.0, "outcome": "ran", "function": "<script>"})
    assert "&lt;script&gt;" in texts(link)[3]
    assert "<script>" not in texts(link)[3]


def test_it_can_be_removed(client):
    """Nothing is left behind, and the rest of the dashboard stays."""
    client.run_on_scheduler(register)
    client.run_on_scheduler(unregister)
    client.run_on_scheduler(unregister)
    assert 'href="daskcache"' not in fetch(f"{address(client)}/status")
    assert "Individual Daskcache" not in fetch(f"{address(client)}/individual-plots.json")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetch(f"{address(client)}/daskcache")
    assert client.run_on_scheduler(register)
    assert "daskcache" in fetch(f"{address(client)}/daskcache")
    client.run_on_scheduler(unregister)


def test_a_scheduler_without_dashboard_collects(tmp_path):
    """Without a dashboard there is no page, and no complaint."""
    with separate_processes(tmp_path) as (client, _):
        assert client.run_on_scheduler(register) is False
        client.log_event("daskcache", {"time": 1.0, "outcome": "ran", "function": "f"})
        assert "f" in list(dc.history(client)["function"])


@pytest.mark.parametrize("fault", [AttributeError("gone"), ImportError("no bokeh"), TypeError("args")])
def test_another_dashboard_is_left_alone(client, fault, monkeypatch, caplog):
    """If the dashboard's insides are others, the scheduler goes on, and says so in one line."""

    def other(*args):
        raise fault

    monkeypatch.setattr(dashboard_page, "template_variables", other)
    with caplog.at_level(logging.INFO, dashboard.logger.name):
        assert client.run_on_scheduler(register) is False
    assert [
        record.getMessage() for record in caplog.records if record.name == dashboard.logger.name
    ] == [f"no page on the dashboard: {type(fault).__name__}: {fault}"]
    client.run_on_scheduler(unregister)


def test_it_can_be_preloaded():
    """A cluster that preloads the module has the page from the start."""
    with (
        dask.config.set({"distributed.scheduler.preload": ["daskcache.dashboard"]}),
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as own,
    ):
        assert "daskcache" in fetch(f"{own.dashboard_link.removesuffix('/status')}/daskcache")


def test_it_comes_with_the_plugins(client):
    """`attach` adds the page, as the first verb does, and keeps its numbers; `detach` removes it."""
    dc.attach(client, dashboard=False)
    assert not has_page(client)
    dc.attach(client)
    client.log_event("daskcache", {"time": 1.0, "outcome": "ran", "function": "kept"})
    assert has_page(client)
    dc.attach(client, max_block="1 hour")
    assert "kept" in "".join(shown(address(client), ["kept"]))
    dc.detach(client)
    assert not has_page(client)


def test_a_page_of_the_users_stays(link, client):
    """What was registered by hand is not removed with the plugins."""
    dc.attach(client)
    dc.detach(client)
    assert has_page(client)


def has_page(client):
    try:
        return "daskcache" in fetch(f"{address(client)}/daskcache")
    except urllib.error.HTTPError as error:
        return error.code != 404
