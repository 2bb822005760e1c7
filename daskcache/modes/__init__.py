"""Tasks and flows that cache, record or just run, as config ``daskcache.mode`` says."""

from ..aliases import names_of

__getattr__ = names_of(__name__)
