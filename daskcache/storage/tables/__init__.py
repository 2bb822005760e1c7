"""Tables of databases as targets: they are committed, verified and kept as files are."""
