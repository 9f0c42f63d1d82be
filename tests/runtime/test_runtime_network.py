"""Frames that come from neighbours: what is wrong with them ends here, counted and logged."""

import logging
import random
import re
import sys
from types import MappingProxyType

import numpy as np
import pytest

from edgesdk.core import wire
from edgesdk.core.events import NAN, Keep, MessageReceived, PeerLost, Send
from edgesdk.core.messages import Envelope, Greeting, Hello, ItemId, Task, Welcome
from edgesdk.core.tensor import Tensor
from edgesdk.errors import PeerError
from edgesdk.runtime.inprocess import Hub, InProcess
from edgesdk.runtime.network import HELLOS_AT_ONCE, HELLOS_PER_S, HelloLimit, Network
from edgesdk.runtime.packer import AUTO, Packer
from edgesdk.runtime.transport import Departure

HERE, THERE = 1, 2
SHAPE = (4, 2, 2)
TASK = Task(1, 1, ItemId(THERE, 1, 0), 0, 0, 0, 1, 0, NAN, (0, 0))
RAW = Tensor("float32", SHAPE, "raw", np.arange(16, dtype=np.float32).tobytes())


class Executor:
    """One stage, and a policy that compares `compared_count` values from stage 1 on."""

    input_shapes = MappingProxyType({(0, 0): SHAPE, (0, 1): SHAPE})
    compared_count = 0

    def __init__(self):
        self.kept, self.lent = [], []
        self.held = np.arange(16, dtype=np.float32).reshape(SHAPE), None

    def check_compared(self, stage, compared):
        if (0 if compared is None else len(compared)) != (self.compared_count if stage else 0):
            raise PeerError("vector that the policy compares with: found")

    def check_answer(self, answer):
        if answer.feature:
            raise PeerError("feature of an answer: found some")

    def keep(self, item, part, features, compared):
        self.kept.append((item, features, compared))

    def features(self, item, part):
        return self.held

    def lend(self, item, part):
        self.lent.append(item)


class Two:
    """A network here, and the bare end of a neighbour called "there"."""

    def __init__(self):
        hub = Hub()
        self.transport, self._there = InProcess(hub, HERE), InProcess(hub, THERE)
        packer = Packer(AUTO, (), {}.get, {THERE: "there"}, self.transport.count)
        names = {THERE: "there"}
        self.executor = Executor()
        self.network = Network(self.transport, self.executor, names, packer)

    def receive(self, *tensors):
        """What comes of tasks with these features."""
        for tensor in tensors:
            self._there.send(HERE, "data", wire.encode(Envelope(5, 6, TASK), tensor))
        return self.network.receive(0)

    def hear(self, message, tensor=None, now_us=0):
        """What comes of a message."""
        return self.hear_frames(wire.encode(Envelope(5, 6, message), tensor), now_us)

    def hear_frames(self, frames, now_us=0):
        """What comes of frames."""
        self._there.send(HERE, "data", frames)
        return self.network.receive(now_us)

    def sent(self):
        """The frames that the neighbour got."""
        return self._there.receive().frames


@pytest.mark.parametrize(("codec", "package"), [("zstd", "zstandard"), ("lz4", "lz4")])
def test_a_codec_that_is_not_installed_costs_the_message_only(codec, package, monkeypatch, caplog):
    for module in (package, package + ".block"):
        monkeypatch.setitem(sys.modules, module, None)
    two, packed = Two(), RAW._replace(codec=codec, body=b"1234")
    with caplog.at_level(logging.WARNING, "edgesdk.network"):
        assert two.receive(packed, packed) is None
    assert two.transport.counters == {"malformed_messages": 2}
    (record,) = caplog.records
    text = record.getMessage()
    assert text.startswith("there: malformed messages: the codec {} needs".format(codec))
    assert two.receive(packed, RAW) == MessageReceived(THERE, Envelope(5, 6, TASK))


GREETING = Greeting(THERE, 1, bytes(16), bytes(16), ((0, 0),))
VECTOR = np.ones(3, np.float32).tobytes()


class TestTasksThatFit:
    def test_are_heard_and_their_features_kept_without_a_copy(self):
        two = Two()
        assert two.hear(TASK, RAW) == MessageReceived(THERE, Envelope(5, 6, TASK))
        two.network.keep(Keep(-2))
        ((item, features, compared),) = two.executor.kept
        assert item == -2 and compared is None
        assert features.dtype == np.float32 and features.shape == SHAPE
        assert np.shares_memory(features, np.frombuffer(RAW.body, np.float32))

    def test_bring_the_vector_that_the_policy_compares_with(self):
        two = Two()
        two.executor.compared_count = 3
        assert two.hear(TASK._replace(stage=1), RAW._replace(auxiliary=VECTOR)) is not None
        two.network.keep(Keep(-2))
        assert two.executor.kept[0][2].tolist() == [1.0, 1.0, 1.0]


