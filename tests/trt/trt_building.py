"""What the double of TensorRT does until an engine is a file: logger, profiles, config, builder.

A class here has the methods and properties of the class that it stands for, see `trt_double.py`.
`world` is what all objects of one double share.
"""

import json
import os
import signal
import time

import trt_network
import trt_plan


class LoggerDouble:
    """Logger: prints what is as severe as `min_severity`."""

    def __init__(self, world, min_severity=None):
        self._world = world
        self.min_severity = min_severity or world.member("ILogger.Severity", "WARNING")

    def log(self, severity, msg):
        if int(severity) <= int(self.min_severity):
            stamp = time.strftime("%m/%d/%Y-%H:%M:%S")
            letter = {"INTERNAL_ERROR": "F"}.get(severity.name, severity.name[0])
            print("[{}] [TRT] [{}] {}".format(stamp, letter, msg))


class DimsDouble:
    """Dims: at most eight sizes."""

    MAX_DIMS = 8

    def __init__(self, world, shape=()):
        if len(shape) > self.MAX_DIMS:
            raise ValueError("Dims: found {} sizes, at most {}".format(len(shape), self.MAX_DIMS))
        self.sizes = tuple(shape)

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, arg0):
        return self.sizes[arg0]

    def __eq__(self, other):
        if not isinstance(other, (tuple, list)):
            raise TypeError("Dims compare with tuples and lists, not even with Dims")
        return self.sizes == tuple(other)

    __hash__ = None

    def __repr__(self):
        return repr(self.sizes)


class ProfileDouble:
    """IOptimizationProfile."""

    def __init__(self, world):
        self._world = world
        self._shapes = {}

    def set_shape(self, input, min, opt, max):
        shapes = [tuple(shape) for shape in (min, opt, max)]
        for name, shape, lower in zip(("opt", "max"), shapes[1:], shapes):
            if len(shape) != len(lower) or any(a > b for a, b in zip(lower, shape)):
                raise RuntimeError(
                    "Shape provided for {} is inconsistent with other shapes.".format(name)
                )
        self._shapes[input] = shapes

    def get_shape(self, input):
        return [self._world.dims(shape) for shape in self._shapes.get(input, [])]

    def __bool__(self):
        return bool(self._shapes)


class TimingCacheDouble:
    """ITimingCache: what was timed, by node; for one version and one GPU."""

    def __init__(self, world, made_for, timed):
        self._world, self._made_for, self._timed = world, made_for, timed

    def serialize(self):
        text = json.dumps([self._made_for, sorted(self._timed)])
        return self._world.host_memory(trt_plan.pack({"timing cache": text}, b""))

    def combine(self, input_cache, ignore_mismatch):
        if input_cache._double._made_for != self._made_for and not ignore_mismatch:
            return False
        self._timed |= input_cache._double._timed
        return True

    def reset(self):
        self._timed.clear()
        return True


def _made_for(world):
    """What an engine or a timing cache belongs to."""
    machine = world.machine
    return [world.version, machine.name, list(machine.compute_capability)]


