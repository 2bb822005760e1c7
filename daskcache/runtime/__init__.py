"""One node on a worker: check, load, call, store; and the entry that travels from task to task."""
