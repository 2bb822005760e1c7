"""The client, worker and scheduler of this process, as the rest of the package asks for them."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import cloudpickle
import dask
import pytest

from daskcache import clients


class Client:
    """A client, as much of it as is asked about its scheduler."""

    def __init__(self):
        self._scheduler_identity = {"id": "first"}


def probe(number):
    """Import what is used inside, as a function that is sent by value must."""
    import os

    return os.path.basename(f"a/{number}")


def test_nothing_is_found_where_distributed_is_not_used():
    """There is neither a client nor a worker, and asking does not import distributed."""
    program = (
        "import sys; from daskcache import clients as c\n"
        "print(c.worker_here(), c.current_client(), c.verb_client(True), c.live_clients())\n"
        "print('distributed' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["None None None []", "False"], done.stderr


def test_notes_last_as_long_as_the_scheduler():
    """A client that has another scheduler than before has no notes yet."""
    client = Client()
    clients.notes_on(client)["done"] = True
    assert clients.notes_on(client) == {"done": True}
    client._scheduler_identity = {"id": "second"}
    assert clients.notes_on(client) == {}
    assert clients.notes_on(Client()) == {}


def test_a_function_by_value_needs_no_module_of_ours():
    """A process that can't import the function's module runs it."""
    pickled = cloudpickle.dumps(clients.by_value(probe))
    program = (
        f"import pickle, sys; found = pickle.loads({pickled!r})(3)\n"
        "print(found, {'daskcache', 'test_clients'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd="/")
    assert done.stdout.strip() == "3 set()", done.stderr


@pytest.mark.parametrize(("scheduler", "usual"), [(None, True), ("distributed", True), ("sync", False)])
def test_verbs_use_the_client_unless_configured_otherwise(monkeypatch, scheduler, usual):
    """The configuration of Dask names the scheduler."""
    found = SimpleNamespace()
    monkeypatch.setattr(clients, "current_client", lambda connect: found)
    with dask.config.set(scheduler=scheduler):
        assert clients.verb_client() is (found if usual else None)
