"""`python -m edgesdk.build`: the stages of a bundle compiled for this device."""
