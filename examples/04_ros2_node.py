"""A ROS 2 node (rclpy, Humble or newer): `image` in, `classification` and `/diagnostics` out.

    python3 examples/04_ros2_node.py --ros-args -p bundle:=engines/mine/1 -r image:=/camera/rgb
    python3 examples/04_ros2_node.py --ros-args -p cluster:=robots.toml -p name:=robot-1

In a package of yours: copy this file into it as classify.py, add "classify = PACKAGE.classify:main"
to the console_scripts of its setup.py; then `ros2 run PACKAGE classify --ros-args ...` runs it. It
needs sensor_msgs, diagnostic_msgs and vision_msgs (apt: ros-humble-vision-msgs). It is tested with
ROS 2 where rclpy can be imported, and elsewhere with a stand-in for it, tests/ros2_stand_in.py.
"""

import sys
from collections import deque

import numpy as np

import edgesdk

try:
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
    from rclpy.executors import ExternalShutdownException
    from rclpy.node import Node
    from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image
    from vision_msgs.msg import Classification, ObjectHypothesis
except ImportError as error:
    sys.exit("{}; this needs ROS 2: source its setup.bash, install vision_msgs".format(error))

NEWEST = QoSProfile(  # as sensors send, and of several images only the last one
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
)
CHANNELS = {"rgb8": 3, "bgr8": 3, "mono8": 1}
PARAMETERS = {
    "bundle": "engines/wrn16_1-digits/1",
    "cluster": "",  # and name: as a worker of a cluster, whose file names the bundle
    "name": "",
    "deadline_ms": 100.0,  # 0.0: none
    "color": "",  # "rgb" or "bgr" for drivers whose encoding is wrong
}


class Classifier(Node):
    """Answers the newest image within the deadline, at the first exit that is sure enough."""

    def __init__(self):
        super().__init__("edgesdk")
        given = {key: self.declare_parameter(key, value).value for key, value in PARAMETERS.items()}
        self.deadline_ms, self.color = given["deadline_ms"] or None, given["color"]
        names = ("cluster", "name") if given["cluster"] else ("bundle",)
        where = {name: given[name] for name in names}
        self.pipe = edgesdk.Pipeline.open(color=self.color or "rgb", resize="area", **where)
        self.done = deque()  # outcomes on their way from the pipeline's thread to the node's
        self.last, self.refused_count, self.bad_count = None, 0, 0
        self.wake = self.create_guard_condition(self.on_wake)
        self.answers = self.create_publisher(Classification, "classification", 10)
        self.diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_subscription(Image, "image", self.on_image, NEWEST)
        self.create_timer(1.0, self.on_timer)

    def on_image(self, image):
        """Hand it in and return: the executor never waits for the network."""
        try:
            frame = frame_of(image, self.color)
            way = {"on_deadline": "best", "block": False, "latest": True}
            future = self.pipe.submit(frame, image.header, self.deadline_ms, **way)
        except (edgesdk.ConfigError, edgesdk.Overloaded) as error:
            self.refused_count += 1
            self.get_logger().error(str(error), throttle_duration_sec=5.0)
        else:
            future.add_done_callback(self.on_done)

    def on_done(self, future):
        """In the pipeline's thread: the node's is to publish it."""
        self.done.append(future.exception() or future.result())
        if self.context.ok():
            self.wake.trigger()

    def on_wake(self):
        """In the node's thread."""
        while self.done:
            outcome = self.done.popleft()
            if outcome.ok:  # if not, a newer image came first, or diagnostics tell
                self.last = outcome
                score = float(outcome.max_probability)
                results = [ObjectHypothesis(class_id=outcome.label, score=score)]
                self.answers.publish(Classification(header=outcome.tag, results=results))

    def on_timer(self):
        """Tell how it goes."""
        stats = self.pipe.stats()
        values = dict(stats["ended"], **stats.get("counters", {}))
        values.update(admitted=stats["admitted_count"], in_flight=stats["in_flight_count"])
        values.update(refused=self.refused_count, latency_p95_us=stats["latency"]["p95_us"])
        misses = [count for key, count in stats["ended"].items() if key.endswith(".deadline")]
        values["deadline_misses"] = sum(misses)
        if self.last is not None:
            values.update(exit=self.last.exit_index, reason=self.last.reason)
            values.update(latency_us=self.last.latency_us)
        failed = [count for key, count in stats["ended"].items() if key.startswith("failed.")]
        before, self.bad_count = self.bad_count, self.refused_count + sum(misses + failed)
        is_worse = self.bad_count > before
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if is_worse else DiagnosticStatus.OK,
            name="edgesdk: classification",
            message="images refused, failed or late" if is_worse else "in time",
            hardware_id=self.pipe.name,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self.diagnostics.publish(array)

    def destroy_node(self):
        """Answer what is open first: afterwards there is nobody to wake."""
        self.pipe.close(timeout=2.0)
        return super().destroy_node()


def frame_of(image, color=""):
    """uint8 [H, W] or [H, W, 3] of a sensor_msgs/msg/Image, a view if rows have no padding.

    Red first, unless `color` says that the pipeline knows the order. Raises ConfigError.
    """
    if image.encoding not in CHANNELS:
        text = 'encoding: found "{}", expected {}; convert it, as image_proc does'
        raise edgesdk.ConfigError(text.format(image.encoding, ", ".join(CHANNELS)))
    channels, data = CHANNELS[image.encoding], np.frombuffer(image.data, np.uint8)
    row_bytes = image.width * channels
    if not row_bytes or image.step < row_bytes or data.size != image.step * image.height:
        text = "image: found {} bytes for {} rows with a step of {}, expected a step of at least {}"
        raise edgesdk.ConfigError(text.format(data.size, image.height, image.step, row_bytes))
    rows = data.reshape(image.height, image.step)[:, :row_bytes]  # what is behind is padding
    frame = rows if channels == 1 else rows.reshape(image.height, image.width, 3)
    return frame[:, :, ::-1] if image.encoding == "bgr8" and not color else frame


def main(args=None):
    """Spin until Ctrl-C or a shutdown from outside; the node, which has answered everything."""
    rclpy.init(args=args)
    node = Classifier()
    try:
        node.get_logger().info("ready: {}".format(node.pipe.bundle.path))
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return node


if __name__ == "__main__":
    stats = main().pipe.stats()
    print("{} images:".format(stats["admitted_count"]), stats["ended"])
    assert sum(stats["ended"].values()) == stats["admitted_count"]
