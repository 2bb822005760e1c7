"""One node on a worker: check, load, call and store, and the `Entry` that travels from task to task.

Above it, `graph` builds the tasks and `planning` decides which of them run.  Below it are `calls` (keys
and arguments), `targets` (formats) and `storage` (files and records).
"""
