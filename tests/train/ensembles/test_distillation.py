"""eq. 4 and eq. 5 of DistrEE, term by term, and what is ours beside them."""

import pytest
import torch
import torch.nn.functional as F

from edgesdk.train.ensembles.distillation import (
    Lesson,
    attention_loss,
    ensemble_loss,
    missing_students,
    mixtures,
    replaced,
)
from edgesdk.train.ensembles.students import Answers, Ensemble
from edgesdk.train.models import ExitHead, MultiExit
from edgesdk.train.recipe import Distillation

CLASSES, SIZE = 3, 4


def ensemble(depths):
    """Students whose segments pass on an image of two channels: only the exits compute."""
    torch.manual_seed(0)
    students = [
        MultiExit([torch.nn.Identity()] * m, [ExitHead(2, SIZE, bias=False) for _ in range(m)])
        for m in depths
    ]
    return Ensemble(students, CLASSES, SIZE)


def paper(depths, **changed):
    return Distillation(depths, {}, mixture_weight=0.0)._replace(**changed)


def batch(depths, count=5):
    network = ensemble(depths)
    answers = network(torch.randn(count, 2, 3, 3))
    lesson = Lesson(
        torch.arange(count) % CLASSES,
        torch.randn(count, CLASSES),
        torch.randn(count, len(depths), SIZE),
    )
    return network, answers, lesson


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def by_hand(answers, lesson, branch, settings):
    """eq. 4 with a loop for every sum; branch: per student the exit that it is at."""
    count = len(lesson.labels)
    result = 0.0
    for b in range(count):
        logits = answers.logits[branch[0]][b]
        hard = -F.log_softmax(logits, 0)[lesson.labels[b]]
        teacher = F.softmax(lesson.logits[b] / settings.temperature, 0)
        student = F.log_softmax(logits / settings.temperature, 0)
        soft = -(teacher * student).sum()
        apart = 0.0
        for i, j in enumerate(branch):
            own, theirs = answers.features[i][j][b], lesson.vectors[b, i]
            apart += ((own / own.norm() - theirs / theirs.norm()) ** 2).sum()
        alpha, beta = settings.soft_weight, settings.attention_weight
        result += ((1 - alpha) * hard + alpha * soft + beta * apart) / count
    return result


def test_a_branch_is_eq_4_and_the_loss_their_weighted_sum():
    settings = paper((2, 1), soft_weight=0.3, temperature=2.5, attention_weight=7.0)
    network, answers, lesson = batch((2, 1))
    found = ensemble_loss(network, answers, lesson, (0.5, 2.0), settings, random())
    expected = [by_hand(answers, lesson, branch, settings) for branch in ((0, 0), (1, 0))]
    assert found.branches.tolist() == pytest.approx([x.item() for x in expected], rel=1e-5)
    assert found.total.item() == pytest.approx((0.5 * expected[0] + 2 * expected[1]).item(), 1e-5)
    assert found.mixture == 0


def test_one_branch_is_the_loss_of_nonn():
    """eq. 2: Loss_kd + beta * the sum over partitions of Loss_act, with students of one exit."""
    settings = paper((1, 1, 1), soft_weight=0.6, temperature=4.0, attention_weight=2.0)
    network, answers, lesson = batch((1, 1, 1))
    logits = answers.logits[0]
    soft = F.softmax(lesson.logits / 4, 1)
    kd = 0.4 * F.cross_entropy(logits, lesson.labels) + 0.6 * F.cross_entropy(logits / 4, soft)
    act = sum(
        (F.normalize(f[0]) - F.normalize(lesson.vectors[:, i])).square().sum(1).mean()
        for i, f in enumerate(answers.features)
    )
    found = ensemble_loss(network, answers, lesson, (1.0,), settings, random()).total
    assert found.item() == pytest.approx((kd + 2 * act).item(), rel=1e-6)


