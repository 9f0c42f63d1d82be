"""The simulator: the decisions of `core` on a virtual clock, with modelled links and times."""
