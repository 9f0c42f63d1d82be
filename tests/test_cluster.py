"""Cluster files: what they say and leave unsaid, who is whose neighbour, mistakes by their path."""

import os
import re
from pathlib import Path

import pytest

from edgesdk import cluster as module
from edgesdk.bundle import read_bundle
from edgesdk.cluster import WorkerEntry, check_exposure, id_of, local_cluster_text, read_cluster
from edgesdk.core.admission import Admission
from edgesdk.core.offload import Offloading
from edgesdk.core.replanning import Replanning
from edgesdk.errors import ConfigError
from edgesdk.key_files import write_public

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "cluster.md").read_text("utf-8")
TWO = '[[worker]]\nname = "a"\naddress = "tcp://10.0.0.1:5600"\n'
TWO += '[[worker]]\nname = "b"\naddress = "tcp://10.0.0.2:5600"\n'
HERE = TWO.replace("10.0.0.1", "127.0.0.1").replace("10.0.0.2", "127.0.0.2")


@pytest.fixture
def read(tmp_path):
    """A function that reads a file with this text below the key `bundle`."""

    def read_text(text, top='bundle = "b"\n'):
        path = tmp_path / "robots.toml"
        path.write_text(top + text, "utf-8")
        return read_cluster(path)

    return read_text


@pytest.fixture
def refusal(read, tmp_path):
    """A function that gives what is said of a text, without the file that it begins with."""

    def refuse(*texts):
        with pytest.raises(ConfigError) as caught:
            read(*texts)
        begins = "{}: ".format(tmp_path / "robots.toml")
        assert str(caught.value).startswith(begins)
        return str(caught.value)[len(begins) :]

    return refuse


def worker(name, address="tcp://10.0.0.9:5600", **values):
    """The text of a [[worker]]; values as TOML writes them."""
    lines = ["[[worker]]", 'name = "{}"'.format(name), 'address = "{}"'.format(address)]
    return "\n".join(lines + ["{} = {}".format(*item) for item in values.items()]) + "\n"


def mesh(**neighbours):
    """The text of workers a to d with these lists of neighbours."""
    return "".join(
        worker(name, "tcp://10.0.0.{}:5600".format(index), neighbours=neighbours.get(name, []))
        for index, name in enumerate("abcd", start=1)
    )


