"""The contract of every backend, and which one is opened.

`OPENERS` lists the backends under test; a new one gets the whole suite by one more line.
"""

import subprocess
import sys
import warnings
from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
import tiny

from edgesdk.backends import BACKENDS, Backend, Program, open_backend
from edgesdk.errors import BundleError, ConfigError
from edgesdk.kernels import exit_head

INPUT, OUTPUT = (1, tiny.SIZE, tiny.SIZE), (2, tiny.SIZE, tiny.SIZE)
EPSILON = np.finfo(np.float32).eps
ROOT = str(Path(tiny.__file__).parents[1])


class ToyProgram(Program):
    """Convolutions of kernel size 1, in numpy."""

    def __init__(self, weight, bias):
        self._weight, self._bias = weight, bias

    def run(self, features, out):
        np.einsum("oc,bchw->bohw", self._weight, features, out=out)
        out += self._bias[:, None, None]


class ToyBackend(Backend):
    """A whole backend: what a new one has to write."""

    name = "toy"

    def load(self, path, input_shape, output_shape):
        try:
            graph = onnx.load(path).graph
            onnx.checker.check_graph(graph)
            weight, bias = (onnx.numpy_helper.to_array(array) for array in graph.initializer)
        except Exception as error:
            raise BundleError("{}: not a single convolution: {}".format(path, error)) from None
        inputs, outputs = ([v.type.tensor_type for v in vs] for vs in (graph.input, graph.output))
        for what, tensors, shape in (
            ("input", inputs, input_shape),
            ("output", outputs, output_shape),
        ):
            found = [(t.elem_type, [size.dim_value for size in t.shape.dim]) for t in tensors]
            if found != [(onnx.TensorProto.FLOAT, [0, *shape])]:
                raise BundleError(
                    "{}: {} is {}, expected {}".format(path, what, found, list(shape))
                )
        return ToyProgram(weight[:, :, 0, 0], bias)


OPENERS = {
    "onnxruntime": lambda: open_backend("onnxruntime"),
    "torch": lambda: open_backend("torch"),
    "toy": ToyBackend,
}


@pytest.fixture(params=list(OPENERS), scope="module")
def backend(request):
    opened = OPENERS[request.param]()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny.write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def mixed(backend, tmp_path):
    """A loaded convolution of two random channels to three, and the same in numpy."""
    weight, bias = graphs.normal(1, 3, 2, 1, 1), graphs.normal(2, 3)
    path = tmp_path / "mixed.onnx"
    path.write_bytes(tiny.conv_model(weight, bias, (5, 7)))

    def expected(features):
        exact = np.einsum("oc,bchw->bohw", weight[:, :, 0, 0].astype(float), features.astype(float))
        return exact + bias[:, None, None]

    return backend.load(str(path), (2, 5, 7), (3, 5, 7)), expected


def assert_close(found, expected):
    """Two products and two additions of values below 20: a few roundings of float32."""
    assert np.abs(expected).max() < 20
    np.testing.assert_allclose(found, expected, rtol=0, atol=4 * 20 * EPSILON)


def run(program, features, output_shape):
    out = np.full((len(features), *output_shape), np.nan, np.float32)
    program.run(features, out)
    return out


