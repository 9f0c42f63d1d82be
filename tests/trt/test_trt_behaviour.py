"""The doubles of TensorRT at work: real outputs, faults, and calls in the wrong order."""

import numpy as np
import onnx
import pytest
import trt_names
from gpu_machine import Crash, Machine
from trt_bench import SHAPES, Bench, Log, expected, graph, images, in_a_thread, model_bytes
from trt_double import double

EVERY_VERSION = pytest.mark.parametrize("version", trt_names.VERSIONS)


@EVERY_VERSION
def test_an_engine_gives_the_outputs_of_onnxruntime(version):
    bench = Bench(version)
    plan = bench.build()
    saved = bytes(plan)
    assert len(saved) == plan.nbytes
    features = images()
    np.testing.assert_array_equal(bench.run(saved, features), expected(features))
    assert not [line for line in bench.log.lines if line.startswith("ERROR")]
    bench.close()


@pytest.mark.parametrize("version", ["8.5.3", "8.6.1"])
def test_the_older_api_gives_the_same_where_there_are_both(version):
    bench = Bench(version)
    engine = bench.load(bench.build())
    context, stream = engine.create_execution_context(), bench.cuda.Stream()
    features = images(8)
    assert context.set_binding_shape(engine.get_binding_index("features"), features.shape)
    out = np.empty(tuple(context.get_binding_shape(1)), np.float32)
    source, target = bench.cuda.mem_alloc(features.nbytes), bench.cuda.mem_alloc(out.nbytes)
    bench.cuda.memcpy_htod_async(source, features, stream)
    assert context.execute_async_v2(
        bindings=[int(source), int(target)], stream_handle=stream.handle
    )
    bench.cuda.memcpy_dtoh_async(out, target, stream)
    stream.synchronize()
    np.testing.assert_array_equal(out, expected(features))
    del context, engine
    source.free()
    target.free()
    bench.close()


def test_half_precision_rounds():
    bench = Bench("8.2.1")
    out = bench.run(bench.build(flags=["FP16"]), images())
    assert 0 < np.abs(out - expected(images())).max() < 0.01
    bench.close()


def test_a_bias_that_is_no_initializer_is_refused():
    """As an exporter leaves it that writes equal weights once and names the others after them."""
    model = onnx.load_from_string(model_bytes())
    (conv,) = [node for node in model.graph.node if node.op_type == "Conv"]
    alias = onnx.helper.make_node("Identity", [conv.input[2]], ["alias"])
    conv.input[2] = "alias"
    model.graph.node.insert(0, alias)
    bench = Bench("8.2.1")
    assert bench.build(model.SerializeToString()) is None
    assert bench.log.has("required to be an initializer")
    bench.close()


@pytest.mark.parametrize(
    "version, opset, accepted",
    [("8.2.1", 13, True), ("8.2.1", 14, False), ("8.4.1.5", 14, True), ("8.6.1", 18, False)],
)
def test_the_parser_takes_the_opsets_of_its_version(version, opset, accepted):
    if opset > 17 and onnx.defs.onnx_opset_version() < opset:
        pytest.skip("this onnx knows no opset {}".format(opset))
    bench = Bench(version)
    assert (bench.build(graph("Relu", opset)) is not None) == accepted
    assert bench.log.has("opset") != accepted
    bench.close()


def test_parse_errors_name_the_node():
    bench = Bench("8.2.1")
    trt, logger = bench.trt, bench.log.logger
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    parser = trt.OnnxParser(network, logger)
    assert not parser.parse(graph("Softsign", 13))
    error = parser.get_error(0)
    assert parser.num_errors == 1 and error.code() == trt.ErrorCode.UNSUPPORTED_NODE
    assert (error.node(), "Softsign" in error.desc()) == (0, True)
    parser.clear_errors()
    assert not parser.parse(b"rubbish")
    assert parser.get_error(0).code() == trt.ErrorCode.MODEL_DESERIALIZE_FAILED
    assert builder.build_serialized_network(network, builder.create_builder_config()) is None
    implicit = trt.OnnxParser(builder.create_network(), logger)
    assert not implicit.parse(model_bytes()), "8.2 needs EXPLICIT_BATCH"
    assert not trt.OnnxParser(network, logger).parse_from_file("no-such.onnx")
    bench.close()


