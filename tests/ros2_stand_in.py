"""A stand-in for what examples/04_ros2_node.py uses of ROS 2, in one process: rclpy and messages.

Names and signatures are those of rclpy in Humble, and what rclpy refuses is refused here: unknown
arguments, fields of another type, parameters of another type than their default, publishing another
message. Topics work within the process: queues of the subscription's depth, and nothing passes from
a best-effort publisher to a reliable subscription. `install` puts it where `import rclpy` finds it.
"""

import array
import enum
import re
import signal
import sys
import threading
import time
import types
from collections import deque

# --- messages -------------------------------------------------------------------------------------


def message(name, fields, constants=()):
    """A message class. `fields`: for each a type, [type] for a list, or a range of integers."""

    def __init__(self, **given):
        assert set(given) <= set(fields), "{}: no such fields: {}".format(name, sorted(given))
        for key, kind in fields.items():
            setattr(self, key, given.get(key, default_of(kind)))

    def __setattr__(self, key, value):
        assert key in fields, "{} has no field {}".format(name, key)
        object.__setattr__(self, key, checked(value, fields[key], name + "." + key))

    body = {"__init__": __init__, "__setattr__": __setattr__, "__slots__": tuple(fields)}
    return type(name, (), dict(body, **dict(constants)))


def default_of(kind):
    if isinstance(kind, range):
        return 0
    if isinstance(kind, list):
        return []
    if kind is array.array:
        return array.array("B")
    return b"\x00" if kind is bytes else kind()


def checked(value, kind, where):
    """`value` as the field keeps it; AssertionError, as of generated messages, for another type."""
    if isinstance(kind, range):
        assert type(value) is int and value in kind, where
    elif isinstance(kind, list):
        assert isinstance(value, (list, tuple)), where
        assert all(isinstance(each, kind[0]) for each in value), where
    elif kind is array.array:
        assert not isinstance(value, str), where
        return value if isinstance(value, array.array) else array.array("B", value)
    else:
        assert isinstance(value, kind), "{}: found {}".format(where, type(value))
        assert kind is not bytes or len(value) == 1, where
    return value


UINT8, UINT32, INT32 = range(2**8), range(2**32), range(-(2**31), 2**31)
LEVELS = {"OK": b"\x00", "WARN": b"\x01", "ERROR": b"\x02", "STALE": b"\x03"}
Time = message("Time", {"sec": INT32, "nanosec": UINT32})
Header = message("Header", {"stamp": Time, "frame_id": str})
IMAGE = {"header": Header, "height": UINT32, "width": UINT32, "encoding": str}
IMAGE.update(is_bigendian=UINT8, step=UINT32, data=array.array)
Image = message("Image", IMAGE)
ObjectHypothesis = message("ObjectHypothesis", {"class_id": str, "score": float})
Classification = message("Classification", {"header": Header, "results": [ObjectHypothesis]})
KeyValue = message("KeyValue", {"key": str, "value": str})
STATUS = {"level": bytes, "name": str, "message": str, "hardware_id": str, "values": [KeyValue]}
DiagnosticStatus = message("DiagnosticStatus", STATUS, LEVELS)
DiagnosticArray = message("DiagnosticArray", {"header": Header, "status": [DiagnosticStatus]})


# --- rclpy: the context ---------------------------------------------------------------------------


class ExternalShutdownException(Exception):
    """Raised by an executor whose context was shut down from outside."""


class InvalidParameterTypeException(Exception):
    """Raised for a parameter whose value has another type than its default."""


class ParameterAlreadyDeclaredException(Exception):
    """Raised for a second declaration."""


class Context:
    """What `rclpy.init` begins: arguments, topics, and whether it was shut down."""

    def __init__(self):
        self.changed = threading.Condition()
        self.parameters, self.remaps, self.subscriptions = {}, {}, []
        self._is_ok = False

    def begin(self, args):
        assert not self._is_ok, "Context.init() must only be called once"
        self.__init__()
        self._is_ok = True
        words = list(sys.argv if args is None else args)
        words = words[words.index("--ros-args") + 1 :] if "--ros-args" in words else []
        for option, word in zip(words[::2], words[1::2]):
            key, _, text = word.partition(":=")
            assert option in ("-p", "-r") and text, "what rcl cannot parse: " + word
            if option == "-p":
                self.parameters[key] = yaml_value(text)
            else:
                self.remaps[key] = text

    def ok(self):
        return self._is_ok

    def end(self):
        assert self._is_ok, "failed to shutdown: rcl_shutdown already called on the given context"
        with self.changed:
            self._is_ok = False
            self.changed.notify_all()


def yaml_value(text):
    """A value as YAML reads it."""
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    if re.fullmatch(r"[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?", text):
        return float(text)
    return text.strip("'\"")


CONTEXT = Context()


def init(*, args=None, context=None, domain_id=None, signal_handler_options=None):
    assert context is None and domain_id is None and signal_handler_options is None, "not here"
    CONTEXT.begin(args)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, frame: try_shutdown())


def ok(*, context=None):
    return CONTEXT.ok()


def shutdown(*, context=None, uninstall_handlers=None):
    CONTEXT.end()


