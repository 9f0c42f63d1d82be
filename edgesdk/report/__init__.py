"""Traces of a run as one page: what became of the images, how fast, and where the time went."""
