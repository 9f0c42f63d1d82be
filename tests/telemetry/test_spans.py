"""What a core was told and asked for becomes spans; those of simulated worlds are complete."""

import pytest

from edgesdk.core.events import (
    WAKE,
    Answer,
    Cancel,
    Classified,
    Classify,
    CloseLink,
    Deliver,
    Keep,
    Leave,
    MessageReceived,
    OpenLink,
    Outcome,
    PeerGone,
    PeerLost,
    Release,
    RunStage,
    Scores,
    Send,
    StageDone,
    StageFailed,
    Submit,
    Timer,
)
from edgesdk.core.messages import (
    CONTROL,
    DATA,
    Ack,
    Bye,
    Envelope,
    ItemId,
    Load,
    ResultMessage,
    Task,
)
from edgesdk.sim import chaos
from edgesdk.sim.simulator import Simulator
from edgesdk.sim.trial import REST_US
from edgesdk.sim.world import Observer
from edgesdk.telemetry.spans import (
    ACCEPTED,
    AGAIN,
    EXPIRED,
    FAILED,
    LEASE,
    LEAVES,
    LEAVING,
    LEFT,
    LOST,
    OPEN,
    REFUSED,
    UP,
    Arrival,
    Instant,
    ItemKey,
    ItemSpan,
    ResultSpan,
    StageSpan,
    Tracker,
    TransferSpan,
)

NAN = float("nan")
OURS, THEIRS = 11, 22  # session numbers
OTHER = ItemId(2, 1, 77)  # an item of worker 2
ANSWER = Answer(1, Scores(3, 0.9, 0.8, 0.1))


def mine(number):
    return ItemKey(1, 7, number)


def sent(message, item=None, session=(OURS, THEIRS), peer=2):
    lane = DATA if isinstance(message, Task) else CONTROL
    return Send(peer, lane, Envelope(session[0], session[1], message), item)


def told(message, session=(OURS, THEIRS), peer=2):
    return MessageReceived(peer, Envelope(session[1], session[0], message))


def task(seq, item, stage=1, attempt=0):
    return Task(seq, 1, item, 0, stage, attempt, 1, 0, NAN, (0, 0))


def result(seq, item, reason="threshold"):
    return ResultMessage(seq, 1, item, 0, 0, 0, reason, ANSWER)


def ack(accepted=0, refused=0, base=1):
    return Ack(base, accepted, refused, base, 0, 1, 0, 0, 8)


def load(is_leaving=False):
    return Load(1, 0, 0, 8, 0, 0, 0, is_leaving)


class Script:
    """A tracker of worker 1, epoch 7, that is told one event after the other."""

    def __init__(self):
        self.tracker = Tracker(1, 7)

    def __call__(self, now_us, event, *actions):
        return self.tracker.record(now_us, event, actions)

    def meet(self):
        """Worker 2 is up."""
        return self(0, told(load()), sent(load()))


@pytest.fixture
def script():
    return Script()


@pytest.fixture
def met(script):
    assert script.meet() == [Instant(0, UP, 2, None, "")]
    return script


class TestStages:
    def test_a_batch_is_a_span_with_its_items(self, script):
        assert script(10, Submit((0, 1), ("a", "b"), 5), RunStage(0, 0, (0, 1), True)) == []
        next_stage = RunStage(0, 1, (0, 1), True)
        (span,) = script(30, StageDone(0, 0, (0, 1), None), next_stage)
        assert span == StageSpan(10, 30, 0, 0, (mine(0), mine(1)), True)
        (span,) = script(70, StageFailed(0, 1, (0, 1), "why"))
        assert span == StageSpan(30, 70, 0, 1, (mine(0), mine(1)), False)

    def test_names_tasks_of_others_as_their_source_does(self, met):
        came = met(10, told(task(1, OTHER)), Keep(-2), RunStage(0, 1, (-2,), True))
        assert came == [Arrival(10, OTHER, 1, 2)]
        answer = sent(result(1, OTHER))
        (span,) = met(20, StageDone(0, 1, (-2,), None), answer, Release(-2))
        assert span.items == (OTHER,)
        met(30, Timer(WAKE), RunStage(0, 1, (-2,), True))  # a void name
        assert met.tracker.finish(40)[0].items == (ItemKey(0, 0, -2),)


