"""Every strategy trains what it should, in its own order, and goes on where it was."""

import json

import pytest
import torch
from tiny_training import TINY, tiny_network

from edgesdk.errors import ConfigError
from edgesdk.train import checkpoint, models
from edgesdk.train.recipe import Settings
from edgesdk.train.strategies.comparison import SECONDS, compare, first_exits
from edgesdk.train.strategies.phases import STRATEGIES

SETTINGS = Settings("tiny", "tiny", epochs=8, batch_size=16)

pytestmark = pytest.mark.usefixtures("registered")


def weights(folder, prefix):
    state = checkpoint.load(folder)["network"]
    return {name: values for name, values in state.items() if name.startswith(prefix)}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("strategies")


@pytest.fixture(scope="module")
def found(registered, out):
    return {tried.strategy: tried for tried in compare(TINY, SETTINGS, list(STRATEGIES), out)}


def test_every_strategy_has_an_accuracy_for_each_exit_and_teaches_something(found):
    assert list(found) == list(STRATEGIES)
    for tried in found.values():
        assert len(tried.accuracies) == 2 and tried.seconds > 0
        assert tried.epochs == (16 if tried.strategy == "separate" else 8)
        assert max(tried.accuracies) > 0.5, tried  # of three classes


def test_a_later_phase_begins_with_the_weights_of_the_one_before(found, out):
    for strategy, first, second in (
        ("two-stage", "backbone", "exits"),
        ("distillation", "backbone", "exits"),
        ("hybrid", "all", "exits"),
    ):
        before, after = out / strategy / first, out / strategy / second
        for frozen in ("segments", "exits.1"):
            assert same(weights(before, frozen), weights(after, frozen))
        assert not same(weights(before, "exits.0"), weights(after, "exits.0"))
        start = checkpoint.load(after)["settings"]["start"]
        assert (start["learns"], start["epochs_done"]) == (
            STRATEGIES[strategy].phases(2)[0].learns,
            4,
        )


def test_a_branch_keeps_the_branches_before_it(found, out):
    first, second = (out / "branch-wise" / f"branch-{depth}" for depth in (1, 2))
    assert not weights(first, "segments.1")  # it is not there yet
    assert same(weights(first, "segments.0"), weights(second, "segments.0"))
    assert same(weights(first, "exits.0"), weights(second, "exits.0"))


def test_separate_models_share_nothing(found, out):
    first, second = (out / "separate" / f"model-{depth}" for depth in (1, 2))
    assert not same(weights(first, "segments.0"), weights(second, "segments.0"))
    assert checkpoint.load(second)["settings"]["start"] is None


def test_what_is_done_is_not_done_again_and_has_its_time_still(found, out):
    folders = {path: path.stat().st_mtime_ns for path in out.rglob(checkpoint.FILE_NAME)}
    again = compare(TINY, SETTINGS, ["joint", "two-stage"], out)
    assert again == [found["joint"], found["two-stage"]]
    assert folders == {path: path.stat().st_mtime_ns for path in out.rglob(checkpoint.FILE_NAME)}


def test_of_a_training_that_was_interrupted_no_time_is_told(registered, tmp_path):
    (first,) = compare(TINY, SETTINGS, ["two-stage"], tmp_path)
    assert json.loads((tmp_path / "two-stage" / "exits" / SECONDS).read_text()) < first.seconds
    (tmp_path / "two-stage" / "exits" / SECONDS).unlink()
    (again,) = compare(TINY, SETTINGS, ["two-stage"], tmp_path)
    assert again == first._replace(seconds=None)


def test_the_first_exits_are_the_same_layers():
    network = tiny_network()
    first = first_exits(network, 1)
    assert first.segments[0] is network.segments[0] and first.exit_count == 1
    assert first_exits(network, 2) is network


def test_an_unknown_strategy_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ConfigError, match="found 'magic', expected some of joint, combined"):
        compare(TINY, SETTINGS, ["joint", "magic"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_network_without_early_exits_has_nothing_to_compare(tmp_path, monkeypatch):
    monkeypatch.setitem(
        models.MODELS, "short", lambda classes, channels: first_exits(tiny_network(), 1)
    )
    with pytest.raises(ConfigError, match="expected one with early exits"):
        compare(TINY, SETTINGS._replace(model="short"), ["joint"], tmp_path)
