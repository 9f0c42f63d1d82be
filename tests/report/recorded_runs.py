"""Runs for tests: recordings of spans made by hand, and of simulated worlds."""

from traces import SPEC, record_world

from edgesdk.core.metrics import Incident
from edgesdk.report.facts import facts_of
from edgesdk.report.reading import open_traces, record
from edgesdk.report.recording import Keys, Made, Recording
from edgesdk.report.run import Run, clocks_of, made_of, names_of
from edgesdk.telemetry.spans import Arrival, ItemKey, ItemSpan, StageSpan, TransferSpan

MS = 1000
ROBOT, SHELF = 11, 12
WORLD = {
    "name": "pair",
    "duration_s": 3,
    "model": {
        "stage_us": [1000, 2000, 3000],
        "feature_bytes": [100, 200, 300],
        "policy": {"kind": "max_probability", "thresholds": 0.8},
        "exit_shares": [0.5, 0.2, 0.3],
        "exit_accuracy": [0.6, 0.7, 0.9],
    },
    "node": [{"name": "a"}, {"name": "b"}],
    "link": [{"between": ["a", "b"]}],
    "workload": [{"source": "a", "kind": "poisson", "rate_hz": 60}],
}


def key(number, source=ROBOT):
    return ItemKey(source, 1, number)


def item(number, begin_ms, end_ms, exit_index=0, class_index=3, tag="same", **more):
    """An item of the robot; without an exit it had no answer."""
    values = {"status": "result", "reason": "threshold"}
    values.update(more)
    tag = number if tag == "same" else tag
    if exit_index is None:
        class_index = None
    return ItemSpan(
        begin_ms * MS,
        end_ms * MS,
        key(number),
        tag,
        values["status"],
        values["reason"],
        exit_index,
        class_index,
        values.get("worker", 0),
    )


def stage(stage, begin_ms, end_ms, *numbers, **more):
    """A batch of items of the robot."""
    keys = tuple(key(number) for number in numbers)
    return StageSpan(begin_ms * MS, end_ms * MS, 0, stage, keys, more.get("ok", True))


def sent(number, stage, begin_ms, end_ms, verdict="accepted", peer=SHELF):
    return TransferSpan(begin_ms * MS, end_ms * MS, key(number), stage, peer, verdict)


def came(number, stage, at_ms, peer=ROBOT):
    return Arrival(at_ms * MS, key(number), stage, peer)


def recording(
    spans, worker=ROBOT, name="robot", keys=None, end_ms=1000, incidents=(), samples=(), **made
):
    """A finished recording. `incidents`: (name, peer, item, detail). `samples`: (ms, length of the
    queue)."""
    found = Recording(keys or Keys())
    for span in spans:
        found.add(span)
    for incident in incidents:
        found.note(Incident(*incident))
    for at_ms, length in samples:
        found.sample(at_ms * MS, length, 0)
    identity = SPEC.identity._replace(worker=worker, epoch=1)
    values = {
        "path": name + ".trace",
        "worker": name,
        "versions": {"edgesdk": "0.1.0", "python": "3.6.9"},
        "note": {"worker": name, "clock": "one"},
        "spec": SPEC._replace(identity=identity),
        "event_count": 10,
        "begin_us": 0,
        "end_us": end_ms * MS,
        "is_complete": True,
        "difference": "",
        "difference_count": 0,
        "raised": "",
        "read_share": 1.0,
        "counters": {},
        "ticks": {},
    }
    found.made = Made(**dict(values, **made))
    return found


def run_of(*recordings, **more):
    clocks = clocks_of(recordings)
    names = names_of([made_of(each) for each in recordings], clocks)
    return Run(recordings=recordings, names=names, clocks=clocks, **more)


def pair():
    """A robot that has sent one of its three items to a shelf, for its second stage."""
    keys = Keys()
    robot = [
        stage(0, 10, 30, 0, 1),
        item(0, 0, 30),
        sent(1, 1, 30, 45),
        stage(0, 50, 60, 2),
        stage(1, 65, 85, 2),
        item(2, 50, 85, 1, 4),
        item(1, 5, 105, 1, 5, worker=SHELF),
    ]
    shelf = [came(1, 1, 40), stage(1, 50, 80, 1)]
    return run_of(recording(robot, keys=keys), recording(shelf, SHELF, "shelf", keys, end_ms=500))


def read_all(paths, **more):
    """The run that traces tell of."""
    keys = Keys()
    return run_of(*[record(trace, keys) for trace in open_traces(paths)], **more)


def simulated(folder, scenario, seed):
    """The run of a simulated world, and its facts."""
    run = read_all(record_world(folder, scenario, seed))
    return run, facts_of(run)