class TestItems:
    def test_last_from_submission_to_outcome(self, script):
        script(10, Submit((4,), ("tag",), 3))
        outcome = Outcome(4, "tag", "result", "final", ANSWER, 22, "", 2)
        (span,) = script(25, Timer(4), Deliver(outcome))
        assert span == ItemSpan(3, 25, mine(4), "tag", "result", "final", 1, 3, 2)

    @pytest.mark.parametrize("status", [EXPIRED, FAILED])
    def test_without_an_answer_leave_a_mark(self, script, status):
        script(10, Submit((4,), (None,), 10))
        outcome = Outcome(4, None, status, "why", None, 5, "more to say")
        span, instant = script(15, Cancel(4), Deliver(outcome))
        assert span == ItemSpan(10, 15, mine(4), None, status, "why", None, None)
        assert instant == Instant(15, status, None, mine(4), "why: more to say")

    def test_of_an_ensemble_end_when_they_are_classified(self, script):
        script(10, Submit((4,), ("tag",), 8))
        assert script(15, StageDone(0, 0, (4,), None), Classify(4, (b"", None))) == []
        outcome = Outcome(4, "tag", "result", "degraded", ANSWER, 9)
        (span,) = script(17, Classified(4, ANSWER.scores), Deliver(outcome))
        assert span[:6] == (8, 17, mine(4), "tag", "result", "degraded")


class TestTransfers:
    def test_last_until_their_verdict(self, met):
        sends = [sent(task(n, mine(n)), item=n) for n in (1, 2, 3)]
        assert met(10, Submit((1, 2, 3), (None,) * 3, 10), *sends) == []
        spans = met(20, told(ack(accepted=0b001, refused=0b100)))
        assert spans == [
            TransferSpan(10, 20, mine(1), 1, 2, ACCEPTED),
            TransferSpan(10, 20, mine(3), 1, 2, REFUSED),
        ]
        assert met(25, told(ack(accepted=0b001, refused=0b100))) == []
        (span,) = met(30, told(ack(accepted=0b1, base=4)))  # nobody asks about 2 any more
        assert span == TransferSpan(10, 30, mine(2), 1, 2, OPEN)

    def test_an_ack_of_another_session_settles_nothing(self, met):
        met(10, Submit((1,), (None,), 10), sent(task(1, mine(1)), item=1))
        assert met(20, told(ack(accepted=1), session=(OURS, 99))) == []
        assert met(20, told(ack(accepted=1), peer=3)) == []
        assert len(met(20, told(ack(accepted=1)))) == 1

    def test_that_are_repeated_are_one_span_and_a_mark(self, met):
        met(10, Submit((1,), (None,), 10), sent(task(1, mine(1)), item=1))
        (instant,) = met(500, Timer(WAKE), sent(task(1, mine(1)), item=1))
        assert instant == Instant(500, AGAIN, 2, mine(1), "Task")
        (span,) = met(600, told(ack(accepted=1)))
        assert (span.begin_us, span.end_us) == (10, 600)

    def test_end_with_the_link(self, met):
        met(10, Submit((1,), (None,), 10), sent(task(1, mine(1)), item=1))
        span, instant = met(20, PeerLost(2), CloseLink(2), OpenLink(2))
        assert span == TransferSpan(10, 20, mine(1), 1, 2, OPEN)
        assert instant == Instant(20, LOST, 2, None, "disconnected")

    def test_results_have_their_own_span(self, met):
        met(10, StageDone(0, 1, (-2,), None), sent(result(5, OTHER)))
        (span,) = met(30, told(ack(accepted=0b10000)))
        assert span == ResultSpan(10, 30, OTHER, "threshold", 2, ACCEPTED)


