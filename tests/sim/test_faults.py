"""What goes wrong, when it begins and when it is over."""

import pytest
from sim_worlds import SECOND, Forward, Recorder, Toy, load, local, model, pair, run

from edgesdk.core.events import Leave, MessageReceived, Send, SetTimer, StageDone
from edgesdk.core.messages import CONTROL
from edgesdk.errors import ConfigError
from edgesdk.sim.spec import Fault, Node, Workload


class Ticking(Toy):
    """Sends a number to every neighbour every 100 ms."""

    number = 0

    def on_PeerFound(self, event, now_us):
        return [*super().on_PeerFound(event, now_us), SetTimer(-1, 100_000)]

    def on_Timer(self, event, now_us):
        self.number += 1
        sent = [Send(peer, CONTROL, load(self.number)) for peer in self.peers]
        return [*sent, SetTimer(-1, (self.number + 1) * 100_000)]

    def on_MessageReceived(self, event, now_us):
        return []


def heard(*faults, **world):
    """Numbers that came to each of the two nodes within two seconds."""
    recorder = Recorder()
    world = pair(faults=faults, duration_us=0, heal_us=2 * SECOND, grace_us=0, **world)
    run(world, observer=recorder, new_worker=Ticking)
    return [[number for _, number in recorder.messages(node)] for node in "ab"]


ALL = list(range(1, 20))
CUT = [n for n in ALL if not 5 <= n < 10]


class TestCut:
    def test_one_way(self):
        fault = Fault("cut", "a->b", 450_000, 500_000)
        assert heard(fault, mode="chaos") == [ALL, CUT]

    def test_both_ways(self):
        fault = Fault("cut", "a-b", 450_000, 500_000)
        assert heard(fault, mode="chaos") == [CUT, CUT]

    def test_a_link_has_two_names(self):
        fault = Fault("cut", "b-a", 450_000, 500_000)
        assert heard(fault, mode="chaos") == [CUT, CUT]

    def test_without_a_duration_it_stays(self):
        assert heard(Fault("cut", "a->b", 450_000), mode="chaos") == [ALL, [1, 2, 3, 4]]

    def test_tcp_repairs_it(self):
        assert heard(Fault("cut", "a-b", 450_000, 500_000)) == [ALL, ALL]


def test_a_reset_loses_what_is_under_way_in_both_directions():
    lost = [n for n in ALL if n not in (4, 5)]
    for found in heard(Fault("reset", "a-b", 550_000), delay_us=190_000):
        assert found == [n for n in lost if n <= 18]


def test_losses_end():
    fault = Fault("loss", "a->b", 450_000, 500_000, 1.0)
    assert heard(fault, mode="chaos") == [ALL, CUT]


def test_a_rate_is_divided():
    workload = Workload("a", "trace", times_us=(SECOND, 2 * SECOND, 3 * SECOND))
    recorder = Recorder()
    fault = Fault("rate", "a-b", 1_500_000, SECOND, 10.0)
    world = pair((workload,), faults=(fault,), delay_us=0, bytes_per_s=1e6)
    run(world, observer=recorder, new_worker=Forward)
    times = [now_us % SECOND for now_us, _ in recorder.at("b", MessageReceived)]
    assert times == [1064, 10640]  # the run ends with the third submission


def test_a_slow_node_computes_longer():
    workload = Workload("a", "trace", times_us=(0, SECOND, 2 * SECOND))
    recorder = Recorder()
    fault = Fault("slow", "a", SECOND, SECOND, 20.0)
    run(local(workload, model=model((1000,)), faults=(fault,)), observer=recorder)
    assert [now_us % SECOND for now_us, _ in recorder.at("a", StageDone)] == [1000, 20_000, 1000]


def test_faults_of_one_kind_may_overlap():
    times = tuple(n * SECOND for n in range(6))
    recorder = Recorder()
    faults = (
        Fault("slow", "a", SECOND, 2 * SECOND, 20.0),
        Fault("slow", "a", 2 * SECOND, 2 * SECOND, 3.0),
        Fault("pause", "a", 4_500_000, SECOND),
        Fault("pause", "a", 4_600_000, 100_000),
    )
    world = local(Workload("a", "trace", times_us=times), model=model((1000,)), faults=faults)
    run(world, observer=recorder)
    ends = [now_us - at_us for at_us, (now_us, _) in zip(times, recorder.at("a", StageDone))]
    assert ends == [1000, 20_000, 60_000, 3000, 1000, 501_000]


def test_a_node_leaves_when_it_is_told_to():
    class Leaving(Toy):
        def on_Leave(self, event, now_us):
            return []

    recorder = Recorder()
    run(
        local(nodes=(Node("a", leave_us=7),))._replace(workloads=()),
        observer=recorder,
        new_worker=Leaving,
    )
    assert recorder.at("a", Leave) == [(7, Leave())]


def test_a_share_of_the_stages_fails():
    workload = Workload("a", "periodic", rate_hz=500.0, item_count=1000)
    faults = (Fault("fail", "a", 0, None, 0.3),)
    (source,) = run(local(workload, model=model((1000,)), faults=faults)).sources
    assert source.ended["failed.stage_failed"] == pytest.approx(300, rel=0.15)
    assert source.answered_count == 1000 - source.ended["failed.stage_failed"]


def test_a_crash_without_duration_is_for_ever():
    workload = Workload("a", "periodic", rate_hz=100.0, item_count=10)
    (source,) = run(local(workload, faults=(Fault("crash", "a", 45_000),))).sources
    assert (source.submitted_count, source.missed_count) == (5, 5)


def test_a_crash_before_a_node_joins_does_not_make_it_join():
    node = Node("a", join_us=SECOND)
    recorder = Recorder()
    run(local(nodes=(node,), faults=(Fault("crash", "a", 100, 100),)), observer=recorder)
    assert recorder.at("a", str) == [(SECOND, "start")]


@pytest.mark.parametrize(
    "fault, message",
    [
        (
            Fault("flood", "a", 0),
            "found kind 'flood', expected one of crash, fail, leave, pause, slow",
        ),
        (Fault("crash", "c", 0), "crash: there is no node 'c'"),
        (Fault("cut", "a->c", 0), "cut: there is no link 'a->c'"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
def test_what_does_not_exist_is_refused(fault, message):
    with pytest.raises(ConfigError, match=message):
        run(pair(faults=(fault,)), new_worker=Toy)
