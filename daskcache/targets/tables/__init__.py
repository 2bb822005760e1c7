"""Formats of tables: CSV, Parquet and SQL."""

from ...aliases import names_of

__getattr__ = names_of(__name__, "targets.tables.csv_parquet")
