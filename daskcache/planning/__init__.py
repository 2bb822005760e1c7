"""Plans: the nodes that are left to do, and why.

`examiner` gives each node a state.  It asks `target_examiner` about each target, which asks
`target_state` if a record describes the file, and what the file is if none does.  `findings` are what a
verb records, and `reasons` are the explanations.  `planner` gives each node an action.  `states` defines
both, and `corrections` has the user's decisions about adopted results.  `display` shows plans.  `graph`
turns them into Dask graphs.
"""

from ..aliases import names_of

__getattr__ = names_of(__name__, "planning.planner")
