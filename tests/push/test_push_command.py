"""`python -m edgesdk.push` between real ends: rsync and ssh to a real sshd."""

import json
import os
import shlex
import shutil
import signal
import subprocess
from contextlib import suppress

import pytest
from fleet_to_push import NOISE, WAIT_S, Together, contents, eventually, received_bytes, slow
from ssh_server import PROGRAMS

from edgesdk.bundle import read_bundle
from edgesdk.push import __main__ as command

FAR = 'ssh = "far"'
MEGABYTE = 1 << 20
SLOW = 2 * MEGABYTE  # bytes a second: some seconds for the bundles below


@pytest.fixture
def far(server, fleet):
    """A fleet of one machine, over ssh; `home` is what a session sees as its own folder."""
    fleet.describe(robot=FAR)
    fleet.home = os.path.join(server.home, "edgesdk")
    fleet.engines = os.path.join(fleet.home, "engines", "mine")
    fleet.ssh = server.ssh
    fleet.server = server
    return fleet


def there(fleet, version=1):
    """Path of a version on the other side."""
    return os.path.join(fleet.engines, str(version))


def deliver(fleet, bundle, *more):
    return fleet.one(bundle, "--ssh", fleet.ssh, *more)


class TestDelivery:
    def test_a_bundle_is_there_as_it_is_here(self, far):
        bundle = far.bundle()
        delivery = deliver(far, bundle)
        assert (delivery["state"], delivery["host"], delivery["workers"]) == (
            "delivered",
            "far",
            ["robot"],
        )
        assert delivery["path"] == there(far)
        assert delivery["model_id"] == bundle.manifest.model_id
        assert contents(there(far)) == contents(bundle.path)
        assert os.listdir(far.engines) == ["1"]
        assert read_bundle(there(far)).manifest.model_id == bundle.manifest.model_id

    def test_again_sends_nothing(self, far):
        bundle = far.bundle()
        deliver(far, bundle)
        before = {path: os.stat(path).st_ino for path in _files(there(far))}
        delivery = deliver(far, bundle)
        assert (delivery["state"], delivery["sent_bytes"]) == ("already there", 0)
        assert delivery["model_id"] == bundle.manifest.model_id
        assert {path: os.stat(path).st_ino for path in _files(there(far))} == before

    def test_only_what_the_manifest_names_is_sent(self, far):
        bundle = far.bundle()
        for name in ("engine.json", ".hidden", "onnx/segment_0.engine"):
            with open(os.path.join(bundle.path, name), "w") as file:
                file.write("of this device")
        deliver(far, bundle)
        assert set(contents(there(far))) == set(bundle.manifest.document["files"]) | {
            "manifest.json"
        }

    def test_others_may_read_what_was_private_here(self, far):
        bundle = far.bundle()
        for path in _files(bundle.path):
            os.chmod(path, 0o600)
        far.server.set_profile("umask 077")
        deliver(far, bundle)
        assert {os.stat(path).st_mode & 0o777 for path in _files(there(far))} == {0o644}
        assert os.stat(there(far)).st_mode & 0o777 == 0o755

    def test_a_dry_run_looks_and_changes_nothing(self, far):
        bundle = far.bundle(noise_bytes=MEGABYTE)
        delivery = deliver(far, bundle, "--dry-run")
        assert delivery["state"] == "would be sent" and delivery["sent_bytes"] > MEGABYTE
        assert os.listdir(far.server.home) == []

    @pytest.mark.parametrize(
        "name", ["with blanks", 'it\'s "quoted"', "$HOME; touch x & *", "Größe", "a:b"]
    )
    def test_names_are_never_read_by_a_shell(self, server, fleet, name):
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        fleet.describe(robot='{}\nfolder = "{}"'.format(FAR, quoted))
        bundle = fleet.bundle()
        delivery = fleet.one(bundle, "--ssh", server.ssh, "--to", "engines/" + name + "/1")
        assert delivery["state"] == "delivered", delivery
        path = os.path.join(server.home, name, "engines", name, "1")
        assert contents(path) == contents(bundle.path)
        assert os.listdir(server.home) == [name]

    def test_a_tilde_is_the_home_there(self, server, fleet):
        fleet.describe(robot=FAR + '\nfolder = "~/robots"')
        delivery = fleet.one(fleet.bundle(), "--ssh", server.ssh)
        assert delivery["path"] == os.path.join(server.home, "robots", "engines", "mine", "1")

    def test_a_shell_that_talks_is_only_bad_for_rsync(self, far):
        far.server.set_profile("echo Welcome to this machine")
        delivery = deliver(far, far.bundle())
        assert delivery["state"] == "failed"
        assert "make ~/.bashrc there silent" in delivery["problem"]


