"""The doubles of TensorRT: names of their versions, what they refuse, how they are installed."""

import glob
import inspect
import os
import signal
import subprocess
import sys
import warnings

import extract_names
import numpy as np
import pytest
import trt_answers
import trt_names
from gpu_machine import Crash, Machine
from trt_bench import MODEL, Bench, images
from trt_double import BEHAVIOURS, double, environment, installed

EVERY_VERSION = pytest.mark.parametrize("version", trt_names.VERSIONS)


def field(argument):
    """(name, whether it must be given)."""
    return argument.split(":")[0], not argument.endswith("=")


def arguments_ever(owner, name):
    """The names that the arguments of a method have in some version."""
    tables = [trt_names.table(version)["classes"] for version in trt_names.VERSIONS]
    found = [table[owner]["methods"].get(name, []) for table in tables if owner in table]
    return {field(a)[0] for overloads in found for overload in overloads for a in overload}


def names_in(table):
    return set(table["methods"]) | set(table["properties"])


@EVERY_VERSION
def test_the_double_knows_the_names_of_its_version_and_no_others(version):
    trt, table = double(version), trt_names.table(version)
    for name, members in table["enums"].items():
        owner, _, last = name.rpartition(".")
        enum = getattr(getattr(trt, owner) if owner else trt, last)
        assert {k: int(v) for k, v in enum.__members__.items()} == members
    everywhere = {c for v in trt_names.VERSIONS for c in trt_names.table(v)["classes"]}
    for name in everywhere:
        assert hasattr(trt, name) == (name in table["classes"]), name
        if not hasattr(trt, name) or name == "IHostMemory":
            continue
        own = {n for n in vars(getattr(trt, name)) if not n.startswith("_")}
        wanted = {n for n in names_in(table["classes"][name]) if not n.startswith("_")}
        severities = set(table["enums"]["ILogger.Severity"]) | {"Severity"}
        assert own - severities == wanted - severities, name
    for other in trt_names.VERSIONS:
        for name in set(trt_names.table(other)["functions"]) - set(table["functions"]):
            assert not hasattr(trt, name)


@EVERY_VERSION
def test_what_is_implemented_has_the_arguments_of_the_table(version):
    classes, checked_count = trt_names.table(version)["classes"], 0
    for owner, behaviour in BEHAVIOURS.items():
        methods = classes[owner]["methods"]
        for name, function in inspect.getmembers(behaviour, inspect.isfunction):
            known = name == "__init__" or not name.startswith("_")
            if name not in methods or not known:
                continue
            parameters = list(inspect.signature(function).parameters.values())[1:]
            needed = {p.name for p in parameters if p.default is p.empty} - {"world"}
            found = {p.name for p in parameters} - {"world"}
            overloads = [dict(field(a) for a in overload) for overload in methods[name]]
            implemented = [overload for overload in overloads if set(overload) <= found]
            assert implemented, (owner, name, "is for no overload")
            for overload in implemented:
                assert needed <= {a for a, is_needed in overload.items() if is_needed}, (
                    owner,
                    name,
                )
            assert found <= arguments_ever(owner, name), (owner, name)
            checked_count += 1
    assert checked_count > 30


def test_every_implemented_name_is_one_of_tensorrts():
    for owner, behaviour in BEHAVIOURS.items():
        known = set()
        for version in trt_names.VERSIONS:
            table = trt_names.table(version)["classes"][owner]
            for base in [owner] + table["bases"]:
                known |= names_in(trt_names.table(version)["classes"][base])
        public = {name for name in vars(behaviour) if not name.startswith("_")}
        assert public <= known | ({"sizes"} if owner == "Dims" else set()), owner


