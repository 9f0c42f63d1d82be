"""A real sshd on a high port of 127.0.0.1, with keys, users' home and PATH of its own.

with SshServer(folder) as server:
    server.use_home(path)       # where sessions begin
    server.ssh                  # the command that reaches it, as --ssh takes it
    server.set_path(["rsync"])  # from now on these programs only
"""

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time

import pytest

from edgesdk.addresses import free_port_pairs

WAIT_S = 20.0
SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
SEPARATION = "/run/sshd"  # sshd of root wants it; packages make it at boot
PROGRAMS = ["rsync", "python3"]

SESSION = """#!/bin/sh
. {profile}
export HOME PATH
cd "$HOME" || exit 1
exec {shell} -c "$SSH_ORIGINAL_COMMAND"
"""

SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
ForceCommand {session}
"""

CLIENT = """
Host *
  User {user}
  IdentityFile "{folder}/user"
  IdentitiesOnly yes
  UserKnownHostsFile "{folder}/known"
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
Host far nearby "127.0.0.1"
  HostName 127.0.0.1
  HostKeyAlias far
  Port {port}
"""


def skip_unless_there():
    """Skip, and say why, where there is no sshd or rsync."""
    missing = [name for name in ("ssh", "ssh-keygen", "rsync") if shutil.which(name) is None]
    missing += [] if SSHD else ["sshd"]
    if missing:
        pytest.skip("needs {}: apt-get install openssh-server rsync".format(", ".join(missing)))
    if os.getuid() == 0 and not os.path.isdir(SEPARATION):
        try:
            os.makedirs(SEPARATION, mode=0o755)
        except OSError as error:
            pytest.skip("sshd of root needs {} ({})".format(SEPARATION, error.strerror))


class SshServer:
    """See above. `folder` must be new or empty, its path without blanks."""

    def __init__(self, folder):
        self.folder, self.home, self.bin = str(folder), None, str(folder / "bin")
        self.port = free_port_pairs(1)[0]
        self.config = os.path.join(self.folder, "config")
        self._profile = os.path.join(self.folder, "profile")
        self._process = None

    @property
    def ssh(self):
        """The command, for one host of any of the names above."""
        return "ssh -F " + shlex.quote(self.config)

    def use_home(self, home):
        """Sessions begin there, as on a machine where everything is installed."""
        self.home = home
        os.makedirs(home, exist_ok=True)
        self.set_path(PROGRAMS)
        self.set_profile("")

    def set_path(self, programs):
        """What a session finds."""
        shutil.rmtree(self.bin, ignore_errors=True)
        os.makedirs(self.bin)
        for name in programs:
            real = sys.executable if name == "python3" else shutil.which(name)
            with open(os.path.join(self.bin, name), "w") as file:  # a link would lose the venv
                file.write('#!/bin/sh\nexec {} "$@"\n'.format(shlex.quote(real)))
            os.chmod(os.path.join(self.bin, name), 0o755)

    def set_profile(self, text):
        """What every session does first."""
        lines = ["HOME=" + shlex.quote(self.home), "PATH=" + shlex.quote(self.bin), text]
        self._write("profile", "\n".join(lines) + "\n")

    def make_key(self, name):
        """A new pair of keys."""
        path = os.path.join(self.folder, name)
        for old in (path, path + ".pub"):
            if os.path.exists(old):
                os.remove(old)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path]
        subprocess.check_call(command, stdin=subprocess.DEVNULL)
        with open(path + ".pub") as file:
            return file.read()

    def known_as(self, *keys):
        """Which host keys the client knows."""
        self._write("known", "".join("far " + key for key in keys))

    def __enter__(self):
        self._write("authorized", self.make_key("user"))
        self.host_key = self.make_key("host")
        self.known_as(self.host_key)
        values = {"folder": self.folder, "port": self.port, "user": getpass.getuser()}
        session = self._write(
            "session",
            SESSION.format(
                profile=shlex.quote(self._profile),
                shell=shutil.which("sh"),
            ),
        )
        os.chmod(session, 0o755)
        self._write("config", CLIENT.format(**values))
        server = self._write("sshd_config", SERVER.format(session=session, **values))
        self._log = open(os.path.join(self.folder, "log"), "wb")
        self._process = subprocess.Popen([SSHD, "-D", "-e", "-f", server], stderr=self._log)
        self._wait()
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(WAIT_S)
        self._log.close()

    def _wait(self):
        until_s = time.monotonic() + WAIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None and time.monotonic() < until_s, self.log
                time.sleep(0.02)

    @property
    def log(self):
        """What sshd says."""
        with open(os.path.join(self.folder, "log"), errors="replace") as file:
            return file.read()

    def _write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o600)
        return path
