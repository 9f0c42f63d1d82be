"""The main loop: the order of events, timers, drivers, and how it ends."""

import threading
import time

import pytest

from edgesdk.core.events import (
    CancelTimer,
    Deliver,
    Outcome,
    Release,
    RunStage,
    SetTimer,
    Shutdown,
    StageDone,
    StageFailed,
    Timer,
)
from edgesdk.runtime.clock import now_us
from edgesdk.runtime.loop import Loop, Owner


class Script:
    """A core that notes every event and answers with the actions it was told to give."""

    def __init__(self):
        self.events = []
        self.answers = {}

    def handle(self, event, now_us):
        self.events.append(event)
        answer = self.answers.get(event, [])
        return answer(now_us) if callable(answer) else answer


class Stage:
    """An executor whose stages do what the test says."""

    def __init__(self):
        self.during = lambda: None
        self.released = []

    def run(self, action):
        self.during()
        return StageDone(action.part, action.stage, action.items, None)

    def release(self, item):
        self.released.append(item)


class Notes(Owner):
    def __init__(self):
        self.started, self.outcomes, self.shutdowns, self.callbacks = [], [], [], 0

    def on_started(self, items):
        self.started.append(items)

    def on_outcome(self, outcome):
        self.outcomes.append(outcome)

    def on_shutdown(self, detail):
        self.shutdowns.append(detail)

    def run_callbacks(self):
        self.callbacks += 1


@pytest.fixture
def parts():
    script, stage, notes = Script(), Stage(), Notes()
    loop = Loop(script, stage, notes)
    yield loop, script, stage, notes
    loop.close()


RUN = RunStage(0, 0, (1,), False)
DONE = StageDone(0, 0, (1,), None)
OUTCOME = Outcome(1, None, "result", "final", None, 5)


def turn(loop, count):
    """Turn `count` times."""
    for _ in range(count):
        loop._turn_until(lambda: True)


class TestOrder:
    def test_what_was_posted_meanwhile_comes_before_the_stage_that_ran(self, parts):
        loop, script, stage, _ = parts
        script.answers["go"] = [RUN]
        stage.during = lambda: loop.post("meanwhile")
        loop.post("go")
        turn(loop, 3)
        assert script.events == ["go", "meanwhile", DONE]

    def test_actions_are_carried_out_in_order(self, parts):
        loop, script, stage, notes = parts
        script.answers["end"] = [Deliver(OUTCOME), Release(1)]
        stage.release = lambda item: notes.outcomes.append("released")
        loop.post("end")
        turn(loop, 1)
        assert notes.outcomes == [OUTCOME, "released"]

    def test_an_item_starts_with_its_first_stage_only(self, parts):
        loop, script, _, notes = parts
        script.answers["go"] = [RUN]
        script.answers["on"] = [RUN._replace(stage=1)]
        for event in ("go", "on"):
            loop.post(event)
            turn(loop, 2)
        assert notes.started == [(1,)]

    def test_callbacks_run_after_every_turn_when_the_lock_is_free(self, parts):
        loop, _, _, notes = parts
        held = []
        notes.run_callbacks = lambda: held.append(loop._driving.locked())
        loop.post("a")
        turn(loop, 1)
        assert held == [False]


class TestTimers:
    def test_due_timers_come_first(self, parts):
        loop, script, _, _ = parts
        script.answers["set"] = lambda now: [SetTimer(7, now - 1)]
        loop.post("set")
        loop.post("later")
        turn(loop, 3)
        assert script.events == ["set", Timer(7), "later"]

    def test_not_before_their_time(self, parts):
        loop, script, _, _ = parts
        script.answers["set"] = lambda now: [SetTimer(7, now + 20_000)]
        loop.post("set")
        turn(loop, 2)
        assert script.events == ["set"]
        time.sleep(0.025)
        turn(loop, 1)
        assert script.events == ["set", Timer(7)]

    def test_a_cancelled_timer_never_rings(self, parts):
        loop, script, _, _ = parts
        script.answers["set"] = lambda now: [SetTimer(7, now - 1), CancelTimer(7)]
        loop.post("set")
        turn(loop, 3)
        assert script.events == ["set"]

    def test_a_timer_set_again_rings_at_the_new_time_only(self, parts):
        loop, script, _, _ = parts
        far = now_us() + 10**9
        script.answers["set"] = lambda now: [SetTimer(7, now - 1), SetTimer(7, far)]
        loop.post("set")
        turn(loop, 3)
        assert script.events == ["set"]


