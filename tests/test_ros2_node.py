"""examples/04_ros2_node.py, by real rclpy where it can be imported, else by ros2_stand_in."""

import array
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import edgesdk
from edgesdk import digits

try:
    import rclpy

    IS_STAND_IN = False
except ImportError:
    import ros2_stand_in

    ros2_stand_in.install()
    import rclpy

    IS_STAND_IN = True

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Classification

ROOT = Path(__file__).parent.parent
NAME = "examples/04_ros2_node.py"
EXAMPLE = runpy.run_path(str(ROOT / NAME), run_name="example")
Classifier, frame_of = EXAMPLE["Classifier"], EXAMPLE["frame_of"]
PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)  # red first


def image_of(pixels, encoding, padding=0, frame_id="", **changes):
    """A message as a driver fills it in; `pixels` in the order that `encoding` says."""
    rows = pixels.reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), "constant", constant_values=255)
    message = Image(
        header=Header(frame_id=frame_id),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        step=rows.shape[1],
        data=array.array("B", rows.tobytes()),
    )
    for name, value in changes.items():
        setattr(message, name, value)
    return message


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "given", "expected"),
    [
        ("rgb8", PIXELS, PIXELS),
        ("bgr8", PIXELS[:, :, ::-1], PIXELS),
        ("mono8", PIXELS[:, :, 0], PIXELS[:, :, 0]),
    ],
)
def test_an_image_becomes_a_frame_whatever_its_rows_end_in(encoding, given, expected, padding):
    found = frame_of(image_of(given, encoding, padding))
    assert found.dtype == np.uint8 and np.array_equal(found, expected)


def test_a_wrong_encoding_of_a_driver_can_be_overruled():
    message = image_of(PIXELS, "bgr8")  # which it is not
    assert np.array_equal(frame_of(message, "rgb"), PIXELS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"encoding": "yuv422"},
            'encoding: found "yuv422", expected rgb8, bgr8, mono8; convert it',
        ),
        ({"step": 8}, "image: found 18 bytes for 2 rows with a step of 8, expected a step of at"),
        ({"height": 3}, "image: found 18 bytes for 3 rows"),
        ({"data": array.array("B")}, "image: found 0 bytes"),
        ({"width": 0, "step": 0, "data": array.array("B")}, "image: found 0 bytes"),
    ],
)
def test_what_is_no_image_is_refused(changes, said):
    with pytest.raises(edgesdk.ConfigError) as caught:
        frame_of(image_of(PIXELS, **dict({"encoding": "rgb8"}, **changes)))
    assert said in str(caught.value)


# --- the node -------------------------------------------------------------------------------------


class World:
    """The node under test and one that sends it images and hears what it says."""

    def __init__(self, **parameters):
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        original = rclpy.node.Node.__init__

        def with_overrides(node, node_name):
            original(node, node_name, parameter_overrides=overrides)

        rclpy.node.Node.__init__ = with_overrides
        try:
            self.node = Classifier()
        finally:
            rclpy.node.Node.__init__ = original
        self.other = rclpy.create_node("other")
        best = {"depth": 1, "reliability": ReliabilityPolicy.BEST_EFFORT}
        sensor = QoSProfile(history=HistoryPolicy.KEEP_LAST, **best)
        self.images = self.other.create_publisher(Image, "image", sensor)
        self.answers, self.diagnostics = [], []
        self.other.create_subscription(Classification, "classification", self.answers.append, 10)
        self.other.create_subscription(DiagnosticArray, "/diagnostics", self.diagnostics.append, 10)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.other)

    def spin_until(self, condition):
        until_s = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < until_s, "it never came"
            self.executor.spin_once(timeout_sec=0.05)

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.other.destroy_node()


@pytest.fixture
def ros(monkeypatch):
    monkeypatch.chdir(ROOT)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    rclpy.init(args=[])
    yield
    rclpy.try_shutdown()
    for number, handler in before.items():  # other tests fork, and end what they forked
        signal.signal(number, handler)


@pytest.fixture
def world(ros):
    made = World(deadline_ms=5000.0)
    made.spin_until(lambda: made.images.get_subscription_count() == 1)
    yield made
    made.close()


def test_it_answers_with_the_label_and_the_header_of_the_image(world):
    scans = digits.load_digits_split("test")
    for index in range(5):
        pixels = np.asarray(PIL.Image.fromarray(scans.images[index]).resize((96, 96), 2))
        world.images.publish(image_of(pixels, "mono8", 3, "camera-{}".format(index)))
        world.spin_until(lambda: len(world.answers) == index + 1)  # noqa: B023
    assert [answer.header.frame_id for answer in world.answers] == [
        "camera-{}".format(index) for index in range(5)
    ]
    assert [answer.results[0].class_id for answer in world.answers] == [
        str(label) for label in scans.labels[:5]
    ]
    assert all(0.5 < answer.results[0].score <= 1 for answer in world.answers)


