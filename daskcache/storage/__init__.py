"""One root: files, records, commits, trash and leases; and tables of databases in place of files."""

from ..aliases import names_of

__getattr__ = names_of(__name__)