class TestRunning:
    def test_the_segments_of_a_bundle(self, backend, bundle):
        part = bundle.manifest.parts[0]
        features = np.stack([tiny.image(b)[None] / np.float32(255) for b in (0.0, 0.3, 0.9)])
        for stage, segment in zip(part.plans["full"].stages, part.segments):
            program = backend.load(
                bundle.file(stage.file), segment.input_shape, segment.output_shape
            )
            features = run(program, features.astype(np.float32), segment.output_shape)
        scores = exit_head(features, *bundle.head(0, 2))
        expected = [tiny.max_probability(b, 2) for b in (0.0, 0.3, 0.9)]
        np.testing.assert_allclose(scores.max_probability, expected, atol=1e-5)
        assert list(scores.class_index) == [1, 1, 0]

    @pytest.mark.parametrize("batch", [1, 2, 7, 32])
    def test_any_batch_size(self, mixed, batch):
        program, expected = mixed
        features = graphs.normal(batch, batch, 2, 5, 7)
        assert_close(run(program, features, (3, 5, 7)), expected(features))

    def test_batch_sizes_that_change_back_and_forth(self, mixed):
        program, expected = mixed
        for seed, batch in enumerate((1, 32, 2, 32, 1, 7, 2, 1)):
            features = graphs.normal(seed, batch, 2, 5, 7)
            assert_close(run(program, features, (3, 5, 7)), expected(features))

    def test_new_values_in_the_same_arrays(self, mixed):
        program, expected = mixed
        features, out = np.empty((2, 2, 5, 7), np.float32), np.empty((2, 3, 5, 7), np.float32)
        for seed in range(3):
            features[...] = graphs.normal(seed, 2, 2, 5, 7)
            program.run(features, out)
            assert_close(out, expected(features))

    def test_the_same_addresses_with_another_batch_size(self, mixed):
        program, expected = mixed
        features, out = graphs.normal(0, 8, 2, 5, 7), np.empty((8, 3, 5, 7), np.float32)
        for batch in (8, 3, 8, 1, 3):
            out.fill(np.nan)
            program.run(features[:batch], out[:batch])
            assert_close(out[:batch], expected(features[:batch]))
            assert np.isnan(out[batch:]).all()

    def test_only_the_rows_of_out_are_written_and_the_input_stays(self, mixed):
        program, expected = mixed
        features, out = graphs.normal(0, 6, 2, 5, 7), np.full((6, 3, 5, 7), np.nan, np.float32)
        before = features.copy()
        program.run(features[2:4], out[2:4])
        assert_close(out[2:4], expected(features[2:4]))
        assert np.isnan(out[:2]).all() and np.isnan(out[4:]).all()
        np.testing.assert_array_equal(features, before)

    def test_more_buffers_than_anyone_remembers(self, mixed):
        program, expected = mixed
        features, out = graphs.normal(0, 600, 2, 5, 7), np.empty((600, 3, 5, 7), np.float32)
        for _ in range(2):
            out.fill(np.nan)
            for row in range(600):
                program.run(features[row : row + 1], out[row : row + 1])
            assert_close(out, expected(features))

    def test_values_that_are_not_finite_come_out(self, mixed):
        program, _ = mixed
        features = graphs.normal(0, 3, 2, 5, 7)
        features[1] = np.nan
        out = run(program, features, (3, 5, 7))
        assert np.isnan(out[1]).all() and np.isfinite(out[[0, 2]]).all()

    def test_two_programs_do_not_share_their_weights(self, backend, tmp_path):
        programs = []
        for factor in (2.0, 3.0):
            path = tmp_path / "{}.onnx".format(factor)
            path.write_bytes(tiny.conv_model(np.full((1, 1, 1, 1), factor), np.zeros(1), (5, 7)))
            programs.append(backend.load(str(path), (1, 5, 7), (1, 5, 7)))
        ones = np.ones((1, 1, 5, 7), np.float32)
        assert [run(program, ones, (1, 5, 7)).max() for program in programs] == [2.0, 3.0]

    def test_the_file_is_not_needed_after_loading(self, backend, tmp_path):
        path = tmp_path / "gone.onnx"
        path.write_bytes(tiny.conv_model(np.eye(1).reshape(1, 1, 1, 1), np.zeros(1), (5, 7)))
        program = backend.load(str(path), (1, 5, 7), (1, 5, 7))
        path.unlink()
        ones = np.ones((1, 1, 5, 7), np.float32)
        np.testing.assert_array_equal(run(program, ones, (1, 5, 7)), ones)


SIZES = ("batch", *INPUT[1:])
FLOAT = onnx.TensorProto.FLOAT
WEIGHTS = {"weight": np.ones((2, 1, 1, 1), np.float32), "bias": np.zeros(2, np.float32)}


def write_conv(path, features=("batch", *INPUT), output=("batch", *OUTPUT), **options):
    """One convolution whose declared shapes can be wrong."""
    kind = options.pop("kind", FLOAT)
    dtype = {FLOAT: np.float32, onnx.TensorProto.DOUBLE: np.float64}[kind]
    weights = {name: array.astype(dtype) for name, array in WEIGHTS.items()}
    return graphs.save(
        path,
        [graphs.node("Conv", ["features", "weight", "bias"])],
        [graphs.value("features", features, kind)],
        [graphs.value("output", output, kind)],
        weights,
        **options,
    )


