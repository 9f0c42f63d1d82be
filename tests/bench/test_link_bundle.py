"""The bundle to measure a link with: whole inputs, one value looked at, taken as they are."""

import numpy as np
import pytest

from edgesdk.bench.link_bundle import LABELS, write_echo_bundle
from edgesdk.bench.link_contender import SIZES, payload_of
from edgesdk.pipeline import Pipeline


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_it_answers_by_the_first_value_of_a_payload(tmp_path, size):
    path = tmp_path / "echo" / "1"
    bundle = write_echo_bundle(path, size.shape)
    assert bundle.manifest.parts[0].segments[0].input_shape == size.shape
    payload = payload_of(size)
    with Pipeline.open(path, backend="onnxruntime") as pipe:
        assert pipe.infer(payload).label == LABELS[0]
        # after its ReLU a head sees nothing of what is below 0, and a tie goes to the first class
        assert pipe.infer(payload).max_probability == pytest.approx(1 / (1 + np.exp(-2.0)))
        payload[0, 0, 0] = 0.0
        assert pipe.infer(payload).max_probability == pytest.approx(0.5)


def test_payloads_have_the_sizes_they_are_named_after():
    assert [size.payload_bytes for size in SIZES] == [64, 16384, 131072, 16 * 224 * 224 * 4]
    assert [payload_of(size).nbytes for size in SIZES] == [size.payload_bytes for size in SIZES]
