"""Who takes part in `bench peers`, and who is left out with what reason."""

import sys

import numpy as np
import pytest
import tiny

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from edgesdk.bench.peers_answers import check, expect
from edgesdk.bench.peers_contenders import Choice, accuracies, near, open_peers
from edgesdk.bundle import write_bundle
from edgesdk.core.exits import Margin
from edgesdk.errors import ConfigError

OURS = ["edgesdk, final exit", "edgesdk, nobody leaves", "edgesdk, calibrated"]
ALWAYS = ["onnxruntime uncut", "torch eager uncut", *OURS, "edgesdk on torch, calibrated"]
EARLYON = ["earlyon, nobody leaves", *["earlyon, calibrated"] * 2, "earlyon staged, calibrated"]


@pytest.fixture
def choice(whole_bundle):
    policy = whole_bundle.manifest.policies["calibrated"]
    plan = whole_bundle.manifest.parts[0].plans["full"]
    return Choice(whole_bundle, plan, policy, "calibrated", 1)


@pytest.fixture
def expected(choice, brightnesses):
    images, labels = brightnesses.images, brightnesses.labels
    return expect(choice.bundle, choice.policy, choice.plan, images, labels, 1)


@pytest.fixture
def opened(choice, expected):
    """Opens a lineup, which is closed afterwards."""
    lineups = []

    def call(statics=(), choice=choice):
        lineups.append(open_peers(choice, expected, statics))
        return lineups[-1]

    yield call
    for lineup in lineups:
        for peer in lineup.peers:
            peer.close()


def test_everybody_takes_part_and_answers_as_the_network(opened, expected, brightnesses):
    pytest.importorskip("earlyon")
    lineup = opened()
    assert lineup.left_out == {}
    names = [peer.name for peer in lineup.peers]
    assert names == [*ALWAYS, *EARLYON, "static, ends at exit 0"]
    for peer in lineup.peers:
        for batch in peer.batches:
            rows = np.arange(batch)
            images = [brightnesses.images[row] for row in rows]
            found = peer.answers(peer.run(images[0] if batch == 1 else images))
            check(peer.name, peer.leaves, found, rows, expected)


def test_without_earlyon_the_others_take_part(opened, monkeypatch):
    monkeypatch.setitem(sys.modules, "earlyon", None)
    monkeypatch.setitem(sys.modules, "earlyon.staged", None)
    lineup = opened()
    assert [peer.name for peer in lineup.peers] == [*ALWAYS, "static, ends at exit 0"]
    assert list(lineup.left_out) == ["earlyon"]
    assert "pip install" in lineup.left_out["earlyon"]


def test_what_earlyon_cannot_follow_is_said(opened, choice):
    pytest.importorskip("earlyon")
    lineup = opened(choice=choice._replace(policy=Margin([0.9, 0.9, 0.0])))
    assert "no policy of kind margin" in lineup.left_out["earlyon"]


def test_without_torch_its_peers_are_left_out(opened, monkeypatch):
    names = ["backends.pytorch", "backends.pytorch_operators", "backends.pytorch_compiled"]
    for name in [*names, "bench.peers_torch", "bench.peers_earlyon"]:
        monkeypatch.delitem(sys.modules, "edgesdk." + name, raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    lineup = opened()
    assert list(lineup.left_out) == ["torch eager uncut", "edgesdk on torch", "earlyon"]
    assert all("pip install" in reason for reason in lineup.left_out.values())
    assert [peer.name for peer in lineup.peers][1:4] == OURS


@pytest.mark.parametrize(
    ("exits", "wanted", "found"),
    [
        ([0.5, 0.8, 0.9], 0.7, [0, 1]),
        ([0.8, 0.9, 0.9], 0.7, [0]),
        ([0.5, 0.6, 0.9], 0.7, [1]),  # the one at least as accurate is the uncut network
        ([0.5, 0.7, 0.9], 0.7, [0, 1]),
        ([0.9], 0.7, []),
    ],
    ids=str,
)
def test_statics_around_the_accuracy_of_the_policy(exits, wanted, found):
    assert near(exits, wanted) == found


class TestAccuracies:
    def test_those_of_the_whole_test_set_where_the_bundle_says_them(self, choice, expected):
        assert accuracies(self.said(choice, [0.5, 0.6, 0.7]), expected) == ([0.5, 0.6, 0.7], 0.65)

    @pytest.mark.parametrize("exits", [[0.5], ["a", "b", "c"], None], ids=str)
    def test_else_those_of_the_images(self, choice, expected, exits):
        assert accuracies(self.said(choice, exits), expected) == ([1.0, 1.0, 1.0], 1.0)
        assert accuracies(choice, expected) == ([1.0, 1.0, 1.0], 1.0)

    def said(self, choice, exits):
        """The choice with a manifest that says these."""
        policy = {"provenance": {"test": {"accuracy": 0.65}}}
        about = {"test": {"accuracy_per_exit": exits}}
        manifest = choice.bundle.manifest
        document = dict(manifest.document, policies={"calibrated": policy}, provenance=about)
        bundle = choice.bundle._replace(manifest=manifest._replace(document=document))
        return choice._replace(bundle=bundle)


def test_another_bundle_takes_part_as_it_is(opened, whole_bundle):
    lineup = opened(statics=[whole_bundle.path])
    assert lineup.peers[-1].name == "static, tiny"
    assert lineup.peers[-1].leaves is None


def test_a_bundle_for_other_data_is_refused(opened, tmp_path):
    manifest = dict(tiny.tiny_manifest(), labels=["light", "shade"])
    other = write_bundle(tmp_path / "other" / "1", manifest, tiny.tiny_files())
    with pytest.raises(ConfigError, match=r"--static: found .* with other classes than"):
        opened(statics=[other.path])