def test_the_soft_term_is_a_cross_entropy_without_the_squared_temperature():
    """A student that equals its teacher still has the teacher's entropy as loss, not 0."""
    network, answers, lesson = batch((1,))
    lesson = lesson._replace(logits=answers.logits[0].detach())
    settings = paper((1,), soft_weight=1.0, temperature=3.0, attention_weight=0.0)
    found = ensemble_loss(network, answers, lesson, (1.0,), settings, random()).total
    soft = F.softmax(lesson.logits / 3, 1)
    assert found.item() == pytest.approx(-(soft * soft.log()).sum(1).mean().item(), rel=1e-5)


def test_each_weight_is_that_of_its_term():
    network, answers, lesson = batch((1,))
    hard_only = paper((1,), soft_weight=0.0, attention_weight=0.0)
    found = ensemble_loss(network, answers, lesson, (1.0,), hard_only, random()).total
    assert torch.equal(found, F.cross_entropy(answers.logits[0], lesson.labels))


def test_the_direction_of_a_vector_counts_and_zeros_have_none():
    features = torch.tensor([[[[3.0, 4.0]]]])
    assert attention_loss(features, torch.tensor([[[30.0, 40.0]]])).item() == pytest.approx(0)
    assert attention_loss(features, torch.tensor([[[-3.0, -4.0]]])).item() == pytest.approx(4)
    found = attention_loss(features.requires_grad_(), torch.zeros(1, 1, 2))
    found.sum().backward()
    assert found.item() == pytest.approx(1)
    assert torch.isfinite(features.grad).all()


def test_every_exit_of_every_student_has_its_share_in_mixtures():
    count, depths = 4000, (3, 3, 2)
    features = [
        [torch.full((count, 1), 10.0 * i + j) for j in range(m)] for i, m in enumerate(depths)
    ]
    found = mixtures(features, random())
    assert found.shape == (count, 3, 1)
    triples, counts = found[:, :, 0].unique(dim=0, return_counts=True)
    expected = [[i, j, k] for i in (0, 1, 2) for j in (10, 11, 12) for k in (20, 21)]
    assert triples.tolist() == expected
    assert counts.min() > 0.7 * count / 18  # each of them: students are drawn independently
    assert torch.equal(found, mixtures(features, random()))


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_students_are_missing_at_random_but_never_all_of_them(probability):
    found = missing_students((4000, 2), probability, random())
    assert not found.all(dim=1).any()
    expected = probability * (1 - probability)  # missing while the other is there
    assert found.float().mean().item() == pytest.approx(expected, abs=0.03)
    assert not missing_students((50, 1), probability, random()).any()


def test_a_missing_student_is_replaced_by_its_own_mean():
    features, means = torch.randn(2, 2, 3), torch.tensor([[1.0] * 3, [2.0] * 3])
    found = replaced(features, torch.tensor([[True, False], [False, True]]), means)
    assert torch.equal(found[0, 0], means[0]) and torch.equal(found[1, 1], means[1])
    assert torch.equal(found[0, 1], features[0, 1]) and torch.equal(found[1, 0], features[1, 0])


def test_the_loss_of_a_mixture_is_added_with_its_weight():
    settings = paper((2, 2), soft_weight=0.9, mixture_weight=0.5, missing_probability=0.4)
    network, answers, lesson = batch((2, 2), count=40)
    network.mean_features.normal_()
    found = ensemble_loss(network, answers, lesson, (1.0, 1.0), settings, random(3))
    again = random(3)
    drawn = mixtures(answers.features, again)
    drawn = replaced(drawn, missing_students((40, 2), 0.4, again), network.mean_features)
    logits = network.classifier(drawn.flatten(1))
    soft = F.softmax(lesson.logits / 2, 1)
    expected = 0.1 * F.cross_entropy(logits, lesson.labels) + 0.9 * F.cross_entropy(
        logits / 2, soft
    )
    assert found.mixture.item() == pytest.approx(expected.item(), rel=1e-5)
    total = found.branches.sum() + 0.5 * found.mixture
    assert found.total.item() == pytest.approx(total.item(), rel=1e-6)


def test_every_parameter_that_is_used_gets_a_gradient():
    settings = Distillation((2, 1), {})
    network, answers, lesson = batch((2, 1))
    ensemble_loss(network, answers, lesson, (1.0, 1.0), settings, random()).total.backward()
    assert not [name for name, values in network.named_parameters() if values.grad is None]
    assert isinstance(answers, Answers)
