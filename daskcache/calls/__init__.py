"""A decorated function (`spec`) and one call of it (`recipe`), with its key and its paths.

`describe` writes arguments as texts, and `task_keys` names Dask tasks.  `state` holds what runs in a
thread.  `planning`, `graph` and `runtime` plan, send and run the calls.
"""
