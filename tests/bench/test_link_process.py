"""The other process of `bench link`: told what to do, heard, and always gone in the end."""

import os
import subprocess
import sys

import link_children
import pytest
from link_children import is_alive, wait_until

from edgesdk.bench import link_process
from edgesdk.bench.link_process import Child
from edgesdk.errors import TransportError

needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self"), reason="processes are watched in /proc"
)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The child finds `link_children` where this process found it."""
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(link_children.__file__))


@pytest.fixture
def start():
    children = []

    def start_one(function, options=None, cores=None):
        children.append(Child("link_children:" + function, options or {}, cores))
        return children[-1]

    yield start_one
    for child in children:
        child.stop()


def test_options_arrive_and_what_it_is_ready_with_comes_back(start):
    child = start("greet", {"copy": True, "address": "tcp://x"})
    assert child.ready["options"] == {"copy": True, "address": "tcp://x"}
    assert child.ready["process_id"] == child.process_id


def test_it_runs_on_the_cores_it_is_given(start):
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system cannot pin processes")
    core = min(os.sched_getaffinity(0))
    assert start("greet", cores=[core]).ready["cores"] == [core]


def test_one_that_breaks_down_is_an_error_with_its_last_words(start):
    with pytest.raises(TransportError) as raised:
        start("break_down")
    text = str(raised.value)
    assert text.startswith("link_children:break_down: found no answer, expected it to be ready")
    assert "ended with status 3" in text
    assert text.endswith("the disk is on fire")


def test_one_that_says_nothing_is_given_up(start, monkeypatch):
    monkeypatch.setattr(link_process, "READY_S", 0.0)
    with pytest.raises(TransportError, match="the other process still runs"):
        start("greet")


@needs_proc
def test_stopping_ends_it_at_once_and_twice_is_fine(start):
    child = start("greet")
    assert is_alive(child.process_id)
    child.stop()
    assert not is_alive(child.process_id)
    child.stop()


@needs_proc
def test_one_that_does_not_leave_is_killed(start, monkeypatch):
    monkeypatch.setattr(link_process, "LEAVE_S", 0.3)
    child = start("refuse_to_leave")
    child.stop()
    assert not is_alive(child.process_id)


PARENT = """
import sys, time
from edgesdk.bench.link_process import Child
child = Child("link_children:greet", {})
print(child.process_id, flush=True)
time.sleep(300)
"""


@needs_proc
def test_it_does_not_outlive_a_parent_that_is_killed():
    root = os.path.dirname(os.path.dirname(os.path.dirname(link_process.__file__)))
    paths = os.pathsep.join([root, os.path.dirname(link_children.__file__)])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=paths),
    )
    try:
        child = int(parent.stdout.readline())
        assert is_alive(child)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    wait_until(lambda: not is_alive(child))
