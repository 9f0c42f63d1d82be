"""`import tensorrt` in a child process of a test: see `trt_double.environment`."""

import sys

import trt_child
from trt_double import double

sys.modules[__name__] = double(trt_child.VERSION, trt_child.MACHINE)
