"""A live picture of a cluster in a terminal: `python -m edgesdk.top`."""
