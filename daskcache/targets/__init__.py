"""Targets and sources, one class per format.  `daskcache.targets.base` has their base classes."""