class TestTheExample:
    def test_it_reads_and_its_bundle_is_there(self):
        found = read_cluster(ROOT / "examples" / "robots.toml")
        assert [entry.name for entry in found.workers] == ["robot-1", "robot-2", "robot-3"]
        assert [entry.control_address for entry in found.workers] == [
            "tcp://127.0.0.1:{}".format(port) for port in (5600, 5610, 5620)
        ]
        assert read_bundle(found.bundle).manifest.parts

    def test_the_file_that_the_page_explains_reads(self, read):
        (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
        assert [entry.name for entry in read(text, "").workers] == ["robot-1", "nano-2"]

    def test_the_page_has_every_key(self):
        keys = module.TOP_KEYS + module.SECURITY_KEYS + module.WORKER_KEYS
        assert [key for key in keys if "`{}`".format(key) not in PAGE] == []


class TestWhatIsRead:
    def test_what_is_not_given_has_a_default(self, read, tmp_path):
        found = read(TWO)
        assert (found.path, found.bundle) == (str(tmp_path / "robots.toml"), str(tmp_path / "b"))
        assert (found.plan, found.policy, found.codec, found.lossy) == (None, None, "auto", False)
        assert found.security == (str(tmp_path / "keys"), False)
        assert (found.offloading, found.admission) == (Offloading(), Admission())
        assert found.workers == (
            WorkerEntry("a", "tcp://10.0.0.1:5600", ("b",)),
            WorkerEntry("b", "tcp://10.0.0.2:5600", ("a",)),
        )
        assert found.workers[0][3:] == (None, 1, None) + (None,) * 7

    def test_everything_else_is_as_it_says(self, read, tmp_path):
        top = 'bundle = "/net/b"\nplan = "full"\npolicy = "final"\ncodec = "auto"\nlossy = true\n'
        text = '[security]\nkeys = "../k"\ninsecure = true\n'
        text += "[offloading]\noutput_queue_max = 3\n"
        text += '[admission]\nkind = "threshold"\nperiod_ms = 250\n'
        more = {"threads": 2, "max_batch": 4, "cpus": [1, 3], "parts": [0, 2], "metrics_port": 9200}
        text += worker("a", stages=[0, 2], neighbours=[], **more)
        found = read(text, top)
        assert (found.bundle, found.plan, found.policy) == ("/net/b", "full", "final")
        assert (found.codec, found.lossy) == ("auto", True)
        assert found.security == (str(tmp_path / "../k"), True)
        assert found.offloading == Offloading(3)
        assert found.admission == Admission("threshold", period_us=250_000)
        entry = WorkerEntry("a", "tcp://10.0.0.9:5600", (), (0, 2), 2, 4, (1, 3))
        assert found.workers == (entry._replace(parts=(0, 2), metrics_port=9200),)

    def test_moving_stages_need_a_placement_and_a_worker_who_decides(self, read):
        table = '[replanning]\ncoordinator = "b"\n'
        top = 'bundle = "b"\nplacement = "p.toml"\n'
        found = read(table + "period_s = 2\ngain = 0.3\nrounds = 5\n" + TWO, top).replanning
        assert found == Replanning(id_of("b"), 2_000_000, 0.3, 5)
        assert read(TWO).replanning is None
        with pytest.raises(ConfigError, match=r"replanning: found .*expected placement = FILE"):
            read(table + TWO)
        for line, message in (
            ('coordinator = "c"', r"replanning.coordinator: found 'c', expected one of"),
            ('coordinator = "b"\ngain = 1.5', r"gain: found 1.5, expected a share"),
            ('coordinator = "b"\nobjective = "energy"', r"objective: found 'energy'"),
            ('coordinator = "b"\nrounds = 0', r"rounds: found 0"),
            ('coordinator = "b"\nperiod_s = 0', r"period_s: found 0"),
            ('coordinator = "b"\nspeed = 0', r"replanning.speed: "),
        ):
            with pytest.raises(ConfigError, match=message):
                read("[replanning]\n" + line + "\n" + TWO, top)

    def test_a_worker_may_be_alone_or_hold_no_stage(self, read):
        found = read(worker("a", stages=[]))
        assert (found.workers[0].neighbours, found.workers[0].stages) == ((), ())
        assert found.neighbours("a") == []

    def test_file_names_are_relative_to_a_file_in_this_folder_too(self, tmp_path, monkeypatch):
        (tmp_path / "robots.toml").write_text('bundle = "b"\n' + TWO)
        monkeypatch.chdir(tmp_path)
        assert read_cluster("robots.toml").security.keys == "keys"

    @pytest.mark.parametrize("codec", ["auto", "raw", "float16", "uint8", "zstd", "lz4"])
    def test_codecs(self, read, codec):
        assert read(TWO, 'bundle = "b"\nlossy = false\ncodec = "{}"\n'.format(codec)).codec == codec


class TestAWorker:
    def test_its_addresses(self, read):
        (entry,) = read(worker("a", "tcp://Robot.local:5600")).workers
        assert entry.host == "robot.local"
        assert entry.control_address == "tcp://robot.local:5600"
        assert entry.data_address == "tcp://robot.local:5601"
        assert entry.bind_address == "tcp://0.0.0.0:5600"
        assert entry.bind_data_address == "tcp://0.0.0.0:5601"

    def test_it_may_listen_somewhere_else(self, read):
        (entry,) = read(worker("a", bind='"tcp://0.0.0.0:7000"')).workers
        assert (entry.control_address, entry.data_address) == (
            "tcp://10.0.0.9:5600",
            "tcp://10.0.0.9:5601",
        )
        assert (entry.bind_address, entry.bind_data_address) == (
            "tcp://0.0.0.0:7000",
            "tcp://0.0.0.0:7001",
        )

    def test_where_bundles_are_delivered(self, read):
        text = worker("a", ssh='"nano@robot_1.local"', folder='"~/my robots"')
        assert read(text).workers[0][-3:-1] == ("nano@robot_1.local", "~/my robots")
        assert read(worker("a", ssh='"root@[fd00::1]"')).workers[0].ssh == "root@[fd00::1]"

    @pytest.mark.parametrize(
        "ssh",
        ["", "-oProxyCommand=x", "a b", "a:22", "user@", "@host", "a@-b", "a;b", "a@b@c", "a/b"],
    )
    def test_what_ssh_would_read_otherwise_is_refused(self, read, ssh):
        expected = "a text" if not ssh else r"a HOST or USER@HOST.*~/.ssh/config"
        with pytest.raises(ConfigError, match=r"worker\[0\].ssh: found .*expected " + expected):
            read(worker("a", ssh='"{}"'.format(ssh)))

    @pytest.mark.parametrize("folder", ['""', r'"a\nb"', r'"a\u0000b"', "3"])
    def test_a_folder_that_is_none_is_refused(self, read, folder):
        with pytest.raises(ConfigError, match=r"worker\[0\].folder: found"):
            read(worker("a", folder=folder))

    def test_its_number_is_made_of_its_name_for_ever(self):
        assert WorkerEntry("robot-1", "tcp://10.0.0.1:1").worker_id == 8672802582584716304
        assert WorkerEntry("robot-1", "tcp://10.0.0.2:2").worker_id == 8672802582584716304
        assert WorkerEntry("robot-2", "tcp://10.0.0.1:1").worker_id == 16139303557351431221

    def test_its_number_is_never_0(self, monkeypatch):
        class Zeros:
            def __init__(self, content, digest_size):
                self.digest = lambda: bytes(digest_size)

        monkeypatch.setattr(module, "blake2b", Zeros)
        assert module.id_of("a") == 1

    @pytest.mark.parametrize(
        ("address", "bind", "is_loopback"),
        [
            ("tcp://127.0.0.1:5600", None, True),
            ("tcp://localhost:5600", None, True),
            ("tcp://127.0.0.1:5600", "tcp://127.0.0.1:7000", True),
            ("tcp://127.0.0.1:5600", "tcp://0.0.0.0:5600", False),
            ("tcp://10.0.0.1:5600", "tcp://127.0.0.1:5600", False),
            ("tcp://robot.local:5600", None, False),
        ],
    )
    def test_it_is_on_loopback_if_it_is_reached_and_listens_there(self, address, bind, is_loopback):
        assert WorkerEntry("a", address, bind=bind).is_loopback is is_loopback

    def test_one_that_is_not_there_is_told_with_the_nearest(self, read, tmp_path):
        found = read(worker("robot-1"))
        assert found.worker("robot-1") is found.workers[0]
        for method in (found.worker, found.neighbours):
            with pytest.raises(ConfigError) as caught:
                method("robot_1")
            assert str(caught.value) == (
                "{}: worker: found no 'robot_1'; did you mean robot-1? expected one of "
                "robot-1".format(tmp_path / "robots.toml")
            )


class TestNeighbours:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("a", [("b", True), ("c", True)]),
            ("b", [("a", True), ("c", False)]),  # c may send here, nothing goes there
            ("c", [("a", False), ("b", True)]),
            ("d", []),
        ],
    )
    def test_who_is_listed_and_who_lists(self, read, name, expected):
        found = read(mesh(a=["c", "b"], b=["a"], c=["b"]))
        assert [(n.entry.name, n.offload) for n in found.neighbours(name)] == expected

    def test_by_default_everybody(self, read):
        text = worker("a", "tcp://10.0.0.1:1") + worker("b", "tcp://10.0.0.2:1", neighbours=[])
        found = read(text + worker("c", "tcp://10.0.0.3:1"))
        assert [(n.entry.name, n.offload) for n in found.neighbours("a")] == [
            ("b", True),
            ("c", True),
        ]
        assert [(n.entry.name, n.offload) for n in found.neighbours("b")] == [
            ("a", False),
            ("c", False),
        ]


