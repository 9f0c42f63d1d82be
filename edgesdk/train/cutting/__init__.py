"""Any torch module, cut at named places into segments with an exit behind each.

tracer      torch's tracer, and what hinders it
tracing     a module as a graph of operations (torch.fx), and which module gave which value
sizes       the shapes of its tensors, which become constants
points      where one tensor alone crosses, and what else does where it does not
tails       the module's own classifier, as the final exit
segments    the graph between two points as a module: cut(), cut_points()
"""
