"""A double of TensorRT's Python API, one for each version in trt_names.VERSIONS.

    machine = Machine()                          # gpu_machine: the board, and the faults it has
    trt = double("8.2.1", machine)               # what `import tensorrt` gives there
    with installed("8.2.1", machine): ...        # in there, `import tensorrt` and pycuda give them
    subprocess.run(..., env=environment("8.2.1"))    # and there in a process of its own

It has the names of its version, with their arguments, and no others. What it does not implement of
them raises NotImplementedError. Behaviour is in `trt_network.py`, `trt_building.py`,
`trt_engine.py` and `trt_context.py`: a class there has the methods of the class that it stands for,
under the same names, with the same arguments. An engine is our own file around the ONNX that was
parsed; onnxruntime computes it.

Stricter than the real one: `with` blocks, which are deprecated no-ops, are refused; types are not
converted (an address or an index is an int, a shape a tuple, a list or Dims); enums have no
arithmetic beyond int(); every call wants a CUDA context that is current.
"""

import contextlib
import inspect
import json
import os
import sys
import types

import cuda_double
import numpy as np
import trt_building
import trt_engine
import trt_names
import trt_network
from gpu_machine import Crash, Machine

BEHAVIOURS = {}
for part in (trt_network, trt_building, trt_engine):
    BEHAVIOURS.update(part.BEHAVIOURS)
_NUMPY = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "BOOL": "bool"}
_NUMPY.update(INT64="int64", UINT8="uint8")
_ITEM_BYTES = {"BF16": 2, "FP8": 1, "INT4": 0.5, "FP4": 0.5}


class _Member:
    """One member of a pybind enum: a name, int(), equal to itself. No arithmetic."""

    __slots__ = ("name", "owner", "value")

    def __init__(self, owner, name, value):
        self.owner, self.name, self.value = owner, name, value

    def __int__(self):
        return self.value

    @property
    def itemsize(self):
        if self.owner != "DataType":
            raise AttributeError("{} has no itemsize".format(self.owner))
        return _ITEM_BYTES.get(self.name, np.dtype(_NUMPY.get(self.name, "V1")).itemsize)

    def __eq__(self, other):
        return isinstance(other, _Member) and (self.owner, self.value) == (other.owner, other.value)

    def __ne__(self, other):
        return not self == other

    def __hash__(self):
        return hash((self.owner, self.value))

    def __repr__(self):
        return "{}.{}".format(self.owner, self.name)


class _Enum(type):
    """A pybind enum: members as attributes, `__members__`; `E(0)` is a member."""

    def __call__(cls, value):
        for member in cls.__members__.values():
            if member.value == value:
                return member
        raise TypeError("{}: no member {!r}".format(cls.__name__, value))

    def __instancecheck__(cls, value):
        return isinstance(value, _Member) and value.owner == cls.__name__


class _Meta(type):
    """Refuses objects of Python classes that forgot to call `__init__` of their TensorRT class."""

    def __call__(cls, *args, **kwargs):
        made = super().__call__(*args, **kwargs)
        if not hasattr(made, "_double"):
            raise TypeError("{}.__init__() must be called when overriding".format(cls.__name__))
        return made


class World:
    """What the objects of one double share."""

    def __init__(self, version, machine, module):
        self.version, self.machine, self.module = version, machine, module
        self.numbers = trt_names.numbers(version)
        self.types = {}

    def wrap(self, name, behaviour):
        """The object of class `name` that has `behaviour`."""
        shell = self.types[name].__new__(self.types[name])
        shell._double = behaviour
        return shell

    def member(self, enum, name):
        return self.types[enum].__members__[name]

    def dims(self, shape):
        return self.types["Dims"](list(shape))

    def host_memory(self, data):
        return bytes.__new__(self.types["IHostMemory"], data)

    def log(self, logger, severity, text):
        """Tell the logger. It is called from C++ that lets no exception pass."""
        try:
            logger.log(self.member("ILogger.Severity", severity), text)
        except Exception as error:
            raise Crash(
                "terminate called after throwing in ILogger.log: {!r}".format(error)
            ) from None

    def ready(self, logger, what):
        """Whether the GPU can be used now; if not, the log says why."""
        machine = self.machine
        for fault, code in (("no gpu", 100), ("old driver", 35)):
            if machine.is_broken(fault):
                self.log(logger, "ERROR", "CUDA initialization failure with error: {}".format(code))
                return False
        if not machine.stack():
            machine.complaints.append("{}: no context is current in this thread".format(what))
            self.log(logger, "ERROR", "{}: Cuda Runtime (invalid device context)".format(what))
            return False
        return True


