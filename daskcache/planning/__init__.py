"""What is left to do, and why: `examiner` gives each node a state, `planner` an action."""

from ..aliases import names_of

__getattr__ = names_of(__name__)
