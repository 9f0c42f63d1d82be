"""Two robots share a shelf of two workers: each has its own images and answers; one worker dies.

Five processes on this machine, boards and robots paced to be slow. With arguments the file is the
application of one robot, as it would run there: CLUSTER NAME PROFILE.
"""

import json
import os
import subprocess
import sys
import tempfile

import edgesdk
from edgesdk import digits
from edgesdk.bundle import read_bundle
from edgesdk.cluster import local_cluster_text
from edgesdk.profiles import Profile, StageTime, write_profile

BUNDLE = "engines/wrn16_1-digits/1"
ROBOTS, SHELF = ("robot-1", "robot-2"), ("shelf-1", "shelf-2")
STAGE_US = 8000.0  # of the slow boards; seven stages make the network
PYTHON = [sys.executable]


def robot(cluster, name, pace):
    """The application of one robot: it prints "half", and at its end who answered what."""
    scans = digits.load_digits_split("test")
    mine = range(ROBOTS.index(name), len(scans.labels), len(ROBOTS))
    right = 0
    with edgesdk.Pipeline.open(cluster=cluster, name=name, pace=pace) as pipe:
        pipe.wait_until_up(timeout=60)  # only so that the whole shelf helps from the beginning
        for count, outcome in enumerate(pipe.map(scans.images[index] for index in mine)):
            right += outcome.ok and outcome.class_index == scans.labels[mine[outcome.tag]]
            if count == len(mine) // 2:
                print("half", flush=True)
        stats = pipe.stats()
    by = {other: known["answered_count"] for other, known in stats["neighbours"].items()}
    by[name] = count + 1 - sum(by.values())
    states = {other: known["state"] for other, known in stats["neighbours"].items()}
    report = {"images": len(mine), "ended": stats["ended"], "right": int(right)}
    print(json.dumps(dict(report, by=by, states=states)))


def write_files(folder):
    """The cluster file and the profile of the slow boards; what would be copied to each machine."""
    cluster, pace = os.path.join(folder, "shelf.toml"), os.path.join(folder, "slow.json")
    workers = {name: ["neighbours = " + json.dumps(SHELF), "max_batch = 4"] for name in ROBOTS}
    workers.update({name: ["neighbours = []", "max_batch = 4"] for name in SHELF})
    with open(cluster, "w") as file:
        file.write(local_cluster_text(BUNDLE, workers))
    subprocess.check_call(PYTHON + ["-m", "edgesdk.keys", cluster], stdout=subprocess.DEVNULL)
    model_id = read_bundle(BUNDLE).manifest.model_id
    stages = [StageTime(0, "full", index, 1, STAGE_US, STAGE_US) for index in range(7)]
    write_profile(pace, Profile(model_id, "slow board", "any", {}, stages))
    return cluster, pace


def main():
    """Start everybody, kill a worker when robot-1 has half of its answers; the robots' reports."""
    with tempfile.TemporaryDirectory() as folder:
        cluster, pace = write_files(folder)
        worker = PYTHON + ["-m", "edgesdk.worker", "--cluster", cluster, "--pace", pace, "--name"]
        processes = {
            name: subprocess.Popen(worker + [name], stdout=subprocess.DEVNULL) for name in SHELF
        }
        for name in ROBOTS:
            processes[name] = subprocess.Popen(
                PYTHON + [os.path.abspath(__file__), cluster, name, pace],
                stdout=subprocess.PIPE,
                universal_newlines=True,
            )
        try:
            assert processes["robot-1"].stdout.readline() == "half\n"
            processes["shelf-2"].kill()
            print("robot-1 has half of its answers; shelf-2 is killed")
            return [json.loads(processes[n].communicate()[0].splitlines()[-1]) for n in ROBOTS]
        finally:
            for process in processes.values():
                process.terminate()
                process.wait()


if len(sys.argv) > 1:
    sys.exit(robot(*sys.argv[1:]))
reports = main()
for name, report in zip(ROBOTS, reports):
    print("{}: {images} images, {right} right, {ended}".format(name, **report))
    for other in (name,) + SHELF:
        state = report["states"].get(other, "the robot itself")
        print("  {:3} by {} ({})".format(report["by"][other], other, state))
assert all(set(report["ended"]) <= {"result.threshold", "result.final"} for report in reports)
assert all(sum(report["ended"].values()) == report["images"] for report in reports)
assert all(report["right"] >= 0.97 * report["images"] for report in reports)
assert all(report["by"]["shelf-1"] > 0 for report in reports)
