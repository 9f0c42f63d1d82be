"""Worker processes of the demonstration: they come up as one process each, and none is left."""

import os
import signal
import subprocess

import pytest
import tiny

from edgesdk.cluster import read_cluster
from edgesdk.demo.processes import Processes, write_cluster
from edgesdk.errors import EdgeError
from edgesdk.key_files import read_secret


@pytest.fixture
def cluster(tmp_path):
    """A cluster file of two workers, in a folder whose name TOML has to quote."""
    bundle = tiny.write_tiny_bundle(tmp_path / 'a "b" \\ c').path
    return write_cluster(str(tmp_path / "fleet"), str(bundle), ["one", "two"], 3)


class TestClusterFile:
    def test_names_the_bundle_and_every_worker(self, cluster, tmp_path):
        found = read_cluster(cluster)
        assert found.bundle == str(tmp_path / 'a "b" \\ c')
        assert [entry.name for entry in found.workers] == ["one", "two"]
        assert all(entry.is_loopback and entry.max_batch == 3 for entry in found.workers)

    def test_has_a_key_of_its_own_for_every_worker(self, cluster):
        found = read_cluster(cluster)
        assert len(found.public_keys()) == 2
        assert read_secret(found.security.keys, "two")


def refused(cluster):
    """Processes whose workers cannot begin: there is no such profile."""
    return Processes(cluster, os.path.join(os.path.dirname(cluster), "no-profile.json"), None)


def wait(process):
    """Until it has ended, without telling `Processes`."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


class TestProcesses:
    def test_one_that_ends_by_itself_is_an_error_with_its_last_words(self, cluster):
        with pytest.raises(EdgeError) as caught, refused(cluster) as processes:
            processes.check()  # nobody is there, and nobody is missed
            processes.start("one")
            wait(processes._running["one"])
            processes.check()
        first, last = str(caught.value).splitlines()
        assert first == "worker one has ended with status 1; it said last:"
        assert last.startswith("  ConfigError: ") and "no-profile.json: cannot be read" in last

    def test_one_that_ends_badly_has_nothing_to_report(self, cluster):
        with refused(cluster) as processes:
            processes.start("one")
            with pytest.raises(EdgeError, match="left with status 1, expected 0; it said last:\n"):
                processes.report("one")

    def test_all_are_ended_with_the_block_even_by_an_error(self, cluster):
        with pytest.raises(ZeroDivisionError), refused(cluster) as processes:
            processes.start("one")
            processes.start("two")
            running = list(processes._running.values())
            raise ZeroDivisionError
        assert len(running) == 2 and None not in [process.returncode for process in running]

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signals_interrupt_the_block_and_mean_again_later_what_they_did(self, cluster, number):
        before = signal.getsignal(number)
        with pytest.raises(KeyboardInterrupt), refused(cluster):
            os.kill(os.getpid(), number)
            pytest.fail("interrupted late")
        assert signal.getsignal(number) == before

    def test_an_interrupt_while_one_is_started_leaves_none_behind(self, cluster, monkeypatch):
        started = []

        def interrupted(*arguments, **options):
            started.append(Popen(*arguments, **options))
            os.kill(os.getpid(), signal.SIGTERM)
            return started[0]

        Popen = subprocess.Popen
        monkeypatch.setattr(subprocess, "Popen", interrupted)
        with pytest.raises(KeyboardInterrupt), refused(cluster) as processes:
            processes.start("one")
        assert started[0].returncode is not None
