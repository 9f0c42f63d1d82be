"""A worker of a cluster, put together: what it announces, and what its neighbours make of that."""

import pytest
import tiny
from gated import BRIGHT, open_gated

from edgesdk import codec
from edgesdk.cluster import read_cluster
from edgesdk.core.tensor import LOSSY_CODECS
from edgesdk.runtime import member
from edgesdk.runtime.fleet_loop import FleetLoop
from edgesdk.runtime.inprocess import Hub, InProcess
from edgesdk.runtime.member import Membership
from edgesdk.runtime.packer import Packer

# The camera computes nothing: whatever it is asked travels.
CLUSTER = """bundle = "tiny"
codec = "zstd"

[security]
insecure = true

[[worker]]
name = "camera"
address = "tcp://127.0.0.1:5600"
stages = []

[[worker]]
name = "helper"
address = "tcp://127.0.0.1:5602"
"""


class Fleet:
    """The camera and the helper in this process; `codecs` are those that the helper decodes."""

    def __init__(self, bundle, folder, codecs, monkeypatch):
        path = folder / "robots.toml"
        path.write_text(CLUSTER, "utf-8")
        self._cluster, self._hub = read_cluster(path), Hub()
        self._bundle = bundle
        with monkeypatch.context() as patched:
            patched.setattr(member, "available", lambda: codecs)
            self.helper = self._open("helper")
        self.camera = self._open("camera")

    def _open(self, name):
        def transport(worker, epoch):
            return InProcess(self._hub, worker)

        membership = Membership(self._cluster, name, transport=transport)
        return open_gated(self._bundle, membership=membership)[0]

    def announced(self, pipe):
        """What `pipe` knows of the codecs of its one neighbour."""
        (peer,) = pipe._loop.core.neighbours.values()
        return peer.greeting.codecs

    def fallback_count(self):
        """Bodies that left the camera raw because the helper lacks the codec."""
        return self.camera.stats()["transport"].get("codec_fallbacks", 0)


@pytest.fixture
def fleet(bundle, tmp_path, monkeypatch):
    """A function that opens a fleet whose helper decodes `codecs`."""
    pytest.importorskip("zstandard")
    opened = []

    def open_fleet(codecs):
        opened.append(Fleet(bundle, tmp_path, codecs, monkeypatch))
        return opened[-1]

    yield open_fleet
    for each in opened:
        each.camera.close()
        each.helper.close()


def test_workers_know_of_each_other_what_they_decode(fleet):
    found = fleet(("raw", "lz4"))
    assert found.camera.infer(tiny.image(BRIGHT)).label == "bright"
    assert found.announced(found.camera) == ("raw", "lz4")
    mine = [name for name in codec.available() if name not in LOSSY_CODECS]  # the file allows none
    assert list(found.announced(found.helper)) == mine


@pytest.mark.parametrize("codecs", [("raw", "uint8"), ("raw", "zstd")])
def test_the_codec_of_the_cluster_file_goes_to_whoever_decodes_it(fleet, codecs, monkeypatch):
    packed = []
    encode = Packer.encode

    def noted(*arguments):
        tensor = encode(*arguments)
        packed.append(tensor.codec)
        return tensor

    monkeypatch.setattr(Packer, "encode", noted)
    found = fleet(codecs)
    assert [each.label for each in found.camera.infer([tiny.image(BRIGHT)] * 3)] == ["bright"] * 3
    assert set(packed) == {"zstd" if "zstd" in codecs else "raw"}
    assert found.fallback_count() == (0 if "zstd" in codecs else len(packed))


def test_stats_name_every_neighbour_from_the_first_moment(bundle, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(FleetLoop, "start", lambda self: None)  # nobody drives in the background
        opened = Fleet(bundle, tmp_path, ("raw",), monkeypatch)
        states = [pipe.stats()["neighbours"] for pipe in (opened.helper, opened.camera)]
    opened.camera.close()
    opened.helper.close()
    assert [list(known) for known in states] == [["camera"], ["helper"]]