KEYS = {"a": "a" * 40, "b": "b" * 40}


class TestPublicKeys:
    def test_of_everybody(self, read, tmp_path):
        found = read('[security]\nkeys = "k"\n' + TWO)
        for name, key in KEYS.items():
            write_public(tmp_path / "k", name, key)
        assert found.public_keys() == KEYS

    def test_one_is_missing(self, read, tmp_path):
        write_public(tmp_path / "keys", "a", KEYS["a"])
        with pytest.raises(ConfigError, match=r"b\.public: cannot be read .* edgesdk\.keys "):
            read(TWO).public_keys()

    def test_a_key_tells_who_somebody_is(self, read, tmp_path):
        for name in "ab":
            write_public(tmp_path / "keys", name, KEYS["a"])
        with pytest.raises(ConfigError, match=r"a and b have the same public key.* --renew b`"):
            read(TWO).public_keys()


class TestExposure:
    INSECURE = "[security]\ninsecure = true\n"

    def test_secure_is_fine_everywhere(self, read):
        check_exposure(read(TWO), "a", insecure_network=False)

    def test_insecure_is_fine_on_one_machine(self, read):
        check_exposure(read(self.INSECURE + HERE), "a", insecure_network=False)

    def test_or_if_asked_for(self, read):
        check_exposure(read(self.INSECURE + TWO), "a", insecure_network=True)

    @pytest.mark.parametrize(
        ("old", "new", "named"),
        [
            ("127.0.0.1:5600", "10.0.0.1:5600", "a is at tcp://10.0.0.1:5600"),
            ("127.0.0.2:5600", "10.0.0.2:5600", "b is at tcp://10.0.0.2:5600"),
            (
                '127.0.0.1:5600"',
                '127.0.0.1:5600"\nbind = "tcp://0.0.0.0:5600"',
                "a is at tcp://127.0.0.1:5600 and listens at tcp://0.0.0.0:5600",
            ),
        ],
    )
    def test_nobody_else_may_be_able_to_speak_here(self, read, tmp_path, old, new, named):
        found = read(self.INSECURE + HERE.replace(old, new))
        with pytest.raises(ConfigError) as caught:
            check_exposure(found, "a", insecure_network=False)
        message = str(caught.value)
        assert message.startswith("{}: security.insecure: ".format(tmp_path / "robots.toml"))
        assert named in message and "--insecure-network" in message
        assert "`python -m edgesdk.keys {}`".format(tmp_path / "robots.toml") in message

    def test_who_is_no_neighbour_does_not_matter(self, read):
        far = worker("c", "tcp://10.0.0.3:5600", neighbours=[])
        near = HERE.replace('"b"\n', '"b"\nneighbours = ["a"]\n')
        near = near.replace('"a"\naddress', '"a"\nneighbours = ["b"]\naddress')
        found = read(self.INSECURE + near + far)
        check_exposure(found, "a", insecure_network=False)
        with pytest.raises(ConfigError):
            check_exposure(found, "c", insecure_network=False)


