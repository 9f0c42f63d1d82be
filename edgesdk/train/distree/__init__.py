"""DistrEE's experiments, measured again: one command from images to tables, pictures and pages.

paper        what the paper prints
trainings    the teacher and the students, each in a folder that a second call continues
tables       Table I and Table II, and what Fig. 3 shows, as numbers
scaling      what the paper leaves open: more students, and students of unequal depth
simulation   latency on devices that are not there
figures      the pictures
page         the page that shows all of it, beside the paper's figures
results      all that was found
publishing   the page and its pictures as files
experiment   from data to `Results`
command      `python -m edgesdk.train reproduce distree`
"""
