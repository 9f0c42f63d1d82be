"""`python -m edgesdk.keys`, as a person runs it: again and again, with keys on several machines."""

import json
import os
import subprocess
import sys

import pytest

from edgesdk.key_files import read_public, read_secret
from edgesdk.keys import main

zmq = pytest.importorskip("zmq")
pytestmark = pytest.mark.skipif(not zmq.has("curve"), reason="this libzmq has no CURVE")

FILE = """
bundle = "bundle"
[[worker]]
name = "a"
address = "tcp://127.0.0.1:5600"
[[worker]]
name = "b"
address = "tcp://127.0.0.1:5610"
"""


@pytest.fixture
def cluster(tmp_path):
    path = tmp_path / "robots.toml"
    path.write_text(FILE)
    return str(path)


@pytest.fixture
def keys(cluster, tmp_path, capsys):
    """The folder with a pair for each worker."""
    assert main([cluster]) == 0
    capsys.readouterr()
    return tmp_path / "keys"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def states(cluster, capsys, *arguments):
    """Name and state of each worker, as the JSON object tells them."""
    assert main([cluster] + list(arguments) + ["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    found_states = {each["name"]: each["state"] for each in found["workers"]}
    observer = found_states.pop("observer", None)  # it is treated like the others, below
    assert observer in (None, "made", "kept")
    return found_states


def test_as_a_process(cluster, tmp_path):
    command = [sys.executable, "-m", "edgesdk.keys", cluster]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    out = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert "every *.public" in out and "its own NAME.secret" in out and "Run this again" in out
    assert sorted(os.listdir(str(tmp_path / "keys"))) == [
        "a.public",
        "a.secret",
        "b.public",
        "b.secret",
        "observer.public",
        "observer.secret",
    ]
    for name in "ab":
        secret = read_secret(tmp_path / "keys", name)
        assert zmq.curve_public(secret.encode()).decode() == read_public(tmp_path / "keys", name)
        assert secret not in out


def test_again_keeps_what_is_there(cluster, keys, capsys):
    before = contents(keys)
    assert states(cluster, capsys) == {"a": "kept", "b": "kept"}
    assert contents(keys) == before


def test_a_new_worker_gets_a_pair_and_the_others_keep_theirs(cluster, keys, capsys):
    before = contents(keys)
    with open(cluster, "a") as file:
        file.write('[[worker]]\nname = "c"\naddress = "tcp://127.0.0.1:5620"\n')
    assert states(cluster, capsys) == {"a": "kept", "b": "kept", "c": "made"}
    assert {name: contents(keys)[name] for name in before} == before


def test_for_some_workers_only(cluster, tmp_path, capsys):
    assert states(cluster, capsys, "b") == {"b": "made"}
    assert sorted(os.listdir(str(tmp_path / "keys"))) == ["b.public", "b.secret"]


def test_for_some_and_renew_another(cluster, keys, capsys):
    assert states(cluster, capsys, "b", "--renew", "a") == {"a": "renewed", "b": "kept"}


def test_renew_replaces_one(cluster, keys, capsys):
    before = contents(keys)
    assert main([cluster, "--renew", "a"]) == 0
    out = capsys.readouterr().out
    assert "Until every machine has the new a.public" in out
    changed = {name for name in before if contents(keys)[name] != before[name]}
    assert changed == {"a.public", "a.secret"}
    assert states(cluster, capsys) == {"a": "kept", "b": "kept"}  # a pair that belongs together


def test_a_secret_that_moved_to_its_machine_is_not_made_anew(cluster, keys, capsys):
    (keys / "a.secret").unlink()
    before = contents(keys)
    assert states(cluster, capsys) == {"a": "kept, secret elsewhere", "b": "kept"}
    assert contents(keys) == before


def test_a_lost_public_key_is_made_of_the_secret_one(cluster, keys, capsys):
    before = contents(keys)
    (keys / "a.public").unlink()
    assert states(cluster, capsys) == {"a": "kept, public written again", "b": "kept"}
    assert contents(keys) == before


def test_keys_of_two_pairs(cluster, keys, capsys):
    (keys / "a.public").write_bytes((keys / "b.public").read_bytes())
    assert main([cluster]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "a.public: does not belong to " in line and "--renew a" in line


@pytest.mark.parametrize("arguments", [["bb"], ["--renew", "bb"]])
def test_a_worker_that_is_not_in_the_file_and_nothing_is_made(cluster, arguments, tmp_path, capsys):
    assert main([cluster] + arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("worker: found no 'bb'; did you mean b? expected one of a, b")
    assert os.listdir(str(tmp_path)) == ["robots.toml"]


def test_a_file_that_will_not_use_them(cluster, capsys):
    with open(cluster, "a") as file:
        file.write("[security]\ninsecure = true\n")
    assert main([cluster]) == 0
    assert "will not use these keys" in capsys.readouterr().out


def test_libzmq_without_curve(cluster, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(zmq, "has", lambda feature: feature != "curve")
    assert main([cluster]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "without CURVE" in line and "pip install" in line
    assert os.listdir(str(tmp_path)) == ["robots.toml"]


def test_no_pyzmq(cluster, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "zmq", None)
    assert main([cluster]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install pyzmq" in line


def test_observers_have_a_pair_of_their_own_which_can_be_renewed(cluster, keys, capsys):
    before = contents(keys)
    assert main([cluster, "--renew", "observer", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["workers"]
    assert [(each["name"], each["state"]) for each in found][-1] == ("observer", "renewed")
    changed = {name for name, content in contents(keys).items() if before[name] != content}
    assert changed == {"observer.public", "observer.secret"}
    assert main([cluster, "observer", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["workers"]
    assert [(each["name"], each["state"]) for each in found] == [("observer", "kept")]
