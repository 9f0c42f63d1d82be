"""The loop among neighbours: stages beside it and in it, who drives, messages in time, the end."""

import threading
import time
from collections import deque

import pytest
from test_loop import DONE, OUTCOME, RUN, Notes, Script, Stage

from edgesdk.core.events import (
    Admit,
    CloseLink,
    Deliver,
    Keep,
    Leave,
    OpenLink,
    RunStage,
    Send,
    SetTimer,
    Shutdown,
    StageDone,
    StageFailed,
    Timer,
)
from edgesdk.core.messages import Bye, Envelope, ItemId, Task
from edgesdk.runtime.fleet_loop import HUNG_MAX, INLINE_US_MAX, FleetLoop
from edgesdk.runtime.inprocess import Hub, InProcess

WAIT_S = 20
FIRST_TASK = Task(1, 1, ItemId(1, 1, 3), 0, 0, 0, 1, 0, 0.5, (0, 0))


class Core(Script):
    """`Script` with the properties of a worker among neighbours."""

    def __init__(self):
        super().__init__()
        self.neighbours = {}
        self.has_parted = False


class Running:
    """What `Executor.begin` gives."""

    def __init__(self, action):
        self.action = action
        self.taken_us = 0


class Stages(Stage):
    """An executor whose stages do what the test says, in the loop or beside it."""

    def __init__(self):
        super().__init__()
        self.threads, self.abandoned, self.forsaken = [], [], []

    def begin(self, action):
        return Running(action)

    def compute(self, run):
        self.threads.append(threading.current_thread().name)
        self.during()

    def run(self, action):
        self.threads.append("loop")
        return super().run(action)

    def finish(self, run):
        return StageDone(run.action.part, run.action.stage, run.action.items, None)

    def abandon(self, run):
        self.abandoned.append(run.action)

    def forsake(self, run):
        self.forsaken.append(run.action)


class Wire:
    """A network that has for the loop what the test puts in, and notes what it is told."""

    def __init__(self):
        self.transport = InProcess(Hub(), 1)
        self.names = {}
        self.incoming, self.told = deque(), []

    def put(self, event):
        self.incoming.append(event)
        self.transport.wake()

    def receive(self, now_us):
        return self.incoming.popleft() if self.incoming else None

    def send(self, action):
        self.told.append(action)

    keep = open_link = close_link = send


class Notebook(Notes):
    def __init__(self):
        super().__init__()
        self.admitted = []

    def on_admit(self, action):
        self.admitted.append(action)


class Parts:
    def __init__(self, pace=None, writers=()):
        self.core, self.stages, self.notes, self.wire = Core(), Stages(), Notebook(), Wire()
        self.loop = FleetLoop(self.core, self.stages, self.notes, self.wire, pace, writers)

    def drive_until(self, condition):
        until_s = time.monotonic() + WAIT_S
        self.loop.drive(lambda: condition() or time.monotonic() > until_s)
        assert condition()

    def answer(self, event, *actions):
        self.core.answers[event] = list(actions)


@pytest.fixture
def parts():
    made = Parts()
    yield made
    made.loop.close()


class TestEvents:
    def test_timers_first_then_the_application_then_messages(self, parts):
        parts.core.answers["set"] = lambda now: [SetTimer(7, now - 1)]
        parts.wire.put("message")
        for event in ("set", "posted"):
            parts.loop.post(event)
        parts.drive_until(lambda: len(parts.core.events) == 4)
        assert parts.core.events == ["set", Timer(7), "posted", "message"]

    def test_actions_reach_the_network_and_the_owner(self, parts):
        envelope = Envelope(1, 2, Bye(True))
        actions = [OpenLink(2), Send(2, "control", envelope), Keep(-2), CloseLink(2)]
        parts.answer("go", *(actions + [Admit(100, None)]))
        parts.loop.post("go")
        parts.drive_until(lambda: parts.core.events)
        assert parts.wire.told == actions
        assert parts.notes.admitted == [Admit(100, None)]

    def test_an_item_has_begun_when_its_first_task_leaves(self, parts):
        envelope = Envelope(1, 2, FIRST_TASK)
        later = envelope._replace(message=FIRST_TASK._replace(stage=1))
        parts.answer(
            "go",
            Send(2, "data", envelope, 3),
            Send(2, "data", later, 3),
            Send(2, "data", envelope, -2),
        )
        parts.loop.post("go")
        parts.drive_until(lambda: parts.core.events)
        assert parts.notes.started == [(3,)]
        assert len(parts.wire.told) == 3

    def test_a_message_wakes_who_drives(self, parts):
        threading.Timer(0.02, parts.wire.put, ("message",)).start()
        begun_s = time.monotonic()
        parts.drive_until(lambda: parts.core.events == ["message"])
        assert time.monotonic() - begun_s < 5