class TestRefusingFiles:
    """BundleError with the file's path; what was found and expected where a shape is wrong."""

    @staticmethod
    def refusal(backend, path, input_shape=INPUT, output_shape=OUTPUT):
        with pytest.raises(BundleError) as caught:
            backend.load(str(path), input_shape, output_shape)
        message = str(caught.value)
        assert message.startswith(str(path) + ": ")
        return message

    def test_a_missing_file(self, backend, tmp_path):
        self.refusal(backend, tmp_path / "nowhere.onnx")

    @pytest.mark.parametrize(
        "content",
        [b"", b"not a graph", b"\x08", bytes(1000)],
        ids=["empty", "text", "cut", "zeros"],
    )
    def test_what_is_not_onnx(self, backend, tmp_path, content):
        path = tmp_path / "wrong.onnx"
        path.write_bytes(content)
        self.refusal(backend, path)

    @pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
    def test_a_truncated_file(self, backend, tmp_path, kept):
        path = tmp_path / "cut.onnx"
        content = tiny.tiny_files()["onnx/segment_0.onnx"]
        path.write_bytes(content[: int(len(content) * kept)])
        self.refusal(backend, path)

    @pytest.mark.parametrize(
        ("input_shape", "output_shape", "what"),
        [
            ((1, 9, 9), OUTPUT, "input"),
            ((2, *INPUT[1:]), OUTPUT, "input"),
            (INPUT[:2], OUTPUT, "input"),
            ((*INPUT, 1), OUTPUT, "input"),
            (INPUT, (2, 9, 9), "output"),
            (INPUT, (3, *OUTPUT[1:]), "output"),
            (INPUT, OUTPUT[:1], "output"),
        ],
    )
    def test_another_shape_than_the_manifest_says(
        self, backend, tmp_path, input_shape, output_shape, what
    ):
        path = tmp_path / "segment.onnx"
        write_conv(path)
        message = self.refusal(backend, path, input_shape, output_shape)
        found = INPUT if what == "input" else OUTPUT
        assert "{} is ".format(what) in message
        for shape in (found, input_shape if what == "input" else output_shape):
            assert ", ".join(map(str, shape)) in message

    def test_a_fixed_batch_size(self, backend, tmp_path):
        path = tmp_path / "segment.onnx"
        write_conv(path, (1, *INPUT), (1, *OUTPUT))
        assert "input is" in self.refusal(backend, path)

    def test_other_numbers_than_float32(self, backend, tmp_path):
        path = tmp_path / "segment.onnx"
        write_conv(path, kind=onnx.TensorProto.DOUBLE)
        self.refusal(backend, path)

    @pytest.mark.parametrize("used", [True, False])
    def test_two_inputs(self, backend, tmp_path, used):
        path = tmp_path / "segment.onnx"
        nodes = [graphs.node("Conv", ["features", "weight", "bias"], "between")]
        nodes += [graphs.node("Add", ["between", "more" if used else "between"])]
        inputs = [
            graphs.value("features", SIZES[:1] + INPUT),
            graphs.value("more", SIZES[:1] + OUTPUT),
        ]
        graphs.save(path, nodes, inputs, [graphs.value("output", SIZES[:1] + OUTPUT)], WEIGHTS)
        self.refusal(backend, path)

    def test_two_outputs(self, backend, tmp_path):
        path = tmp_path / "segment.onnx"
        nodes = [
            graphs.node("Conv", ["features", "weight", "bias"]),
            graphs.node("Conv", ["features", "weight", "bias"], "more"),
        ]
        outputs = [graphs.value(name, SIZES[:1] + OUTPUT) for name in ("output", "more")]
        graphs.save(path, nodes, [graphs.value("features", SIZES[:1] + INPUT)], outputs, WEIGHTS)
        self.refusal(backend, path)


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
class TestWhatBothRuntimesSay:
    def load(self, name, path, input_shape=INPUT, output_shape=OUTPUT):
        return open_backend(name).load(str(path), input_shape, output_shape)

    def test_a_wrong_shape(self, name, tmp_path):
        path = tmp_path / "segment.onnx"
        write_conv(path)
        with pytest.raises(BundleError) as caught:
            self.load(name, path, (1, 9, 9))
        assert str(caught.value) == (
            "{}: input is float [any, 1, 6, 6], expected float [any, 1, 9, 9] as the manifest "
            "says; export the bundle again".format(path)
        )

    def test_a_fixed_batch(self, name, tmp_path):
        path = tmp_path / "segment.onnx"
        write_conv(path, (1, *INPUT), (1, *OUTPUT))
        with pytest.raises(
            BundleError, match=r"input is float \[1, 1, 6, 6\], expected float \[any"
        ):
            self.load(name, path)

    def test_two_inputs(self, name, tmp_path):
        path = tmp_path / "segment.onnx"
        sizes = ("batch", *INPUT)
        graphs.save(
            path,
            [graphs.node("Add", ["a", "b"])],
            [graphs.value("a", sizes), graphs.value("b", sizes)],
            [graphs.value("output", sizes)],
        )
        expected = r"input is float \[any, 1, 6, 6\] and float \[any, 1, 6, 6\], expected float \["
        with pytest.raises(BundleError, match=expected):
            self.load(name, path, INPUT, INPUT)

    def test_doubles(self, name, tmp_path):
        path = tmp_path / "segment.onnx"
        tensors = [
            [graphs.value(tensor, ("batch", *INPUT), onnx.TensorProto.DOUBLE)]
            for tensor in ("features", "output")
        ]
        graphs.save(path, [graphs.node("Relu", ["features"])], *tensors)
        with pytest.raises(BundleError, match=r"input is double \[any, 1, 6, 6\], expected float"):
            self.load(name, path, INPUT, INPUT)

    def test_weights_listed_as_inputs_are_no_inputs(self, name, tmp_path):
        path = tmp_path / "segment.onnx"
        graphs.save(
            path,
            [graphs.node("Conv", ["features", "weight", "bias"])],
            [graphs.value("weight", (2, 1, 1, 1)), graphs.value("features", ("batch", *INPUT))],
            [graphs.value("output", ("batch", *OUTPUT))],
            WEIGHTS,
        )
        ones = np.ones((2, *INPUT), np.float32)
        np.testing.assert_array_equal(run(self.load(name, path), ones, OUTPUT), 1)

    def test_nothing_is_printed_or_warned(self, name, bundle, capfd):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            program = self.load(name, bundle.file("onnx/segment_0.onnx"))
            run(program, np.ones((3, *INPUT), np.float32), OUTPUT)
            with pytest.raises(BundleError):
                self.load(name, __file__)
        assert capfd.readouterr() == ("", "")

    def test_a_failure_while_running_reaches_the_caller_once(self, name, bundle, capfd):
        program = self.load(name, bundle.file("onnx/segment_1.onnx"), OUTPUT, OUTPUT)
        with pytest.raises(Exception, match=r".") as caught:
            program.run(np.ones((2, *INPUT), np.float32), np.empty((2, *OUTPUT), np.float32))
        assert not isinstance(caught.value, (SystemExit, KeyboardInterrupt))
        assert capfd.readouterr() == ("", "")

    def test_threads_are_bounded(self, name, bundle):
        program = open_backend(name, threads=2).load(
            bundle.file("onnx/segment_0.onnx"), INPUT, OUTPUT
        )
        ones = np.ones((2, *INPUT), np.float32)
        np.testing.assert_array_equal(run(program, ones, OUTPUT)[:, 0], 1)
        open_backend(name, threads=1)


