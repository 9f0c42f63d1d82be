"""What people have before they push: a folder with a cluster file and bundles; and the command."""

import io
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import tiny

from edgesdk.bundle import write_bundle
from edgesdk.push import __main__ as command

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WAIT_S = 60.0
NOISE = "extra/noise.bin"  # listed by the manifest, used by nobody
WORKER = """
[[worker]]
name = {name}
address = "tcp://127.0.0.1:{port}"
"""


class Fleet:
    """`folder` with robots.toml and engines/mine/VERSION."""

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / "robots.toml"
        self.said = ""  # what the last command said on standard error
        folder.mkdir()

    def bundle(self, version=1, labels=None, noise_bytes=0, seed=0, policy=None):
        """Write a version; with `labels` another model than without. `noise_bytes` make it long."""
        manifest, files = tiny.tiny_manifest(), tiny.tiny_files()
        manifest["labels"] = labels or manifest["labels"]
        if policy is not None:
            manifest["policies"]["calibrated"] = policy
        if noise_bytes:
            files[NOISE] = np.random.RandomState(seed).bytes(noise_bytes)
        return write_bundle(self.folder / "engines" / "mine" / str(version), manifest, files)

    def describe(self, **workers):
        """Write the cluster file; the lines of each worker beside its name and address."""
        text = 'bundle = "engines/mine/1"\n'
        for number, (name, lines) in enumerate(workers.items()):
            text += WORKER.format(name=json.dumps(name), port=5600 + 10 * number) + lines + "\n"
        self.path.write_text(text, "utf-8")
        return self

    def arguments(self, bundle, *more):
        """Of the command."""
        return [bundle.path, "--cluster", str(self.path), "--json"] + list(more)

    def push(self, bundle, *more):
        """Run it here; its status, and the deliveries it tells of."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = command.main(self.arguments(bundle, *more))
        self.said = err.getvalue()
        return status, json.loads(out.getvalue())["deliveries"] if out.getvalue() else None

    def one(self, bundle, *more):
        """The same for a fleet of one machine: the delivery."""
        status, (delivery,) = self.push(bundle, *more)
        assert status == (delivery["state"] == "failed"), self.said
        return delivery

    def start(self, bundle, *more):
        """Run it as a process, first of a group."""
        return subprocess.Popen(
            [sys.executable, "-m", "edgesdk.push"] + self.arguments(bundle, *more),
            cwd=str(ROOT),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )


def slow(ssh, bytes_per_s):
    """The command `ssh`, on a link that brings so much."""
    return "{} {} {} {}".format(sys.executable, HERE / "slow_ssh.py", bytes_per_s, ssh)


def contents(folder):
    """Bytes by relative path; of a bundle there and here they are equal."""
    found = {}
    for place, _, names in os.walk(str(folder)):
        for name in names:
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, str(folder))] = file.read()
    return found


def eventually(condition, timeout_s=WAIT_S):
    """Wait until `condition()`."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s, "it never came to that"
        time.sleep(0.01)


def received_bytes(folder):
    """What lies in unfinished deliveries below `folder`, files of rsync in the making included."""
    return sum(
        (Path(place) / name).stat().st_size
        for place, _, names in os.walk(str(folder))
        if ".push-" in place
        for name in names
        if os.path.lexists(os.path.join(place, name))
    )


class Together:
    """Several calls at once; `results` in their order."""

    def __init__(self, *calls):
        self.results = [None] * len(calls)
        threads = [
            threading.Thread(target=self._run, args=(n, call)) for n, call in enumerate(calls)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)

    def _run(self, number, call):
        self.results[number] = call()