class TestLeases:
    def test_that_expire_are_seen_when_the_item_is_started_again(self, met):
        met(10, Submit((1,), (None,), 10), sent(task(1, mine(1)), item=1))
        met(20, told(ack(accepted=1)))
        (instant,) = met(30, Timer(WAKE), RunStage(0, 1, (1,), True))
        assert instant == Instant(30, LEASE, 2, mine(1), "started again")

    def test_also_when_it_is_sent_again(self, met):
        met(10, Submit((1,), (None,), 10), sent(task(1, mine(1)), item=1))
        (instant,) = met(30, Timer(WAKE), sent(task(2, mine(1), attempt=1), item=1))
        assert instant.name == LEASE

    @pytest.mark.parametrize(
        "event",
        [
            told(task(1, mine(1), stage=2)),  # it came back
            told(ack(refused=1)),
            told(result(1, mine(1), "stage_failed")),
        ],
    )
    def test_are_not_what_brings_it_back(self, met, event):
        met(10, Submit((1,), (None,), 10), sent(task(1, mine(1)), item=1))
        keeps = [Keep(1)] if isinstance(event.envelope.message, Task) else []
        met(20, event, *keeps)
        assert met(30, Timer(WAKE), RunStage(0, 1, (1,), True)) == []

    def test_are_not_needed_where_the_neighbour_is_lost(self, met):
        met(10, Submit((1,), (None,), 10), sent(task(1, mine(1)), item=1))
        spans = met(20, Timer(WAKE), CloseLink(2), OpenLink(2), RunStage(0, 1, (1,), True))
        assert [span.name for span in spans if isinstance(span, Instant)] == [LOST]


class TestNeighbours:
    @pytest.mark.parametrize(
        ("event", "name", "detail"),
        [
            (PeerLost(2), LOST, "disconnected"),
            (PeerGone(2), LOST, "removed"),
            (Timer(WAKE), LOST, "no answer"),
            (told(load(), session=(OURS, 33)), LOST, "started again"),
            (told(Bye(True)), LEFT, ""),
        ],
    )
    def test_are_lost_for_a_reason(self, met, event, name, detail):
        (instant,) = met(20, event, CloseLink(2), OpenLink(2), CloseLink(2))
        assert instant == Instant(20, name, 2, None, detail)

    def test_say_once_that_they_leave(self, met):
        assert met(10, told(Bye(False))) == [Instant(10, LEAVES, 2, None, "")]
        assert met(20, told(load(is_leaving=True))) == []

    def test_are_parted_from(self, met):
        met(5, Submit((1,), (None,), 10), sent(task(1, mine(1)), item=1))
        assert met(10, Leave()) == [Instant(10, LEAVING, None, None, "")]
        (span,) = met(20, Timer(WAKE), sent(Bye(True)))
        assert span.verdict == OPEN
        assert met(30, Timer(WAKE), CloseLink(2)) == []

    def test_are_up_again_with_another_session(self, met):
        met(10, PeerLost(2), CloseLink(2), OpenLink(2))
        (instant,) = met(20, told(load(), (55, 66)), sent(load(), session=(55, 66)))
        assert instant.name == UP


def test_what_is_open_at_the_end_is_said_once(met):
    met(
        10,
        Submit((1, 2), ("a", "b"), 9),
        sent(task(1, mine(1)), item=1),
        RunStage(0, 0, (2,), True),
    )
    assert met.tracker.finish(50) == [
        StageSpan(10, 50, 0, 0, (mine(2),), False),
        ItemSpan(9, 50, mine(1), "a", OPEN, "", None, None),
        ItemSpan(9, 50, mine(2), "b", OPEN, "", None, None),
        TransferSpan(10, 50, mine(1), 1, 2, OPEN),
    ]
    assert met.tracker.finish(50) == []


