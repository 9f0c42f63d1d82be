"""A network, a data set and a run small enough for tests; as a program, a run that can be killed.

python tiny_training.py DIRECTORY EPOCHS [IMAGES]
"""

import sys
from pathlib import Path

import torch

from edgesdk.core.spec import Preprocessing
from edgesdk.train.data import DataSet, Split, data_set
from edgesdk.train.models import ExitHead, MultiExit, PreActivationBlock
from edgesdk.train.recipe import Settings
from edgesdk.train.trainer import Trainer, fit

IMAGES = {"train": 48, "calibration": 30, "test": 30}


def load(split):
    """Noise with a bright band that tells the class, 32x32, gray."""
    random = torch.Generator().manual_seed(len(split))
    labels = torch.arange(IMAGES[split]) % 3
    images = torch.randn(IMAGES[split], 1, 32, 32, generator=random)
    for image, label in zip(images, labels):
        image[:, 10 * label : 10 * label + 8] += 2 * label + 1
    return Split(images, labels)


def augment(images, generator):
    return images + 0.1 * torch.randn(images.shape, generator=generator)


TINY = DataSet(
    "tiny",
    ("low", "middle", "high"),
    Preprocessing("gray", 32, 32, "refuse", "none", (0.5,), (0.25,)),
    load,
    augment,
)


def tiny_network(classes=3, in_channels=1):
    """Two segments and two exits."""
    segments = [
        torch.nn.Conv2d(in_channels, 4, 3, padding=1, stride=2),
        PreActivationBlock(4, 8, 2, usual_stride=False),
    ]
    return MultiExit(segments, [ExitHead(4, classes), ExitHead(8, classes)])


def tiny_trainer(epochs=3, seed=0, data=TINY, **settings):
    torch.manual_seed(seed)
    return Trainer(tiny_network(), data, Settings("tiny", "tiny", epochs, seed, 16, **settings))


def photo_trainer(path, epochs):
    """The tiny network on images at `path`, with the recipe of photos."""
    data = data_set(path)
    torch.manual_seed(0)
    settings = data.recipe._replace(model="tiny", data=path, epochs=epochs, batch_size=16)
    return Trainer(tiny_network(in_channels=3), data, settings)


if __name__ == "__main__":
    torch.set_num_threads(1)
    directory, epochs = Path(sys.argv[1]), int(sys.argv[2])
    chosen = photo_trainer(sys.argv[3], epochs) if len(sys.argv) > 3 else tiny_trainer(epochs)
    fit(chosen, directory, resume=True)
