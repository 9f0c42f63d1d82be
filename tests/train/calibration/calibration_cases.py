"""Outcomes made up by chance, and a data set for the bundle of `tiny`."""

import numpy as np
import tiny
import torch
from hypothesis import strategies as st

from edgesdk.core.spec import Preprocessing
from edgesdk.outcomes import outcomes_from_logits
from edgesdk.train.calibration.costs import Costs, spans
from edgesdk.train.data import DataSet, Split, preprocessed


def random_outcomes(seed, count=60, exits=4, classes=4, skill=1.5, split="calibration"):
    """Exits that agree with the label the more, the deeper they are."""
    random = np.random.RandomState(seed)
    labels = random.randint(0, classes, count)
    logits = random.randn(exits, count, classes)
    hardness = random.rand(count)
    for index in range(exits):
        logits[index, np.arange(count), labels] += skill * (index + 1) * (1 - hardness)
    return outcomes_from_logits(
        "model", "chance", [split] * count, labels, logits.astype(np.float32)
    )


def random_costs(seed, exits=4):
    """Every stage cheaper than its parts one after the other; heads and overheads of any size."""
    random = np.random.RandomState(seed)
    segments, cut = random.randint(1, 100, exits), random.randint(0, 20)
    return Costs(
        "us",
        {
            (i, j): float(segments[i : j + 1].sum() + cut * (random.rand() if i < j else 1))
            for i, j in spans(exits)
        },
        tuple(random.randint(0, 10, exits).astype(float)),
        *(float(value) for value in random.randint(0, 20, 4)),
    )


@st.composite
def cases(draw, exits_max=4):
    """(outcomes, costs) of one network."""
    count = draw(st.integers(1, exits_max))
    seed = draw(st.integers(0, 2**31))
    return (
        random_outcomes(seed, draw(st.integers(1, 80)), count, skill=draw(st.floats(0, 4))),
        random_costs(seed, count),
    )


TINY = Preprocessing("gray", tiny.SIZE, tiny.SIZE, "refuse", "none", (0.0,), (1.0,))


def load_tiny(split):
    """Gray images of all brightnesses; the label is wrong for one in ten."""
    random = np.random.RandomState(len(split))
    brightness = random.randint(0, 256, 120)
    images = np.broadcast_to(
        brightness[:, None, None].astype(np.uint8), (120, tiny.SIZE, tiny.SIZE)
    )
    labels = (brightness < 128) ^ (random.rand(120) < 0.1)
    return preprocessed(list(images), labels.astype(np.int64), TINY)


def tiny_data(**changes):
    """The data set; keyword arguments replace its fields."""
    return DataSet("tiny", tiny.LABELS, TINY, load_tiny, None)._replace(**changes)


def one_image(split):
    """A split that is too small to choose by."""
    return Split(torch.zeros(1, 1, tiny.SIZE, tiny.SIZE), torch.zeros(1, dtype=torch.int64))