class Watch(Observer):
    """Tracks every process of a world, and counts beside it what its core did."""

    def __init__(self, simulator_of):
        self.trackers, self.spans, self.left = {}, {}, []
        self.run_count = self.delivered_count = 0
        self.running = {}  # by node: did it begin, and not end
        self.simulator = simulator_of(self)
        self.numbers = {body.name: body.worker_id for body in self.simulator.bodies}

    def on_start(self, node, epoch, now_us):
        self.trackers[node] = Tracker(self.numbers[node], epoch)
        self.spans.setdefault(node, [])

    def on_crash(self, node, now_us):
        self.left += self.trackers.pop(node).finish(now_us)

    def on_event(self, node, event, actions, now_us):
        self.run_count += sum(isinstance(action, RunStage) for action in actions)
        self.delivered_count += sum(isinstance(action, Deliver) for action in actions)
        body = next(body for body in self.simulator.bodies if body.name == node)
        local_us = body.clock.local_us(now_us)
        self.spans[node] += self.trackers[node].record(local_us, event, actions)

    def all(self, kind):
        """The spans of `kind` that have ended, of every node."""
        return [span for found in self.spans.values() for span in found if isinstance(span, kind)]


@pytest.fixture(scope="module", params=range(8))
def world(request):
    watch = Watch(lambda watch: Simulator(chaos.draw(request.param), request.param, observer=watch))
    watch.totals = watch.simulator.run(linger_us=REST_US)
    watch.open = [s for tracker in watch.trackers.values() for s in tracker.finish(10**12)]
    return watch


class TestWorlds:
    def test_every_run_is_a_span(self, world):
        lost = [span for span in world.left if isinstance(span, StageSpan)]
        hanging = [span for span in world.open if isinstance(span, StageSpan)]
        assert len(world.all(StageSpan)) + len(lost) + len(hanging) == world.run_count > 0
        assert len(hanging) == sum(body.hangs for body in world.simulator.bodies)

    def test_every_item_has_one_span(self, world):
        ended = world.all(ItemSpan)
        lost = [span.item for span in world.left if isinstance(span, ItemSpan)]
        assert len({span.item for span in ended}) == len(ended) == world.delivered_count > 0
        assert len(lost) == sum(source.lost_count for source in world.totals.sources)
        assert not set(lost) & {span.item for span in ended}
        statuses = {span.status for span in ended}
        assert statuses <= {"result", EXPIRED, FAILED}

    def test_spans_take_their_time(self, world):
        for found in world.spans.values():
            for span in found:
                if not isinstance(span, (Instant, Arrival)):
                    assert span.begin_us <= span.end_us

    def test_a_worker_computes_one_batch_at_a_time(self, world):
        for found in world.spans.values():
            runs = [span for span in found if isinstance(span, StageSpan)]
            for before, after in zip(runs, runs[1:]):
                assert before.end_us <= after.begin_us

    def test_nothing_stays_open_at_rest(self, world):
        if any(body.hangs for body in world.simulator.bodies):
            return
        assert not [s for s in world.open if isinstance(s, (StageSpan, ItemSpan))]
        # A task whose answer came first is asked about no more, and its Ack may have been lost.
        links = [
            peer.link
            for body in world.simulator.bodies
            if body.worker is not None
            for peer in body.worker.neighbours.values()
        ]
        assert not any(link.unsettled for link in links)

    def test_what_was_accepted_had_arrived(self, world):
        arrived = {(span.item, span.stage) for span in world.all(Arrival)}
        for span in world.all(TransferSpan):
            # A task that comes back to its source too late is accepted, and not kept.
            if span.verdict == ACCEPTED and span.peer != span.item.source:
                assert (span.item, span.stage) in arrived

    def test_counts_are_those_of_the_cores(self, world):
        counters = {}
        for node in world.totals.nodes:
            for name, count in node.counters.items():
                counters[name] = counters.get(name, 0) + count
        marks = [span.name for span in world.all(Instant)]
        assert marks.count(AGAIN) == counters.get("retransmissions", 0)
        assert marks.count(LEFT) <= counters.get("sessions_lost.left", 0)
        for why in ("disconnected", "started again"):
            found = [s for s in world.all(Instant) if s.name == LOST and s.detail == why]
            assert len(found) == counters.get("sessions_lost." + why.replace(" ", "_"), 0)
        guests = [
            span
            for node, found in world.spans.items()
            for span in found
            if isinstance(span, Arrival) and span.item.source != world.numbers[node]
        ]
        assert len(guests) == counters.get("tasks_received", 0)
        assert marks.count(LEASE) <= counters.get("leases_expired", 0)
