"""Training strategies of the early-exit survey, and a command that compares them.

phases        what each strategy does, one phase of training after the other
comparison    every strategy on one network and one data set
page          the table, the picture and the page
command       python -m edgesdk.train compare
"""
