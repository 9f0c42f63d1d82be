"""How a `Pipeline` ends: in every state, from everywhere, and what becomes of its images."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from gated import dim

from edgesdk import ConfigError, Failed, Pipeline


class TestClose:
    def test_what_is_in_flight_fails_and_what_comes_later_is_refused(self, gated):
        pipe, backend = gated()
        backend.gate.clear()
        running = pipe.submit(dim()[0])
        backend.wait_until_entered()
        waiting = pipe.submit(dim()[0])
        threading.Timer(0.05, backend.gate.set).start()
        pipe.close(drain=False)
        for future in (running, waiting):
            with pytest.raises(Failed, match="the pipeline was closed") as caught:
                future.result(20)
            assert caught.value.reason == "closed"
        with pytest.raises(ConfigError, match="the pipeline was closed; open a new one"):
            pipe.infer(dim()[0])

    def test_what_is_in_flight_is_answered_first_if_there_is_time(self, gated):
        pipe, backend = gated()
        backend.gate.clear()
        futures = [pipe.submit(dim()[0]) for _ in range(3)]
        backend.wait_until_entered()
        threading.Timer(0.05, backend.gate.set).start()
        pipe.close()
        assert all(future.result(0).ok for future in futures)

    def test_nothing_is_taken_while_it_closes(self, gated):
        pipe, backend = gated()
        backend.gate.clear()
        running = pipe.submit(dim()[0])
        backend.wait_until_entered()
        closing = threading.Thread(target=pipe.close)
        closing.start()
        while not pipe._is_refusing:
            time.sleep(0.001)
        with pytest.raises(ConfigError, match="being closed; open a new one"):
            pipe.submit(dim()[0])
        backend.gate.set()
        closing.join(20)
        assert running.result(0).ok

    def test_an_error_in_a_with_block_waits_for_nothing(self, gated):
        pipe, backend = gated()
        backend.gate.clear()
        with pytest.raises(ZeroDivisionError), pipe:
            future = pipe.submit(dim()[0])
            backend.wait_until_entered()
            threading.Timer(0.05, backend.gate.set).start()
            raise ZeroDivisionError
        with pytest.raises(Failed, match="closed"):
            future.result(0)

    @pytest.mark.parametrize("drain", [True, False])
    def test_a_stage_that_hangs_does_not_hang_close(self, gated, drain):
        pipe, backend = gated()
        backend.gate.clear()
        future = pipe.submit(dim()[0])
        backend.wait_until_entered()
        begin_s = time.monotonic()
        pipe.close(drain=drain, timeout=0.2)
        assert time.monotonic() - begin_s < 10
        with pytest.raises(Failed, match="closed"):
            future.result(1)

    def test_twice_and_from_several_threads(self, bundle):
        pipe = Pipeline.open(bundle.path)
        pipe.submit(dim()[0]).result(20)
        threads = [threading.Thread(target=pipe.close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        pipe.close()

    def test_leaves_no_thread_and_no_file(self, bundle):
        def used():
            return threading.active_count(), len(os.listdir("/proc/self/fd"))

        Pipeline.open(bundle.path).close()  # what onnxruntime keeps for ever
        before = used()
        for _ in range(20):
            with Pipeline.open(bundle.path) as pipe:
                pipe.submit(dim()[0]).result(20)
        assert used() == before

    def test_a_forgotten_pipeline_is_closed_when_it_is_collected(self, bundle):
        pipe = Pipeline.open(bundle.path)
        pipe.submit(dim()[0]).result(20)
        loop = pipe._loop
        del pipe
        gc.collect()
        assert loop.closed_because is not None

    def test_from_a_signal_handler_in_the_middle_of_a_stage(self, gated):
        pipe, _ = gated()
        fired = []

        def handler(signum, frame):
            fired.append(signum)
            pipe.close()

        def interrupt(features, out, run=pipe._executor._stages[(0, 0)].program.run):
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.01)
            run(features, out)

        pipe._executor._stages[(0, 0)].program.run = interrupt
        before = signal.signal(signal.SIGUSR1, handler)
        try:
            with pytest.raises(Failed, match="closed"):
                pipe.infer(dim()[0])
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert fired

    def test_exiting_without_close_does_not_hang(self, bundle):
        program = (
            "import sys, numpy, edgesdk\n"
            "pipe = edgesdk.Pipeline.open(sys.argv[1])\n"
            "print(pipe.submit(numpy.zeros((6, 6), 'uint8')).result().label)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, bundle.path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60,
        )
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"dark", b"")

    def test_a_fork_is_told_to_open_its_own(self, bundle):
        with Pipeline.open(bundle.path) as pipe:
            pipe.submit(dim()[0]).result(20)
            child = os.fork()
            if child == 0:
                try:
                    pipe.infer(dim()[0])
                except ConfigError as error:
                    pipe.close()
                    os._exit(0 if "does not work in its fork" in str(error) else 2)
                os._exit(3)
            assert os.waitpid(child, 0)[1] == 0
            assert pipe.infer(dim()[0]).ok