def test_names_of_other_versions_are_refused():
    old, new = double("8.2.1"), double("11.4.0.106")
    for trt, name in ((old, "TensorIOMode"), (old, "MemoryPoolType"), (new, "UffParser")):
        with pytest.raises(AttributeError):
            getattr(trt, name)
    assert not hasattr(new.BuilderFlag, "FP16") and hasattr(old.BuilderFlag, "FP16")
    assert not hasattr(new.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")
    bench = Bench("10.3.0")
    config = bench.trt.Builder(bench.log.logger).create_builder_config()
    with pytest.raises(AttributeError):
        config.max_workspace_size = 1 << 28
    with pytest.raises(AttributeError):
        bench.trt.Builder(bench.log.logger).max_workspace_size = 1 << 28
    bench.close()


def wrong_calls(bench, engine, context):
    return [
        lambda: context.set_binding_shape(0, shape=(1, "1", 32, 32)),
        lambda: context.set_binding_shape("features", (1, 1, 32, 32)),
        lambda: context.set_binding_shape(index=0, shape=(1, 1, 32, 32)),
        lambda: context.execute_async_v2([1, 2]),
        lambda: context.execute_async_v2([bench.cuda.mem_alloc(4)] * 2, 0),
        lambda: context.execute_async_v2([np.int64(1), np.int64(2)], 0),
        lambda: setattr(context, "device_memory", 4096),  # a capsule before 8.5
        lambda: engine.get_binding_name("features"),
        lambda: bench.trt.Runtime(),
        lambda: bench.trt.Runtime("logger"),
        lambda: bench.trt.ICudaEngine(),
        lambda: len(bench.build()),
    ]


def test_wrong_arguments_are_refused():
    bench = Bench("8.2.1")
    engine = bench.load(bench.build())
    context = engine.create_execution_context()
    for call in wrong_calls(bench, engine, context):
        with pytest.raises(TypeError):
            call()
    del call
    for name in ("features", "num_bindings"):
        with pytest.raises(AttributeError):
            setattr(engine, name, 1)
    with pytest.raises((AttributeError, TypeError)), engine:
        pass
    with pytest.raises(NotImplementedError):
        context.report_to_profiler()
    del context, engine
    bench.close()


def test_a_logger_that_forgot_its_base_or_raises_ends_badly():
    bench = Bench("8.2.1")

    class Forgot(bench.trt.ILogger):
        def __init__(self):
            pass

    class Raises(bench.trt.ILogger):
        def log(self, severity, msg):
            raise ValueError(msg)

    with pytest.raises(TypeError, match="__init__"):
        Forgot()
    with pytest.raises(Crash, match="terminate"):
        bench.trt.Runtime(Raises()).deserialize_cuda_engine(b"rubbish")
    bench.close()


def test_the_default_logger_prints_what_is_severe_enough(capsys):
    bench = Bench("8.2.1")
    logger = bench.trt.Logger(bench.trt.Logger.ERROR)
    logger.log(bench.trt.Logger.WARNING, "quiet")
    assert bench.trt.Runtime(logger).deserialize_cuda_engine(b"rubbish") is None
    printed = capsys.readouterr().out
    assert "[TRT] [E]" in printed and "quiet" not in printed
    bench.close()


def test_doubles_answer_as_the_bindings_do_without_a_gpu():
    folder = os.environ.get("EDGESDK_TENSORRT_WHEELS")
    if not folder:
        pytest.skip("EDGESDK_TENSORRT_WHEELS names no folder of bindings to compare with")
    for wheel in glob.glob(os.path.join(folder, "*.whl")):
        version, _ = extract_names.read_wheel(wheel)
        machine = Machine()
        machine.broken.add("no gpu")
        real = extract_names.ask_wheel(wheel, trt_answers.__file__)
        found = trt_answers.answers(double(version, machine))
        for question, answer in real.items():
            if answer != "ModuleNotFoundError":  # its Python may have no numpy
                assert (question, found[question]) == (question, answer), version


def test_helpers_of_the_module():
    trt = double("8.6.1")
    with pytest.raises(NotImplementedError):
        trt.get_plugin_registry()
    assert trt.volume((2, 3, 4)) == 24 and trt.volume(()) == 1
    assert trt.nptype(trt.float32) is np.float32 and trt.nptype(trt.DataType.BOOL) is np.bool_
    assert tuple(trt.Dims([1, 2])) == (1, 2) and trt.Dims((1, 2)) == [1, 2]


def test_installed_doubles_are_imported_and_go_away():
    before = sys.modules.get("tensorrt")
    machine = Machine()
    with installed("8.5.3", machine):
        import pycuda.driver as cuda
        import tensorrt

        cuda.init()
        assert tensorrt.__version__ == "8.5.3" and cuda.Device.count() == 1
    assert sys.modules.get("tensorrt") is before
    machine.broken.add("no driver")
    with installed("8.5.3", machine), pytest.raises(ImportError):
        import pycuda.driver  # noqa: F401


CHILD = """
import sys
import pycuda.driver as cuda, tensorrt as trt, trt_driver
cuda.init()
context = cuda.Device(0).retain_primary_context()
context.push()
with open(sys.argv[1], "rb") as file:
    data = file.read()
shapes = [(1, 1, 32, 32)] * 3
plan = trt_driver.build_engine(trt, trt.Logger(), data, "features", *shapes)
print(trt.__version__, plan.nbytes)
cuda.Context.pop()
if len(sys.argv) == 2:
    context.detach()
"""


def child(*arguments, **options):
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, MODEL] + list(arguments),
        env=environment("8.4.1.5", **options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = process.communicate(timeout=100)
    return process.returncode, out.decode(), err.decode()


def test_a_child_process_imports_doubles_and_tells_of_misuse():
    code, out, err = child(memory_bytes=1 << 30)
    assert (code, err) == (0, "") and out.startswith("8.4.1.5 ")
    code, out, err = child("forgets to detach")
    assert code == 0 and "the double of a GPU: the primary context" in err
    code, out, err = child(broken=["no driver"])
    assert code == 1 and "ImportError" in err


def test_a_builder_can_be_killed():
    assert child(broken=["kills builder"])[0] == -signal.SIGKILL


def test_nothing_here_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bench = Bench("11.4.0.106")
        bench.run(bench.build(), images())
        bench.close()
