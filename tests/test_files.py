"""A file is written whole or not at all."""

import errno
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from edgesdk.errors import ConfigError, EdgeError
from edgesdk.files import GrowingFile, write_atomically


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_makes_and_replaces(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    for content in (b"first", b"", b"longer than before"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert listing(path.parent) == ["file"]


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def refuse(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    target = "builtins.open" if call == "open" else "os." + call
    with monkeypatch.context() as patched:
        patched.setattr(target, refuse)
        with pytest.raises(EdgeError, match=r"file: cannot be written \(No space left on device\)"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["file"]


def test_a_real_limit_on_file_size(tmp_path):
    """As a full disk, but real: the system cuts the write short."""
    path = tmp_path / "file"
    write_atomically(path, b"old")
    program = (
        "import resource, signal, sys\n"
        "from edgesdk.files import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_atomically(sys.argv[1], bytes(100000))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert done.returncode == 1
    assert b"cannot be written (File too large)" in done.stderr
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["file"]


def test_a_kill_leaves_the_old_file_or_the_new(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"a" * 100_000)
    program = (
        "import sys\n"
        "from edgesdk.files import write_atomically\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    for letter in (b'a', b'b'):\n"
        "        write_atomically(sys.argv[1], letter * 100000)\n"
    )
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE
        )
        process.stdout.readline()
        time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert path.read_bytes() in (b"a" * 100_000, b"b" * 100_000)
    write_atomically(path, b"end")
    assert listing(tmp_path) == ["file"]


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EdgeError, match=r"Not a directory|File exists"):
        write_atomically(tmp_path / "file" / "below", b"x")


def test_a_private_file_is_its_owners_even_over_what_a_kill_left(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file.tmp").write_bytes(b"left")
    for path in tmp_path.iterdir():
        path.chmod(0o666)
    write_atomically(tmp_path / "file", b"new", private=True)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert listing(tmp_path) == ["file"]


class TestGrowingFile:
    """More of it is in tests/trace/test_trace_file.py."""

    def test_grows_and_ends(self, tmp_path):
        path = str(tmp_path / "log")
        file = GrowingFile(path, "log", "first,", 100)
        assert (tmp_path / "log").read_bytes() == b"first,"
        file.add(0, "second,")
        file.close("last")
        file.close("last")
        assert (tmp_path / "log").read_bytes() == b"first,second,last"
        assert (file.entry_count, file.is_open) == (1, False)

    def test_names_what_it_is(self, tmp_path, caplog):
        path = str(tmp_path / "log")
        file = GrowingFile(path, "diary", "", 5)
        file.add(0, "too much")
        file.flush()
        assert caplog.records[0].getMessage().startswith("the diary {} ends".format(path))
        with pytest.raises(ConfigError, match="the diary cannot be written"):
            GrowingFile(str(tmp_path / "no" / "log"), "diary", "", 5)
