"""A worker of a cluster, put together: what it announces, and what its neighbours make of that."""

import os
import socket
import sys

import pytest
import tiny
from clusters import Clustered, eventually, worker
from gated import BRIGHT, open_gated
from leftovers import nothing_more_than, used

from edgesdk import Pipeline, codec
from edgesdk.bundle import write_bundle
from edgesdk.cluster import id_of, local_cluster_text, read_cluster
from edgesdk.core.exits import MaxProbability
from edgesdk.core.replanning import Replanning, Seat
from edgesdk.core.tensor import LOSSY_CODECS
from edgesdk.errors import BackendUnavailable, ConfigError, TransportError
from edgesdk.key_files import write_pair
from edgesdk.placement_file import placed, placement_of, write_placement
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
        def transport(worker):
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


class TestRefusals:
    """What does not fit together is said before anything begins, and leaves nothing behind."""

    @pytest.fixture
    def made(self, tmp_path, bundle):
        return Clustered(tmp_path, bundle, "sockets").describe(
            worker("camera", stages=[]), worker("helper")
        )

    def refused(self, made, match, name="helper", error=ConfigError, **options):
        before = used()
        with pytest.raises(error, match=match) as caught:
            Pipeline.open(cluster=made.path, name=name, **options)
        eventually(lambda: nothing_more_than(before))
        return str(caught.value)

    def test_a_name_that_is_not_in_the_file(self, made):
        said = self.refused(made, "found no 'helpe'; did you mean helper", name="helpe")
        assert said.startswith(made.path)

    def test_no_name(self, made):
        self.refused(made, "name: found None, expected .*: camera, helper", name=None)

    @pytest.mark.parametrize("option", ["name", "admission", "pace", "trace"])
    def test_what_needs_a_cluster_without_one(self, bundle, option):
        with pytest.raises(ConfigError, match="expected a cluster file beside them"):
            Pipeline.open(bundle.path, **{option: "helper"})

    def test_no_cluster_file(self, made):
        with pytest.raises(ConfigError, match=r"expected a cluster file|No such file|cannot be"):
            Pipeline.open(cluster=made.path + "x", name="helper")

    def test_an_algorithm_that_is_none(self, made):
        self.refused(made, "admission: found 'fast', expected one of none, rate", admission="fast")

    def test_a_port_that_is_taken(self, made):
        pytest.importorskip("zmq")
        address = read_cluster(made.path).worker("helper").bind_data_address
        Pipeline.open(cluster=made.path, name="helper").close()  # what pyzmq keeps
        with socket.socket() as other:
            other.bind(("127.0.0.1", int(address.rsplit(":", 1)[1])))
            other.listen(1)
            said = self.refused(made, "cannot listen there", error=TransportError)
        assert said.startswith(address) and "another worker of this name" in said

    def test_no_keys(self, made):
        pytest.importorskip("zmq")
        made.describe(worker("helper"), worker("camera"), security="")
        self.refused(made, r"helper.public: cannot be read .*`python -m edgesdk.keys")

    @pytest.fixture
    def keyed(self, made):
        zmq = pytest.importorskip("zmq")
        made.describe(worker("helper"), worker("camera"), security="")
        for name in ("helper", "camera"):
            public, secret = (key.decode() for key in zmq.curve_keypair())
            write_pair(str(made.folder / "keys"), name, public, secret)
        return made

    def test_a_secret_that_others_can_read(self, keyed):
        os.chmod(str(keyed.folder / "keys" / "helper.secret"), 0o644)
        self.refused(keyed, r"found mode 0644, expected 0600, .*`chmod 600")

    def test_no_secret(self, keyed):
        os.remove(str(keyed.folder / "keys" / "helper.secret"))
        self.refused(keyed, r"helper.secret: cannot be read")

    def test_a_secret_of_another_pair(self, keyed):
        keys = keyed.folder / "keys"
        os.replace(str(keys / "camera.secret"), str(keys / "helper.secret"))
        self.refused(keyed, r"helper.secret: does not belong to .*helper.public, expected one pair")

    def test_with_its_keys_it_opens(self, keyed):
        with Pipeline.open(cluster=keyed.path, name="helper") as pipe:
            assert pipe.infer(tiny.image(BRIGHT)).worker == "helper"

    def test_a_lossy_codec_that_nobody_has_measured(self, made):
        made.describe(worker("helper"), worker("camera"), top='codec = "uint8"\n')
        said = self.refused(made, "codec: found 'uint8', which calibration has not found harmless")
        assert "python -m edgesdk.train calibrate" in said

    def test_addresses_that_others_can_read_without_keys(self, made):
        made.describe(worker("helper", address='"tcp://192.0.2.7:5600"'), worker("camera"))
        self.refused(made, "security.insecure: found true, but helper .*say --insecure-network")

    def test_stages_that_the_plan_has_not(self, made):
        made.describe(worker("helper", stages=[0, 3]), worker("camera"))
        self.refused(made, r"worker helper: stages: found \[3\], expected numbers below 3")

    def test_features_that_no_message_can_carry(self, made, tmp_path):
        manifest = tiny.tiny_manifest()
        bundle = write_bundle(tmp_path / "large", manifest, tiny.tiny_files())
        segments = bundle.manifest.parts[0].segments
        plan = bundle.manifest.parts[0].plans["full"]
        large = segments[1]._replace(input_shape=(128, 128, 129))
        part = bundle.manifest.parts[0]._replace(segments=(segments[0], large, segments[2]))
        grown = bundle._replace(manifest=bundle.manifest._replace(parts=(part,)))
        with pytest.raises(
            ConfigError, match=r"the input of stage 1 is \[128, 128, 129\], 8454144"
        ):
            member._check_travels(grown, [plan], MaxProbability(0.5))

    def test_a_policy_whose_reason_results_cannot_carry(self, made):
        class Moody(MaxProbability):
            reason = "mood"

        self.refused(made, "policy: found the reason 'mood', expected one", policy=Moody(0.5))

    def test_without_pyzmq_it_says_what_to_install(self, made, monkeypatch):
        for name in [each for each in sys.modules if each.startswith("edgesdk.runtime.zeromq")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "zmq", None)
        with pytest.raises(BackendUnavailable, match="pip install pyzmq"):
            Pipeline.open(cluster=made.path, name="helper")


