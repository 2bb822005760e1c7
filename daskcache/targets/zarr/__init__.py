"""Zarr arrays and groups, and OME-Zarr."""
