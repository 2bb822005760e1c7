"""Tables of databases as targets, committed, verified and kept like files."""