class TestMistakes:
    """(text, how the message begins behind the file, what else it says)"""

    @pytest.mark.parametrize(
        ("top", "begins", "says"),
        [
            ("", "bundle: missing", "worker"),
            ("bundle = 3", "bundle: found 3", "a text"),
            ('bundle = "b"\nplan = ""', "plan: found ''", "a text"),
            ('bundle = "b"\npolicy = 0.8', "policy: found 0.8", "a text"),
            ('bundle = "b"\npolcy = "x"', "polcy: unknown key; did you mean policy?", ""),
            ('bundle = "b"\ncodec = "gzip"', "codec: found 'gzip'", "auto, raw, float16, uint8"),
            ('bundle = "b"\nlossy = 1', "lossy: found 1", "true or false"),
            ('bundle = "b"\nlossy = true\ncodec = "raw"', "lossy: found True", 'but "auto"'),
            ('bundle = "b"\n[security]\nkey = "k"', "security.key: unknown", "mean keys?"),
            ('bundle = "b"\n[security]\nkeys = ""', "security.keys: found ''", "a text"),
            ('bundle = "b"\n[security]\ninsecure = "no"', "security.insecure: ", "true or false"),
            ('bundle = "b"\nsecurity = true', "security: found True", "a table"),
            ('bundle = "b"\n[offloading]\nserve = 1', "offloading.serve: ", "serve_output"),
            ('bundle = "b"\n[admission]\nalpha = 2', "admission.alpha: found 2", "< alpha < 1"),
        ],
    )
    def test_of_the_file(self, refusal, top, begins, says):
        message = refusal(TWO, top + "\n")
        assert message.startswith(begins) and says in message

    @pytest.mark.parametrize(
        ("text", "begins", "says"),
        [
            ("", "worker: missing", "bundle"),
            ("worker = []", "worker: found []", "a list of at least 1"),
            ("[worker]", "worker: found {}", "a list of at least 1"),
            ("worker = [3]", "worker[0]: found 3", "a table"),
            ('[[worker]]\naddress = "tcp://h:1"', "worker[0].name: missing", ""),
            ('[[worker]]\nname = "a"', "worker[0].address: missing", ""),
            (worker("a", thread=1), "worker[0].thread: unknown key", "mean threads?"),
            (worker("../a"), "worker[0].name: found '../a'", "letters, digits"),
            (worker(".a"), "worker[0].name: found '.a'", "letters, digits"),
            (worker("a b"), "worker[0].name: found 'a b'", "letters, digits"),
            (worker("a" * 65), "worker[0].name: found 'aaa", "up to 64"),
            (worker("a", "10.0.0.1:1"), "worker[0].address: found '10.0", "tcp://HOST:PORT"),
            (worker("a", "tcp://h:0"), "worker[0].address: ", "1 to 65534"),
            (worker("a", "tcp://0.0.0.0:1"), "worker[0].address: ", "neighbours connect to it"),
            (worker("a", "tcp://*:1"), "worker[0].address: ", "of one machine"),
            (worker("a", bind='"tcp://h:1"'), "worker[0].bind: found 'tcp://h:1'", "numbers"),
            (worker("a", bind="1"), "worker[0].bind: found 1", "a text"),
            (worker("a", stages=[1, 0]), "worker[0].stages: found [1, 0]", "rising order"),
            (worker("a", stages=[-1]), "worker[0].stages[0]: found -1", "from 0"),
            (worker("a", threads=0), "worker[0].threads: found 0", "from 1"),
            (worker("a", max_batch=0), "worker[0].max_batch: found 0", "from 1"),
            (worker("a", cpus=[]), "worker[0].cpus: found []", "at least 1"),
            (worker("a", cpus=[2, 2]), "worker[0].cpus: found [2, 2]", "rising order"),
            (worker("a", metrics_port=-1), "worker[0].metrics_port: found -1", "from 0"),
            (worker("a", metrics_port=65536), "worker[0].metrics_port: ", "a port, or 0"),
            (worker("a", neighbours='"b"'), "worker[0].neighbours: found 'b'", "a list"),
            (worker("a", neighbours=["b"]), "worker[0].neighbours[0]: found 'b'", "no other"),
            (mesh(b=["z"]), "worker[1].neighbours[0]: found 'z'", "one of a, c, d"),
            (mesh(b=["a", "b"]), "worker[1].neighbours[1]: found 'b'", "than itself"),
            (mesh(b=["a", "a"]), "worker[1].neighbours[1]: found 'a'", "each name once"),
        ],
    )
    def test_of_a_worker(self, refusal, text, begins, says):
        message = refusal(text)
        assert message.startswith(begins) and says in message

    def test_two_with_one_name(self, refusal):
        message = refusal(TWO.replace('"b"', '"a"'))
        assert (
            message == "worker[1].name: found 'a', expected another name than that of worker[0] (a)"
        )

    @pytest.mark.parametrize(
        ("first", "second", "port"),
        [
            ("tcp://10.0.0.1:5600", "tcp://10.0.0.1:5600", 5600),
            ("tcp://10.0.0.1:5600", "tcp://10.0.0.1:5601", 5601),
            ("tcp://10.0.0.1:5600", "tcp://10.0.0.1:5599", 5600),
            ("tcp://[fe80::1]:5600", "tcp://[FE80:0::1]:5600", 5600),
            ("tcp://localhost:5600", "tcp://127.0.0.1:5600", 5600),
        ],
    )
    def test_two_with_one_port(self, refusal, first, second, port):
        message = refusal(worker("a", first) + worker("b", second))
        assert message.startswith("worker[1].address: found 'tcp://")
        assert message.endswith("worker[0] (a) takes port {} of this host".format(port))

    def test_ports_side_by_side_are_fine(self, read):
        text = worker("a", "tcp://10.0.0.1:5600") + worker("b", "tcp://10.0.0.1:5602")
        assert len(read(text + worker("c", "tcp://10.0.0.1:5598")).workers) == 3

    def test_a_port_for_metrics_is_taken_too(self, refusal, read):
        first = worker("a", "tcp://localhost:5600", metrics_port=9200)
        message = refusal(first + worker("b", "tcp://127.0.0.1:5610", metrics_port=9200))
        assert message == (
            "worker[1].metrics_port: found 9200, expected another port; "
            "worker[0] (a) takes it on this host"
        )
        message = refusal(first + worker("b", "tcp://127.0.0.1:9199"))
        assert message.endswith("worker[0] (a) takes port 9200 of this host")
        free = worker("a", metrics_port=0) + worker("b", "tcp://10.0.0.9:1", metrics_port=0)
        assert [entry.metrics_port for entry in read(free).workers] == [0, 0]
        apart = worker("a", metrics_port=9200) + worker("b", "tcp://10.0.0.8:1", metrics_port=9200)
        assert len(read(apart).workers) == 2

    def test_two_whose_numbers_are_one(self, refusal, monkeypatch):
        monkeypatch.setattr(module, "id_of", lambda name: 7)
        message = refusal(TWO)
        assert message.startswith("worker[1].name: found 'b', expected a name with another hash")

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(ConfigError, match=r"no\.toml: cannot be read.*examples/robots\.toml"):
            read_cluster(os.path.join(str(tmp_path), "no.toml"))


def test_a_cluster_for_trials_is_one_that_is_read(tmp_path):
    path = tmp_path / "cluster.toml"
    folder = tmp_path / 'a "b" \\ c'
    text = local_cluster_text(
        str(folder), {"one": [], "two": ["max_batch = 3", "stages = []"]}, ['codec = "raw"']
    )
    path.write_text(text, encoding="utf-8")
    found = read_cluster(str(path))
    assert (found.bundle, found.codec) == (str(folder), "raw")
    one, two = found.workers
    assert one.is_loopback and two.is_loopback and one.control_address != two.control_address
    assert (one.stages, two.stages, two.max_batch) == (None, (), 3)
