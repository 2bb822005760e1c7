"""The Dask side of daskcache: nodes, verbs, and the planned graphs that Dask computes.

`function` has `delayed`, `node` has `Node`, `accessor` has ``node.dc``, and `api` has the package's
functions.  `nodes`, `collection`, `mapping` and `selecting` handle many nodes at once.
`verb` and `builder` turn plans into Dask graphs; `late` and `frames` handle composed graphs.
Next to it, `planning` decides what is left to run, and `runtime` runs it on workers.
"""

from ..aliases import names_of

__getattr__ = names_of(__name__, "graph.verb")
