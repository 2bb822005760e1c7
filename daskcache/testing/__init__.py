"""Helpers for tests of projects that use daskcache.

`assertions` counts runs and asserts that nothing runs.  `contract` holds the tests that every target
class must pass.  No other part of the package imports this one.
"""

from ..aliases import names_of
from .assertions import RunCounter as RunCounter
from .assertions import assert_nothing_runs as assert_nothing_runs
from .assertions import count_runs as count_runs
from .contract import TargetContract as TargetContract

__getattr__ = names_of(__name__)