def test_a_free_batch_needs_a_profile_that_fits():
    bench = Bench("8.6.1")
    trt, logger = bench.trt, bench.log.logger
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    assert trt.OnnxParser(network, logger).parse(model_bytes())
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    assert builder.build_serialized_network(network, config) is None
    assert bench.log.has("no optimization profile")
    assert config.add_optimization_profile(profile) == -1
    with pytest.raises(RuntimeError, match="inconsistent"):
        profile.set_shape("features", (4, 1, 32, 32), (1, 1, 32, 32), (8, 1, 32, 32))
    profile.set_shape("features", (1, 3, 32, 32), (1, 3, 32, 32), (1, 3, 32, 32))
    assert config.add_optimization_profile(profile) == 0
    assert builder.build_serialized_network(network, config) is None
    bench.close()


def test_layers_keep_the_types_that_they_are_given():
    bench = Bench("8.2.1")
    trt, logger = bench.trt, bench.log.logger
    network = trt.Builder(logger).create_network(1)
    assert trt.OnnxParser(network, logger).parse(model_bytes())
    layer = network.get_layer(0)
    assert not layer.precision_is_set and network.num_layers == 1
    layer.precision = trt.float16
    layer.set_output_type(0, trt.float32)
    assert layer.precision_is_set and layer.precision == trt.float16
    assert layer.output_type_is_set(0) and not layer.output_type_is_set(1)
    with pytest.raises(TypeError):
        layer.precision = "float16"
    assert network.get_layer(1) is None
    bench.close()


def test_int8_asks_a_calibrator_for_device_memory():
    bench = Bench("8.2.1", fast_int8=True)
    trt, cuda, logger = bench.trt, bench.cuda, bench.log.logger
    assert bench.build(flags=["INT8"]) is None, "no calibrator"

    class Calibrator(trt.IInt8EntropyCalibrator2):
        def __init__(self):
            trt.IInt8EntropyCalibrator2.__init__(self)
            self.memory, self.batch_count, self.written = cuda.mem_alloc(4 * 4096), 3, None

        def get_batch_size(self):
            return 4

        def get_batch(self, names):
            self.batch_count -= 1
            return [int(self.memory)] if self.batch_count >= 0 else None

        def read_calibration_cache(self):
            return None

        def write_calibration_cache(self, cache):
            self.written = bytes(cache)

    builder = trt.Builder(logger)
    network = builder.create_network(1)
    assert trt.OnnxParser(network, logger).parse(model_bytes())
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    profile.set_shape("features", *SHAPES)
    config.add_optimization_profile(profile)
    config.set_flag(trt.BuilderFlag.INT8)
    config.int8_calibrator = calibrator = Calibrator()
    assert builder.build_serialized_network(network, config) is not None
    assert calibrator.written and calibrator.batch_count == -1
    del builder, config, calibrator
    bench.close()


def test_a_timing_cache_saves_work_and_belongs_to_one_gpu():
    bench, other = Bench("8.2.1"), Bench("8.2.1", name="Orin", compute_capability=(8, 7))
    trt, logger = bench.trt, bench.log.logger
    builder = trt.Builder(logger)
    network = builder.create_network(1)
    assert trt.OnnxParser(network, logger).parse(model_bytes())
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    profile.set_shape("features", *SHAPES)
    config.add_optimization_profile(profile)
    assert config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    assert builder.build_serialized_network(network, config) is not None
    first_count = bench.machine.timed_tactic_count
    saved = bytes(config.get_timing_cache().serialize())
    assert config.set_timing_cache(config.create_timing_cache(saved), ignore_mismatch=False)
    assert builder.build_serialized_network(network, config) is not None
    assert bench.machine.timed_tactic_count == first_count > 0
    assert config.create_timing_cache(saved[:-1]) is None
    elsewhere = other.trt.Builder(other.log.logger).create_builder_config()
    foreign = elsewhere.create_timing_cache(saved)
    assert not elsewhere.set_timing_cache(foreign, ignore_mismatch=False)
    assert elsewhere.set_timing_cache(foreign, ignore_mismatch=True)
    for one in (bench, other):
        one.close()


