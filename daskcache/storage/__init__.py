"""Storage of one root: files, records, commits, trash, leases, and database tables in place of files."""

from ..aliases import names_of

__getattr__ = names_of(__name__, "storage.files")
