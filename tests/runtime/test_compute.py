"""The compute thread: one run after the other, whatever a stage does."""

import contextlib
import threading
import time
from types import SimpleNamespace

import pytest

from edgesdk.core.events import RunStage
from edgesdk.runtime.compute import ComputeThread

WAIT_S = 20


class Stages:
    """An executor whose runs do what the test says; `ended` collects what was said of them."""

    def __init__(self):
        self.ended = []
        self.has_ended = threading.Semaphore(0)
        self.threads = set()
        self.begun = threading.Semaphore(0)

    def compute(self, run):
        self.threads.add(threading.current_thread().name)
        self.begun.release()
        run.what()

    def done(self, run, error):
        self.ended.append((run, error))
        self.has_ended.release()

    def wait_until_ended(self):
        assert self.has_ended.acquire(timeout=WAIT_S)


def run_of(what=lambda: None):
    return SimpleNamespace(what=what, action=RunStage(0, 1, (1, 2), True))


@pytest.fixture
def stages():
    return Stages()


@pytest.fixture
def compute(stages):
    thread = ComputeThread(stages, stages.done)
    yield thread
    thread.close(WAIT_S)


class TestRuns:
    def test_are_computed_in_order_in_one_thread(self, stages, compute):
        runs = [run_of() for _ in range(50)]
        for run in runs:
            compute.start(run)
        for _ in runs:
            stages.wait_until_ended()
        assert [run for run, error in stages.ended] == runs
        assert {error for _, error in stages.ended} == {None}
        assert stages.threads == {"edgesdk-compute"}

    def test_know_how_long_they_took(self, stages, compute):
        gate = threading.Event()
        compute.start(run_of(lambda: gate.wait(WAIT_S)))
        threading.Timer(0.02, gate.set).start()
        stages.wait_until_ended()
        assert stages.ended[0][0].taken_us >= 10_000

    @pytest.mark.parametrize("error", [ValueError("weights"), MemoryError(), SystemExit(3)])
    def test_that_raise_say_so_and_the_next_one_runs(self, stages, compute, error):
        def fail():
            raise error

        compute.start(run_of(fail))
        compute.start(run_of())
        stages.wait_until_ended()
        stages.wait_until_ended()
        assert [found for _, found in stages.ended] == [error, None]


class TestPace:
    def test_is_asked_around_every_run(self, stages):
        seen = []

        class Pace:
            @contextlib.contextmanager
            def stage(self, action, closing):
                seen.append(("begin", action))
                yield
                seen.append(("end", closing.is_set()))

        compute = ComputeThread(stages, stages.done, Pace())
        run = run_of(lambda: seen.append("computed"))
        compute.start(run)
        stages.wait_until_ended()
        compute.close(WAIT_S)
        assert seen == [("begin", run.action), "computed", ("end", False)]


class TestClose:
    def test_ends_the_thread_twice_is_once(self, compute):
        assert compute.close(WAIT_S) and compute.close(WAIT_S)

    def test_does_not_wait_for_a_stage_that_hangs(self, stages, compute):
        gate = threading.Event()
        compute.start(run_of(lambda: gate.wait(WAIT_S)))
        assert stages.begun.acquire(timeout=WAIT_S)
        assert not compute.close(0.05)
        begun_s = time.monotonic()
        assert not compute.close(WAIT_S)  # nobody waits a second time
        assert time.monotonic() - begun_s < WAIT_S / 2
        gate.set()

    def test_what_was_not_begun_is_not_computed(self, stages, compute):
        gate, never = threading.Event(), []
        compute.start(run_of(lambda: gate.wait(WAIT_S)))
        compute.start(run_of(lambda: never.append(1)))
        assert stages.begun.acquire(timeout=WAIT_S)
        assert not compute.close(0)
        gate.set()
        compute._thread.join(WAIT_S)
        assert compute.close(WAIT_S) and never == []

    def test_from_inside_a_run_does_not_wait_for_itself(self, stages, compute):
        answers = []
        compute.start(run_of(lambda: answers.append(compute.close(WAIT_S))))
        stages.wait_until_ended()
        assert answers == [False]  # it still runs, of course
        assert compute.close(WAIT_S)
