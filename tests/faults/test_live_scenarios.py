"""Scenarios are simulated, and played by real processes: the same holds of both."""

import os
import random
import shutil
import socket
import time
from typing import NamedTuple

import pytest
from fleet import HERE
from live_fleet import Network, Workers
from live_scenario import Played, play

from edgesdk.errors import ConfigError
from edgesdk.sim.recorder import Recorder
from edgesdk.sim.report import Run, summarise
from edgesdk.sim.scenario import read_scenario
from edgesdk.sim.simulator import Simulator
from edgesdk.sim.spec import Fault
from edgesdk.trace.file import read_trace
from edgesdk.trace.replay import replay

SEED = 0
# By file, why the source must have lost somebody, one reason of these at least; a busy machine may
# add others.
LOST = {
    "crash-and-return": {"disconnected"},
    "pauses": {"silent"},
    "cuts": {"silent", "not_answering", "started_again"},
    "coming-and-going": {"left"},
}
# The rate of real processes, of the simulated one. Here it says that nothing stood still; the real
# figure, on a machine that does nothing else, is that of `python -m edgesdk.bench pipeline`.
RATES = (0.5, 1.5)


class Both(NamedTuple):
    """One scenario, twice. `folder`: where the files of the processes are."""

    name: str
    simulated: Run
    played: Played
    folder: str


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.slow) for name in sorted(LOST)]
)
def both(request, tmp_path_factory):
    scenario = read_scenario(path(request.param))
    folder = str(tmp_path_factory.mktemp(request.param))
    played = play(scenario, folder, SEED)
    return Both(request.param, simulate(scenario), played, folder)


def path(name):
    """The file of a scenario."""
    return os.path.join(HERE, "scenarios", name + ".toml")


def simulate(scenario):
    """Run it in virtual time."""
    recorder = Recorder(scenario.duration_us)
    simulator = Simulator(scenario, SEED, observer=recorder, trace=False)
    recorder.watch(simulator)
    return Run(scenario, simulator.run(), recorder.ended)


def by_status(run):
    """How many items ended how: those that were seen to, and those that the core has counted."""
    seen, counted = {}, {}
    for ended in run.ended:
        seen[ended.status] = seen.get(ended.status, 0) + 1
    for name, count in run.totals.sources[0].ended.items():
        status = name.split(".")[0]
        counted[status] = counted.get(status, 0) + count
    return seen, counted


def lost(run):
    """Why the source lost its neighbours."""
    source = run.totals.sources[0].name
    counters = next(node.counters for node in run.totals.nodes if node.name == source)
    head = "sessions_lost."
    return {name[len(head) :] for name in counters if name.startswith(head)}


# --- of both --------------------------------------------------------------------------------------


@pytest.fixture(params=["simulated", "played"])
def run(both, request):
    return both.simulated if request.param == "simulated" else both.played.run


def test_every_item_has_one_outcome_and_it_is_a_result(run):
    source = run.totals.sources[0]
    assert (source.open_count, source.lost_count, source.missed_count) == (0, 0, 0)
    seen, counted = by_status(run)
    assert seen == counted
    assert sum(seen.values()) == source.submitted_count > 0
    assert "failed" not in seen
    may_expire = sum(
        len(workload.times_us) for workload in run.scenario.workloads if workload.deadline_us
    )
    assert seen.get("expired", 0) <= may_expire
    assert seen["result"] == source.answered_count == sum(source.exit_counts)


def test_what_was_to_happen_did_happen(both, run):
    assert lost(run) & LOST[both.name]


# --- of one and the other -------------------------------------------------------------------------


def test_they_agree_about_how_fast_it_is(both):
    simulated, played = (
        summarise(run).total.items_per_s for run in (both.simulated, both.played.run)
    )
    print("{}: simulated {:.1f} items/s, played {:.1f}".format(both.name, simulated, played))
    assert RATES[0] < played / simulated < RATES[1]


