"""Addressed targets, as in CPR: targets that hold their data, with the data's hash in the path."""
