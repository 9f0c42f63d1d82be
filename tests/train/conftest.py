"""Small networks, runs and bundles that the tests of the training share."""

import torch

torch.set_num_threads(1)  # results and timings of the tests must not depend on the machine
