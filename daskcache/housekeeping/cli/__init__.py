"""Commands of ``dask cache``."""
