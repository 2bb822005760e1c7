"""A root without its program: list, explain, verify, collect, move and audit it."""