class TestStagesBeside:
    def test_messages_and_timers_do_not_wait_for_one(self, parts):
        gate = threading.Event()
        parts.stages.during = lambda: gate.wait(WAIT_S)
        parts.answer("go", RUN)
        parts.loop.post("go")
        parts.wire.put("heartbeat")
        parts.core.answers["heartbeat"] = lambda now: [SetTimer(-1, now + 1000)]
        parts.drive_until(lambda: Timer(-1) in parts.core.events)
        assert parts.core.events == ["go", "heartbeat", Timer(-1)]
        gate.set()
        parts.drive_until(lambda: DONE in parts.core.events)
        assert parts.stages.threads == ["edgesdk-compute"]

    def test_one_that_raises_fails_its_items(self, parts):
        def fail():
            raise ValueError("bad weights")

        parts.stages.during = fail
        parts.answer("go", RUN)
        parts.loop.post("go")
        parts.drive_until(lambda: len(parts.core.events) == 2)
        assert parts.core.events[1] == StageFailed(0, 0, (1,), "stage 0: ValueError: bad weights")
        assert parts.stages.abandoned == [RUN]

    def test_one_that_hangs_fails_its_items_and_the_next_one_runs(self, parts):
        gate, parts.loop.stage_us_max = threading.Event(), 20_000
        parts.stages.during = lambda: gate.wait(WAIT_S)
        parts.answer("go", RUN)
        parts.loop.post("go")
        parts.drive_until(lambda: len(parts.core.events) == 2)
        assert parts.core.events[1] == StageFailed(0, 0, (1,), "stage 0: has run for 0.02 s")
        assert parts.stages.forsaken == [RUN]
        parts.stages.during = lambda: None
        parts.loop.post("go")
        parts.drive_until(lambda: DONE in parts.core.events)
        gate.set()  # what comes of the first one now is nobody's
        time.sleep(0.02)
        parts.loop.post("last")
        parts.drive_until(lambda: "last" in parts.core.events)
        assert parts.core.events.count(DONE) == 1

    def test_too_many_that_hang_are_the_end(self, parts):
        gates = []

        def hang():
            gates.append(threading.Event())
            gates[-1].wait(WAIT_S)

        parts.stages.during, parts.loop.stage_us_max = hang, 1000
        parts.answer("go", RUN)
        with pytest.raises(RuntimeError, match="as others before"):
            for _ in range(HUNG_MAX):
                count = len(parts.core.events) + 2
                parts.loop.post("go")
                parts.drive_until(lambda count=count: len(parts.core.events) >= count)
        for gate in gates:
            gate.set()
        assert "must be opened anew" in parts.loop.closed_because


