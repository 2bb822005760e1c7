"""``dask cache …``: the commands."""
