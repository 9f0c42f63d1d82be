"""A version of TensorRT on a machine, with a model of the repository: what its tests share."""

import gc
import os
import threading

import cuda_double
import numpy as np
import onnx
import onnxruntime
import trt_driver
from gpu_machine import Machine
from onnx import TensorProto, helper
from trt_double import double

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, "..", "..", "engines/wrn16_1-digits/1/onnx/segment_0.onnx")
SHAPES = [(1, 1, 32, 32), (4, 1, 32, 32), (8, 1, 32, 32)]


class Log:
    """Makes loggers that keep what they are told."""

    def __init__(self, trt):
        self.lines = []
        outer = self

        class Logger(trt.ILogger):
            def __init__(self):
                trt.ILogger.__init__(self)

            def log(self, severity, msg):
                outer.lines.append("{}: {}".format(severity.name, msg))

        self.logger = Logger()

    def has(self, text):
        return any(text in line for line in self.lines)


class Bench:
    """A machine with a version of TensorRT on it, and a context that is current."""

    def __init__(self, version, **machine):
        self.machine = Machine(**machine)
        self.trt = double(version, self.machine)
        self.cuda = cuda_double.driver(self.machine)
        self.cuda.init()
        self.context = self.cuda.Device(0).retain_primary_context()
        self.context.push()
        self.log = Log(self.trt)

    def build(self, data=None, flags=()):
        data = model_bytes() if data is None else data
        return trt_driver.build_engine(
            self.trt, self.log.logger, data, "features", *SHAPES, flags=flags
        )

    def load(self, plan):
        return self.trt.Runtime(self.log.logger).deserialize_cuda_engine(plan)

    def run(self, plan, features):
        return trt_driver.run_engine(self.trt, self.cuda, self.log.logger, plan, features)

    def close(self):
        """Everything is given back, and nothing was misused."""
        gc.collect()
        self.cuda.Context.pop()
        self.context.detach()
        self.machine.check_clean()


def in_a_thread(call):
    """What a call gives in a thread of its own, in a list."""
    found = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found


def model_bytes():
    with open(MODEL, "rb") as file:
        return file.read()


def images(count=4):
    return np.random.RandomState(3).rand(count, 1, 32, 32).astype(np.float32)


def expected(features):
    session = onnxruntime.InferenceSession(model_bytes(), providers=["CPUExecutionProvider"])
    return session.run(None, {"features": features})[0]


def graph(operator, opset, name="odd"):
    """A model of one node."""
    node = helper.make_node(operator, ["features"], ["output"], name=name)
    values = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 1, 32, 32])
        for n in ("features", "output")
    ]
    made = helper.make_model(
        helper.make_graph([node], "g", values[:1], values[1:]),
        opset_imports=[helper.make_opsetid("", opset)],
    )
    made.ir_version = 7
    onnx.checker.check_model(made)
    return made.SerializeToString()