RESIDUAL_SHAPES = ((3, 16, 12), (10, 4, 3))


def residual_block(path):
    """Every operator of the networks of `edgesdk.train`, in one graph: [3,16,12] -> [10,4,3]."""
    nodes = [
        graphs.node("Conv", ["features", "w0"], "c0", strides=[2, 2], pads=[1, 1, 1, 1]),
        graphs.node("BatchNormalization", ["c0", "scale", "shift", "mean", "variance"], "n0"),
        graphs.node("Relu", ["n0"], "r0"),
        graphs.node("Conv", ["r0", "w1", "b1"], "c1", group=4, pads=[2, 2, 2, 2], dilations=[2, 2]),
        graphs.node("Sigmoid", ["c1"], "gate"),
        graphs.node("Mul", ["r0", "gate"], "gated"),
        graphs.node("Add", ["gated", "r0"], "sum"),
        graphs.node("Clip", ["sum", "zero", "six"], "clipped"),
        graphs.node("MaxPool", ["clipped"], "m", kernel_shape=[2, 2], strides=[2, 2]),
        graphs.node(
            "AveragePool", ["clipped"], "a", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
        ),
        graphs.node("Concat", ["m", "a"], "both", axis=1),
        graphs.node("Conv", ["both", "w2"], "narrow"),
        graphs.node("Identity", ["narrow"]),
    ]
    weights = {
        "w0": graphs.normal(1, 8, 3, 3, 3) / 5,
        "w1": graphs.normal(2, 8, 2, 3, 3) / 4,
        "b1": graphs.normal(3, 8),
        "w2": graphs.normal(4, 10, 16, 1, 1) / 4,
        "zero": np.array(0, np.float32),
        "six": np.array(6, np.float32),
        **graphs.scale_and_shift(8),
    }
    return graphs.save_nodes(path, nodes, *RESIDUAL_SHAPES, weights)