def test_frames_of_a_colour_camera_of_any_size_are_answered(world):
    scan = digits.load_digits_split("test").images[0].repeat(30, 0).repeat(40, 1)
    colour = np.repeat(scan[:, :, None], 3, axis=2)
    world.images.publish(image_of(colour, "bgr8"))
    world.spin_until(lambda: world.answers)


def test_it_publishes_in_its_own_thread(world, monkeypatch):
    threads, publish = set(), Publisher.publish

    def noting(publisher, msg):
        threads.add(threading.get_ident())
        publish(publisher, msg)

    monkeypatch.setattr(Publisher, "publish", noting)
    world.images.publish(image_of(digits.load_digits_split("test").images[0], "mono8"))
    world.spin_until(lambda: world.answers and world.diagnostics)
    assert threads == {threading.get_ident()}


def test_diagnostics_tell_how_it_goes(world):
    def values():
        return {each.key: each.value for each in world.diagnostics[-1].status[0].values}

    world.images.publish(image_of(digits.load_digits_split("test").images[0], "mono8"))
    world.spin_until(lambda: world.answers)
    world.spin_until(lambda: world.diagnostics and "exit" in values())
    status = world.diagnostics[-1].status[0]
    assert (status.level, status.hardware_id) == (DiagnosticStatus.OK, "local")
    assert values()["reason"] == "threshold" and int(values()["latency_us"]) > 0
    assert (values()["admitted"], values()["deadline_misses"]) == ("1", "0")
    world.images.publish(image_of(PIXELS, "16UC1"))
    world.spin_until(lambda: values()["refused"] == "1")
    assert world.diagnostics[-1].status[0].level == DiagnosticStatus.WARN
    count = len(world.diagnostics)
    world.spin_until(lambda: len(world.diagnostics) > count)
    assert world.diagnostics[-1].status[0].level == DiagnosticStatus.OK  # nothing new


def test_an_image_that_is_refused_stops_nothing(world, capfd):
    world.images.publish(image_of(PIXELS, "yuv422"))
    world.spin_until(lambda: world.node.refused_count == 1)
    world.images.publish(image_of(digits.load_digits_split("test").images[0], "mono8"))
    world.spin_until(lambda: world.answers)
    assert 'encoding: found "yuv422"' in capfd.readouterr().err


def test_a_network_that_hangs_does_not_hold_the_executor(world, gated):
    """Every image is taken or refused at once; when the network goes on, so do the answers."""
    world.node.pipe.close()
    world.node.pipe, backend = gated(in_flight_max=3)
    backend.gate.clear()
    bright = image_of(np.full((6, 6, 3), 255, np.uint8), "rgb8")
    for _ in range(6):
        begun_s = time.monotonic()
        world.node.on_image(bright)
        assert time.monotonic() - begun_s < 5
    backend.wait_until_entered()
    assert world.node.refused_count == 3 and not world.answers
    backend.gate.set()
    world.spin_until(lambda: world.answers)
    world.spin_until(lambda: world.node.pipe.stats()["in_flight_count"] == 0)
    assert world.node.pipe.stats()["admitted_count"] == 3


def test_what_is_open_when_the_node_ends_is_ended(ros):
    world = World()
    scan = image_of(digits.load_digits_split("test").images[0], "mono8")
    for _ in range(20):
        world.node.on_image(scan)
    world.close()
    stats = world.node.pipe.stats()
    assert stats["in_flight_count"] == 0
    assert sum(stats["ended"].values()) == stats["admitted_count"] == 20


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"bundle": "engines/nothing/1"}, "engines/nothing"),
        ({"color": "BGR"}, "color: found 'BGR'"),
        ({"cluster": "nothing.toml", "name": "robot-1"}, "nothing.toml"),
    ],
)
def test_parameters_that_lead_nowhere_are_refused(ros, parameters, said):
    with pytest.raises(edgesdk.EdgeError) as caught:
        World(**parameters)
    assert said in str(caught.value)


# --- the program ----------------------------------------------------------------------------------

LAUNCH = (
    "import runpy, sys; {}; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name={!r})"
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_from_the_command_line_until_it_is_told_to_end(number):
    first = "import ros2_stand_in; ros2_stand_in.install()" if IS_STAND_IN else "pass"
    paths = [str(ROOT), str(ROOT / "tests")] + sys.path
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH.format(first, "__main__"), NAME, "--ros-args"]
        + ["-p", "deadline_ms:=50.0", "-r", "image:=/camera/image_raw"],
        cwd=str(ROOT),
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(paths)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    try:
        line = process.stderr.readline()
        while line and "ready: " not in line:
            line = process.stderr.readline()
        assert "engines/wrn16_1-digits/1" in line
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert out == "0 images: {}\n"


@pytest.mark.skipif(not IS_STAND_IN, reason="ROS 2 is installed")
def test_without_ros_one_sentence_says_what_is_missing():
    done = subprocess.run(
        [sys.executable, NAME],
        cwd=str(ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "needs ROS 2" in done.stderr
