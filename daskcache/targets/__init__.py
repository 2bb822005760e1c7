"""Targets and sources, one class per format; see `daskcache.targets.base` for what they share."""
