"""Whether there is a solver, and how it is to have none."""

import sys
import types

import pytest

try:
    from scipy.optimize import milp
except ImportError:
    milp = None
needs_solver = pytest.mark.skipif(milp is None, reason="no scipy with milp here")


def without_milp(monkeypatch):
    """A scipy as Python 3.6 gets it."""
    old = types.ModuleType("scipy")
    old.__version__ = "1.5.4"
    old.optimize, old.sparse = types.ModuleType("optimize"), types.ModuleType("sparse")
    for name, module in (("", old), (".optimize", old.optimize), (".sparse", old.sparse)):
        monkeypatch.setitem(sys.modules, "scipy" + name, module)
