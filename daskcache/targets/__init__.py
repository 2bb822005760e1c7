"""Targets and sources, one class per format; see `base` for the contract they share."""
