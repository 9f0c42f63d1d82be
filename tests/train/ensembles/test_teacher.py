"""The frozen teacher, and the fixed map from its filters to the features of the students."""

from functools import partial

import pytest
import torch
from tiny_training import TINY, tiny_network, tiny_trainer

from edgesdk.errors import ConfigError
from edgesdk.train import models
from edgesdk.train.ensembles.teacher import Teacher, divided, load_teacher
from edgesdk.train.models import MultiExit
from edgesdk.train.trainer import Trainer, fit, start_from


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    result = tmp_path_factory.mktemp("teacher")
    fit(tiny_trainer(epochs=1), result)
    return result


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(models.MODELS, "tiny", partial(tiny_network))


def activations(count=40, filters=8, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(count, filters, generator=random) ** 3


def test_its_logits_are_those_of_the_final_exit_and_its_activations_come_before_them():
    network = tiny_network().eval()
    images = torch.randn(3, 1, 32, 32)
    expected = network(images)[-1]
    teacher = Teacher(network, {})
    logits, pooled = teacher(images)
    assert torch.equal(logits, expected)
    assert pooled.shape == (3, 8) and teacher.filter_count == 8
    assert pooled.min() >= 0
    assert torch.allclose(teacher.head.linear(pooled), logits)


def test_it_never_learns():
    teacher = Teacher(tiny_network(), {})
    assert not teacher.training
    assert not any(values.requires_grad for values in teacher.parameters())


def test_activations_do_not_depend_on_batches_and_hardly_on_precision(monkeypatch):
    teacher, images = Teacher(tiny_network(), {}), torch.randn(7, 1, 32, 32)
    whole = teacher.activations(images)
    monkeypatch.setattr("edgesdk.train.ensembles.teacher.BATCH", 3)
    assert torch.allclose(teacher.activations(images), whole, atol=1e-6)
    reduced = teacher.activations(images, reduced=True)
    assert reduced.dtype == torch.float32
    assert torch.allclose(reduced, whole, atol=0.05 * float(whole.max()))
    assert not torch.equal(reduced, whole)


def test_only_an_exit_head_can_teach():
    with pytest.raises(ConfigError, match="teacher: found a Flatten, expected an ExitHead"):
        Teacher(MultiExit([torch.nn.Identity()], [torch.nn.Flatten()]), {})


def test_a_vector_depends_on_the_filters_of_its_own_group_alone():
    knowledge = divided(activations(), 2, feature_size=6, seed=0)
    assert knowledge.projection.shape == (2, 6, 8)
    pooled = activations(count=3, seed=1)
    for index, group in enumerate(knowledge.filters.groups):
        others = torch.ones(8, dtype=torch.bool)
        others[list(group)] = False
        changed = torch.where(others, pooled + 1, pooled)
        before, after = knowledge.vectors(pooled), knowledge.vectors(changed)
        assert torch.equal(before[:, index], after[:, index])
        assert not torch.equal(before[:, 1 - index], after[:, 1 - index])


def test_with_room_for_all_filters_no_length_and_no_angle_changes():
    knowledge, pooled = divided(activations(), 2, feature_size=6, seed=0), activations(5, seed=1)
    assert knowledge.kept == pytest.approx((1, 1))
    for index, group in enumerate(knowledge.filters.groups):
        own, vectors = pooled[:, list(group)], knowledge.vectors(pooled)[:, index]
        assert torch.allclose(vectors @ vectors.T, own @ own.T, atol=1e-5)


def test_with_less_room_it_keeps_the_directions_in_which_most_happens():
    """Of filters that fire together in pairs, two directions hold everything."""
    pairs = activations(filters=4).repeat_interleave(2, dim=1)
    knowledge = divided(pairs, 1, feature_size=4, seed=0)
    assert knowledge.kept == pytest.approx((1.0,))
    assert torch.allclose(knowledge.vectors(pairs)[:, 0].norm(dim=1), pairs.norm(dim=1), atol=1e-5)
    worse = divided(activations(), 1, feature_size=4, seed=0)
    assert 0.5 < worse.kept[0] < 1


@pytest.mark.parametrize("size", [2, 4, 6])
def test_the_rotation_spreads_what_is_kept_over_all_values_by_the_seed(size):
    first, again, other = (divided(activations(), 2, size, seed) for seed in (0, 0, 1))
    assert torch.equal(first.projection, again.projection)
    assert not torch.equal(first.projection, other.projection)
    power = first.vectors(activations(seed=1)).square().mean((0, 1))
    assert power.min() > 0.01 * power.max()


def test_filters_that_never_fire_teach_nothing_and_break_nothing():
    silent = torch.zeros(10, 4)
    knowledge = divided(silent, 2, feature_size=3, seed=0)
    assert torch.isfinite(knowledge.projection).all()
    assert not knowledge.vectors(silent).any()
    assert knowledge.kept == (1.0, 1.0)


def test_a_run_of_fit_can_teach_and_is_described(directory):
    teacher = load_teacher(directory, TINY)
    assert {k: teacher.description[k] for k in ("model", "epochs", "epochs_done")} == {
        "model": "tiny",
        "epochs": 1,
        "epochs_done": 1,
    }
    assert len(teacher.description["weights"]) == 64


def test_epochs_of_the_runs_that_it_started_from_are_counted(directory, tmp_path):
    before = [1]
    for name, epochs in (("second", 2), ("third", 1)):
        network = tiny_network()
        start = start_from(network, directory)
        settings = tiny_trainer(epochs=epochs).settings._replace(start=start)
        directory = tmp_path / name
        fit(Trainer(network, TINY, settings), directory)
        assert load_teacher(directory, TINY).description["epochs_before"] == sum(before)
        before.append(epochs)


def test_a_teacher_of_other_images_is_refused(directory):
    with pytest.raises(ConfigError, match=r"for other images than those of tiny; expected 2 class"):
        load_teacher(directory, TINY._replace(labels=("low", "high")))


def test_what_is_no_run_cannot_teach(tmp_path):
    with pytest.raises(ConfigError, match="not found; expected a run made by"):
        load_teacher(tmp_path, TINY)
