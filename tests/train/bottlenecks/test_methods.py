"""Each loss looks at what its name says, and at nothing else."""

import pytest
import torch
import torch.nn.functional as F

from edgesdk.train.bottlenecks.methods import METHODS, Journey, Lesson, distance

LABELS = torch.tensor([0, 2])


def journey(shift=0.0, at=None):
    """Features at the border and behind two segments; `at` names one that is shifted."""
    random = torch.Generator().manual_seed(1)
    features = [torch.randn(2, 3, 4, 4, generator=random) for _ in range(3)]
    logits = [torch.randn(2, 3, generator=random) for _ in range(2)]
    everything = features + logits
    if at is not None:
        everything[at] = everything[at] + shift * torch.arange(everything[at].shape[1]).view(
            1, -1, *[1] * (everything[at].dim() - 2)
        )
    return Journey(everything[:3], everything[3:])


def loss(method, at=None):
    arrived = journey(1.0, at)
    return float(METHODS[method].loss(Lesson(arrived, journey, LABELS, (1.0, 2.0))))


@pytest.mark.parametrize(
    ("method", "sees"),
    [
        ("hnd", {1, 2}),  # of those it is given; `segments` says that it is given one
        ("ghnd", {0, 1, 2}),
        ("distillation", {3, 4}),
        ("cross-entropy", {3, 4}),
    ],
)
def test_what_a_loss_sees(method, sees):
    changed = {at for at in range(5) if loss(method, at) != loss(method)}
    assert changed == sees


def test_reconstruction_takes_part_up_to_the_border_only():
    assert METHODS["reconstruction"].segments == 0
    assert METHODS["hnd"].segments == 1
    assert [METHODS[m].segments for m in ("ghnd", "distillation", "cross-entropy")] == [None] * 3


@pytest.mark.parametrize("method", ["hnd", "ghnd", "distillation"])
def test_what_arrives_as_it_was_has_no_loss(method):
    assert loss(method) == pytest.approx(0, abs=1e-6)


def test_cross_entropy_asks_the_labels_and_weighs_the_exits():
    parts = [F.cross_entropy(values, LABELS) for values in journey().logits]
    assert loss("cross-entropy") == pytest.approx(float(parts[0] + 2 * parts[1]))


def test_the_mean_as_an_answer_is_one_away_however_large_features_are():
    features = torch.randn(64, 3, 8, 8)
    for scale in (1e-3, 1.0, 1e3):
        wanted = scale * features + scale
        mean = wanted.mean().expand_as(wanted)
        assert float(distance(mean, wanted)) == pytest.approx(1, rel=1e-3)
    assert float(distance(torch.ones(2, 3), torch.ones(2, 3))) == 0
