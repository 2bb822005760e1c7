"""CPR's JSON and module names (CPR is custom-prefect-result); its targets are in `targets.addressed`."""
