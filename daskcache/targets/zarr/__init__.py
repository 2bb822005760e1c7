"""Formats of Zarr arrays and groups, and of OME-Zarr images."""
