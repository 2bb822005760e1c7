"""Plans: the nodes that are left to do, and why.

`examiner` gives each node a state, with `unrecorded` for files without a record and `reasons` for the
explanations.  `planner` gives each node an action.  `states` defines both, and `corrections` has the
user's decisions about adopted results.  `display` shows plans.  `graph` turns them into Dask graphs.
"""

from ..aliases import names_of

__getattr__ = names_of(__name__)