class TestDrivers:
    def test_driving_ends_when_it_is_done(self, parts):
        loop, script, _, _ = parts
        for event in "abc":
            loop.post(event)
        loop.drive(lambda: len(script.events) == 2)
        assert script.events == ["a", "b"]

    def test_an_outcome_frees_the_lock_for_whoever_waits_for_it(self, parts):
        loop, script, _, notes = parts
        script.answers["end"] = [Deliver(OUTCOME)]
        free_after = []
        notes.run_callbacks = lambda: free_after.append(list(script.events))
        for event in ("a", "end", "b"):
            loop.post(event)
        loop.drive(lambda: len(script.events) == 3)
        assert free_after == [["a", "end"], ["a", "end", "b"]]

    def test_what_was_posted_before_the_background_thread_began_is_not_lost(self, parts):
        loop, script, _, _ = parts
        seen = threading.Event()
        script.answers["early"] = lambda now: seen.set() or []
        loop.post("early")
        loop.start()
        assert seen.wait(20)

    def test_waiting_for_what_cannot_come_is_our_own_bug(self, parts):
        loop = parts[0]
        with pytest.raises(AssertionError, match="nothing is left to do"):
            loop.drive(lambda: False)

    def test_the_background_thread_takes_what_is_posted(self, parts):
        loop, script, _, _ = parts
        loop.start()
        loop.start()  # once is enough
        seen = threading.Event()
        script.answers["last"] = lambda now: seen.set() or []
        for event in ("a", "last"):
            loop.post(event)
        assert seen.wait(20)
        assert script.events == ["a", "last"]
        assert sum(t.name == "edgesdk" for t in threading.enumerate()) == 1

    def test_one_driver_at_a_time(self, parts):
        loop, script, _, _ = parts
        inside, most = [0], [0]

        def handle(event, now_us):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.0005)
            inside[0] -= 1
            script.events.append(event)
            return []

        script.handle = handle
        loop.start()
        events = list(range(200))

        def work(mine):
            for event in mine:
                loop.post(event)
                loop.drive(lambda event=event: event in script.events)

        threads = [threading.Thread(target=work, args=(events[i::4],)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert most[0] == 1
        assert sorted(script.events) == events


class TestStagesThatRaise:
    def test_become_an_event(self, parts):
        loop, script, stage, _ = parts
        script.answers["go"] = [RUN]

        def fail():
            raise ValueError("bad weights")

        stage.during = fail
        loop.post("go")
        turn(loop, 2)
        assert script.events[1] == StageFailed(0, 0, (1,), "stage 0: ValueError: bad weights")

    def test_an_interrupt_passes_but_the_core_hears_of_it(self, parts):
        loop, script, stage, _ = parts
        script.answers["go"] = [RUN]

        def interrupt():
            raise KeyboardInterrupt

        stage.during = interrupt
        loop.post("go")
        with pytest.raises(KeyboardInterrupt):
            turn(loop, 1)
        turn(loop, 1)
        assert isinstance(script.events[1], StageFailed)
        assert loop.closed_because is None


class TestClose:
    def test_the_core_shuts_down_after_what_was_posted(self, parts):
        loop, script, _, notes = parts
        loop.post("a")
        loop.close("closed", "because")
        assert script.events == ["a", Shutdown("closed", "because")]
        assert notes.shutdowns == ["because"]
        assert loop.closed_because == "because"

    def test_no_stage_begins_any_more(self, parts):
        loop, script, stage, _ = parts
        script.answers["go"] = [RUN]
        ran = []
        stage.during = lambda: ran.append(1)
        loop.post("go")
        loop.close()
        assert ran == []

    def test_what_is_posted_afterwards_ends_at_once(self, parts):
        loop, script, _, notes = parts
        loop.close()
        loop.post("late")
        assert script.events[-2] == "late" and isinstance(script.events[-1], Shutdown)
        assert len(notes.shutdowns) == 2

    def test_stops_the_background_thread(self, parts):
        loop = parts[0]
        loop.start()
        thread = loop._thread
        loop.close()
        assert not thread.is_alive()

    def test_a_core_that_breaks_closes_the_loop(self, parts):
        loop, script, _, notes = parts

        def broken(event, now_us):
            raise ZeroDivisionError("bug")

        script.handle = broken
        loop.post("a")
        with pytest.raises(ZeroDivisionError):
            turn(loop, 1)
        assert "must be opened anew" in loop.closed_because
        assert len(notes.shutdowns) == 1