class TestTasksThatDoNotFit:
    @pytest.mark.parametrize(
        ("change", "tensor", "text"),
        [
            (
                {"stage": 2},
                {},
                "stage: found part 0 stage 2, expected one of the plan: 2 of part 0",
            ),
            ({"part": 1}, {}, "found part 1 stage 0"),
            ({}, {"shape": (4, 4, 1)}, r"features of stage 0: found shape \[4, 4, 1\], expected"),
            ({}, {"shape": (16,)}, "found shape"),
            ({}, {"shape": (2, 2, 2), "body": bytes(32)}, "found shape"),
            ({"stage": 1}, {}, "vector that the policy compares with"),
            ({"stage": 1}, {"auxiliary": VECTOR[:8]}, "vector that the policy compares with"),
            ({"stage": 0}, {"auxiliary": VECTOR}, "vector that the policy compares with"),
            ({}, {"dtype": "float16", "body": bytes(32)}, "dtype and codec"),
            ({}, {"dtype": "uint8", "body": bytes(16)}, "dtype and codec"),
            (
                {},
                {"codec": "float16", "body": bytes(32)},
                "codec: found float16, expected one that",
            ),
            (
                {},
                {"codec": "uint8", "body": bytes(16), "scale": 1.0, "offset": 0.0},
                "codec: found uint8, expected one that loses nothing",
            ),
        ],
    )
    def test_are_dropped_with_a_word(self, caplog, change, tensor, text):
        two = Two()
        two.executor.compared_count = 3
        assert two.hear(TASK._replace(**change), RAW._replace(**tensor)) is None
        assert two.transport.counters == {"malformed_messages": 1}
        (record,) = caplog.records
        assert re.search("^there: malformed messages: .*" + text, record.getMessage())
        assert two.hear(TASK, RAW) is not None  # others are heard


class TestFrames:
    def test_garbage_never_raises(self, caplog):
        two, draw = Two(), random.Random(7)
        whole = wire.encode(Envelope(5, 6, TASK), RAW)
        for _ in range(400):
            frames = [bytearray(frame) for frame in whole][: draw.randrange(1, 4)]
            for _ in range(draw.randrange(1, 4)):
                frame = draw.choice(frames)
                frame[draw.randrange(len(frame))] ^= 1 << draw.randrange(8)
            if draw.random() < 0.3:
                frames[0] = frames[0][: draw.randrange(len(frames[0]))]
            event = two.hear_frames([bytes(frame) for frame in frames])
            assert event is None or isinstance(event, MessageReceived)
        counted = two.transport.counters["malformed_messages"]
        assert counted > 300
        assert len(caplog.records) == 1  # and no more for ten seconds

    @pytest.mark.parametrize("frames", [[], [b""], [b"x"] * 3, [b"x"] * 9, [bytes(100_000)]])
    def test_of_every_number_and_size(self, frames):
        two = Two()
        assert two.hear_frames(frames) is None
        assert two.transport.counters == {"malformed_messages": 1}

    def test_of_a_version_to_come_are_named(self, caplog):
        two = Two()
        (head,) = wire.encode(Envelope(5, 0, Hello(GREETING)))
        assert two.hear_frames([head[:2] + b"\x02" + head[3:]]) is None
        assert "unknown wire version: found 2, expected 1" in caplog.records[0].getMessage()

    def test_behind_those_that_were_refused_are_heard_in_the_same_call(self):
        two = Two()
        for _ in range(50):
            two._there.send(HERE, "data", [b"noise"])
        assert two.hear(TASK, RAW) is not None


class TestGreetings:
    @pytest.mark.parametrize("kind", [Hello, Welcome])
    def test_of_somebody_else_are_refused(self, kind, caplog):
        two = Two()
        session = 0 if kind is Hello else 6
        frames = wire.encode(Envelope(5, session, kind(GREETING._replace(worker=3))))
        assert two.hear_frames(frames) is None
        assert two.transport.counters == {"malformed_messages": 1}
        said = caplog.records[0].getMessage()
        assert "worker: found 0000000000000003, expected 0000000000000002, who sent it" in said
        frames = wire.encode(Envelope(5, session, kind(GREETING)))
        assert two.hear_frames(frames).envelope.message == kind(GREETING)

    def test_are_limited_for_each_neighbour(self):
        two = Two()
        frames = wire.encode(Envelope(5, 0, Hello(GREETING)))
        heard = [two.hear_frames(frames) is not None for _ in range(100)]
        assert heard.count(True) == HELLOS_AT_ONCE
        assert two.transport.counters == {"hellos_over_limit": 100 - HELLOS_AT_ONCE}
        assert two.hear(TASK, RAW) is not None  # everything else passes
        assert two.hear_frames(frames, now_us=300_000) is not None

    def test_a_neighbour_that_greets_as_it_should_is_never_over_the_limit(self):
        limit = HelloLimit()
        assert all(limit.allows(THERE, at_us) for at_us in range(0, 60_000_000, 500_000))

    def test_the_limit_is_one_of_time(self):
        limit = HelloLimit()
        while limit.allows(THERE, 0):
            pass
        allowed = [limit.allows(THERE, at_us) for at_us in range(0, 10_000_000, 10_000)]
        assert allowed.count(True) == pytest.approx(10 * HELLOS_PER_S, abs=1)
        assert limit.allows(THERE + 1, 0)  # another one


class TestSending:
    @pytest.mark.parametrize("count_bytes", [16, 200_000])
    def test_features_go_uncopied_and_are_lent_where_that_is_so(self, count_bytes):
        two = Two()
        two.transport.uncopied_bytes_min = 1000
        features = np.ones(count_bytes // 4, np.float32)
        two.executor.held = features, None
        two.network.send(Send(THERE, "data", Envelope(5, 6, TASK), 7))
        assert np.shares_memory(np.frombuffer(two.sent()[1], np.float32), features)
        assert two.executor.lent == ([7] if count_bytes > 1000 else [])

    def test_messages_without_features_ask_nobody_for_any(self):
        two = Two()
        two.executor.features = None
        two.network.send(Send(THERE, "control", Envelope(5, 0, Hello(GREETING))))
        assert wire.decode(two.sent())[0].message == Hello(GREETING)


def test_a_neighbour_whose_process_is_gone_is_an_event():
    two = Two()
    two.transport.receive = iter([Departure(THERE), None]).__next__
    assert two.network.receive(0) == PeerLost(THERE)
    assert two.network.receive(0) is None
