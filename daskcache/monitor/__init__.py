"""Progress of running verbs: counts by function, an estimated end, and a line at the end.

`graph.progress` starts a `watch.Watch` for each verb that `settings` says to show.  `local_runs` and
`cluster_runs` learn what happens to the nodes, `counts` adds it up, and `terminal` or `notebook` shows
it.  Nothing on the way of a node knows that it is watched.
"""
