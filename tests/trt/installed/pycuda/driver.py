"""`import pycuda.driver` in a child process of a test: see `trt_double.environment`."""

import sys

import cuda_double
import trt_child

if trt_child.MACHINE.is_broken("no driver"):
    raise ImportError("libcuda.so.1: cannot open shared object file: No such file or directory")
sys.modules[__name__] = cuda_double.driver(trt_child.MACHINE)
