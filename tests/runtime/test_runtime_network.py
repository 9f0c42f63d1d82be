"""Frames that come from neighbours: what is wrong with them ends here, counted and logged."""

import logging
import sys

import numpy as np
import pytest

from edgesdk.core import wire
from edgesdk.core.events import NAN, MessageReceived
from edgesdk.core.messages import Envelope, ItemId, Task
from edgesdk.core.tensor import Tensor
from edgesdk.runtime.inprocess import Hub, InProcess
from edgesdk.runtime.network import Network
from edgesdk.runtime.packer import AUTO, Packer

HERE, THERE = 1, 2
SHAPE = (4, 2, 2)
TASK = Task(1, 1, ItemId(THERE, 1, 0), 0, 0, 0, 1, 0, NAN, (0, 0))
RAW = Tensor("float32", SHAPE, "raw", np.arange(16, dtype=np.float32).tobytes())


class Executor:
    """One stage, and a policy that compares nothing."""

    input_shapes = (SHAPE,)

    def check_compared(self, stage, compared):
        assert compared is None


class Two:
    """A network here, and the bare end of a neighbour called "there"."""

    def __init__(self):
        hub = Hub()
        self.transport, self._there = InProcess(hub, HERE), InProcess(hub, THERE)
        packer = Packer(AUTO, (), {}.get, {THERE: "there"}, self.transport.count)
        names = {THERE: "there"}
        self.network = Network(self.transport, Executor(), 1, names, packer)

    def receive(self, *tensors):
        """What comes of tasks with these features."""
        for tensor in tensors:
            self._there.send(HERE, "data", wire.encode(Envelope(5, 6, TASK), tensor))
        return self.network.receive(0)


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
