"""The joint loss of DistrEE, eq. 5."""

import math

import pytest
import torch
import torch.nn.functional as F

from edgesdk.errors import ConfigError
from edgesdk.train.losses import TEMPERATURE, combined_loss, exit_weights, joint_loss


def test_seven_exits_get_the_weights_of_the_paper():
    assert exit_weights(7) == (1, 1, 1.1, 1.4, 1.4, 1.3, 1.2)


@pytest.mark.parametrize("count", [1, 2, 6, 8])
def test_any_other_number_of_exits_gets_ones(count):
    assert exit_weights(count) == (1.0,) * count


def test_given_weights_win():
    assert exit_weights(3, [0, 1, 2]) == (0.0, 1.0, 2.0)
    assert exit_weights(7, [1] * 7) == (1.0,) * 7


@pytest.mark.parametrize(
    "weights", [[1], [1, 1, 1], [1, -1], [1, math.nan], [math.inf, 1], [1, 0], []]
)
def test_weights_that_cannot_train_two_exits_are_refused(weights):
    with pytest.raises(ConfigError, match="expected 2 finite numbers"):
        exit_weights(2, weights)


def test_the_loss_is_the_weighted_sum_of_cross_entropies():
    torch.manual_seed(0)
    logits, labels = [torch.randn(5, 3) for _ in range(2)], torch.tensor([0, 1, 2, 0, 1])
    by_hand = [-F.log_softmax(z, 1)[range(5), labels].mean() for z in logits]
    found = joint_loss(logits, labels, (0.5, 2.0))
    assert found.item() == pytest.approx((0.5 * by_hand[0] + 2 * by_hand[1]).item(), rel=1e-6)


def test_the_gradient_of_an_exit_is_proportional_to_its_weight():
    labels = torch.tensor([0, 1])
    gradients = []
    for weight in (1.0, 3.0):
        logits = [torch.zeros(2, 2, requires_grad=True), torch.zeros(2, 2, requires_grad=True)]
        joint_loss(logits, labels, (weight, 1.0)).backward()
        gradients.append((logits[0].grad, logits[1].grad))
    assert torch.allclose(gradients[1][0], 3 * gradients[0][0])
    assert torch.allclose(gradients[1][1], gradients[0][1])


def test_a_share_of_an_early_exits_loss_is_its_divergence_from_the_final_exit():
    torch.manual_seed(0)
    logits, labels = [torch.randn(5, 3) for _ in range(3)], torch.tensor([0, 1, 2, 0, 1])
    target = F.softmax(logits[-1] / TEMPERATURE, 1)
    by_hand = torch.tensor(0.0)
    for weight, values in zip((0.5, 2.0), logits):
        logs = F.log_softmax(values / TEMPERATURE, 1)
        apart = TEMPERATURE**2 * (target * (target.log() - logs)).sum(1).mean()
        by_hand += weight * (0.75 * F.cross_entropy(values, labels) + 0.25 * apart)
    by_hand += 3 * F.cross_entropy(logits[-1], labels)
    found = joint_loss(logits, labels, (0.5, 2.0, 3.0), 0.25)
    assert found.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_the_final_exit_learns_nothing_from_those_it_teaches():
    torch.manual_seed(0)
    logits, labels = [torch.randn(5, 3, requires_grad=True) for _ in range(2)], torch.arange(5) % 3
    joint_loss(logits, labels, (1.0, 1.0), 0.5).backward()
    alone = logits[-1].detach().requires_grad_()
    F.cross_entropy(alone, labels).backward()
    assert torch.allclose(logits[-1].grad, alone.grad)
    assert logits[0].grad.abs().sum() > 0


def test_the_combined_loss_is_that_of_the_weighted_mean_answer():
    """Two exits that are wrong in opposite ways are right together; weights say who counts more."""
    labels = torch.tensor([0])
    first, second = torch.tensor([[3.0, 2.0, -4.0]]), torch.tensor([[1.0, -6.0, 2.0]])
    found = combined_loss([first, second], labels, (1.0, 3.0))
    assert torch.allclose(found, F.cross_entropy((first + 3 * second) / 4, labels))
    assert combined_loss([first, second], labels, (1.0, 1.0)) < joint_loss(
        [first, second], labels, (0.5, 0.5)
    )
