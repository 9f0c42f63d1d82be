"""Results made up for the tests of tables and sentences."""

from edgesdk.train.mdi_exit.boards import Board, Code
from edgesdk.train.mdi_exit.points import Point, Spread
from edgesdk.train.mdi_exit.results import ExitFigures, NetworkResults, Results, Row
from edgesdk.train.mdi_exit.sweeps import Job, Settings
from edgesdk.train.mdi_exit.topologies import BASELINES, CODED, MESH_3, MESH_5, PAPER

SETTINGS = Settings((0.5, 0.8), (1.0, 2.0), 80.0, (20.0, 80.0), 10.0, 0, 2, 1833)
CODE = Code(100, 0.0, 0.0, False)
RATES_HZ, BUSY_HZ = (25.0, 50.0), 60.0


def point(rate=50.0, bound=60.0, begun=100.0, accuracy=0.8, used=0.5, in_time=1.0):
    """One that says something else only where it is told to."""
    return Point(rate, bound, begun, accuracy, 10.0, 20.0, used, in_time)


def network(say=lambda job: {}, code=CODE, name="made-up", live=()):
    """Results in which each node adds 30 images per second, exits double that, and all is equal
    on every channel; `say(job)` changes values of a point."""
    coded = CODED if code else ()
    curves = PAPER + BASELINES + coded
    jobs = [Job(each, 80.0, value) for each in curves for value in (*SETTINGS.thresholds, None)]
    jobs += [Job(each, 80.0, None, rate) for each in curves for rate in RATES_HZ]
    for mbit_s in SETTINGS.media_mbit_s:
        for each in (MESH_3, MESH_5, *coded):
            jobs += [Job(each, mbit_s, 0.8), Job(each, mbit_s, None, BUSY_HZ)]
    board = Board((10e3, 10e3, 20e3), (1e3, 1e3, 1e3), (144, 2880, 288), "guessing", code)
    exits = tuple(ExitFigures(0.7 + 0.1 * index, 10**7 * (index + 1)) for index in range(3))
    rows = tuple(Row(job, found(job, say)) for job in dict.fromkeys(jobs))
    return NetworkResults(name, "images", 1000, board, exits, RATES_HZ, BUSY_HZ, rows, tuple(live))


def found(job, say):
    """What a job gave."""
    rate = 30.0 * job.topology.node_count * (2 if job.threshold else 1)
    more = 0.005 * job.topology.node_count if job.rate_hz else 0.0
    values = {"rate": rate, "bound": 1.02 * rate, "begun": 1e4, "accuracy": 0.8 + more}
    made = point(**{**values, **say(job)})
    return Spread(made, (made.items_per_s,) * 2, (made.accuracy,) * 2)


def results(*networks):
    """Of these."""
    return Results({"edgesdk": "1"}, SETTINGS, 40.0, 200.0, networks)
