"""One axis of time for the traces of a run."""

import numpy as np
import pytest
from recorded_runs import MS, ROBOT, SHELF, recording, run_of

from edgesdk.core.events import MessageReceived
from edgesdk.core.messages import Envelope, Greeting, Hello, Load
from edgesdk.report.run import clock_text, plain
from edgesdk.report.work import WorkerRow


def heartbeats(process, peer, ahead_us, way_us=200, count=20):
    """What the readings of `process` get from `peer`, whose clock is ahead by `ahead_us`."""
    greeting = Greeting(peer, 1, b"m" * 16, b"p" * 16, ())
    hello = MessageReceived(peer, Envelope(5, 0, Hello(greeting)))
    process.readings.record(0, hello)
    for number in range(1, count + 1):
        now_us = number * 500 * MS
        sent_us = now_us + ahead_us - way_us
        echo_us, held_us = now_us - 2 * way_us - 1000, 1000
        load = Load(number, 0, 0, 9, sent_us, echo_us, held_us)
        process.readings.record(now_us, MessageReceived(peer, Envelope(5, 6, load)))


def test_clocks_of_two_machines_are_laid_over_each_other():
    robot = recording([], end_ms=11_000, note={})
    shelf = recording([], SHELF, "shelf", end_ms=5_000_000 + 9_000, note={}, begin_us=5 * 10**9)
    heartbeats(robot, SHELF, ahead_us=5 * 10**9 - 2_000_000)
    run = run_of(robot, shelf)
    assert run.is_aligned
    # The shelf's clock shows 5,000 s when the robot's shows 2 s.
    assert run.clocks[1].moment(5 * 10**9 + 1_000_000) == pytest.approx(3_000_000, abs=300)
    assert 0 < run.clocks[1].uncertainty_us <= 300
    text = clock_text(run.clocks[1], "robot")
    assert text.startswith("aligned with that of robot, within 0.2")
    assert clock_text(run.clocks[0], "robot") == "that of robot"


def test_what_cannot_be_compared_counts_from_its_own_beginning():
    robot = recording([], note={}, begin_us=7 * MS)
    shelf = recording([], SHELF, "shelf", note={}, begin_us=900 * MS)
    run = run_of(robot, shelf)
    assert not run.is_aligned
    assert [clock.moment(900 * MS) for clock in run.clocks] == [893 * MS, 0]
    assert "its own trace" in clock_text(run.clocks[1], "robot")


def test_times_of_an_array_and_of_one_are_the_same():
    (clock,) = run_of(recording([], begin_us=5 * MS)).clocks
    times = np.array([0, 5 * MS, 10**12])
    assert clock.to_run(times).tolist() == [clock.moment(at) for at in times.tolist()]


def test_processes_of_one_worker_are_numbered_as_they_began():
    late = recording([], begin_us=900 * MS)
    early = recording([], begin_us=0)
    early.made = early.made._replace(
        spec=early.made.spec._replace(identity=early.made.spec.identity._replace(epoch=2))
    )
    assert run_of(late, early).names == ["robot (2)", "robot"]


def test_names_of_workers():
    run = run_of(recording([]))
    assert run.name_of(ROBOT) == "robot" and run.is_recorded(ROBOT)
    assert run.name_of(99) == "0000000000000063" and not run.is_recorded(99)


def test_plain_values_for_json():
    row = WorkerRow("a", "a", "", True, *range(9))
    assert plain({1: [row, (2, None)]})["1"][0]["begin_us"] == 0
