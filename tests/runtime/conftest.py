"""Works without a graph: what a worker gets for one node, with handles for the nodes upstream."""

from __future__ import annotations

import itertools

import pytest

import daskcache as dc
from daskcache.hashing.algorithms import configured
from daskcache.hashing.encoder import hash_value
from daskcache.runtime.held import Held
from daskcache.runtime.work import Work
from daskcache.storage.roots import Root


@pytest.fixture
def work(root):
    """Makes the work of a call in a root that is there; each node among the arguments is an input."""
    identifier = Root(str(root)).create()

    def work(func, *args, facts=(), **options):
        recipe = dc.delayed(func, **options)(*args)._recipe
        handles = itertools.count()
        made = Work(
            spec=recipe.spec,
            values=recipe.values,
            inputs=tuple(next(handles) for _ in recipe.upstream),
            key=recipe.key,
            static=recipe.static,
            code=recipe.code,
            described={},
            root=recipe.root,
            paths=recipe.paths,
            previous=(None,) * len(recipe.paths),
            root_id=identifier,
            algorithm=configured(),
        )
        return made._replace(**dict(facts))

    return work


@pytest.fixture
def held():
    """Makes the handle of an input that is not stored."""
    return lambda value: Held(value, hash_value(value))
