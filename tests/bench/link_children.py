"""What tests of `bench link` make the other process do, and how they see that it is gone."""

import os
import signal
import sys
import time

WAIT_S = 30.0


def greet(options, ready):
    """Ready at once, with the options and its cores; then sleep."""
    print("this is not for the parent's program")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    ready({"options": options, "process_id": os.getpid(), "cores": cores})
    time.sleep(10 * WAIT_S)


def break_down(options, ready):
    """End before being ready, with a reason."""
    sys.stderr.write("first line\nthe disk is on fire\n")
    sys.exit(3)


def refuse_to_leave(options, ready):
    """Ready, and deaf to every polite request."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready({})
    time.sleep(10 * WAIT_S)


def is_alive(process_id):
    """Whether the process runs; one that has ended and is not yet waited for does not."""
    try:
        with open("/proc/{}/stat".format(process_id)) as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children_of(process_id):
    """Processes whose parent it is, by number."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/{}/stat".format(name)) as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == process_id:
                found.append(int(name))
    return found


def wait_until(condition):
    """Return what `condition` gives as soon as that is true; fail after WAIT_S."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("waited for {} s".format(WAIT_S))