@pytest.mark.parametrize("batch", [1, 5])
def test_the_runtimes_agree_on_a_residual_block(tmp_path, batch):
    pytest.importorskip("torch")
    path = residual_block(tmp_path / "block.onnx")
    features = graphs.normal(batch, batch, *RESIDUAL_SHAPES[0])
    first, second = (
        run(open_backend(name).load(path, *RESIDUAL_SHAPES), features, RESIDUAL_SHAPES[1])
        for name in ("onnxruntime", "torch")
    )
    # At most 72 products per sum, values below 20, four convolutions deep.
    assert 0.1 < np.abs(first).max() < 20
    np.testing.assert_allclose(first, second, rtol=0, atol=4 * np.sqrt(72) * 20 * EPSILON)


class TestOpening:
    def test_the_best_one_present(self):
        assert open_backend().name == BACKENDS[1][0] == "onnxruntime"

    @pytest.mark.parametrize("name", [entry[0] for entry in BACKENDS[1:]])
    def test_by_name(self, name):
        backend = open_backend(name)
        assert isinstance(backend, Backend) and backend.name == name
        backend.close()

    @pytest.mark.parametrize("name", ["", "tensorflow", "Torch", "onnx"])
    def test_an_unknown_name_lists_the_known(self, name):
        with pytest.raises(ConfigError) as caught:
            open_backend(name)
        assert str(caught.value) == (
            "backend: found {!r}, expected one of tensorrt, onnxruntime, torch".format(name)
        )


BLOCKER = """
import sys
sys.path.insert(0, {root!r})

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise {error}("No module named " + repr(name))

sys.meta_path.insert(0, Blocker())
from edgesdk.backends import open_backend
from edgesdk.errors import EdgeError
try:
    print(open_backend({name!r}).name)
except EdgeError as error:
    print(type(error).__name__, error)
"""


class TestMissingRuntimes:
    """What a process says in which some packages cannot be imported."""

    @staticmethod
    def say(name, blocked, error="ModuleNotFoundError"):
        code = BLOCKER.format(root=ROOT, name=name, blocked=blocked, error=error)
        return subprocess.check_output(
            [sys.executable, "-c", code], universal_newlines=True
        ).strip()

    def test_onnxruntime(self):
        assert self.say("onnxruntime", ["onnxruntime"]) == (
            "BackendUnavailable the onnxruntime backend needs onnxruntime (No module named "
            "'onnxruntime'); install it with: pip install \"edgesdk[onnx]\""
        )

    @pytest.mark.parametrize("package", ["torch", "onnx"])
    def test_torch(self, package):
        pytest.importorskip("torch")
        assert self.say("torch", [package]) == (
            "BackendUnavailable the torch backend needs torch and onnx (No module named '{}'); "
            'install them with: pip install "edgesdk[torch]"'.format(package)
        )

    @pytest.mark.parametrize("error", ["ImportError", "OSError"])
    def test_the_next_best_is_opened_if_the_best_is_absent_or_broken(self, error):
        pytest.importorskip("torch")
        assert self.say(None, ["onnxruntime"], error) == "torch"

    def test_the_one_asked_for_is_never_replaced(self):
        assert self.say("onnxruntime", ["onnxruntime"]).startswith("BackendUnavailable")

    def test_none_at_all_names_both(self):
        said = self.say(None, ["onnxruntime", "torch"])
        assert said.startswith("BackendUnavailable ")
        assert "; the onnxruntime backend needs onnxruntime (" in said
        assert "; the torch backend needs torch and onnx (No module named 'torch')" in said

    def test_the_package_imports_without_any(self):
        assert self.say("neither", ["onnxruntime", "torch", "onnx"]).startswith("ConfigError")