def test_engines_of_elsewhere_give_none_and_a_log():
    bench = Bench("8.2.1")
    plan = bytes(bench.build())
    for damaged, text in (
        (plan[:-1], "Serialization"),
        (plan[:4], "magic tag"),
        (plan[:-1] + b"?", "checksum"),
        (b"", "magic tag"),
        (bytes(Bench("8.4.1.5").build()), "Version tag does not match"),
        (bytes(Bench("8.2.1", compute_capability=(8, 7)).build()), "incompatible device"),
    ):
        bench.log.lines[:] = []
        assert bench.load(damaged) is None
        assert bench.log.has(text), bench.log.lines
    assert bench.load(bytes(Bench("8.2.1", name="NVIDIA Tegra X1 B").build())) is not None
    assert bench.log.has("different models of devices")
    bench.close()


@pytest.mark.parametrize(
    "fault, text", [("memory at build", "OutOfMemory"), ("build fails", "Could not find any")]
)
def test_faults_of_a_build_give_none_and_a_log(fault, text):
    bench = Bench("8.2.1")
    bench.machine.broken.add(fault)
    assert bench.build() is None
    assert bench.log.has(text)
    bench.close()


def test_skipped_tactics_are_warned_of():
    bench = Bench("8.2.1")
    bench.machine.broken.add("skips tactics")
    assert bench.build() is not None
    assert bench.log.has("WARNING: Skipping tactic")
    bench.close()


def test_memory_that_is_missing_gives_none():
    bench = Bench("8.2.1")
    plan = bytes(bench.build())
    bench.machine.broken = {"memory at deserialize"}
    assert bench.load(plan) is None
    bench.machine.broken = {"memory at context"}
    engine = bench.load(plan)
    assert engine.create_execution_context() is None
    assert bench.log.has("out of memory")
    bench.machine.broken = {"execute"}
    context = engine.create_execution_context()
    assert context.set_binding_shape(0, SHAPES[0])
    assert context.execute_async_v2([4096, 4096], bench.cuda.Stream().handle) is False
    del context
    bench.machine.broken = set()
    bench.machine.memory_bytes = bench.machine.used_bytes + 1000
    assert engine.create_execution_context() is None
    del engine
    bench.close()


@pytest.mark.parametrize("fault, code", [("no gpu", 100), ("old driver", 35)])
def test_without_a_gpu_nothing_is_made(fault, code):
    machine = Machine()
    machine.broken.add(fault)
    trt = double("8.2.1", machine)
    log = Log(trt)
    for make in (trt.Runtime, trt.Builder):
        with pytest.raises(TypeError, match="nullptr"):
            make(log.logger)
    assert log.has("CUDA initialization failure with error: {}".format(code))
    machine.check_clean()


def test_calls_without_a_current_context_or_from_another_thread_are_refused():
    bench = Bench("8.6.1")
    engine = bench.load(bench.build())
    found = in_a_thread(engine.create_execution_context)
    assert found == [None] and bench.log.has("invalid device context")
    assert "create_execution_context" in bench.machine.complaints.pop()
    bench.cuda.Context.pop()
    with pytest.raises(TypeError, match="nullptr"):
        bench.trt.Runtime(bench.log.logger)
    del engine
    assert "an engine was dropped" in bench.machine.complaints[-1]
    with pytest.raises(AssertionError, match="no context is current"):
        bench.machine.check_clean()


