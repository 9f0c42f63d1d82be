"""Runs before any test module: one compute thread per library, and no deadlines on properties."""

import contextlib
import os

# Read once, when numpy or torch is first imported; several threads per test only fight each other.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

with contextlib.suppress(ImportError):  # absent on a device that runs only some of the tests
    from hypothesis import settings

    settings.register_profile("edgesdk", deadline=None)  # a slow machine is not a failure
    settings.load_profile("edgesdk")
