"""A bottleneck in the tiny network; as a program, a training of one that can be killed.

python tiny_bottlenecks.py DIRECTORY EPOCHS
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where tiny_training is

from tiny_training import TINY, tiny_network

from edgesdk.train.bottlenecks.training import new_trainer
from edgesdk.train.bundles import Run
from edgesdk.train.recipe import Settings
from edgesdk.train.trainer import fit

RATIO = 40.0  # 4 x 16 x 16 float32 to 6 x 4 x 4


def tiny_run(seed=0):
    """A network that was not trained: what it says is arbitrary, and the same every time."""
    torch.manual_seed(seed)
    return Run(tiny_network().eval(), TINY, Settings("tiny", "tiny", 1), 1)


def tiny_trainer_of(run, method="ghnd", epochs=3, border=1, ratio=RATIO, **settings):
    asked = Settings("tiny", "tiny", epochs, batch_size=16, decay_all=False, **settings)
    return new_trainer(run, asked, border, method, ratio)


if __name__ == "__main__":
    torch.set_num_threads(1)
    fit(tiny_trainer_of(tiny_run(), epochs=int(sys.argv[2])), Path(sys.argv[1]), resume=True)
