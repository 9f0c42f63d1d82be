"""Decisions, and nothing else.

Rule 1: a module here touches no clock, socket, thread, file or global random. Time is an integer
argument in microseconds; randomness is a `random.Random` that the caller hands in.
Rule 2: tensors never enter. An event or action names an item; whoever carries out the actions
holds its arrays.
"""