class TestVersions:
    def test_what_a_version_beside_it_has_is_not_sent_again(self, far):
        deliver(far, far.bundle(1, noise_bytes=4 * MEGABYTE))
        second = far.bundle(2, labels=["hell", "dunkel"], noise_bytes=4 * MEGABYTE)
        assert deliver(far, second, "--dry-run")["sent_bytes"] < 10000
        delivery = deliver(far, second)
        assert delivery["state"] == "delivered" and delivery["sent_bytes"] < 100000
        assert contents(there(far, 2)) == contents(second.path)

    def test_versions_share_no_file(self, far):
        """What damages one of them must leave the other to go back to."""
        deliver(far, far.bundle(1, noise_bytes=MEGABYTE))
        deliver(far, far.bundle(2, labels=["hell", "dunkel"], noise_bytes=MEGABYTE))
        numbers = [os.stat(os.path.join(there(far, v), NOISE)).st_ino for v in (1, 2)]
        assert numbers[0] != numbers[1]

    def test_a_damaged_version_beside_it_does_no_harm(self, far):
        deliver(far, far.bundle(1, noise_bytes=MEGABYTE))
        with open(os.path.join(there(far, 1), NOISE), "r+b") as file:
            file.write(b"damaged")
        second = far.bundle(2, labels=["hell", "dunkel"], noise_bytes=MEGABYTE)
        assert deliver(far, second)["state"] == "delivered"
        assert contents(there(far, 2)) == contents(second.path)

    def test_another_model_of_that_name_is_refused_with_the_way_out(self, far):
        deliver(far, far.bundle(1))
        before = contents(there(far))
        shutil.rmtree(str(far.folder / "engines"))
        another = far.bundle(1, labels=["hell", "dunkel"])
        delivery = deliver(far, another)
        assert delivery["state"] == "failed"
        assert "another model" in delivery["problem"]
        assert delivery["problem"].endswith("--to engines/mine/2")
        assert contents(there(far)) == before
        assert deliver(far, another, "--to", "engines/mine/2")["state"] == "delivered"

    def test_the_same_model_with_other_policies_is_told_apart(self, far):
        deliver(far, far.bundle(1))
        shutil.rmtree(str(far.folder / "engines"))
        policy = {"kind": "max_probability", "thresholds": [0.9, 0.9, 0.0]}
        delivery = deliver(far, far.bundle(1, policy=policy))
        assert "the same model with other policies" in delivery["problem"]

    def test_a_bundle_that_is_damaged_there_is_not_touched(self, far):
        bundle = far.bundle()
        deliver(far, bundle)
        broken = os.path.join(there(far), "onnx", "segment_1.onnx")
        with open(broken, "wb") as file:
            file.write(b"no")
        delivery = deliver(far, bundle)
        assert delivery["state"] == "failed"
        assert "found this bundle damaged (onnx/segment_1.onnx)" in delivery["problem"]
        with open(broken, "rb") as file:
            assert file.read() == b"no"

    def test_something_else_of_that_name(self, far):
        os.makedirs(there(far))
        assert "something that is no bundle" in deliver(far, far.bundle())["problem"]


