"""The torch backend's translation, operator by operator, against onnxruntime."""

import subprocess
import sys

import graphs
import numpy as np
import pytest
from onnx import helper, numpy_helper

from edgesdk.backends import open_backend
from edgesdk.errors import BundleError, EngineError

pytorch = pytest.importorskip("edgesdk.backends.pytorch")

MAPS = (4, 9, 8)  # channels, height, width: nothing square, so no axis is mistaken for another
EPSILON = np.finfo(np.float32).eps


def number(value):
    return np.array(value, np.float32)


def whole(*values):
    return np.array(values, np.int64)


def conv(weight_shape, output_shape, bias=True, **attributes):
    weights = {"w": graphs.normal(1, *weight_shape) / 4, "b": graphs.normal(2, weight_shape[0])}
    inputs = ["features", "w", "b"] if bias else ["features", "w"]
    return "Conv", inputs, attributes, MAPS, output_shape, weights


def pool(operator, output_shape, **attributes):
    return operator, ["features"], attributes, MAPS, output_shape, {}


def gemm(weight_shape, bias, **attributes):
    weights = {"w": graphs.normal(1, *weight_shape)}
    if bias is not None:
        weights["c"] = graphs.normal(2, *bias)
    return "Gemm", ["features", *weights], attributes, (6,), (5,), weights


def batch_norm(**attributes):
    weights = graphs.scale_and_shift(4)
    return "BatchNormalization", ["features", *weights], attributes, MAPS, MAPS, weights


def pair(operator, second, output_shape=MAPS, **attributes):
    return operator, ["features", "second"], attributes, MAPS, output_shape, {"second": second}


def clip(inputs, **weights):
    return "Clip", ["features", *inputs], {}, MAPS, MAPS, weights


