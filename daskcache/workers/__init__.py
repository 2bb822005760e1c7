"""What daskcache does for the processes of a distributed cluster."""
