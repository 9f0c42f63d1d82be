"""A network of your own, from torch to a bundle; on a workstation (torch, Python 3.9).

Name the modules behind which the network may answer early, train all exits jointly, write the
bundle with thresholds that calibration images chose, and open it like any other: without torch, on
any device. On that device `python -m edgesdk.train calibrate` finds better ones, by measured times.
"""

import os
import sys
import tempfile

import numpy as np

import edgesdk
from edgesdk import digits

try:
    import torch
    from torch import nn

    from edgesdk.train.own import MultiExit, cut_points, data_set, export_run, train_network
except ImportError as error:
    sys.exit('{}; install what training needs: pip install ".[train]"'.format(error))

EPOCHS = 12  # some seconds; the recipe of this data has 150
MAX_LOSS_POINTS = 1.0  # of accuracy, for answering early


class Block(nn.Module):
    """Half the height and width, and a shortcut around two convolutions."""

    def __init__(self, before, channels):
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(before, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1), nn.BatchNorm2d(channels), nn.ReLU()
        )

    def forward(self, features):
        half = self.first(features)
        return half + self.second(half)


class Classifier(nn.Module):
    """A network as anyone would write it: nothing in it knows of exits."""

    def __init__(self, classes):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, 2, 1)
        self.blocks = nn.Sequential(Block(16, 32), Block(32, 64))
        self.linear = nn.Linear(64, classes)

    def forward(self, images):
        features = torch.relu(self.blocks(self.stem(images)))
        return self.linear(features.mean((2, 3)))


torch.manual_seed(0)
torch.set_num_threads(1)
data = data_set("digits")  # or the path of an image folder, a tar of one, or a DataSet of yours
module = Classifier(len(data.labels))
for point in cut_points(module, data.preprocessing.shape).points:
    print("{:16} {:9,} multiply-adds".format(point.name, point.multiply_adds))
network = MultiExit.from_module(module, ["stem", "blocks.0"], data.preprocessing.shape)

with tempfile.TemporaryDirectory() as folder:
    settings = data.recipe._replace(model="three_steps", epochs=EPOCHS)
    run = train_network(network, data, settings, os.path.join(folder, "run"))
    bundle = os.path.join(folder, "three_steps", "1")
    export_run(run, bundle, MAX_LOSS_POINTS)

    # From here on as on a device.
    scans = digits.load_digits_split("test")
    with edgesdk.Pipeline.open(bundle, policy="final", logits=True) as pipe:
        full = pipe.infer(scans.images)
    with edgesdk.Pipeline.open(bundle) as pipe:
        early, policy = pipe.infer(scans.images), pipe.policy
        print("{} on {}: {}".format(pipe.bundle.manifest.name, pipe.backend.name, policy))

# torch itself on the same scans: does every image leave where it should, with the same answer?
with torch.no_grad():
    logits = network(data.load("test").images)
sure = [
    values.softmax(1).max(1).values.numpy() > threshold
    for values, threshold in zip(logits, policy.thresholds)
]
expected_exits = np.argmax(sure, axis=0)  # the first one that is sure enough
for index, values in enumerate(logits):
    share = (values.argmax(1).numpy() == scans.labels).mean()
    print("exit {}: {:.1f} % right if all leave there".format(index, 100 * share))
found_exits = np.array([outcome.exit_index for outcome in early])
right = np.mean([o.class_index == label for o, label in zip(early, scans.labels)])
print("early exits: {:.1f} % right, left at {}".format(100 * right, np.bincount(found_exits)))
error = max(np.abs(o.logits - row.numpy()).max() for o, row in zip(full, logits[-1]))
print("logits of torch and of the bundle differ by {:.0e} at most".format(error))
same = np.mean(found_exits == expected_exits)
assert error < 1e-3 and same > 0.99 and right > 0.9 and np.mean(found_exits < 2) > 0.25