# operator, inputs, attributes, input shape, output shape, weights
CASES = {
    "conv": conv((6, 4, 3, 3), (6, 7, 6)),
    "conv, no bias": conv((6, 4, 3, 3), (6, 7, 6), bias=False),
    "conv, pads": conv((6, 4, 3, 3), (6, 9, 8), pads=[1, 1, 1, 1]),
    "conv, pads by axis": conv((6, 4, 3, 5), (6, 9, 8), pads=[1, 2, 1, 2]),
    "conv, strides": conv((6, 4, 3, 3), (6, 5, 4), pads=[1, 1, 1, 1], strides=[2, 2]),
    "conv, strides by axis": conv((6, 4, 3, 3), (6, 7, 2), strides=[1, 3]),
    "conv, dilations": conv((6, 4, 3, 3), (6, 5, 2), dilations=[2, 3]),
    "conv, groups": conv((6, 2, 3, 3), (6, 7, 6), group=2),
    "conv, depthwise": conv((4, 1, 3, 3), (4, 9, 8), group=4, pads=[1, 1, 1, 1]),
    "conv, kernel 1": conv((6, 4, 1, 1), (6, 9, 8), kernel_shape=[1, 1]),
    "conv, explicit auto_pad": conv((6, 4, 3, 3), (6, 7, 6), auto_pad="NOTSET"),
    "batch norm": batch_norm(),
    "batch norm, epsilon": batch_norm(epsilon=0.5, momentum=0.3),
    "max pool": pool("MaxPool", (4, 8, 7), kernel_shape=[2, 2]),
    "max pool, strides": pool("MaxPool", (4, 4, 4), kernel_shape=[2, 2], strides=[2, 2]),
    "max pool, pads": pool("MaxPool", (4, 9, 8), kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "max pool, dilations": pool("MaxPool", (4, 5, 4), kernel_shape=[3, 3], dilations=[2, 2]),
    "max pool, ceil": pool("MaxPool", (4, 5, 4), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "average pool": pool("AveragePool", (4, 8, 6), kernel_shape=[2, 3]),
    "average pool, strides": pool("AveragePool", (4, 4, 4), kernel_shape=[2, 2], strides=[2, 2]),
    "average pool, pads": pool("AveragePool", (4, 9, 8), kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "average pool, pads counted": pool(
        "AveragePool", (4, 9, 8), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "average pool, ceil": pool(
        "AveragePool", (4, 5, 4), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1
    ),
    "global average pool": pool("GlobalAveragePool", (4, 1, 1)),
    "flatten": pool("Flatten", (4 * 9 * 8,)),
    "flatten, axis": pool("Flatten", (4 * 9 * 8,), axis=1),
    "gemm": gemm((6, 5), (5,)),
    "gemm, no bias": gemm((6, 5), None),
    "gemm, transB": gemm((5, 6), (5,), transB=1),
    "gemm, beta": gemm((5, 6), (5,), transB=1, beta=0.5),
    "gemm, bias with a batch axis": gemm((5, 6), (1, 5), transB=1),
    "gemm, one bias for all": gemm((5, 6), (1,), transB=1),
    "add": pair("Add", graphs.normal(1, 4, 1, 1)),
    "mul": pair("Mul", graphs.normal(1, 4, 1, 1)),
    "mul by one number": pair("Mul", number(0.5)),
    "depth to space": pool("DepthToSpace", (1, 18, 16), blocksize=2, mode="CRD"),
    "concat": ("Concat", ["features", "features"], {"axis": 1}, MAPS, (8, 9, 8), {}),
    "concat, last axis": ("Concat", ["features"] * 3, {"axis": -1}, MAPS, (4, 9, 24), {}),
    "relu": pool("Relu", MAPS),
    "sigmoid": pool("Sigmoid", MAPS),
    "identity": pool("Identity", MAPS),
    "sub": pair("Sub", graphs.normal(1, 4, 1, 1)),
    "div": pair("Div", graphs.scale_and_shift(8)["scale"]),
    "pow": pair("Pow", number(2)),
    "erf": pool("Erf", MAPS),
    "hard sigmoid": pool("HardSigmoid", MAPS),
    "hard sigmoid, steeper": pool("HardSigmoid", MAPS, alpha=1 / 6, beta=0.4),
    "mat mul": pair("MatMul", graphs.normal(1, 8, 5), (4, 9, 5)),
    "mat mul, batched": pair("MatMul", graphs.normal(1, 4, 8, 5), (4, 9, 5)),
    "softmax": pool("Softmax", MAPS),
    "softmax, axis": pool("Softmax", MAPS, axis=1),
    "transpose": pool("Transpose", (8, 4, 9), perm=[0, 3, 1, 2]),
    "reduce mean": pool("ReduceMean", (4, 9, 1), axes=[-1]),
    "reduce mean, axes": pool("ReduceMean", (4,), axes=[2, 3], keepdims=0),
    "reshape": pair("Reshape", whole(-1, 9, 4, 8), (9, 4, 8)),
    "reshape, a size kept": pair("Reshape", whole(0, 0, 72), (4, 72)),
    "gather": pair("Gather", whole(2)[0], (9, 8), axis=1),
    "gather, from the end": pair("Gather", whole(-1)[0], (4, 9), axis=3),
    "clip": clip(["low", "high"], low=number(-0.5), high=number(1)),
    "clip, low": clip(["low"], low=number(-0.5)),
    "clip, high": clip(["", "high"], high=number(1)),
    "clip, neither": clip([]),
}


def save_case(path, case):
    operator, inputs, attributes, input_shape, output_shape, weights = case
    used = {name: weights[name] for name in weights if name in inputs}
    nodes = [graphs.node(operator, inputs, **attributes)]
    return graphs.save_nodes(path, nodes, input_shape, output_shape, used)


def answers(path, input_shape, output_shape, batch=3):
    """What onnxruntime and torch compute for the same random batch."""
    features = graphs.normal(batch, batch, *input_shape)
    outs = []
    for name in ("onnxruntime", "torch"):
        out = np.full((batch, *output_shape), np.nan, np.float32)
        open_backend(name).load(str(path), input_shape, output_shape).run(features, out)
        outs.append(out)
    return outs


def assert_equal_answers(expected, found):
    """At most 60 products per sum, each result below 20: roundings in another order."""
    assert np.isfinite(expected).all() and np.abs(expected).max() < 20
    np.testing.assert_allclose(found, expected, rtol=0, atol=np.sqrt(60) * 20 * EPSILON)


class TestOperators:
    @pytest.mark.parametrize("name", CASES)
    def test_means_what_onnxruntime_says(self, tmp_path, name):
        path = save_case(tmp_path / "one.onnx", CASES[name])
        assert_equal_answers(*answers(path, *CASES[name][3:5]))

    def test_every_operator_of_the_list_is_tested(self):
        alone = {case[0] for case in CASES.values()}
        elsewhere = {"QuantizeLinear", "DequantizeLinear"}  # test_pytorch_operators.py
        assert alone | elsewhere | {"Sqrt"} == set(pytorch.OPERATORS)

    def test_a_root_of_what_is_not_negative(self, tmp_path):
        nodes = [graphs.node("Relu", ["features"], "positive"), graphs.node("Sqrt", ["positive"])]
        path = graphs.save_nodes(tmp_path / "root.onnx", nodes, MAPS, MAPS)
        assert_equal_answers(*answers(path, MAPS, MAPS))

    def test_constants_may_be_nodes(self, tmp_path):
        constant = numpy_helper.from_array(graphs.normal(1, 4, 1, 1))
        nodes = [
            graphs.node("Constant", [], "constant", value=constant),
            graphs.node("Add", ["features", "constant"]),
        ]
        path = graphs.save_nodes(tmp_path / "constant.onnx", nodes, MAPS, MAPS)
        assert_equal_answers(*answers(path, MAPS, MAPS))

    def test_the_batch_axis_stays_free_through_all_of_them(self, tmp_path):
        path = save_case(tmp_path / "one.onnx", CASES["flatten"])
        for batch in (1, 5, 2):
            assert_equal_answers(*answers(path, *CASES["flatten"][3:5], batch=batch))

    def test_nan_passes_through_relu_and_clip(self, tmp_path):
        features = np.full((2, *MAPS), np.nan, np.float32)
        for name in ("relu", "clip", "max pool"):
            path = save_case(tmp_path / "one.onnx", CASES[name])
            out = np.zeros((2, *CASES[name][4]), np.float32)
            open_backend("torch").load(path, MAPS, CASES[name][4]).run(features, out)
            assert np.isnan(out).all()


class TestWhatIsNotTranslated:
    """EngineError: the file, what is in the way, what is known, and the way out."""

    @staticmethod
    def refusal(path, input_shape=MAPS, output_shape=MAPS):
        with pytest.raises(EngineError) as caught:
            open_backend("torch").load(str(path), input_shape, output_shape)
        message = str(caught.value)
        assert message.startswith(str(path) + ": the torch backend does not translate ")
        assert message.endswith('; use backend="onnxruntime"')
        assert "it knows Add, AveragePool, " in message
        return message

    @pytest.mark.parametrize("operator", ["Tanh", "Softplus", "Sinh"])
    def test_an_operator_that_is_not_in_the_list(self, tmp_path, operator):
        path = save_case(tmp_path / "odd.onnx", pool(operator, MAPS))
        assert "translate the operator {}".format(operator) in self.refusal(path)
        open_backend("onnxruntime").load(path, MAPS, MAPS)

    @pytest.mark.parametrize(
        ("case", "named"),
        [
            (conv((6, 4, 3, 3), (6, 7, 6), pads=[0, 1, 0, 0]), "asymmetric padding [0, 1, 0, 0]"),
            (conv((6, 4, 3, 3), MAPS, auto_pad="SAME_UPPER"), "auto_pad SAME_UPPER"),
            (pool("MaxPool", MAPS, kernel_shape=[2, 2], pads=[0, 0, 1, 1]), "asymmetric padding"),
            (pool("AveragePool", MAPS, kernel_shape=[2, 2], pads=[1, 0, 0, 0]), "asymmetric"),
            (pool("Flatten", (4, 72), axis=2), "Flatten with axis 2"),
            (pool("Flatten", (4, 72), axis=0), "Flatten with axis 0"),
            (gemm((6, 5), (5,), alpha=2.0), "Gemm with transA or alpha"),
            (gemm((6, 5), (5,), transA=1), "Gemm with transA or alpha"),
            (pool("DepthToSpace", (1, 18, 16), blocksize=2), "DepthToSpace of mode DCR"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_an_attribute_that_would_change_the_answer(self, tmp_path, case, named):
        operator, inputs, attributes, input_shape, output_shape, weights = case
        path = graphs.save_nodes(
            tmp_path / "odd.onnx",
            [graphs.node(operator, inputs, **attributes)],
            input_shape,
            output_shape,
            weights,
        )
        assert named in self.refusal(path, input_shape, output_shape)

    def test_dilated_average_pools(self, tmp_path):
        path = graphs.save_nodes(
            tmp_path / "odd.onnx",
            [graphs.node("AveragePool", ["features"], kernel_shape=[2, 2], dilations=[2, 2])],
            MAPS,
            (4, 7, 6),
            opset=19,
        )
        assert "AveragePool with dilations" in self.refusal(path, MAPS, (4, 7, 6))

    def test_a_second_output(self, tmp_path):
        nodes = [helper.make_node("MaxPool", ["features"], ["output", "at"], kernel_shape=[1, 1])]
        path = graphs.save_nodes(tmp_path / "odd.onnx", nodes, MAPS, MAPS)
        assert "the operator MaxPool with 2 outputs" in self.refusal(path)

    def test_a_shape_that_is_computed(self, tmp_path):
        nodes = [
            graphs.node("Shape", ["features"], "sizes"),
            graphs.node("Reshape", ["features", "sizes"]),
        ]
        path = graphs.save_nodes(tmp_path / "odd.onnx", nodes, MAPS, MAPS)
        assert "the operator Shape" in self.refusal(path)
        nodes = [
            graphs.node("Relu", ["features"], "sizes"),
            graphs.node("Reshape", ["features", "sizes"]),
        ]
        path = graphs.save_nodes(tmp_path / "odd.onnx", nodes, MAPS, MAPS)
        assert "Reshape by numbers that are computed" in self.refusal(path)

    def test_a_gather_of_several(self, tmp_path):
        case = pair("Gather", whole(2, 1), (2, 9, 8), axis=1)
        path = save_case(tmp_path / "odd.onnx", case)
        assert "Gather with several indices" in self.refusal(path, MAPS, (2, 9, 8))

    def test_constants_in_another_form(self, tmp_path):
        nodes = [
            graphs.node("Constant", [], "two", value_float=2.0),
            graphs.node("Mul", ["features", "two"]),
        ]
        path = graphs.save_nodes(tmp_path / "odd.onnx", nodes, MAPS, MAPS)
        assert "the operator Constant" in self.refusal(path)

    def test_operators_of_older_opsets_whose_attributes_differ(self, tmp_path):
        # In opset 6 the bounds of Clip are attributes: ignoring them would be a wrong answer.
        nodes = [graphs.node("Clip", ["features"], min=0.0, max=1.0)]
        path = graphs.save_nodes(tmp_path / "old.onnx", nodes, MAPS, MAPS, opset=6)
        assert "opset 6, older than 13" in self.refusal(path)


class TestFilesThatContradictThemselves:
    @staticmethod
    def refusal(path, output_shape):
        with pytest.raises(BundleError) as caught:
            open_backend("torch").load(str(path), MAPS, output_shape)
        assert str(caught.value).startswith(str(path) + ": ")
        return str(caught.value)

    def test_a_declared_output_that_is_not_computed(self, tmp_path):
        path = graphs.save_nodes(
            tmp_path / "odd.onnx", [graphs.node("Relu", ["features"])], MAPS, (4, 9, 9)
        )
        assert "computed output is float [any, 4, 9, 8], expected float [any, 4, 9, 9]" in (
            self.refusal(path, (4, 9, 9))
        )

    def test_a_batch_that_does_not_stay_one(self, tmp_path):
        nodes = [graphs.node("Concat", ["features", "features"], axis=0)]
        path = graphs.save_nodes(tmp_path / "odd.onnx", nodes, MAPS, MAPS)
        assert "computed output is float [4, 4, 9, 8]" in self.refusal(path, MAPS)

    def test_a_weight_that_does_not_fit(self, tmp_path):
        path = save_case(tmp_path / "odd.onnx", conv((6, 5, 3, 3), (6, 7, 6)))
        assert "does not run on [4, 9, 8]: " in self.refusal(path, (6, 7, 6))

    @pytest.mark.parametrize(
        "nodes",
        [
            [graphs.node("Add", ["features", "nowhere"])],
            [graphs.node("MaxPool", ["features"])],
            [graphs.node("Relu", ["features"], "unused")],
            [graphs.node("Relu", ["features"]), graphs.node("Sigmoid", ["features"])],
            [],
        ],
        ids=["undefined input", "missing attribute", "undefined output", "defined twice", "empty"],
    )
    def test_a_graph_that_is_none(self, tmp_path, nodes):
        path = graphs.save_nodes(tmp_path / "odd.onnx", nodes, MAPS, MAPS, check=False)
        self.refusal(path, MAPS)


LOAD_AND_RUN = """
import sys
sys.path.insert(0, {root!r})
import numpy as np
from edgesdk.backends import open_backend
program = open_backend("torch").load({path!r}, {shape!r}, {shape!r})
program.run(np.ones((2,) + {shape!r}, np.float32), np.empty((2,) + {shape!r}, np.float32))
"""


def test_a_process_that_turns_warnings_into_errors_can_use_it(tmp_path):
    # Also what torch and onnx warn of while they are imported.
    path = save_case(tmp_path / "one.onnx", CASES["clip"])
    root = pytorch.__file__.rsplit("/edgesdk/", 1)[0]
    code = LOAD_AND_RUN.format(root=root, path=path, shape=MAPS)
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert (done.returncode, done.stdout.decode()) == (0, "")
