"""Demonstrations: real images, one network in one process, and the same network over several."""
