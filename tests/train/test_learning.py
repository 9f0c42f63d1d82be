"""What does not learn keeps its weights and its statistics."""

import pytest
import torch
from tiny_training import TINY, tiny_network, tiny_trainer

from edgesdk.errors import ConfigError
from edgesdk.train.learning import learning
from edgesdk.train.models import ExitNetwork
from edgesdk.train.recipe import LEARNS, Settings
from edgesdk.train.trainer import Trainer


def after_an_epoch(**settings):
    """Names of the network's values (weights, statistics) that an epoch has changed."""
    run = tiny_trainer(epochs=1, **settings)
    before = {name: values.clone() for name, values in run.network.state_dict().items()}
    run.run_epoch(TINY.load("train"), TINY.load("calibration"))
    after = run.network.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}


def parts(names):
    return {".".join(name.split(".")[:2]) for name in names}


@pytest.mark.parametrize(
    "learns, expected",
    [
        ("all", {"segments.0", "segments.1", "exits.0", "exits.1"}),
        ("backbone", {"segments.0", "segments.1", "exits.1"}),
        ("exits", {"exits.0"}),
        ("last", {"segments.1", "exits.1"}),
    ],
)
def test_only_what_is_chosen_changes(learns, expected):
    changed = after_an_epoch(learns=learns)
    assert parts(changed) == expected
    every = set(tiny_network().state_dict())
    assert changed == {name for name in every if parts([name]) <= expected}  # all of it


def test_exits_that_do_not_learn_have_no_weight_in_the_loss():
    for learns, expected in zip(LEARNS, [(1, 2, 3), (0, 0, 3), (1, 2, 0), (0, 0, 3)]):
        assert learning(learns, 3).weights((1, 2, 3)) == expected


def test_a_network_of_one_exit_has_no_early_ones():
    with pytest.raises(ConfigError, match="expected a network with early exits"):
        learning("exits", 1)


def test_what_has_no_parts_learns_as_a_whole():
    class Whole(ExitNetwork):
        exit_count = 2

    settings = Settings("whole", "tiny", 1, learns="backbone")
    with pytest.raises(ConfigError, match="found a Whole, whose parts learn together"):
        Trainer(Whole(), TINY, settings)


def test_an_unknown_part_or_loss_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="expected one of all, backbone, exits, last"):
        tiny_trainer(learns="head")
    with pytest.raises(ConfigError, match="expected one of sum, combined"):
        tiny_trainer(loss="mean")