class TestStagesInTheLoop:
    def run_one(self, parts, action=RUN):
        parts.answer("go", action)
        count = len(parts.core.events) + 2
        parts.loop.post("go")
        parts.drive_until(lambda: len(parts.core.events) >= count)
        return parts.stages.threads[-1]

    def test_are_those_that_were_short(self, parts):
        assert self.run_one(parts) == "edgesdk-compute"  # nobody knows yet
        parts.loop._longest_us[(0, 1)] = 10.0
        assert self.run_one(parts) == "loop"
        assert self.run_one(parts, RUN._replace(items=(1, 2))) == "edgesdk-compute"
        assert self.run_one(parts, RUN._replace(stage=1)) == "edgesdk-compute"

    def test_one_that_takes_longer_goes_back(self, parts):
        parts.loop._longest_us[(0, 1)] = 10.0
        parts.stages.during = lambda: time.sleep(3e-6 * INLINE_US_MAX)
        assert [self.run_one(parts), self.run_one(parts)] == ["loop", "edgesdk-compute"]

    def test_are_none_of_a_paced_device(self):
        class Pace:
            def stage(self, action, closing):
                return threading.Lock()

        parts = Parts(Pace())
        assert {self.run_one(parts) for _ in range(5)} == {"edgesdk-compute"}
        parts.loop.close()

    def test_do_not_keep_messages_waiting(self, parts):
        """Each finished stage begins the next one: there is always something to do."""
        parts.loop._longest_us[(0, 1)] = 1.0
        parts.stages.during = lambda: None
        ran = []
        parts.core.answers[DONE] = lambda now: ran.append(1) or ([RUN] if len(ran) < 2000 else [])
        parts.answer("go", RUN)
        for number in range(20):
            parts.wire.put(number)
        parts.loop.post("go")
        parts.drive_until(lambda: len(ran) == 2000)
        in_time = [event for event in parts.core.events[:200] if isinstance(event, int)]
        assert in_time == list(range(20))


