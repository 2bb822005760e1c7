"""daskcache beside its peers: ``python -m tests.benchmarks``."""
