"""The doubles of TensorRT and pycuda are helpers of these tests, too."""

import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "trt"))