class TestDrivers:
    def test_the_background_thread_drives_while_nobody_else_does(self, parts):
        parts.loop.start()
        seen = threading.Event()
        parts.core.answers["message"] = lambda now: seen.set() or []
        parts.wire.put("message")
        assert seen.wait(WAIT_S)

    def test_who_waits_drives_and_gets_what_the_background_thread_saw(self, parts):
        parts.loop.start()
        by = []
        parts.core.answers["message"] = lambda now: by.append(threading.current_thread().name) or []
        for number in range(1, 30):
            threading.Timer(0.001, parts.wire.put, ("message",)).start()
            parts.drive_until(lambda number=number: len(by) >= number)
        assert len(by) == 29

    def test_those_who_look_on_hear_of_every_outcome(self, parts):
        """Two wait; only one of them drives."""
        parts.answer("end", Deliver(OUTCOME))
        slow = []

        def wait_for(count):
            begun_s = time.monotonic()
            parts.loop.drive(lambda: len(parts.notes.outcomes) >= count)
            slow.append(time.monotonic() - begun_s)

        threads = [threading.Thread(target=wait_for, args=(count,)) for count in (2, 1, 1)]
        for thread in threads:
            thread.start()
        time.sleep(0.02)
        parts.wire.put("end")
        time.sleep(0.05)
        parts.wire.put("end")
        for thread in threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        assert max(slow) < 5

    def test_one_at_a_time(self, parts):
        inside, most = [0], [0]

        def handle(event, now_us):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.0003)
            inside[0] -= 1
            parts.core.events.append(event)
            return []

        parts.core.handle = handle
        parts.loop.start()

        def work(mine):
            for event in mine:
                (parts.loop.post if event % 2 else parts.wire.put)(event)
                parts.loop.drive(lambda event=event: event in parts.core.events)

        threads = [threading.Thread(target=work, args=(range(i, 160, 4),)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert most[0] == 1 and sorted(parts.core.events) == list(range(160))


class TestLeaving:
    def test_until_the_core_has_parted(self, parts):
        parts.core.answers[Leave()] = lambda now: setattr(parts.core, "has_parted", True) or []
        assert parts.loop.leave(WAIT_S)

    def test_or_it_takes_too_long(self, parts):
        begun_s = time.monotonic()
        assert not parts.loop.leave(0.05)
        assert 0.04 < time.monotonic() - begun_s < 5

    def test_or_it_is_closed(self, parts):
        threading.Timer(0.02, parts.loop.close).start()
        assert not parts.loop.leave(WAIT_S)


class TestClose:
    def test_frees_everything_once(self, parts):
        parts.loop.start()
        parts.loop.close()
        assert parts.wire.transport._is_closed
        assert not parts.loop._compute._thread.is_alive() and not parts.loop._thread.is_alive()
        parts.loop.close()
        assert parts.core.events == [Shutdown("closed", "the pipeline was closed")] * 2

    def test_who_waits_has_its_outcomes_when_drive_returns(self, parts):
        """However close() and the driver meet, what was open has ended."""
        for _ in range(60):
            made = Parts()
            made.loop.start()
            closer = threading.Thread(target=made.loop.close)
            closer.start()
            made.loop.drive(lambda made=made: bool(made.notes.shutdowns))
            assert made.notes.shutdowns
            closer.join(WAIT_S)

    def test_that_begins_just_after_a_turn_is_seen_by_who_drives(self, parts):
        turn, closing = parts.loop._turn_until, Shutdown("closed", "by another thread")

        def turn_and_meanwhile(done):
            found = turn(done)
            parts.loop._closing = closing  # it is about to shut the core down
            return found

        parts.loop._turn_until = turn_and_meanwhile
        parts.loop.drive(lambda: bool(parts.notes.shutdowns))
        assert parts.notes.shutdowns == ["by another thread"]

    def test_from_inside_a_turn_frees_when_the_turn_ends(self, parts):
        def close(now):
            parts.loop.close()
            assert not parts.wire.transport._is_closed
            return [Send(2, "control", Envelope(1, 2, Bye(True)))]

        parts.core.answers["close"] = close
        parts.loop.post("close")
        parts.loop.drive(lambda: bool(parts.notes.shutdowns))
        assert parts.wire.transport._is_closed
        assert not parts.loop._compute._thread.is_alive()

    def test_afterwards_nothing_is_sent_or_received(self, parts):
        parts.answer("late", Send(2, "control", Envelope(1, 2, Bye(True))), OpenLink(2))
        parts.loop.close()
        told = list(parts.wire.told)
        parts.wire.incoming.append("message")
        parts.loop.post("late")
        parts.loop._turn_until(lambda: True)  # as a thread that was about to drive
        assert "late" in parts.core.events and "message" not in parts.core.events
        assert parts.wire.told == told

    def test_a_core_that_breaks_frees_everything(self, parts):
        def broken(event, now_us):
            raise ZeroDivisionError("bug")

        parts.core.handle = broken
        parts.loop.post("a")
        with pytest.raises(ZeroDivisionError):
            parts.loop.drive(lambda: False)
        assert "must be opened anew" in parts.loop.closed_because
        assert parts.wire.transport._is_closed and len(parts.notes.shutdowns) == 1

    def test_no_stage_begins_any_more(self, parts):
        parts.answer("go", RunStage(0, 0, (1,), False))
        parts.loop.post("go")
        parts.loop.close()
        assert parts.stages.threads == []


class TestTrace:
    class Trace:
        def __init__(self):
            self.recorded, self.failed, self.closed = [], [], 0

        def record(self, at_us, event, actions):
            self.recorded.append((event, actions))

        def record_failure(self, at_us, event, error):
            self.failed.append((event, error))

        def close(self):
            self.closed += 1

    def test_has_every_event_and_what_came_of_it(self):
        trace = self.Trace()
        parts = Parts(writers=[trace])
        parts.answer("go", RUN)
        parts.loop.post("go")
        parts.drive_until(lambda: DONE in parts.core.events)
        parts.loop.close()
        shutdown = Shutdown("closed", "the pipeline was closed")
        assert trace.recorded == [("go", [RUN]), (DONE, []), (shutdown, [])]
        assert trace.closed == 1

    def test_ends_with_the_event_that_broke_the_core(self):
        trace = self.Trace()
        parts = Parts(writers=[trace])
        error = ZeroDivisionError("bug")

        def broken(event, now_us):
            raise error

        parts.core.handle = broken
        parts.loop.post("a")
        with pytest.raises(ZeroDivisionError):
            parts.loop.drive(lambda: False)
        assert trace.failed == [("a", error)] and trace.closed == 1
