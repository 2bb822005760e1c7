"""Targets at an address of their own, as CPR's are: the hash of the data is in the path."""
