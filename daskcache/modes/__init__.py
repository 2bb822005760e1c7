"""Tasks and flows that cache, record or only run, depending on config ``daskcache.mode``."""

from ..aliases import names_of

__getattr__ = names_of(__name__, "modes.tasks")
