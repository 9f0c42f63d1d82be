"""What goes wrong on the way to a machine is one line that says what to do."""

import pytest

from edgesdk.errors import BackendUnavailable, ConfigError, TransportError
from edgesdk.push import machine
from edgesdk.push.machine import Answer, Machine, ssh_words


class TestWords:
    def test_are_those_of_a_shell(self):
        assert ssh_words(None) == ["ssh"]
        assert ssh_words("ssh -F 'a b' -J hub") == ["ssh", "-F", "a b", "-J", "hub"]

    @pytest.mark.parametrize("command", ["", "  ", "ssh 'x"])
    def test_must_be_some(self, command):
        with pytest.raises(ConfigError, match="--ssh: found"):
            ssh_words(command)

    def test_are_quoted_as_rsync_reads_them(self):
        assert machine._rsync_words(["ssh", "-F", "it's a"]) == "'ssh' '-F' 'it''s a'"


class TestReasons:
    @pytest.mark.parametrize(
        ("what", "said", "reason"),
        [
            ("ssh", "", "ssh: ended with status 9"),
            (
                "ssh",
                "banner\nssh: connect to host a port 22: No route to host\n",
                "ssh: connect to",
            ),
            (
                "ssh",
                "Warning: x\na@b: Permission denied (publickey).\nlast",
                "ssh: a@b: Permission",
            ),
            ("rsync", "rsync: [r] write failed: x\nrsync error: code 11", "rsync: [r] write"),
            ("python3", "Traceback\nKeyError: 'x'", "python3: KeyError"),
        ],
    )
    def test_are_the_line_that_says_most(self, what, said, reason):
        assert machine._reason(what, Answer(9, "", said)).startswith(reason)

    @pytest.mark.parametrize(
        ("reason", "remedy"),
        [
            ("rsync: write failed: No space left on device (28)", "free some space"),
            ("ssh: a: Permission denied (publickey)", "`ssh-copy-id nano@b`"),
            ("ssh: Host key verification failed", "run `ssh nano@b` once"),
            ("ssh: connect to host b port 22: Connection timed out", "does `ssh nano@b` work?"),
            ("rsync: whatever", "run this again"),
        ],
    )
    def test_come_with_what_to_do(self, reason, remedy):
        text = machine._with_remedy(reason, "nano@b")
        assert text.startswith(reason + "; ") and remedy in text


class TestMachine:
    def test_without_ssh_it_says_what_to_install(self):
        with pytest.raises(BackendUnavailable, match=r"no-such: cannot be run here .* install"):
            Machine("far", ["no-such"]).ask({"verb": "look"})

    def test_an_address_of_ipv6_has_brackets_for_rsync_only(self, tmp_path):
        said = tmp_path / "said"
        fake = tmp_path / "fake"
        fake.write_text('#!/bin/sh\necho "$*" >> {}\nexit 255\n'.format(said))
        fake.chmod(0o755)
        with pytest.raises(TransportError, match="ssh: ended with status 255"):
            Machine("nano@[fd00::1]", [str(fake)]).ask({"verb": "look"})
        assert said.read_text().endswith(" nano@fd00::1 python3 -\n")

    def test_what_takes_too_long_is_ended(self, monkeypatch, tmp_path):
        monkeypatch.setattr(machine, "ORDER_TIMEOUT_S", 0.2)
        fake = tmp_path / "fake"
        fake.write_text("#!/bin/sh\nexec sleep 60\n")
        fake.chmod(0o755)
        with pytest.raises(TransportError, match=r"found no answer within 0.2 s; run this again"):
            Machine("far", [str(fake)]).ask({"verb": "look"})