def _accepts(world, kind, value):
    """Whether pybind takes `value` for an argument of type `kind`, without conversions."""
    if kind in ("int", "float", "str", "bool", "tuple", "list"):
        wanted = {"int": int, "float": (int, float), "str": str, "bool": bool}
        wanted.update(tuple=tuple, list=list)
        return isinstance(value, wanted[kind]) and (kind == "bool" or not isinstance(value, bool))
    if kind == "buffer":
        try:
            return memoryview(value).nbytes >= 0
        except TypeError:
            return False
    if kind == "Dims":
        return isinstance(value, world.types["Dims"]) or _accepts(world, "List[int]", value)
    if kind.startswith("List["):
        inner = kind[5:-1]
        is_list = isinstance(value, (list, tuple))
        return is_list and all(_accepts(world, inner, element) for element in value)
    if kind == "capsule":
        return value is None or hasattr(value, "_double")
    if kind in world.types:
        return isinstance(value, world.types[kind])
    return True  # object, and what has no name in Python


def _bind(world, what, overloads, args, kwargs):
    """The arguments by name, for the first overload that takes them."""
    for overload in overloads:
        fields = [argument.rstrip("=").split(":") for argument in overload]
        names = [name for name, _ in fields]
        if len(args) > len(names) or set(kwargs) - set(names[len(args) :]):
            continue
        given = dict(zip(names, args), **kwargs)
        optional = {name for argument, (name, _) in zip(overload, fields) if argument[-1:] == "="}
        if set(names) - set(given) - optional:
            continue
        kinds = dict(fields)
        if all(
            (value is None and name in optional) or _accepts(world, kinds[name], value)
            for name, value in given.items()
        ):
            return given
    raise TypeError(
        "{}(): incompatible function arguments: found {} {}, expected one of {}".format(
            what, [type(value).__name__ for value in args], sorted(kwargs), overloads
        )
    )


def _implemented(shell, owner, name):
    """What stands behind a shell; raises if its version has the name, and the double has not."""
    behaviour = shell._double
    if not hasattr(type(behaviour), name) and name not in vars(behaviour):
        raise NotImplementedError("the double of TensorRT has no {}.{}".format(owner, name))
    return behaviour


def _method(world, owner, name, overloads):
    def method(self, *args, **kwargs):
        given = _bind(world, owner + "." + name, overloads, args, kwargs)
        found = getattr(_implemented(self, owner, name), name)
        if set(given) - set(inspect.signature(found).parameters):
            raise NotImplementedError(
                "the double of TensorRT has no {}.{}({})".format(owner, name, ", ".join(given))
            )
        return found(**given)

    method.__name__ = name
    return method


def _property(world, owner, name, kind):
    def get(self):
        return getattr(_implemented(self, owner, name), name)

    def put(self, value):
        if not (value is None or _accepts(world, kind, value)):
            raise TypeError("{}.{}: found {!r}, expected {}".format(owner, name, value, kind))
        setattr(_implemented(self, owner, name), name, value)

    return property(get, put if kind else None)


class _Interface:
    """Behind classes that exist to be subclassed in Python."""


def _constructor(world, owner, overloads):
    def make(self, *args, **kwargs):
        if overloads is None:
            raise TypeError("{}: No constructor defined!".format(owner))
        given = _bind(world, owner, overloads, args, kwargs)
        if owner in BEHAVIOURS:
            self._double = BEHAVIOURS[owner](world, **given)
        elif owner.startswith("I"):
            self._double = _Interface()
        else:
            raise NotImplementedError("the double of TensorRT makes no {}".format(owner))

    return make


def _make_class(world, name, table):
    bases = tuple(world.types[base] for base in table["bases"])
    space = {"__slots__": () if bases else ("_double", "__weakref__")}
    for method, overloads in table["methods"].items():
        if method != "__init__":
            space[method] = _method(world, name, method, overloads)
    for field, kind in table["properties"].items():
        space[field] = _property(world, name, field, kind)
    space["__init__"] = _constructor(world, name, table["methods"].get("__init__"))
    if name == "Dims":
        for special in ("__eq__", "__repr__"):
            space[special] = _special(special)
        space["__hash__"] = None
    return _Meta(name, bases or (object,), space)


