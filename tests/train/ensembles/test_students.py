"""Students with feature exits, one classifier, and the costs that Table I prints."""

from functools import partial

import pytest
import torch
from tiny_training import tiny_network

from edgesdk.errors import ConfigError
from edgesdk.train import models
from edgesdk.train.counting import multiply_adds, table_one
from edgesdk.train.ensembles.students import (
    MEAN_MOMENTUM,
    Ensemble,
    at_branches,
    build_ensemble,
    depths_of,
)
from edgesdk.train.models import ExitHead, MultiExit

CIFAR = (3, 32, 32)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(models.MODELS, "tiny", partial(tiny_network))


@pytest.fixture(scope="module")
def student():
    return build_ensemble("wrn16_1", 10, 3, [7], seed=0).students[0]


def parameters(*modules):
    return sum(values.numel() for module in modules for values in module.parameters())


def test_the_backbone_has_the_printed_digits_of_table_one(student):
    printed = [".459", "4.817", "4.817", "7.356", "4.768", "7.28", "4.74"]
    found = [cost / 1e6 for cost in table_one(student, CIFAR).segments]
    assert [round(x, len(text[text.index(".") :]) - 1) for x, text in zip(found, printed)] == [
        float(text) for text in printed
    ]


def test_the_exits_cost_what_table_one_prints(student):
    found = [cost / 1e6 for cost in table_one(student, CIFAR).exits]
    assert found == pytest.approx([0.067, 0.067, 0.067, 0.035, 0.035, 0.02, 0.02], rel=0.03)


def test_costs_and_parameters_are_those_of_the_docstring(student):
    table, plain = table_one(student, CIFAR), multiply_adds(student, CIFAR)
    assert round((sum(table.segments) + sum(table.exits)) / 1e6, 2) == 34.55
    assert round((sum(plain.segments) + sum(plain.exits)) / 1e6, 2) == 33.99
    assert parameters(student) == 190688 == pytest.approx(189044, rel=0.01)
    last_only = parameters(student.segments, student.exits[-1])
    assert last_only == 179072 == pytest.approx(178540, rel=0.01)


def test_features_have_one_shape_and_logits_one_entry_per_branch():
    ensemble = build_ensemble("tiny", 5, 1, [2, 1], seed=0)
    answers = ensemble(torch.randn(3, 1, 32, 32))
    assert [len(exits) for exits in answers.features] == [2, 1] == list(ensemble.depths)
    assert {tuple(f.shape) for exits in answers.features for f in exits} == {(3, 64)}
    assert [tuple(logits.shape) for logits in answers.logits] == [(3, 5)] * 2
    assert ensemble.exit_count == 2


def test_a_branch_is_all_students_at_one_exit_and_a_shallow_one_at_its_last():
    ensemble = build_ensemble("tiny", 5, 1, [2, 1], seed=0).eval()
    (deep, shallow), logits = ensemble(torch.randn(3, 1, 32, 32))
    for branch, own in enumerate(deep):
        expected = ensemble.classifier(torch.cat([own, shallow[0]], dim=1))
        assert torch.allclose(logits[branch], expected, atol=1e-6)


def test_branches_are_one_tensor_in_which_a_shallow_student_repeats_its_last():
    deep, shallow = [torch.randn(3, 4) for _ in range(3)], [torch.randn(3, 4) for _ in range(2)]
    stacked = at_branches([deep, shallow])
    assert stacked.shape == (3, 3, 2, 4)
    for branch in range(3):
        assert torch.equal(stacked[:, branch, 0], deep[branch])
        assert torch.equal(stacked[:, branch, 1], shallow[min(branch, 1)])


def test_a_feature_is_what_the_kernel_of_a_device_computes():
    from edgesdk.kernels import reference

    ensemble = build_ensemble("tiny", 3, 1, [2], seed=0).eval()
    images = torch.randn(2, 1, 32, 32)
    (student,) = ensemble.students
    with torch.no_grad():
        inner = student.segments[0](images)
        found = ensemble(images).features[0][0]
    norm, projection = student.exits[0].norm, student.exits[0].linear.weight.detach().numpy()
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
    shift = (norm.bias - norm.running_mean * scale).detach()
    expected = reference.exit_feature(inner.numpy(), scale.numpy(), shift.numpy(), projection)
    assert torch.allclose(found, torch.from_numpy(expected), atol=1e-5)


def test_features_and_classification_are_float32_under_autocast():
    ensemble = build_ensemble("tiny", 3, 1, [2, 2], seed=0)
    with torch.autocast("cpu", torch.bfloat16):
        (features, logits) = ensemble(torch.randn(2, 1, 32, 32))
    assert {f.dtype for exits in features for f in exits} == {torch.float32}
    assert {values.dtype for values in logits} == {torch.float32}


def test_the_seed_decides_the_weights_and_students_begin_differently():
    first, again, other = (build_ensemble("tiny", 3, 1, [2, 2], seed) for seed in (0, 0, 1))
    name = "students.0.segments.0.weight"
    assert torch.equal(first.state_dict()[name], again.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])
    twin = first.state_dict()["students.1.segments.0.weight"]
    assert not torch.equal(first.state_dict()[name], twin)


def test_the_mean_feature_follows_what_a_student_says():
    ensemble = build_ensemble("tiny", 3, 1, [2, 1], seed=0)
    features = [[torch.full((4, 64), 1.0), torch.full((4, 64), 3.0)], [torch.full((4, 64), 5.0)]]
    for _ in range(2):
        ensemble.remember(features)
    share = 1 - (1 - MEAN_MOMENTUM) ** 2
    assert torch.allclose(ensemble.mean_features[0], torch.tensor(2.0 * share))
    assert torch.allclose(ensemble.mean_features[1], torch.tensor(5.0 * share))
    assert "mean_features" in ensemble.state_dict()


def test_without_depths_every_student_has_all_exits():
    assert depths_of("tiny", 3) == (2, 2, 2)
    assert depths_of("tiny", 2, [2, 1]) == (2, 1)
    with pytest.raises(ConfigError, match=r"depths: found \[2\], expected 2 numbers of exits"):
        depths_of("tiny", 2, [2])


@pytest.mark.parametrize("depth", [0, 3])
def test_a_student_is_cut_at_an_exit_that_it_has(depth):
    with pytest.raises(ConfigError, match=f"depths: found {depth}, expected 1 to 2, the exits of"):
        build_ensemble("tiny", 3, 1, [depth], seed=0)


def test_other_exits_than_feature_exits_are_refused():
    with pytest.raises(ConfigError, match="found no students"):
        Ensemble([], 3, 8)
    wrong = MultiExit([torch.nn.Identity()], [ExitHead(1, 4, bias=False)])
    with pytest.raises(ConfigError, match="student 0, exit 0: found a ExitHead with 4 features"):
        Ensemble([wrong], 3, 8)


def test_students_of_a_network_that_was_cut_have_exits_of_their_own():
    ensemble = build_ensemble("mobilenetv2", 3, 1, (2, 5), seed=0)
    assert [len(student.exits) for student in ensemble.students] == [2, 5]
    features = ensemble.eval()(torch.zeros(2, 1, 32, 32)).features
    assert [values.shape for values in features[1]] == [(2, 64)] * 5


def test_a_network_of_tokens_has_no_students():
    with pytest.raises(ConfigError, match="found vit_tiny, whose exits are no maps"):
        build_ensemble("vit_tiny", 3, 1, (2,), seed=0)
