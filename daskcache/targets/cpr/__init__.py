"""What CPR (custom-prefect-result) is to its users: targets at addresses of their own, and its JSON."""
