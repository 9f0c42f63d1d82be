"""What TensorRT's bindings answer without a GPU; asked of the real ones and of the doubles.

`python trt_answers.py PACKAGE` prints the answers of an import as JSON.
"""

import importlib
import json
import sys


def _put(owner, name, value):
    setattr(owner, name, value)
    return getattr(owner, name)


def _forgets(trt):
    class Forgets(trt.ILogger):
        def __init__(self):
            pass

    return Forgets()


QUESTIONS = {
    "dims are a sequence": lambda t: (
        tuple(t.Dims([1, 2])),
        len(t.Dims((1, 2))),
        t.Dims([1, 2])[-1],
    ),
    "dims equal a tuple": lambda t: t.Dims([1, 2]) == (1, 2),
    "dims equal another tuple": lambda t: t.Dims([1, 2]) == (1, 3),
    "dims equal a list": lambda t: t.Dims([1, 2]) == [1, 2],
    "dims equal dims": lambda t: t.Dims([1, 2]) == t.Dims([1, 2]),
    "dims of nine": lambda t: t.Dims([1] * 9),
    "dims of texts": lambda t: t.Dims(["a"]),
    "dims of floats": lambda t: t.Dims([1.5]),
    "dims past the end": lambda t: t.Dims([1, 2])[2],
    "dims show": lambda t: str(t.Dims([1, 2])),
    "an enum iterates": lambda t: list(t.BuilderFlag),
    "an enum of an int": lambda t: t.BuilderFlag(6).name,
    "an int of an enum": lambda t: int(t.DataType.HALF),
    "an enum shifts": lambda t: 1 << t.BuilderFlag.TF32,
    "an enum ors": lambda t: t.BuilderFlag.TF32 | 1,
    "an enum is itself": lambda t: t.Logger.WARNING == t.ILogger.Severity.WARNING,
    "an enum is another": lambda t: t.Logger.WARNING == t.Logger.ERROR,
    "an enum is in a dict": lambda t: {t.DataType.INT8: 1}[t.int8],
    "an enum has names": lambda t: sorted(t.DataType.__members__),
    "an enum has a kind": lambda t: isinstance(t.Logger.INFO, t.ILogger.Severity),
    "an enum shows": lambda t: str(t.DataType.INT8),
    "sizes of types": lambda t: (t.float32.itemsize, t.DataType.HALF.itemsize),
    "a type of numpy": lambda t: t.nptype(t.float32).__name__,
    "a volume": lambda t: (t.volume((2, 3)), t.volume(())),
    "a logger has a level": lambda t: t.Logger(t.Logger.ERROR).min_severity.name,
    "a logger has no other level": lambda t: _put(t.Logger(), "min_severity", 1),
    "a logger has no other names": lambda t: _put(t.Logger(), "level", 1),
    "a logger takes a level by name": lambda t: t.Logger(severity=t.Logger.ERROR),
    "a logger forgets its base": _forgets,
    "a runtime without a logger": lambda t: t.Runtime(),
    "a runtime with a text": lambda t: t.Runtime("logger"),
    "a runtime without a gpu": lambda t: t.Runtime(t.Logger(t.Logger.INTERNAL_ERROR)),
    "a builder without a gpu": lambda t: t.Builder(t.Logger(t.Logger.INTERNAL_ERROR)),
    "an engine from nowhere": lambda t: t.ICudaEngine(),
    "a context from nowhere": lambda t: t.IExecutionContext(),
    "a config from nowhere": lambda t: t.IBuilderConfig(),
    "a memory from nowhere": lambda t: t.IHostMemory(),
    "a name that never was": lambda t: t.BuilderFlag.NO_SUCH,
}


def answers(trt):
    """{question: answer}: a value as text, or the class of the exception."""
    found = {}
    for name, question in QUESTIONS.items():
        try:
            found[name] = repr(question(trt))
        except Exception as error:  # the class is the answer
            found[name] = type(error).__name__
    return found


if __name__ == "__main__":
    print(json.dumps(answers(importlib.import_module(sys.argv[1]))))
