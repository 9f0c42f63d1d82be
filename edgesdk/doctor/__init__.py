"""What is there on a machine, and what to do about what is wrong: `python -m edgesdk.doctor`."""
