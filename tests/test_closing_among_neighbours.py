"""How a pipeline among neighbours ends: in every state, from everywhere, and leaving nothing."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tiny
from clusters import CAMERA, HELPER, WAIT_S, Clustered, eventually, nothing_more_than, used, worker
from gated import dim

from edgesdk import ConfigError, Failed, Pipeline

OVER = ["memory", "sockets"]


@pytest.fixture(params=OVER)
def pair(request, tmp_path, bundle):
    """A camera that computes nothing, a helper that waits for the test, and their cluster."""
    if request.param == "sockets":
        pytest.importorskip("zmq")
    made = Clustered(tmp_path, bundle, request.param).describe(CAMERA, HELPER)
    helper, camera = made.open("helper", gated=True), made.open("camera")
    made.meet()
    yield camera, helper, made
    made.close()


def seconds_of(action, *arguments, **options):
    begun_s = time.monotonic()
    action(*arguments, **options)
    return time.monotonic() - begun_s


class TestStates:
    def test_idle(self, pair):
        camera, helper, _ = pair
        assert seconds_of(camera.close) < 5
        eventually(lambda: helper.stats()["neighbours"] == {} or is_absent(helper, "camera"))
        with pytest.raises(ConfigError, match="closed; open a new one"):
            camera.infer(dim()[0])

    def test_before_anybody_was_there(self, tmp_path, bundle):
        made = Clustered(tmp_path, bundle, "memory").describe(CAMERA, HELPER)
        camera = made.open("camera")
        future = camera.submit(dim()[0])
        assert seconds_of(camera.close, timeout=0.3) < 5
        with pytest.raises(Failed, match="closed") as caught:
            future.result(0)
        assert caught.value.reason == "closed"

    def test_what_is_elsewhere_is_answered_first(self, pair):
        camera, helper, _ = pair
        helper.gated.gate.clear()
        futures = [camera.submit(dim()[0]) for _ in range(20)]
        helper.gated.wait_until_entered()
        threading.Timer(0.05, helper.gated.gate.set).start()
        assert seconds_of(camera.close) < 9
        assert all(future.result(0).ok for future in futures)

    def test_without_draining_it_fails_and_the_neighbour_drops_it(self, pair):
        camera, helper, _ = pair
        helper.gated.gate.clear()
        futures = [camera.submit(dim()[0]) for _ in range(20)]
        helper.gated.wait_until_entered()
        assert seconds_of(camera.close, drain=False) < 5
        for future in futures:
            with pytest.raises(Failed, match="closed"):
                future.result(0)
        helper.gated.gate.set()
        eventually(lambda: is_absent(helper, "camera"))

    def test_what_is_here_for_others_is_ended_first(self, pair):
        camera, helper, _ = pair
        helper.gated.gate.clear()
        futures = [camera.submit(dim()[0]) for _ in range(4)]
        helper.gated.wait_until_entered()
        eventually(lambda: helper.stats()["counters"].get("tasks_received", 0) == 4)
        threading.Timer(0.05, helper.gated.gate.set).start()
        helper.close()
        assert all(future.result(WAIT_S).ok for future in futures)

    @pytest.mark.parametrize("drain", [True, False])
    def test_a_stage_that_hangs_does_not_hang_it(self, pair, drain):
        camera, helper, _ = pair
        helper.gated.gate.clear()
        camera.submit(dim()[0])
        helper.gated.wait_until_entered()
        assert seconds_of(helper.close, drain=drain, timeout=0.2) < 6
        helper.gated.gate.set()

    def test_a_neighbour_that_answers_no_more_does_not_hang_it(self, pair):
        camera, helper, _ = pair
        helper.gated.gate.clear()
        future = camera.submit(dim()[0])
        helper.gated.wait_until_entered()
        helper._loop._transport.send = lambda *message: None  # a partition of one direction
        helper.gated.gate.set()
        assert seconds_of(camera.close, timeout=0.5) < 5
        with pytest.raises(Failed, match="closed"):
            future.result(0)

    def test_nothing_is_taken_while_it_closes(self, pair):
        camera, helper, _ = pair
        helper.gated.gate.clear()
        running = camera.submit(dim()[0])
        helper.gated.wait_until_entered()
        closing = threading.Thread(target=camera.close)
        closing.start()
        eventually(lambda: camera._is_refusing)
        with pytest.raises(ConfigError, match="being closed"):
            camera.submit(dim()[0])
        helper.gated.gate.set()
        closing.join(WAIT_S)
        assert running.result(0).ok


def is_absent(pipe, name):
    return pipe.stats()["neighbours"].get(name, {}).get("state") in (None, "absent", "greeting")


class TestPlaces:
    def test_twice_and_from_several_threads(self, pair):
        camera, _, _ = pair
        camera.submit(dim()[0]).result(WAIT_S)
        threads = [threading.Thread(target=camera.close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        camera.close()

    def test_from_a_callback(self, pair):
        camera, _, _ = pair
        future = camera.submit(dim()[0])
        closed = threading.Event()

        def close(done):
            camera.close()
            closed.set()

        future.add_done_callback(close)
        assert future.result(WAIT_S).ok
        assert closed.wait(WAIT_S)
        assert threads_of(camera) == []

    @pytest.mark.parametrize("drain", [True, False])
    def test_while_many_threads_infer(self, pair, drain):
        """No thread may touch a socket that another one closes: libzmq would end the process."""
        camera, _, made = pair
        for _ in range(6):
            problems, started = [], threading.Barrier(5)

            def work(camera=camera, problems=problems, started=started):
                started.wait(WAIT_S)
                try:
                    while True:
                        camera.infer(tiny.image(0.55))
                except (Failed, ConfigError) as error:
                    if "clos" not in str(error):
                        problems.append(error)
                except BaseException as error:
                    problems.append(error)

            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            started.wait(WAIT_S)
            time.sleep(0.02)
            camera.close(drain=drain, timeout=5)
            for thread in threads:
                thread.join(WAIT_S)
                assert not thread.is_alive()
            assert problems == []
            camera = made.open("camera")
            made.meet()

    def test_while_others_submit(self, pair):
        camera, _, _ = pair
        futures, problems = [], []

        def work():
            try:
                while True:
                    futures.append(camera.submit(dim()[0]))
            except ConfigError:
                return
            except BaseException as error:
                problems.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        camera.close(drain=False)
        for thread in threads:
            thread.join(WAIT_S)
        assert problems == []
        for future in futures:  # each has its outcome, whatever it is
            assert future.cancelled() or future.exception(1) is None or future.exception(1).reason

    @pytest.mark.parametrize("when", ["inside a turn", "waiting", "idle"])
    def test_from_a_signal_handler(self, pair, when):
        camera, helper, _ = pair
        fired = []

        def handler(number, frame):
            fired.append(seconds_of(camera.close))

        before = signal.signal(signal.SIGUSR1, handler)
        try:
            if when == "idle":
                os.kill(os.getpid(), signal.SIGUSR1)
            elif when == "waiting":
                helper.gated.gate.clear()
                timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
                timer.start()
                with pytest.raises(Failed, match="closed"):
                    camera.infer(dim()[0])
                timer.join()
            else:
                interrupt_a_turn(camera)
                with pytest.raises((Failed, ConfigError), match="closed"):
                    for _ in range(1000):
                        camera.infer(dim()[0])
        finally:
            signal.signal(signal.SIGUSR1, before)
            helper.gated.gate.set()
        assert len(fired) == 1 and fired[0] < 5
        eventually(lambda: threads_of(camera) == [])
        eventually(lambda: camera._loop._transport._is_closed)

    def test_after_an_interrupt_in_infer(self, pair):
        camera, helper, _ = pair
        helper.gated.gate.clear()
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            camera.infer(dim()[0])
        timer.join()
        helper.gated.gate.set()
        assert camera.infer(dim()[0]).ok
        eventually(lambda: camera.stats()["in_flight_count"] == 0)

    def test_an_error_in_a_with_block_waits_for_nothing(self, pair):
        camera, helper, _ = pair
        helper.gated.gate.clear()
        with pytest.raises(ZeroDivisionError), camera:
            future = camera.submit(dim()[0])
            helper.gated.wait_until_entered()
            raise ZeroDivisionError
        with pytest.raises(Failed, match="closed"):
            future.result(0)

    def test_a_bug_of_ours_breaks_it_loudly_and_leaves_nothing(self, pair):
        camera, helper, _ = pair

        def broken(event, now_us):
            raise ZeroDivisionError("bug")

        helper.gated.gate.clear()
        camera.submit(dim()[0])
        helper.gated.wait_until_entered()
        with camera._loop._driving:
            camera._loop._worker.handle = broken
        with pytest.raises((ZeroDivisionError, Failed, ConfigError)):
            camera.infer(dim()[0])
        with pytest.raises(ConfigError, match=r"the pipeline broke.*open a new one"):
            camera.infer(dim()[0])
        eventually(lambda: camera._loop._transport._is_closed)
        camera.close()
        assert threads_of(camera) == []


def threads_of(pipe):
    """Those that still run for `pipe`."""
    loop = pipe._loop
    mine = [loop._thread, loop._compute._thread]
    return [thread for thread in mine if thread is not None and thread.is_alive()]


def interrupt_a_turn(pipe):
    """Send a signal while the main thread is inside a turn of the loop."""
    handle, main, sent = pipe._loop._worker.handle, threading.main_thread(), []

    def interrupted(event, now_us):
        if threading.current_thread() is main and not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGUSR1)
        return handle(event, now_us)

    pipe._loop._worker.handle = interrupted


class TestWhatIsLeft:
    @pytest.mark.parametrize("over", OVER)
    def test_no_thread_and_no_descriptor(self, tmp_path, bundle, over):
        if over == "sockets":
            pytest.importorskip("zmq")
        made = Clustered(tmp_path, bundle, over).describe(CAMERA, HELPER)

        def once():
            helper, camera = made.open("helper"), made.open("camera")
            assert camera.submit(dim()[0]).result(WAIT_S).ok
            camera.close()
            helper.close()

        once()  # what onnxruntime and pyzmq keep for ever
        before = used()
        for _ in range(10):
            once()
        eventually(lambda: nothing_more_than(before))

    @pytest.mark.parametrize("over", OVER)
    def test_of_one_that_was_forgotten(self, tmp_path, bundle, over):
        if over == "sockets":
            pytest.importorskip("zmq")
        made = Clustered(tmp_path, bundle, over).describe(CAMERA, HELPER)
        made.open("helper").close()
        before = used()
        pipe = made.open("helper")
        loop = pipe._loop
        made.pipes.clear()
        del pipe
        gc.collect()
        assert loop.closed_because is not None
        eventually(lambda: nothing_more_than(before))

    def test_of_one_that_could_not_be_opened(self, tmp_path, bundle):
        pytest.importorskip("zmq")
        made = Clustered(tmp_path, bundle, "sockets").describe(CAMERA, HELPER)
        first = made.open("helper")
        before = used()
        for _ in range(3):
            with pytest.raises(Exception, match="has the port"):
                made.open("helper")
        eventually(lambda: nothing_more_than(before))
        first.close()

    def test_exiting_without_close_does_not_hang(self, tmp_path, bundle):
        pytest.importorskip("zmq")
        made = Clustered(tmp_path, bundle, "sockets").describe(worker("only"))
        program = (
            "import sys, numpy, edgesdk\n"
            "pipe = edgesdk.Pipeline.open(cluster=sys.argv[1], name='only')\n"
            "print(pipe.submit(numpy.zeros((6, 6), 'uint8')).result().label)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, made.path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60,
        )
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"dark", b"")

    def test_a_fork_is_told_to_open_its_own(self, pair):
        camera, helper, _ = pair
        child = os.fork()
        if child == 0:
            status = 3
            try:
                camera.infer(np.zeros((6, 6), np.uint8))
            except ConfigError as error:
                camera.close()
                helper.close()
                status = 0 if "does not work in its fork" in str(error) else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert camera.infer(dim()[0]).ok


class TestServing:
    def test_outside_a_cluster_there_is_nobody_to_serve(self, bundle):
        with Pipeline.open(bundle.path) as alone, pytest.raises(ConfigError, match="no neighbours"):
            alone.serve(lambda: True)

    def test_ends_when_told_and_when_it_is_closed(self, pair):
        camera, helper, _ = pair
        stop = threading.Event()
        serving = threading.Thread(target=helper.serve, args=(stop.is_set,))
        serving.start()
        assert camera.infer(dim()[0]).ok
        stop.set()
        serving.join(2)
        assert not serving.is_alive()
        serving = threading.Thread(target=helper.serve, args=(lambda: False,))
        serving.start()
        assert camera.infer(dim()[0]).ok
        helper.close()
        serving.join(2)
        assert not serving.is_alive()
