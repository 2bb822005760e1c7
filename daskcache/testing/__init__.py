"""Helpers for the tests of a project that uses daskcache: what ran, and what a format must do."""

from ..aliases import names_of
from .assertions import RunCounter as RunCounter
from .assertions import assert_nothing_runs as assert_nothing_runs
from .assertions import count_runs as count_runs
from .contract import TargetContract as TargetContract

__getattr__ = names_of(__name__)