class TestBreaks:
    def test_a_bundle_that_is_damaged_here_goes_nowhere(self, far, capsys):
        bundle = far.bundle()
        with open(bundle.file("onnx/segment_1.onnx"), "ab") as file:
            file.write(b"x")
        assert command.main(far.arguments(bundle, "--ssh", far.ssh)) == 1
        assert "onnx/segment_1.onnx: the file has changed" in capsys.readouterr().err
        assert os.listdir(far.server.home) == []

    def test_killed_with_all_its_children_it_goes_on_where_it_was(self, far):
        bundle = far.bundle(noise_bytes=8 * MEGABYTE)
        process = far.start(bundle, "--ssh", slow(far.ssh, SLOW))
        eventually(lambda: received_bytes(far.home) > 3 * MEGABYTE)
        os.killpg(process.pid, signal.SIGKILL)
        end(process)
        assert not os.path.lexists(there(far))
        eventually(lambda: is_kept(far))
        delivery = deliver(far, bundle)
        assert delivery["state"] == "delivered"
        assert delivery["sent_bytes"] < 6 * MEGABYTE
        assert contents(there(far)) == contents(bundle.path)
        assert os.listdir(far.engines) == ["1"]

    def test_killed_alone_it_leaves_an_rsync_that_does_no_harm(self, far):
        bundle = far.bundle(noise_bytes=8 * MEGABYTE)
        process = far.start(bundle, "--ssh", slow(far.ssh, SLOW))
        eventually(lambda: received_bytes(far.home) > MEGABYTE)
        process.kill()
        process.wait(WAIT_S)
        try:
            for _ in range(2):  # beside it, and once more
                delivery = deliver(far, bundle)
                assert delivery["state"] in ("delivered", "already there"), delivery
        finally:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(process.pid, signal.SIGKILL)
            end(process)
        assert contents(there(far)) == contents(bundle.path)
        assert os.listdir(far.engines) == ["1"]

    def test_two_at_once_deliver_it_once(self, far):
        bundle = far.bundle(noise_bytes=MEGABYTE)
        processes = [far.start(bundle, "--ssh", slow(far.ssh, SLOW)) for _ in range(2)]
        said = [end(process) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], said
        assert deliver(far, bundle)["state"] == "already there"
        assert os.listdir(far.engines) == ["1"]

    def test_who_comes_second_sees_that_it_is_there(self, far):
        bundle = far.bundle(noise_bytes=6 * MEGABYTE)
        process = far.start(bundle, "--ssh", slow(far.ssh, MEGABYTE))
        eventually(lambda: received_bytes(far.home) > MEGABYTE / 2)
        assert deliver(far, bundle)["state"] == "delivered"
        out, err = end(process)
        assert process.returncode == 0, err
        # Its rsync finds the ground gone, unless this machine was so slow that both came in.
        assert json.loads(out)["deliveries"][0]["state"] in ("already there", "delivered")
        assert contents(there(far)) == contents(bundle.path)
        assert os.listdir(far.engines) == ["1"]

    def test_a_disk_that_is_too_small_is_seen_before(self, far, small_disk):
        bundle = far.bundle(noise_bytes=13 * MEGABYTE)
        delivery = deliver(far, bundle, "--to", os.path.join(small_disk, "mine", "1"))
        assert delivery["state"] == "failed" and "bytes free, expected 13,6" in delivery["problem"]
        assert os.listdir(small_disk) == []

    def test_a_disk_that_fills_up_on_the_way(self, far, small_disk):
        bundle = far.bundle(noise_bytes=8 * MEGABYTE)
        more = ("--to", os.path.join(small_disk, "mine", "1"))
        filler = os.path.join(small_disk, "filler")

        def fill():
            eventually(lambda: received_bytes(small_disk) > MEGABYTE)
            with open(filler, "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
                while True:
                    file.write(bytes(MEGABYTE))

        both = Together(
            lambda: far.one(bundle, "--ssh", slow(far.ssh, SLOW), *more),
            fill,
        )
        problem = both.results[0]["problem"]
        assert "No space left on device" in problem and "free some space" in problem
        assert not os.path.lexists(os.path.join(small_disk, "mine", "1"))
        os.remove(filler)
        assert deliver(far, bundle, *more)["state"] == "delivered"
        assert contents(os.path.join(small_disk, "mine", "1")) == contents(bundle.path)


class TestMachinesThatCannot:
    def problem(self, fleet, *more):
        delivery = deliver(fleet, fleet.bundle(), *more)
        assert delivery["state"] == "failed" and "\n" not in delivery["problem"]
        assert delivery["sent_bytes"] is None and delivery["model_id"] is None
        return delivery["problem"]

    def test_a_key_that_is_refused(self, far):
        far.server.make_key("stranger")
        config = os.path.join(far.server.folder, "config")
        strange = config + ".strange"
        with open(config) as source, open(strange, "w") as target:
            target.write(source.read().replace("/user", "/stranger"))
        far.ssh = "ssh -F " + strange
        assert "Permission denied (publickey); it refuses the key: `ssh-copy-id far`" in (
            self.problem(far)
        )

    def test_a_host_key_that_is_not_known(self, far):
        far.server.known_as()
        try:
            assert "Host key verification failed" in self.problem(far)
        finally:
            far.server.known_as(far.server.host_key)
        assert deliver(far, far.bundle(2))["state"] == "delivered"

    def test_a_host_that_nobody_knows(self, far):
        far.describe(robot='ssh = "nobody.invalid"')
        problem = self.problem(far)
        assert "Could not resolve hostname nobody.invalid" in problem and "set ssh =" in problem

    def test_a_host_that_does_not_answer(self, far):
        far.describe(robot='ssh = "far"')
        far.ssh = "ssh -p 9 -F " + shlex.quote(far.server.config)
        assert "Connection refused; is it on, and does `ssh far` work?" in self.problem(far)

    def test_no_python_there(self, far):
        far.server.set_path([name for name in PROGRAMS if name != "python3"])
        assert self.problem(far) == "python3: not found there, expected 3.6 or newer: install it"

    def test_a_python_there_that_is_too_old(self, far):
        path = os.path.join(far.server.bin, "python3")
        with open(path, "w") as file:
            file.write('#!/bin/sh\necho "SyntaxError: invalid syntax" >&2\nexit 1\n')
        assert "expected Python 3.6 or newer as python3 there" in self.problem(far)

    def test_no_rsync_there(self, far):
        far.server.set_path(["python3"])
        assert "rsync: not found there; install it: apt-get install rsync" in self.problem(far)
        assert os.listdir(far.server.home) == []

    def test_a_folder_that_may_not_be_written(self, far):
        with open(far.home, "w"):
            pass  # even root makes no folder in a file
        problem = self.problem(far)
        assert "Not a directory" in problem or "File exists" in problem
        assert "choose another folder" in problem

    def test_no_ssh_here(self, far):
        far.ssh = "no-such-ssh"
        assert "no-such-ssh: cannot be run here" in self.problem(far)

    def test_the_others_go_on(self, server, fleet, capsys):
        fleet.describe(one='ssh = "nobody.invalid"', two=FAR, three=FAR, four='folder = "own"')
        bundle = fleet.bundle()
        arguments = [bundle.path, "--cluster", str(fleet.path), "--ssh", server.ssh]
        assert command.main(arguments) == 1
        said = capsys.readouterr().out
        rows = [line.split("  ") for line in said.splitlines() if "  " in line]
        rows = [[cell.strip() for cell in row if cell.strip()] for row in rows]
        assert ["worker", "host", "state", "bytes sent", "seconds", "model_id"] in rows
        states = {row[0]: row[1:3] for row in rows}
        assert states["one"] == ["nobody.invalid", "failed"]
        assert states["two, three"] == ["far", "delivered"]
        assert states["four"] == ["this machine", "delivered"]
        assert said.count("Could not resolve hostname") == 1
        assert contents(str(fleet.folder / "own/engines/mine/1")) == contents(bundle.path)
        assert "Traceback" not in said


class TestArguments:
    def test_a_name_chooses(self, server, fleet):
        fleet.describe(one='ssh = "nobody.invalid"', two=FAR)
        assert fleet.one(fleet.bundle(), "--ssh", server.ssh, "--name", "two")["workers"] == ["two"]

    def test_a_name_that_the_file_lacks(self, fleet):
        assert fleet.describe(one="").push(fleet.bundle(), "--name", "oen") == (1, None)
        assert "did you mean one?" in fleet.said

    def test_a_command_that_is_none(self, fleet):
        assert fleet.describe(one="").push(fleet.bundle(), "--ssh", "ssh '") == (1, None)
        assert fleet.said.splitlines()[-1].startswith("ConfigError: --ssh: found")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 12 MB, whatever user the far side has: mounted, so only root gets it."""
    disk = str(tmp_path / "disk")
    os.mkdir(disk)
    options = ["-t", "tmpfs", "-o", "size=12m", "tmpfs", disk]
    done = subprocess.run(
        ["mount"] + options, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        pytest.skip("needs a small disk: " + done.stdout.decode("utf-8", "replace").strip())
    yield disk
    subprocess.check_call(["umount", disk])


def is_kept(fleet):
    """Whether the receiver that lost its sender has put away what it had."""
    return any(".partial" in path for path in _files(fleet.engines))


def end(process):
    """What it said; it must end by itself."""
    return process.communicate(timeout=WAIT_S)


def _files(folder):
    return [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]