def test_calls_in_the_wrong_order_give_false():
    bench = Bench("8.6.1")
    engine = bench.load(bench.build())
    context, stream = engine.create_execution_context(), bench.cuda.Stream()
    assert not context.all_binding_shapes_specified
    assert context.infer_shapes() == ["features"]
    assert context.get_tensor_shape("features")[0] == -1
    assert context.execute_async_v2([4096, 4096], stream.handle) is False
    assert context.execute_async_v3(stream.handle) is False
    assert bench.log.has("Address is not set")
    for shape in ((9, 1, 32, 32), (1, 3, 32, 32), (1, 32, 32)):
        assert context.set_input_shape("features", shape) is False
    assert context.set_input_shape("no such", SHAPES[0]) is False
    assert context.set_tensor_address("no such", 4096) is False
    assert context.set_input_shape("features", SHAPES[0]) is True
    assert context.infer_shapes() == [] and context.all_binding_shapes_specified
    with pytest.raises(Crash, match="stream"):
        context.execute_async_v2([4096, 4096], 12345)
    with pytest.raises(Crash, match="bindings"):
        context.execute_async_v2([4096], stream.handle)
    with pytest.raises(RuntimeError):
        context.set_optimization_profile_async(1, stream.handle)
    del context, engine
    bench.close()


def test_a_wrong_address_shows_when_somebody_waits():
    bench = Bench("8.6.1")
    engine = bench.load(bench.build())
    context, stream = engine.create_execution_context(), bench.cuda.Stream()
    context.set_input_shape("features", SHAPES[0])
    small = bench.cuda.mem_alloc(16)
    assert context.execute_async_v2([int(small), int(small)], stream.handle) is True
    with pytest.raises(bench.cuda.LogicError, match="illegal memory access"):
        stream.synchronize()
    assert bench.machine.complaints.pop()
    del context, engine, small
    bench.close()


def test_two_profiles_have_bindings_of_their_own_before_10():
    bench = Bench("8.2.1")
    trt, logger = bench.trt, bench.log.logger
    builder = trt.Builder(logger)
    network = builder.create_network(1)
    assert trt.OnnxParser(network, logger).parse(model_bytes())
    config = builder.create_builder_config()
    config.max_workspace_size = 64 << 20
    for shapes in ([SHAPES[0]] * 3, SHAPES):
        profile = builder.create_optimization_profile()
        profile.set_shape("features", *shapes)
        config.add_optimization_profile(profile)
    engine = bench.load(builder.build_serialized_network(network, config))
    assert (engine.num_bindings, len(engine)) == (4, 4)
    assert engine[2] == "features [profile 1]" and engine["features [profile 1]"] == 2
    assert [tuple(s) for s in engine.get_profile_shape(1, 2)] == SHAPES
    first, second = engine.create_execution_context(), engine.create_execution_context()
    assert (first.active_optimization_profile, second.active_optimization_profile) == (0, -1)
    with pytest.raises(RuntimeError):
        second.set_optimization_profile_async(0, bench.cuda.Stream().handle)
    assert second.set_optimization_profile_async(1, bench.cuda.Stream().handle)
    assert not second.set_binding_shape(0, SHAPES[1])
    assert second.set_binding_shape(2, SHAPES[1])
    del first, second, engine
    bench.close()


def test_a_context_may_borrow_its_memory():
    bench = Bench("10.3.0")
    engine, stream = bench.load(bench.build()), bench.cuda.Stream()
    context = engine.create_execution_context_without_device_memory()
    features = bench.cuda.mem_alloc(4096)
    output = bench.cuda.mem_alloc(expected(images(1)).nbytes)
    context.set_input_shape("features", SHAPES[0])
    for name, memory in (("features", features), (engine.get_tensor_name(1), output)):
        context.set_tensor_address(name, int(memory))
    assert context.execute_async_v3(stream.handle) is False
    scratch = bench.cuda.mem_alloc(engine.device_memory_size)
    context.device_memory = int(scratch)
    assert context.execute_async_v3(stream.handle) is True
    stream.synchronize()
    del context, engine
    for memory in (features, output, scratch):
        memory.free()
    bench.close()


def test_the_inspector_tells_layers():
    bench = Bench("8.2.1")
    engine = bench.load(bench.build())
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(bench.trt.LayerInformationFormat.JSON)
    assert '"Layers"' in text and '"Bindings"' in text
    one = inspector.get_layer_information(0, bench.trt.LayerInformationFormat.ONELINE)
    assert one and engine.num_layers == 1
    del inspector, engine
    bench.close()
