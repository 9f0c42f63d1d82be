"""A cluster of two: this process has the images, another one helps; here both on one machine."""

import os
import subprocess
import sys
import tempfile

import edgesdk
from edgesdk import digits
from edgesdk.addresses import free_port_pairs

CLUSTER = """
bundle = '{}'
[[worker]]
name = "robot"
address = "tcp://127.0.0.1:{}"
[[worker]]
name = "helper"
address = "tcp://127.0.0.1:{}"
"""


scans = digits.load_digits_split("test")

with tempfile.TemporaryDirectory() as folder:
    cluster = os.path.join(folder, "cluster.toml")
    with open(cluster, "w") as file:
        bundle = os.path.abspath("engines/wrn16_1-digits/1")
        file.write(CLUSTER.format(bundle, *free_port_pairs(2)))
    command = [sys.executable, "-m"]
    subprocess.check_call(command + ["edgesdk.keys", cluster], stdout=subprocess.DEVNULL)

    # On another machine, in a terminal of its own.
    helper = subprocess.Popen(
        command + ["edgesdk.worker", "--cluster", cluster, "--name", "helper"],
        stdout=subprocess.DEVNULL,
    )
    try:
        with edgesdk.Pipeline.open(cluster=cluster, name="robot") as pipe:
            pipe.wait_until_up()  # only to show its help
            outcomes = list(pipe.map(scans.images))
            helped = pipe.stats()["neighbours"]["helper"]["answered_count"]
    finally:
        helper.terminate()
        helper.wait()

right = sum(o.ok and o.class_index == scans.labels[o.tag] for o in outcomes)
print("{} answers, {} of them right, {} by the helper".format(len(outcomes), right, helped))
assert len(outcomes) == len(scans.labels) and right >= 0.97 * len(outcomes) and helped > 0
