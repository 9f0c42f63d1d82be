"""Features made up by chance, what students cost, and the bundle of `tiny_ensemble` with data."""

import numpy as np
import tiny_ensemble as te
from calibration_cases import tiny_data

from edgesdk.features import Features
from edgesdk.train.calibration.costs import multiply_add_costs

SEGMENTS = (50, 300, 100, 200, 400, 100, 250)


def random_features(seed, count=60, depths=(4, 4), classes=4, size=5, skill=1.5):
    """Both splits of `count` images; exits say more of the label, the deeper they are."""
    random = np.random.default_rng(seed)
    total = 2 * count
    label = random.integers(0, classes, total)
    weight = random.normal(size=(classes, size * len(depths)))
    hardness = random.random(total)[:, None]
    students = []
    for index, depth in enumerate(depths):
        said = weight[label, index * size : (index + 1) * size] * (1 - hardness)
        exits = [
            said * skill * (j + 1) / depth + random.normal(size=said.shape) for j in range(depth)
        ]
        students.append(np.stack(exits, axis=1).astype(np.float32))
    return Features(
        "chance",
        "chance",
        np.array(["calibration"] * count + ["test"] * count),
        label.astype(np.int32),
        weight.astype(np.float32),
        random.normal(size=classes).astype(np.float32),
        random.normal(size=(len(depths), size)).astype(np.float32),
        tuple(students),
    )


def costs_of(depths):
    """Students of unequal cost, heads included."""
    return tuple(
        multiply_add_costs([cost * (index + 1) for cost in SEGMENTS[:depth]], [7 + index] * depth)
        for index, depth in enumerate(depths)
    )


def ensemble_at(folder):
    """The tiny ensemble as a bundle of its own, to be calibrated: its path."""
    return te.write_tiny_ensemble(folder / "engines" / "ensemble" / "1").path


def data():
    """Gray images of all brightnesses; the label is wrong for one in ten."""
    return tiny_data()
