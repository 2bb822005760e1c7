"""The page on the scheduler's dashboard.  A test that fails here says what a release of Dask changed."""

from __future__ import annotations

import json
import logging
import time
import urllib.error
import urllib.request

import dask
import pytest
from clusters import on_cluster, separate_processes
from distributed import Client, LocalCluster

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
    """What the page shows, as a browser gets it: through a session with the dashboard."""
    from bokeh.client import pull_session

    session = pull_session(url=f"{link}/individual-daskcache")
    try:
        headline, _, functions, running = session.document.roots[0].children
        return headline.text, functions.text, running.text
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
    assert "once" in texts(link)[1]


def test_it_shows_what_happens(link, client):
    """Hits and misses by function, bytes written, time saved, and what runs."""

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
        _, functions, running = shown(link, [slows[1].dc.key])
        assert slows[1].dc.key in running
        assert "inproc://" in running
        future.result()
    headline, functions, running = shown(link, ["4</b> misses"])
    assert "<b>2</b> hits, <b>4</b> misses (33% hits)" in headline
    assert "<b>16 B</b> written in " in headline
    assert "</b> saved" in headline
    cells = [
        [cell.rpartition(">")[2] for cell in row.split("</td>")[:-1]]
        for row in functions.split("<tr>")[2:]
    ]
    assert [row[:5] for row in cells] == [["slow", "1", "2", "0", "0"], ["add", "1", "2", "0", "0"]]
    assert "<b>running now" not in running
    assert slows[1].dc.key not in running


def test_it_shows_what_is_asked_for(link, client):
    """A node whose value is wanted is shown under its function, too, while it runs and before."""

    def asked(i):
        time.sleep(i)
        return i

    nodes = [dc.delayed(asked, target="asked/{i}.json")(i) for i in (0.01, 2.1, 2.2, 2.3)]
    with on_cluster(client):
        nodes[0].compute()
        futures = client.compute(nodes[1:])
        deadline = time.monotonic() + 10
        while ">asked</td>" not in (found := texts(link))[2]:
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        (row,) = [row for row in found[1].split("<tr>") if ">asked</td>" in row]
        assert [cell.rpartition(">")[2] for cell in row.split("</td>")][4] == "3"
        client.gather(futures)


def test_names_are_no_markup(link, client):
    """What is shown is text, whatever a function is called."""
    client.log_event("daskcache", {"time": 1.0, "outcome": "ran", "function": "<script>"})
    assert "&lt;script&gt;" in texts(link)[1]
    assert "<script>" not in texts(link)[1]


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
