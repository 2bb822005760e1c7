"""Housekeeping of a root from its records alone: list, explain, verify, collect, move and audit."""