def _special(name):
    return lambda self, *others: getattr(self._double, name)(*others)


def _host_memory_class(world, table):
    """IHostMemory: a buffer, which only C can make; so it is bytes that show only their table."""

    class IHostMemory(bytes):
        def __new__(cls, *args, **kwargs):
            raise TypeError("IHostMemory: No constructor defined!")

        def __getattribute__(self, name):
            if name == "nbytes":
                return memoryview(self).nbytes
            if name == "dtype":
                return world.member("DataType", "INT8")
            if name in table["properties"] or not name.startswith("__"):
                raise AttributeError("IHostMemory has no {} here".format(name))
            return super().__getattribute__(name)

        def __len__(self):
            raise TypeError("object of type 'IHostMemory' has no len()")

    return IHostMemory


def _make_types(world, table):
    for name, members in table["enums"].items():
        made = {member: _Member(name, member, value) for member, value in members.items()}
        world.types[name] = _Enum(name, (), dict(made, __members__=made))
    waiting = dict(table["classes"])
    world.types["IHostMemory"] = _host_memory_class(world, waiting.pop("IHostMemory"))
    while waiting:
        free = [name for name in waiting if not set(waiting[name]["bases"]) & set(waiting)]
        for name in sorted(free):
            world.types[name] = _make_class(world, name, waiting.pop(name))


def _missing(name):
    def function(*args, **kwargs):
        raise NotImplementedError("the double of TensorRT has no {}()".format(name))

    return function


def _functions(world):
    def volume(iterable):
        return int(np.prod(list(iterable), dtype=np.int64)) if len(list(iterable)) else 1

    def nptype(trt_type):
        if world.numbers < (8, 6):
            np.bool  # noqa: B018  its table of types holds this, which newer numpy lacks
        name = _NUMPY.get(trt_type.name)
        if name is None:
            raise TypeError("no numpy type for {}".format(trt_type))
        return np.dtype(name).type

    def get_nv_onnx_parser_version():
        return int("{:02}{:02}{:02}".format(*world.numbers[:3]))

    def init_libnvinfer_plugins(logger, namespace):
        return True

    return locals()


def double(version, machine=None):
    """The module `tensorrt` of a version on a machine (by default a Jetson Nano of its own)."""
    module = types.ModuleType("tensorrt")
    world = World(version, machine or Machine(), module)
    table = trt_names.table(version)
    _make_types(world, table)
    for name, made in world.types.items():
        owner, _, last = name.rpartition(".")
        setattr(world.types[owner] if owner else module, last, made)
    for name, value in table["constants"].items():
        setattr(module, name, world.member(*value.split(".")))
    functions = _functions(world)
    for name in table["functions"]:
        setattr(module, name, functions.get(name) or _missing(name))
    severities = world.types["ILogger.Severity"].__members__
    for owner in ("ILogger", "Logger"):
        for name, member in severities.items():
            setattr(world.types[owner], name, member)
    module.__version__ = version
    return module


@contextlib.contextmanager
def installed(version, machine):
    """In there `import tensorrt` and `import pycuda.driver` give doubles; after it, what was."""
    names = ("tensorrt", "pycuda", "pycuda.driver")
    before = {name: sys.modules.get(name) for name in names}
    trt, package = double(version, machine), types.ModuleType("pycuda")
    package.__path__ = []
    sys.modules.update({"tensorrt": trt, "pycuda": package})
    if machine.is_broken("no driver"):
        sys.modules["pycuda.driver"] = None  # import raises ImportError
    else:
        package.driver = sys.modules["pycuda.driver"] = cuda_double.driver(machine)
    try:
        yield trt
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


def environment(version, broken=(), **machine):
    """Variables for a child process in which `import tensorrt` and pycuda give doubles.

    `broken` are faults, `machine` what Machine takes. What is misused or leaked there is on stderr
    at its end, after "the double of a GPU: ".
    """
    here = os.path.dirname(os.path.abspath(__file__))
    paths = [os.path.join(here, "installed"), here, os.environ.get("PYTHONPATH", "")]
    options = dict(machine, version=version, broken=sorted(broken))
    return dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(path for path in paths if path),
        EDGESDK_TRT_DOUBLE=json.dumps(options),
    )
