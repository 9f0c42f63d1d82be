"""INT8 stages in the doubles of TensorRT: every version builds them, without a calibrator."""

import os

import numpy as np
import onnx
import pytest
import trt_driver
import trt_names
from onnx import numpy_helper
from trt_bench import Bench

int8 = pytest.importorskip("edgesdk.train.int8")

HERE = os.path.dirname(os.path.abspath(__file__))
BUNDLE = os.path.join(HERE, "..", "..", "engines/wrn16_1-digits/1/onnx")
# TensorRT 11 has no flag: types are those of the graph.
VERSIONS = [
    (version, [] if version.startswith("11") else ["INT8"]) for version in trt_names.VERSIONS
]


def stage(index, shape):
    """Segment `index` of the shipped network in INT8, and float32 inputs [8, ...] of it."""
    features = np.random.RandomState(index).standard_normal((8,) + shape).astype(np.float32)
    with open(os.path.join(BUNDLE, "segment_{}.onnx".format(index)), "rb") as file:
        content = int8.quantized(file.read(), features, int8.METHODS[0], "segment")
    return content, features


def build(bench, content, features, flags):
    shapes = [(batch,) + features.shape[1:] for batch in (1, 4, 8)]
    return trt_driver.build_engine(
        bench.trt, bench.log.logger, content, "features", *shapes, flags=flags
    )


@pytest.mark.parametrize("index, shape", [(0, (1, 32, 32)), (2, (16, 32, 32))])
@pytest.mark.parametrize("version, flags", VERSIONS)
def test_a_stage_is_built_and_gives_what_its_pairs_say(version, flags, index, shape):
    content, features = stage(index, shape)
    bench = Bench(version, name="Orin", compute_capability=(8, 7), fast_int8=True)
    plan = build(bench, content, features, flags)
    assert plan is not None, bench.log.lines
    assert not [line for line in bench.log.lines if not line.startswith(("INFO", "VERBOSE"))]
    expected = int8.run(int8.opened(content, "expected"), features)
    np.testing.assert_array_equal(bench.run(plan, features), expected)
    bench.close()


def test_a_gpu_without_int8_says_so():
    content, features = stage(0, (1, 32, 32))
    bench = Bench("8.2.1")
    build(bench, content, features, ["INT8"])
    assert bench.log.has("INT8 support requested on hardware without native INT8 support")
    bench.close()


def test_other_zero_points_are_refused():
    content, features = stage(0, (1, 32, 32))
    model = onnx.load_from_string(content)
    for tensor in model.graph.initializer:
        if tensor.name == "features_zero_point":
            tensor.CopyFrom(numpy_helper.from_array(np.array(3, np.int8), tensor.name))
    bench = Bench("8.2.1", fast_int8=True)
    assert build(bench, model.SerializeToString(), features, ["INT8"]) is None
    assert bench.log.has("Non-zero zero point is not supported.")
    bench.close()