def try_shutdown(*, context=None, uninstall_handlers=None):
    if CONTEXT.ok():
        CONTEXT.end()


def create_node(node_name, *, parameter_overrides=None):
    return Node(node_name, parameter_overrides=parameter_overrides)


def spin(node, executor=None):
    executor = SingleThreadedExecutor() if executor is None else executor
    executor.add_node(node)
    while CONTEXT.ok():
        executor.spin_once()
    raise ExternalShutdownException


class SingleThreadedExecutor:
    """Runs the callbacks of its nodes in the thread that spins."""

    def __init__(self, *, context=None):
        assert context is None, "not here"
        self._nodes = []

    def add_node(self, node):
        assert isinstance(node, Node)
        is_new = node not in self._nodes
        self._nodes += [node] * is_new
        return is_new

    def spin_once(self, timeout_sec=None):
        until_s = time.monotonic() + (1e9 if timeout_sec is None else timeout_sec)
        with CONTEXT.changed:
            while True:
                if not CONTEXT.ok():
                    raise ExternalShutdownException
                ready = [call for node in self._nodes for call in node.ready()][:1]
                left_s = until_s - time.monotonic()
                if ready or left_s <= 0:
                    break
                CONTEXT.changed.wait(min(left_s, 0.01))
        for call in ready:
            call()

    def shutdown(self, timeout_sec=None):
        self._nodes = []
        return True


# --- rclpy: quality of service --------------------------------------------------------------------


class HistoryPolicy(enum.IntEnum):
    SYSTEM_DEFAULT, KEEP_LAST, KEEP_ALL, UNKNOWN = range(4)


class ReliabilityPolicy(enum.IntEnum):
    SYSTEM_DEFAULT, RELIABLE, BEST_EFFORT, UNKNOWN = range(4)


class QoSProfile:
    """How a topic is kept and delivered."""

    def __init__(self, *, history=None, depth=None, reliability=ReliabilityPolicy.RELIABLE):
        assert history is not None or depth is not None, (
            "History and/or depth settings are required"
        )
        assert history is not HistoryPolicy.KEEP_LAST or depth is not None, "depth is required"
        self.history = HistoryPolicy.KEEP_LAST if history is None else HistoryPolicy(history)
        self.depth = depth
        self.reliability = ReliabilityPolicy(reliability)


def profile_of(qos_profile):
    if isinstance(qos_profile, QoSProfile):
        return qos_profile
    assert type(qos_profile) is int and qos_profile >= 0, "Expected QoSProfile or int"
    return QoSProfile(depth=qos_profile)


# --- rclpy: nodes ---------------------------------------------------------------------------------


class Publisher:
    """Made by `Node.create_publisher`."""

    def __init__(self, msg_type, topic, qos_profile):
        self.msg_type, self.topic_name, self.qos_profile = msg_type, topic, qos_profile

    def publish(self, msg):
        if not isinstance(msg, self.msg_type):
            raise TypeError("Expected {}, got {}".format(self.msg_type, type(msg)))
        if not CONTEXT.ok():
            raise RuntimeError("Failed to publish: publisher's context is invalid")
        with CONTEXT.changed:
            for subscription in CONTEXT.subscriptions:
                subscription.offer(msg, self)
            CONTEXT.changed.notify_all()

    def get_subscription_count(self):
        return sum(each.matches(self) for each in CONTEXT.subscriptions)


class Subscription:
    """Made by `Node.create_subscription`."""

    def __init__(self, msg_type, topic, callback, qos_profile):
        self.msg_type, self.topic_name, self.callback = msg_type, topic, callback
        self.qos_profile = qos_profile
        self.waiting = deque(maxlen=qos_profile.depth)

    def matches(self, publisher):
        both = (publisher.qos_profile.reliability, self.qos_profile.reliability)
        passes = both != (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE)
        same = (publisher.topic_name, publisher.msg_type) == (self.topic_name, self.msg_type)
        return passes and same

    def offer(self, msg, publisher):
        if self.matches(publisher):
            self.waiting.append(msg)

    def ready(self):
        return [lambda: self.callback(self.waiting.popleft())] if self.waiting else []


class GuardCondition:
    """Made by `Node.create_guard_condition`. Triggers that nobody has seen yet are one."""

    def __init__(self, callback):
        self._callback, self._is_triggered, self.is_destroyed = callback, False, False

    def trigger(self):
        if self.is_destroyed:
            raise RuntimeError(
                "InvalidHandle: cannot use Destroyable because destruction was requested"
            )
        with CONTEXT.changed:
            self._is_triggered = True
            CONTEXT.changed.notify_all()

    def ready(self):
        return [self._run] if self._is_triggered else []

    def _run(self):
        self._is_triggered = False
        self._callback()


class Timer:
    """Made by `Node.create_timer`."""

    def __init__(self, timer_period_sec, callback):
        self._period_s, self._callback = float(timer_period_sec), callback
        self._due_s = time.monotonic() + self._period_s

    def ready(self):
        return [self._run] if time.monotonic() >= self._due_s else []

    def _run(self):
        self._due_s = time.monotonic() + self._period_s
        self._callback()


