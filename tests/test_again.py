"""Which failures are tried once more."""

import again
import pytest

CLUSTER = "tests/integration/test_again_{}.py::test"


@pytest.mark.parametrize("count", [1, again.MOST])
def test_few_tests_of_clusters_may_pass_alone(count):
    assert again.may_pass_alone([CLUSTER.format(i) for i in range(count)])


@pytest.mark.parametrize(
    "tests",
    [
        [],
        [CLUSTER.format(i) for i in range(again.MOST + 1)],
        [CLUSTER.format(0), "tests/storage/test_atomic.py::test"],
        ["notebooks/01_first_cache.ipynb::"],
    ],
)
def test_other_failures_fail(tests):
    assert again.main(tests) == 1


def test_what_fails_alone_fails(tmp_path, monkeypatch):
    """It is run by pytest, whose answer counts."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / again.ROOMS[0] / "test_it.py"
    path.parent.mkdir(parents=True)
    name = f"{again.ROOMS[0]}test_it.py::test"
    path.write_text("def test(): assert False")
    assert again.main([name]) == 1
    path.write_text("def test(): pass")
    assert again.main([name]) == 0
