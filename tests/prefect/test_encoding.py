"""Tasks and flows of Prefect as values, and where functions refer to them."""

from __future__ import annotations

from daskcache.hashing.encoder import hash_value
from daskcache.hashing.fingerprints import reach_of


def test_tasks_count_by_their_functions(define):
    """Not by their comments, descriptions, retries or names; nor by the file that they are in."""
    text = '''
    import prefect

    @prefect.task{options}
    def inner(x):
        """{doc}"""
        return x + {one}

    @prefect.flow
    def whole(x):
        return inner(x)

    def outer(x):
        return inner(x), whole(x)
    '''

    def fingerprint(**values):
        values = {"options": "", "doc": "Inner.", "one": 1} | values
        module = define(text.format(**values), "refers_to_tasks")
        assert hash_value(module.inner) == hash_value(module.inner.fn)
        return reach_of(module.outer).fingerprint

    assert fingerprint() == fingerprint(options="(retries=2, name='other')", doc="Another.")
    assert fingerprint() != fingerprint(one=2)
