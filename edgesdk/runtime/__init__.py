"""Carries out the core's actions in the real world: clock, buffers, compute, the main loop."""
