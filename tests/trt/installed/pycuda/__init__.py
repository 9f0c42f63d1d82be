"""`import pycuda` in a child process of a test: see `trt_double.environment`."""
