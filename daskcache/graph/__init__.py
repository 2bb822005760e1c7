"""Plans to Dask graphs; nodes, verbs and ``node.dc``: what users hold."""

from ..aliases import names_of

__getattr__ = names_of(__name__)
