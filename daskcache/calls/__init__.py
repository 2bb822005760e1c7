"""A decorated function (`spec`) and one call of it (`recipe`), with its key and its paths.

`options` and `signature` belong to the function, `arguments` to the call, and `describe` writes the
arguments as texts.  `task_keys` names Dask tasks, and `state` holds what runs in a thread.  `planning`,
`graph` and `runtime` plan, send and run the calls.
"""
