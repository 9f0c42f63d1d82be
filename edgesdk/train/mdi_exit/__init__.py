"""MDI-Exit's experiments, measured again: one command from bundles to tables, pictures and a page.

boards       a network on a board that is not there: times of stages, sizes of what travels
topologies   who is linked with whom, and how images arrive, as scenarios of the simulator
points       a simulated point, kept once it is there
sweeps       which points there are
live         some of them on real processes
results      all that was found
figures      the pictures
tables       the tables of the page
statements   what the curves say, beside what the paper says, from the numbers
page         the page that shows all of it
publishing   the page and its pictures as files
experiment   from bundles to `Results`
command      `python -m edgesdk.train reproduce mdi-exit`
"""
