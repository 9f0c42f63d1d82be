"""Everything at once, from several threads, and closed in the middle: nothing is lost or kept."""

import random
import threading
import time
from concurrent.futures import wait

import pytest
import tiny

from edgesdk import ConfigError, Expired, Failed, Overloaded, Pipeline

THREAD_COUNT = 4


class Application:
    """Threads that use one pipeline in every way, drawn from a seed."""

    def __init__(self, pipe, seed):
        self.pipe = pipe
        self.futures = []
        self.problems = []
        self._until = time.monotonic() + 0.5
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(seed * 100 + number),))
            for number in range(THREAD_COUNT)
        ]

    def start(self):
        for thread in self._threads:
            thread.start()

    def join(self):
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a thread hangs"

    def _work(self, draw):
        uses = [self._infer, self._batch, self._submit, self._submit, self._submit, self._map]
        try:
            while time.monotonic() < self._until:
                draw.choice(uses)(draw)
        except ConfigError as error:
            if "the pipeline was closed" not in str(error) and "being closed" not in str(error):
                self.problems.append(error)
        except Exception as error:
            self.problems.append(error)

    def _infer(self, draw):
        try:
            assert self.pipe.infer(image(draw), deadline_ms=deadline_ms(draw)).ok
        except (Expired, Failed) as error:
            assert error.reason in ("deadline", "closed", "superseded")  # by another thread's frame

    def _batch(self, draw):
        count = draw.randrange(40)
        assert len(self.pipe.infer([image(draw) for _ in range(count)])) == count

    def _submit(self, draw):
        try:
            future = self.pipe.submit(
                image(draw),
                deadline_ms=deadline_ms(draw),
                on_deadline=draw.choice(["best", "expire"]),
                latest=draw.random() < 0.1,
                block=draw.random() < 0.5,
            )
        except Overloaded:
            return
        self.futures.append(future)
        if draw.random() < 0.2:
            future.cancel()

    def _map(self, draw):
        images = [image(draw) for _ in range(9)]
        outcomes = self.pipe.map(images, deadline_ms(draw), in_flight=draw.choice([1, 3]))
        assert sorted(outcome.tag for outcome in outcomes) == list(range(9))


def image(draw):
    return tiny.image(draw.random())


def deadline_ms(draw):
    return draw.choice([None, 0.3, 5])


@pytest.mark.parametrize("seed", range(6))
def test_every_image_has_one_outcome_and_nothing_stays(bundle, seed):
    draw = random.Random(seed)
    max_batch, in_flight_max = draw.choice([(1, 4), (4, 32), (32, 256)])
    pipe = Pipeline.open(bundle.path, max_batch=max_batch, in_flight_max=in_flight_max)
    application = Application(pipe, seed)
    application.start()
    if seed % 2:
        time.sleep(draw.uniform(0, 0.4))
        pipe.close()
    application.join()
    assert application.problems == []
    assert not wait(application.futures, timeout=60).not_done
    pipe.close()
    stats = pipe.stats()
    assert stats["in_flight_count"] == 0
    assert stats["admitted_count"] == sum(stats["ended"].values())
    assert pipe._executor.held_count == 0
    assert (pipe._ledger._reserved_count, pipe._ledger.open_items()) == (0, [])
    assert pipe._loop._armed == {}
