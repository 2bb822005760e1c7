"""Helpers for tests of projects that use daskcache.

`assertions` counts runs and asserts that nothing runs.  `contract` holds the tests that every target
class must pass.  No other part of the package imports this one.
"""

from ..aliases import names_of
from .assertions import RunCounter, assert_nothing_runs, count_runs, scheduler_tasks
from .contract import TargetContract

__all__ = ["RunCounter", "TargetContract", "assert_nothing_runs", "count_runs", "scheduler_tasks"]

__getattr__ = names_of(__name__, "testing.assertions")
