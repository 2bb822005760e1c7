"""The suites of tests: in which order they run, and how long each may take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

#: Seconds of its tests, added up, that each suite may take in three processes on two quiet cores, in the
#: order in which the suites run.  Clusters and servers live until the end, and are never quite idle:
#: their tests are last.  What is heavier belongs behind ``--full``.
BUDGETS = {
    "tests": 190,
    "tests/typed": 60,
    "tests/hashing": 100,
    "tests/storage": 250,
    "tests/targets": 300,
    "tests/calls": 20,
    "tests/runtime": 20,
    "tests/planning": 170,
    "tests/monitor": 20,
    "tests/display": 130,
    "tests/graph": 100,
    "tests/housekeeping": 150,
    "tests/cluster": 30,
    "tests/modes": 20,
    "tests/field": 90,
    "tests/benchmarks": 70,
    "tests/faults": 800,
    "notebooks": 180,
    "tests/integration": 1750,
    "tests/prefect": 960,
}

#: Files that take longest, the longest first: so two processes end at about the same time.
SLOW = (
    *("test_composition", "test_stale_code", "test_syscall_errors", "test_verbs", "test_edits"),
    *("test_client_keys", "test_disks", "test_postgres", "test_model", "test_dask_own_tests"),
    *("test_dask_runner", "test_kill_sweep", "test_chaos", "test_zarr", "05_prefect", "test_hosts"),
    *(
        "test_of_prefect_dask",
        "test_forged",
        "test_cancelling",
        "test_storage_tables",
        "test_workers_recipes",
    ),
    *(
        "test_screen",
        "test_transactions",
        "test_persist",
        "test_anywhere",
        "test_two_clients",
        "test_server",
    ),
    *("test_process_independence", "test_wire", "test_demo", "test_records_damaged", "test_races"),
    *("test_audit", "test_workers_reach", "test_failures", "test_node_objects"),
)


def place_of(nodeid: str) -> tuple[int, int]:
    """Return what tests are sorted by: the place of their suite, and that of their file in it."""
    suite, file = suite_of(nodeid), nodeid.partition("::")[0].rpartition("/")[2].partition(".")[0]
    place = list(BUDGETS).index(suite) if suite in BUDGETS else len(BUDGETS)
    return place, SLOW.index(file) if file in SLOW else len(SLOW)


def suite_of(nodeid: str) -> str:
    """Return the folder of a test's file."""
    return nodeid.partition("::")[0].rpartition("/")[0]


def report(seconds: Iterable[tuple[str, float]], full: bool) -> Iterable[str]:
    """Yield a line for each suite: how long it took, beside its budget."""
    took: Counter[str] = Counter()
    for nodeid, duration in seconds:
        took[suite_of(nodeid)] += duration
    for suite, total in sorted(took.items()):
        budget = BUDGETS.get(suite, 0)
        over = "  over its budget" if total > budget and not full else ""
        yield f"{suite:20} {total:6.0f} of {budget:5}{over}"
