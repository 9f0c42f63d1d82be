"""Measurements: every speed that edgesdk states is printed by `python -m edgesdk.bench`."""
