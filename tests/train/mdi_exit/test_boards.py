"""A network on a declared board: times by multiply-adds or by a profile, and what travels."""

import numpy as np
import pytest
import tiny

from edgesdk.bundle import write_bundle
from edgesdk.errors import ConfigError
from edgesdk.outcomes import outcomes_from_logits
from edgesdk.profiles import Profile, StageTime
from edgesdk.train.mdi_exit.boards import board_of, exits_at

# The tiny bundle: segments of 100 multiply-adds, heads of 10; inputs of 36, maps of 72 floats.


def answers(*confidences):
    """Outcomes of two classes, one image per argument, which says how sure each exit is."""
    chances = np.array(confidences).T
    logits = np.stack([np.log(chances), np.log(1 - chances)], axis=-1).astype(np.float32)
    labels = np.zeros(len(confidences), np.int64)
    return outcomes_from_logits("m", "made up", ["test"] * len(labels), labels, logits)


def test_stages_share_the_time_by_multiply_adds(bundle):
    board = board_of(bundle, 31_000, 10)
    assert board.stage_us == pytest.approx((10_000,) * 3)
    assert board.head_us == pytest.approx((1_000,) * 3)
    assert board.whole_us == pytest.approx(31_000)
    assert board.feature_bytes == (144, 288, 288)
    assert "multiply-adds" in board.origin


def test_or_by_a_profile(bundle):
    times = [StageTime(0, "full", i, 1, us, us, 50, 50) for i, us in enumerate((100, 200, 650))]
    profile = Profile(bundle.manifest.model_id, "a board", "x", {}, times)
    board = board_of(bundle, 100_000, 10, profile)
    assert board.stage_us == pytest.approx((10_000, 20_000, 65_000))
    assert board.whole_us == pytest.approx(100_000) and "a board" in board.origin


def test_early_heads_cost_nothing_where_exits_are_off(bundle):
    board = board_of(bundle, 31_000, 10)
    assert board.part(True, False).stage_us == (11_000, 11_000, 11_000)
    assert board.part(False, False).stage_us == (10_000, 10_000, 11_000)


def test_what_travels(bundle):
    board = board_of(bundle, 31_000, 10)
    assert board.part(True, False, 7).feature_bytes == (7, 288, 288)
    assert board.part(True, True).feature_bytes == (144, 10, 288)
    assert set(board.part(True, True).encode_us) == {0}
    assert board.code is not None and not board.code.is_trained
    assert board_of(bundle, 31_000, 288).code is None  # nothing is gained


def test_the_code_of_the_bundle_goes_before_a_declared_one(tmp_path):
    bundle = tiny.write_with_bottleneck(tmp_path / "tiny" / "1", border=1)
    board = board_of(bundle, 31_000, 10)
    assert board.code is not None and board.code.is_trained
    part = board.part(True, True)
    assert part.feature_bytes == (144, 36, 288)  # a byte for each value of one channel
    assert (part.encode_us, part.decode_us) == ((0, 5_000, 0), (0, 10_000, 0))
    assert board.part(True, False).encode_us == (0, 0, 0)


def test_images_leave_where_they_are_sure():
    test = answers((0.9, 0.95, 0.99), (0.6, 0.9, 0.99), (0.6, 0.6, 0.6))
    assert exits_at(test, 0.8).tolist() == [0, 1, 2]
    assert exits_at(test, None).tolist() == [2, 2, 2]


def test_the_bound_is_that_of_the_source_or_of_all_boards(bundle):
    board = board_of(bundle, 31_000, 10)
    test = answers((0.9, 0.95, 0.99), (0.6, 0.6, 0.6))
    assert board.most_per_s(test, 0.8, 1) == pytest.approx(1e6 / 22_000)  # m: (11 + 33) / 2 ms
    assert board.most_per_s(test, 0.8, 100) == pytest.approx(1e6 / 11_000)
    assert board.most_per_s(test, None, 2) == pytest.approx(2e6 / 31_000)


def test_a_network_of_one_exit_is_refused(tmp_path):
    manifest, files = tiny.tiny_manifest(), tiny.tiny_files()
    part = manifest["parts"][0]
    part["segments"], part["exits"] = part["segments"][:1], part["exits"][:1]
    part["plans"]["full"]["stages"] = part["plans"]["full"]["stages"][:1]
    manifest["policies"]["calibrated"]["thresholds"] = [0.0]
    kept = {name: files[name] for name in ("onnx/segment_0.onnx", "heads/exit_0.npz")}
    bundle = write_bundle(tmp_path / "one" / "1", manifest, kept)
    with pytest.raises(ConfigError, match="found one exit, expected at least two"):
        board_of(bundle, 1000, 10)