class ConfigDouble:
    """IBuilderConfig."""

    def __init__(self, world, logger):
        self._world, self._logger = world, logger
        self._pools = {}
        self._profiles = []
        self._cache = None
        self._tactic_sources = None
        self._calibration_profile = None
        self.max_workspace_size = 0 if world.numbers < (8, 4) else world.machine.memory_bytes
        self.flags = 0
        self.profiling_verbosity = world.member("ProfilingVerbosity", "LAYER_NAMES_ONLY")
        self.int8_calibrator = None
        self.builder_optimization_level = 3
        self.avg_timing_iterations = self.min_timing_iterations = 1

    def set_flag(self, flag):
        self.flags |= 1 << int(flag)

    def clear_flag(self, flag):
        self.flags &= ~(1 << int(flag))

    def get_flag(self, flag):
        return bool(self.flags & (1 << int(flag)))

    def _has(self, name):
        """Whether a flag is set that this version may not even have."""
        members = self._world.types["BuilderFlag"].__members__
        return name in members and self.get_flag(members[name])

    @property
    def num_optimization_profiles(self):
        return len(self._profiles)

    def add_optimization_profile(self, profile):
        if not profile:
            self._world.log(self._logger, "ERROR", "optimization profile is not valid")
            return -1
        self._profiles.append(profile._double)
        return len(self._profiles) - 1

    def set_calibration_profile(self, profile):
        self._calibration_profile = profile._double
        return True

    def set_memory_pool_limit(self, pool, pool_size):
        self._pools[pool.name] = pool_size

    def get_memory_pool_limit(self, pool):
        return self._pools.get(pool.name, self._world.machine.memory_bytes)

    def set_tactic_sources(self, tactic_sources):
        known = sum(1 << m.value for m in self._world.types["TacticSource"].__members__.values())
        if tactic_sources & ~known:
            return False
        self._tactic_sources = tactic_sources
        return True

    def get_tactic_sources(self):
        return self._tactic_sources or 0

    def create_timing_cache(self, serialized_timing_cache):
        data = bytes(serialized_timing_cache)
        if not data:
            return self._world.wrap(
                "ITimingCache", TimingCacheDouble(self._world, _made_for(self._world), set())
            )
        try:
            made_for, timed = json.loads(trt_plan.unpack(data)[0]["timing cache"])
        except (ValueError, KeyError) as error:
            self._world.log(
                self._logger, "ERROR", "the timing cache is not valid: {}".format(error)
            )
            return None
        return self._world.wrap(
            "ITimingCache", TimingCacheDouble(self._world, made_for, set(timed))
        )

    def set_timing_cache(self, cache, ignore_mismatch):
        if cache._double._made_for != _made_for(self._world) and not ignore_mismatch:
            self._world.log(self._logger, "ERROR", "the timing cache is of another GPU or version")
            return False
        self._cache = cache
        return True

    def get_timing_cache(self):
        return self._cache


class BuilderDouble:
    """Builder."""

    def __init__(self, world, logger):
        self._world, self.logger = world, logger
        if not world.ready(logger, "Builder"):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self.max_batch_size, self.max_threads = 1, 1
        self.platform_has_fast_fp16 = world.machine.fast_fp16
        self.platform_has_fast_int8 = world.machine.fast_int8
        self.platform_has_tf32 = world.machine.compute_capability >= (8, 0)
        self.num_DLA_cores = 0

    def create_network(self, flags=0):
        members = self._world.types["NetworkDefinitionCreationFlag"].__members__
        if flags & ~sum(1 << member.value for member in members.values()):
            self._world.log(
                self.logger, "ERROR", "create_network: no such flag in {}".format(flags)
            )
            return None
        always = self._world.numbers >= (10,)
        is_explicit = always or bool(flags & (1 << members["EXPLICIT_BATCH"].value))
        return self._world.wrap(
            "INetworkDefinition", trt_network.NetworkDouble(self._world, is_explicit)
        )

    def create_optimization_profile(self):
        return self._world.wrap("IOptimizationProfile", ProfileDouble(self._world))

    def create_builder_config(self):
        return self._world.wrap("IBuilderConfig", ConfigDouble(self._world, self.logger))

    def build_serialized_network(self, network, config):
        return build(self._world, self.logger, network._double, config._double)


def build(world, logger, network, config):
    """An engine file as IHostMemory, or None; the log says why."""
    if not world.ready(logger, "build_serialized_network"):
        return None
    machine = world.machine
    if machine.is_broken("kills builder"):
        os.kill(os.getpid(), signal.SIGKILL)
    while machine.is_broken("builds for ever"):
        time.sleep(0.01)
    if machine.is_broken("memory at build"):
        world.log(logger, "ERROR", "Error Code 2: OutOfMemory (no further information)")
        return None
    trouble = _trouble_of(network, config)
    if machine.is_broken("build fails"):
        trouble = (
            "Error Code 10: Internal Error (Could not find any implementation for node Conv_0.)"
        )
    if trouble is None and config._has("INT8") and config.int8_calibrator is not None:
        trouble = calibrate(world, network, config)
    if trouble is not None:
        world.log(logger, "ERROR", trouble)
        return None
    _warn(world, logger, config)
    _time_tactics(world, network, config)
    header = {
        "made_for": _made_for(world),
        "half": config._has("FP16"),
        "verbosity": config.profiling_verbosity.name,
        "profiles": [profile._shapes for profile in config._profiles] or [{}],
    }
    return world.host_memory(trt_plan.pack(header, network._graph.data))


