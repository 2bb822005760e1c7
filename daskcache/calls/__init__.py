"""A decorated function (`spec`) and one call of it (`recipe`): its key and its paths."""
