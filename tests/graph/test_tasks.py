"""The needs of a verb's tasks, about which the workers of a cluster are asked."""

from __future__ import annotations

import dask
import pytest

import daskcache as dc
from daskcache.cluster import probe
from daskcache.errors import StorageError
from daskcache.graph.tasks import TaskNeeds


@pytest.fixture
def asked(monkeypatch):
    """The roots about which workers were asked, at each time."""
    asked = []
    monkeypatch.setattr(
        probe, "check_reach", lambda client, needs, wait: asked.append([path for path, _ in needs.roots])
    )
    return asked


def recipe(root):
    with dask.config.set({"daskcache.root": str(root)}):
        return dc.delayed(lambda: 1, target="a.json", version=1)()._recipe


def test_workers_are_asked_once_for_each_new_need(tmp_path, asked):
    """A root that a later node of the verb brings is a new one."""
    needs, client = TaskNeeds(), object()
    needs.check(client, wait=True)
    one, two = recipe(tmp_path / "one"), recipe(tmp_path / "two")
    needs.root_id(one)
    needs.check(client, wait=True)
    needs.check(client, wait=True)
    needs.root_id(one)
    needs.check(client, wait=True)
    needs.root_id(two)
    needs.check(client, wait=True)
    assert asked == [[one.root], [one.root, two.root]]


def test_without_a_client_nobody_is_asked(tmp_path, asked):
    """The tasks run in this process."""
    needs = TaskNeeds()
    needs.root_id(recipe(tmp_path / "root"))
    needs.check(None, wait=True)
    assert asked == []


def test_a_root_that_cannot_be_made_names_the_node(tmp_path):
    """The error is one of the node's."""
    (tmp_path / "file").write_text("")
    found = recipe(tmp_path / "file" / "root")
    with pytest.raises(StorageError) as caught:
        TaskNeeds().root_id(found)
    assert caught.value.node == found.title