class Parameter:
    """A name and a value, whose type stays."""

    def __init__(self, name, type_=None, value=None):
        assert type_ is None, "not here"
        self.name, self.value = name, value


class Node:
    """A node. Whatever it makes is gone when it is destroyed."""

    def __init__(self, node_name, *, parameter_overrides=None):
        assert CONTEXT.ok(), "NotInitializedException: rclpy.init() has not been called"
        assert re.fullmatch(r"[a-zA-Z_]\w*", node_name), "InvalidNodeNameException: " + node_name
        self._name = node_name
        self._entities, self._parameters, self._logger = [], {}, Logger(node_name)
        self._overrides = dict(CONTEXT.parameters)
        self._overrides.update({each.name: each.value for each in parameter_overrides or []})

    @property
    def context(self):
        return CONTEXT

    def get_name(self):
        return self._name

    def declare_parameter(self, name, value=None, descriptor=None, ignore_override=False):
        if name in self._parameters:
            raise ParameterAlreadyDeclaredException(name)
        found = self._overrides.get(name, value)
        if type(found) is not type(value):
            raise InvalidParameterTypeException("{}: {!r}, expected {}".format(name, found, value))
        self._parameters[name] = Parameter(name, value=found)
        return self._parameters[name]

    def create_publisher(self, msg_type, topic, qos_profile, *, callback_group=None):
        return Publisher(msg_type, self._topic(topic), profile_of(qos_profile))

    def create_subscription(self, msg_type, topic, callback, qos_profile, *, callback_group=None):
        made = Subscription(msg_type, self._topic(topic), callback, profile_of(qos_profile))
        CONTEXT.subscriptions.append(made)
        return self._kept(made)

    def create_guard_condition(self, callback, callback_group=None):
        return self._kept(GuardCondition(callback))

    def create_timer(self, timer_period_sec, callback, callback_group=None, clock=None):
        return self._kept(Timer(timer_period_sec, callback))

    def get_logger(self):
        return self._logger

    def get_clock(self):
        return Clock()

    def destroy_node(self):
        for each in self._entities:
            if isinstance(each, Subscription):
                CONTEXT.subscriptions.remove(each)
            if isinstance(each, GuardCondition):
                each.is_destroyed = True
        self._entities = []

    def ready(self):
        """What the executor may call now."""
        return [call for each in self._entities for call in each.ready()]

    def _kept(self, entity):
        self._entities.append(entity)
        return entity

    def _topic(self, name):
        assert re.fullmatch(r"~?/?[a-zA-Z_]\w*(/[a-zA-Z_]\w*)*", name), "invalid topic: " + name
        name = CONTEXT.remaps.get(name, name).replace("~", "/" + self._name)
        return name if name.startswith("/") else "/" + name


class Logger:
    """Prints to standard error, as ROS does."""

    def __init__(self, name):
        self.name, self.last_s = name, {}

    def info(self, message, *, throttle_duration_sec=None, skip_first=False, once=False):
        return self._log("INFO", message, throttle_duration_sec)

    def error(self, message, *, throttle_duration_sec=None, skip_first=False, once=False):
        return self._log("ERROR", message, throttle_duration_sec)

    def _log(self, severity, text, throttle_s):
        assert isinstance(text, str)
        now_s = time.monotonic()
        if now_s - self.last_s.get(severity, -1e9) < (throttle_s or 0.0):
            return False
        self.last_s[severity] = now_s
        print("[{}] [{}]: {}".format(severity, self.name, text), file=sys.stderr, flush=True)
        return True


class Clock:
    """The system's time; `now()` is also the time that it gives."""

    def now(self):
        self._now_ns = int(time.time() * 1e9)
        return self

    def to_msg(self):
        return Time(sec=self._now_ns // 10**9, nanosec=self._now_ns % 10**9)


# --- where it is found ----------------------------------------------------------------------------

MODULES = {
    "rclpy": (init, ok, shutdown, try_shutdown, create_node, spin),
    "rclpy.executors": (SingleThreadedExecutor, ExternalShutdownException),
    "rclpy.exceptions": (InvalidParameterTypeException, ParameterAlreadyDeclaredException),
    "rclpy.node": (Node,),
    "rclpy.parameter": (Parameter,),
    "rclpy.publisher": (Publisher,),
    "rclpy.qos": (QoSProfile, HistoryPolicy, ReliabilityPolicy),
    "builtin_interfaces": (),
    "builtin_interfaces.msg": (Time,),
    "std_msgs": (),
    "std_msgs.msg": (Header,),
    "sensor_msgs": (),
    "sensor_msgs.msg": (Image,),
    "vision_msgs": (),
    "vision_msgs.msg": (Classification, ObjectHypothesis),
    "diagnostic_msgs": (),
    "diagnostic_msgs.msg": (DiagnosticArray, DiagnosticStatus, KeyValue),
}


def install():
    """Let `import rclpy` and the imports of messages find this."""
    for name, contents in MODULES.items():
        module = sys.modules[name] = types.ModuleType(name)
        for each in contents:
            setattr(module, each.__name__, each)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)