def _trouble_of(network, config):
    """Why a network cannot be built, or None."""
    if network._graph is None or not network._outputs:
        return "Error Code 4: Internal Error (Network must have at least one output)"
    for tensor in network._graph.inputs:
        if -1 not in tensor.shape:
            continue
        if not config._profiles:
            return (
                "Error Code 4: Internal Error (Network has dynamic or shape inputs, but no "
                "optimization profile has been defined.)"
            )
        for profile in config._profiles:
            shapes = profile._shapes.get(tensor.name)
            if shapes is None:
                return "{}: dynamic input is missing dimensions in profile".format(tensor.name)
            if not all(_fits(tensor.shape, shape) for shape in shapes):
                return "{}: profile {} does not fit {}".format(tensor.name, shapes, tensor.shape)
    has_quantized = any(operator == "QuantizeLinear" for _, operator in network._graph.nodes)
    has_flag = "INT8" in config._world.types["BuilderFlag"].__members__
    if has_quantized and has_flag and not config._has("INT8"):
        return "Error Code 4: Internal Error (int8 is not configured in the builder)"
    if config._has("INT8") and config.int8_calibrator is None and not has_quantized:
        return "Error Code 4: Internal Error (Calibration failed: no calibrator, no Q/DQ layers)"
    return None


def _fits(pattern, shape):
    return len(pattern) == len(shape) and all(
        p in (-1, s) and s > 0 for p, s in zip(pattern, shape)
    )


def calibrate(world, network, config):
    """Ask an INT8 calibrator for its batches; why it failed, or None."""
    calibrator = config.int8_calibrator
    if calibrator.read_calibration_cache():
        return None
    profile = config._calibration_profile or (config._profiles or [None])[0]
    names = [tensor.name for tensor in network._graph.inputs]
    batch_count = 0
    while True:
        pointers = calibrator.get_batch(names)
        if not pointers:
            break
        for tensor, address in zip(network._graph.inputs, pointers):
            if type(address) is not int:
                raise TypeError("get_batch: found {!r}, expected addresses".format(address))
            shape = profile._shapes[tensor.name][1] if profile else tensor.shape
            world.machine.memory(address, tensor.nbytes(shape))
        batch_count += 1
    if not batch_count:
        return "Calibration failure occurred with no scaling factors detected."
    calibrator.write_calibration_cache(b"calibration of {%d}" % batch_count)
    return None


def _warn(world, logger, config):
    machine = world.machine
    if not config.max_workspace_size:
        text = "Some tactics do not have sufficient workspace memory to run."
        world.log(logger, "WARNING", text)
    for flag, is_fast in (("FP16", machine.fast_fp16), ("INT8", machine.fast_int8)):
        if config._has(flag) and not is_fast:
            text = "{} support requested on hardware without native {} support.".format(flag, flag)
            world.log(logger, "WARNING", text)
    if machine.is_broken("skips tactics"):
        sizes = "Tactic Device request: 538MB Available: 166MB. Device memory is insufficient"
        world.log(logger, "WARNING", sizes + " to use tactic.")
        text = "Skipping tactic 3 due to insufficient memory on requested size of 538 detected"
        world.log(logger, "WARNING", text + " for tactic 4.")


def _time_tactics(world, network, config):
    """Count what has to be timed: nodes that are not in the timing cache, which learns them."""
    timed = config._cache._double._timed if config._cache is not None else set()
    wanted = {"{} {}".format(name, operator) for name, operator in network._graph.nodes}
    world.machine.timed_tactic_count += len(wanted - timed)
    timed |= wanted


BEHAVIOURS = {
    "Logger": LoggerDouble,
    "Dims": DimsDouble,
    "IOptimizationProfile": ProfileDouble,
    "ITimingCache": TimingCacheDouble,
    "IBuilderConfig": ConfigDouble,
    "Builder": BuilderDouble,
}