def test_the_same_items_arrive_and_leave_at_the_same_exits(both):
    if both.simulated.scenario.admission.kind == "rate":
        pytest.skip("Algorithm 3 draws nothing: it looks at queues, which are never quite the same")
    simulated, played = (run.totals.sources[0] for run in (both.simulated, both.played.run))
    assert played.submitted_count == simulated.submitted_count
    if not any(workload.deadline_us for workload in both.simulated.scenario.workloads):
        assert played.exit_counts == simulated.exit_counts


# --- of real processes ----------------------------------------------------------------------------


def test_answers_are_those_of_one_process_bit_for_bit(both):
    assert all(ended.right for ended in both.played.run.ended if ended.status == "result")


def test_every_process_has_a_trace_that_replays(both):
    for node in both.played.run.scenario.nodes:
        traces = both.played.traces[node.name]
        assert len(traces) == 1 + sum(
            fault.duration_us is not None
            for fault in both.played.run.scenario.faults
            if (fault.kind, fault.where) == ("crash", node.name)
        )
        replayed = [replay(read_trace(trace)) for trace in traces]
        assert [found.difference for found in replayed] == [None] * len(traces)
        assert min(found.event_count for found in replayed) > 20
        cut_off = [not found.is_complete for found in replayed]
        assert sum(cut_off) == both.played.died.count(node.name)


def test_a_trace_may_be_cut_off_anywhere(both):
    source = both.played.run.totals.sources[0].name
    rng = random.Random(SEED)
    whole = both.played.traces[source][0]
    header_bytes = len(open_first_line(whole))
    for number in range(5):
        cut = os.path.join(both.folder, "cut-{}".format(number))
        shutil.copy(whole, cut)
        os.truncate(cut, rng.randrange(header_bytes, os.path.getsize(whole)))
        found = replay(read_trace(cut))
        assert found.difference is None
        assert not found.is_complete


def open_first_line(name):
    """The header of a trace."""
    with open(name, "rb") as file:
        return file.readline()


# --- faults of links ------------------------------------------------------------------------------


@pytest.fixture
def link(tmp_path):
    """The workers, none of which runs, and a way from robot to left at 40 kB/s; with two sockets at
    its ends."""
    changes = [("link_defaults.rate_mbit_s", 0.32), ("link_defaults.jitter_ms", 0)]
    scenario = read_scenario(path("cuts"), changes)
    workers = Workers(scenario, "robot", Network(scenario.model, str(tmp_path)), str(tmp_path))
    with socket.socket() as listener, socket.socket() as sender:
        listener.bind(("127.0.0.1", workers.port("left")))
        listener.listen(1)
        lanes = workers.directions["robot", "left"].lanes
        lanes.admit()
        sender.connect(("127.0.0.1", lanes.port))
        with listener.accept()[0] as receiver:
            for end in (sender, receiver):
                end.settimeout(10)
            yield workers, sender, receiver
        workers.stop()


def took_s(sender, receiver, count_bytes):
    """How long so many bytes took."""
    begin_s = time.monotonic()
    sender.sendall(bytes(count_bytes))
    while count_bytes:
        count_bytes -= len(receiver.recv(count_bytes))
    return time.monotonic() - begin_s


def fault_of(kind, where, factor=1.0):
    """One that lasts until it is told to end."""
    return Fault(kind, where, 0, 1, factor)


@pytest.mark.parametrize("where", ["robot->left", "robot-left", "left-robot"])
def test_nothing_passes_a_cut_until_each_of_several_has_healed(link, where):
    workers, sender, receiver = link
    other = fault_of("cut", "robot->left")
    workers.begin(fault_of("cut", where))
    workers.begin(other)
    sender.sendall(b"late")
    receiver.settimeout(0.1)
    for wait_for_it in (lambda: None, lambda: workers.end(other)):
        wait_for_it()
        with pytest.raises(socket.timeout):
            receiver.recv(1)
    workers.end(fault_of("cut", where))
    receiver.settimeout(10)
    assert receiver.recv(4) == b"late"


