"""What all tests share: a root of their own, and counters of what ran."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import sys
import textwrap

import dask
import hypothesis
import needs
import pytest
import suites

import daskcache.config
from daskcache.testing.assertions import RunCounter

# Clusters that wait for tests look at themselves less often: there are up to ten processes of them.
os.environ["DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"] = "False"
os.environ["DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL"] = "500ms"
dask.config.refresh()


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the slow suites in their full size")
    parser.addoption("--pictures", metavar="FOLDER", help="keep the pictures that tests make there")
    parser.addoption("--approve", action="store_true", help="replace the pictures that were approved")


def pytest_configure(config):
    """hypothesis draws the same examples in each run, which can be repeated; in full size, new ones."""
    hypothesis.settings.register_profile("repeatable", derandomize=not config.getoption("--full"))
    hypothesis.settings.load_profile("repeatable")
    config.option.loadscopereorder = False  # xdist's own order has the slow files last
    config.addinivalue_line(
        "markers", "needs(*names): parts of a machine that the test needs, see needs.py"
    )


def pytest_runtest_setup(item):
    """Leave a test out whose needs are not met, see `needs`."""
    needs.check(tuple(n for mark in item.iter_markers("needs") for n in mark.args), os.environ)


def pytest_collection_modifyitems(config, items):
    """Sort the suites; in full size the slow ones may take hours, but a test that hangs still ends."""
    items.sort(key=lambda item: suites.place_of(item.nodeid))
    if config.getoption("--full"):
        for item in items:
            item.add_marker(pytest.mark.timeout(4 * 3600), append=False)


def pytest_terminal_summary(terminalreporter, config):
    """Print how long each suite took."""
    reports = [r for found in terminalreporter.stats.values() for r in found]
    seconds = [(r.nodeid, r.duration) for r in reports if isinstance(r, pytest.TestReport)]
    terminalreporter.section("seconds by suite")
    for line in suites.report(seconds, config.getoption("--full")):
        terminalreporter.line(line)


@pytest.fixture(scope="session", autouse=True)
def workers_return():
    """A LocalCluster keeps workers that are away twice, 15 seconds apart.

    So long after a worker is gone, it closes the worker's nanny for good if no worker of this name is
    there (``distributed.deploy.lost-worker-timeout``): also when that one is just being started anew.
    """
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1 day"}):
        yield


@pytest.fixture(scope="session")
def full(request):
    """Whether the slow suites are to run in their full size."""
    return request.config.getoption("--full")


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """Tests, and the processes that they start, leave the user's cache folder alone."""
    folder = str(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch, dask.config.set({"daskcache.cache-folder": folder}):
        patch.setenv("DASK_DASKCACHE__CACHE_FOLDER", folder)
        yield folder


@pytest.fixture(autouse=True)
def root(tmp_path, request):
    """Each test has a root of its own; tests of one room compute in the calling thread."""
    settings = {"daskcache.root": str(tmp_path / "root")}
    if request.path.parent.name not in ("cluster", "faults", "integration", "prefect"):
        settings["scheduler"] = "sync"
    with dask.config.set(settings):
        yield tmp_path / "root"


@pytest.fixture
def runs(tmp_path):
    """Counts what decorated functions ran."""
    return RunCounter(tmp_path / "runs")


@pytest.fixture
def define(tmp_path, monkeypatch):
    """Import source text as a module, as if the user had written (or edited) a file."""
    numbers = itertools.count()

    def define(source, module="program"):
        path = tmp_path / f"{module}_{next(numbers)}.py"
        path.write_text(textwrap.dedent(source))
        spec = importlib.util.spec_from_file_location(module, path)
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, module, loaded)
        spec.loader.exec_module(loaded)
        return loaded

    return define


@pytest.fixture
def files(root):
    """Paths of the targets that are there, relative to the root."""

    def files():
        found = (p.relative_to(root) for p in root.rglob("*") if p.is_file())
        return sorted(p.as_posix() for p in found if p.parts[0] != ".daskcache")

    return files


@pytest.fixture(scope="module")
def browser():
    """Chromium; other modules may run event loops of their own, so each starts its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        program = shutil.which("chromium")
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


assert daskcache.config.get("root")  # the defaults are loaded before any test sets its own