class TestIdentity:
    def test_epochs_and_sessions_never_come_again(self, bundle, tmp_path):
        made = Clustered(tmp_path, bundle).describe(worker("helper"), worker("camera"))
        seen = set()
        for _ in range(4):
            pipe = made.open("helper", seed=1)
            seen.add(pipe._loop.core.identity.epoch)
            seen.update(peer.my_session for peer in pipe._loop.core.neighbours.values())
            pipe.close()
        assert len(seen) >= 4

    def test_only_the_stages_that_are_held_are_loaded_and_announced(self, bundle, tmp_path):
        made = Clustered(tmp_path, bundle).describe(worker("back", stages=[1, 2]), worker("a"))
        back = made.open("back")
        assert back._loop.core.identity.stages == ((0, 1), (0, 2))
        assert sorted(back._executor._stages) == [(0, 1), (0, 2)]
        made.close()

    def test_a_window_keeps_every_worker_busy(self, bundle, tmp_path):
        made = Clustered(tmp_path, bundle).describe(worker("a"), worker("b"), worker("c"))
        assert Membership(read_cluster(made.path), "a").window == 3 * member.IN_FLIGHT_PER_WORKER


class TestReplanning:
    """What a worker knows of stages that move: everything at the coordinator, else who that is."""

    CLUSTER = """bundle = "tiny"
placement = "placement.toml"

[security]
insecure = true

[replanning]
coordinator = "camera"

[[worker]]
name = "camera"
address = "tcp://127.0.0.1:5600"
stages = [0]
neighbours = ["near"]

[[worker]]
name = "near"
address = "tcp://127.0.0.1:5602"
neighbours = ["camera", "far"]

[[worker]]
name = "far"
address = "tcp://127.0.0.1:5604"
neighbours = []
"""

    @pytest.fixture
    def known(self, bundle, tmp_path):
        """A function: what the worker of that name knows."""
        manifest = bundle.manifest
        held = {"camera": [0], "near": [1], "far": [2]}
        write_placement(str(tmp_path / "placement.toml"), placement_of(manifest, "full", held))
        (tmp_path / "robots.toml").write_text(self.CLUSTER, "utf-8")
        cluster = placed(read_cluster(tmp_path / "robots.toml"), manifest, "full")
        part = manifest.parts[0]
        return lambda name: member.replanning_of(
            Membership(cluster, name), part, part.plans["full"]
        )

    def test_the_coordinator_knows_its_neighbours_and_what_they_may_hold(self, known, bundle):
        camera, near, far = (id_of(name) for name in ("camera", "near", "far"))
        found = known("camera")
        assert found.seats == (
            Seat(camera, "camera", (0,), (near,)),
            Seat(near, "near", (0, 1, 2), (camera, far)),
        )
        segment, head = bundle.manifest.parts[0].segments[1], bundle.manifest.parts[0].exits[1]
        assert found.work[0].input_bytes == 4 * tiny.SIZE**2
        assert found.work[1].multiply_adds == segment.multiply_adds + head.multiply_adds

    def test_the_others_know_who_it_is(self, known):
        assert known("near") == Replanning(id_of("camera"))


def test_admission_by_rate_begins_without_neighbours(bundle, tmp_path):
    """Algorithm 3 runs with the core's first event, and nobody is there to send one."""
    path = tmp_path / "alone.toml"
    text = local_cluster_text(bundle.path, {"source": []}, ["[security]", "insecure = true"])
    path.write_text(text + '\n[admission]\nkind = "rate"\ninterarrival_ms = 1\n', "utf-8")
    with Pipeline.open(cluster=str(path), name="source") as pipe:
        eventually(lambda: pipe.stats()["admission"]["interarrival_us"] == 1000)
        assert len(list(pipe.map([tiny.image(0.9)] * 3))) == 3