def test_a_cut_of_the_other_direction_is_none_of_this_one(link):
    workers, sender, receiver = link
    workers.begin(fault_of("cut", "left->robot"))
    workers.begin(fault_of("cut", "robot-right"))
    assert took_s(sender, receiver, 10) < 5


def test_a_link_has_its_delay_and_its_rate_and_loses_most_of_it(link):
    workers, sender, receiver = link
    fault = fault_of("rate", "robot-left", 4)
    assert 0.002 <= took_s(sender, receiver, 1) < 5
    assert 0.05 < took_s(sender, receiver, 8000) < 5  # should be 0.2 s
    workers.begin(fault)
    slow_s = took_s(sender, receiver, 8000)
    assert slow_s > 0.5  # should be 0.8 s
    workers.end(fault)
    assert took_s(sender, receiver, 2000) < slow_s / 2  # should be 0.05 s


def test_a_reset_ends_what_is_connected(link):
    workers, sender, receiver = link
    workers.begin(fault_of("reset", "robot-left"))
    for end in (sender, receiver):
        with pytest.raises(ConnectionResetError):
            end.recv(1)


# --- what cannot be played ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, changes, words",
    [
        ("cuts", {"mode": "chaos"}, 'mode: found "chaos"'),
        ("cuts", {"link_defaults.loss": 0.1}, "link robot-left: loses"),
        ("cuts", {"link_defaults.duplication": 0.1}, "link robot-left: loses, doubles"),
        ("cuts", {"link_defaults.reordering": 0.1}, "link robot-left: loses, doubles or reorders"),
        (
            "cuts",
            {"medium": [{"name": "wifi", "rate_mbit_s": 80}], "link_defaults.medium": "wifi"},
            "link robot-left: shares the medium wifi",
        ),
        (
            "cuts",
            {"link": [{"between": ["left", "right"], "offload": "none"}]},
            "link left-right: nobody offloads",
        ),
        ("cuts", {"node[1].drift_ppm": 5}, "node left: its clock drifts"),
        ("cuts", {"node[1].clock_offset_us": 5}, "node left: its clock drifts or is set wrong"),
        ("cuts", {"node[0].join_s": 1}, "node robot: the source joins later"),
        ("cuts", {"node[0].leave_s": 1}, "node robot: the source joins later or leaves"),
        ("cuts", {"admission.kind": "threshold"}, 'admission.kind: found "threshold"'),
        (
            "cuts",
            {"workload[0].deadline_ms": 9, "workload[0].on_deadline": "best"},
            'workload: found on_deadline "best"',
        ),
        ("coming-and-going", {"workload[1].source": "second"}, "found sources robot and second"),
        (
            "crash-and-return",
            {"fault[0].kind": "slow", "fault[0].factor": 2},
            "fault slow of left: nobody can",
        ),
        (
            "crash-and-return",
            {"fault[0].kind": "fail", "fault[0].factor": 0.5},
            "fault fail of left: nobody can",
        ),
        ("crash-and-return", {"fault[0].where": "robot"}, "fault crash of robot: it is the source"),
        ("cuts", {"model.policy": {"kind": "random"}}, 'model.policy: found "random"'),
        (
            "cuts",
            {"model.policy": {"kind": "final"}, "model.exit_indices": [0, 2, 3]},
            "model: found exits [0, 2, 3]",
        ),
        ("cuts", {"model.feature_bytes": [1024, 65536, 4096]}, "[1024, 65536, 4096]"),
        ("cuts", {"model.decode_us": [0, 9, 0]}, "model: found encode_us or decode_us"),
        (
            "cuts",
            {"model.policy.thresholds": 0.9, "model.shares_threshold": 0.9},
            "model.exit_shares: some leave at exit 0",
        ),
    ],
)
def test_what_cannot_be_played_is_refused_by_its_name(tmp_path, name, changes, words):
    scenario = read_scenario(path(name), list(changes.items()))
    with pytest.raises(ConfigError) as caught:
        play(scenario, tmp_path)
    assert words in str(caught.value)
    assert "or simulate the scenario only" in str(caught.value)
    assert not list(tmp_path.glob("*.toml"))
