"""The live screen on a pseudo-terminal, with made-up workers: keys, sizes, every way out."""

import os
import re
import signal
import sys
import termios

import pytest
from terminals import CURSOR_OFF, CURSOR_ON, HERE, ROOT, SCREEN_OFF, SCREEN_ON, Person

pytest.importorskip("rich")

PROGRAM = """
import sys, time
from documents import link, status
from edgesdk.top import live

begin_s = time.monotonic()
count = 0

def ask(timeout_s):
    global count
    count += 1
    seconds = 10 + time.monotonic() - begin_s
    answer = status(seconds, (count, 0), neighbours={"helper": link()})
    HOOK
    return {"camera": answer, "helper": None}

sys.exit(live.run("robots.toml", ["camera", "helper"], 0.2, ask))
"""


@pytest.fixture
def sit():
    """A function that runs the program on a terminal; `hook`: what asking does besides."""
    people = []

    def sit_down(hook="pass"):
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join([ROOT, HERE]), TERM="xterm")
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(name, None)
        command = [sys.executable, "-c", PROGRAM.replace("HOOK", hook)]
        people.append(Person(command, env=environment, cwd=ROOT))
        return people[-1]

    yield sit_down
    for each in people:
        each.close()


def expect_restored(person):
    assert SCREEN_OFF in person.seen and CURSOR_ON in person.seen


def test_it_shows_the_workers_and_quits(sit):
    person = sit()
    seen = person.wait_for("camera", "helper", "silent", "1 of 2 answer", "q quit")
    assert SCREEN_ON in seen and CURSOR_OFF in seen
    person.press("q")
    assert person.end() == (0, "")
    expect_restored(person)


def test_keys_change_what_is_shown(sit):
    person = sit()
    person.wait_for("comp/s")
    for key, text in (
        ("l", "delay there"),
        ("e", "since start"),
        ("h", "Numbers are those of the last interval"),
        ("w", "comp/s"),
        ("s", "by ans/s"),
        ("p", "PAUSED"),
    ):
        person.press(key)
        person.wait_for(text)
    person.press("\x1b[Bq")
    assert person.end() == (0, "")


def test_a_pause_holds_the_picture_while_answers_come(sit):
    def count(seen):
        return int(re.findall("since start +([0-9]+)", seen)[-1])

    person = sit()
    person.press("e")
    person.wait_for("since start")
    person.press("p")
    first = count(person.wait_for("PAUSED", "up/down"))
    person.wait_for("since start", "up/down")  # drawn again a second later, five answers on
    assert count(person.seen) == first
    person.press("p")
    eventually = person.wait_for("since start", "up/down")
    while count(eventually) <= first:
        eventually = person.wait_for("since start", "up/down")
    person.press("q")
    assert person.end() == (0, "")


def test_keys_are_not_echoed_and_need_no_return(sit):
    person = sit()
    person.wait_for("camera")
    person.look()
    flags = termios.tcgetattr(person._their_fd)[3]
    assert not flags & termios.ECHO and not flags & termios.ICANON
    person.press("q")
    person.end()


def test_it_takes_the_size_of_the_terminal(sit):
    person = sit()
    person.wait_for("no room:")
    person.resize(40, 160)
    person.signal(signal.SIGWINCH)
    person.wait_for("up for")  # the last column
    person.press("q")
    assert person.end() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_ends_it_and_the_terminal_is_as_before(sit, number):
    person = sit()
    person.wait_for("camera")
    person.signal(number)
    assert person.end() == (128 + number, "")
    expect_restored(person)


def test_ctrl_c(sit):
    person = sit()
    person.wait_for("camera")
    person.press("\x03")
    assert person.end() == (128 + signal.SIGINT, "")
    expect_restored(person)


def test_an_error_is_told_on_a_terminal_that_is_as_before(sit):
    person = sit(hook="if count > 2: raise RuntimeError('odd thing')")
    status, complaint = person.end()
    assert status == 1 and "RuntimeError: odd thing" in complaint
    expect_restored(person)


def test_a_worker_that_hangs_holds_no_key(sit):
    """Asking takes long; the screen does not wait for it."""
    person = sit(hook="time.sleep(1.0 if count > 1 else 0)")
    person.wait_for("camera")
    for _ in range(3):
        person.press("l")
        person.wait_for("delay there")
        person.press("w")
        person.wait_for("comp/s")
    person.press("q")
    assert person.end() == (0, "")


def test_ctrl_z_gives_the_terminal_back_until_it_goes_on(sit):
    person = sit()
    person.wait_for("camera")
    person.press("\x1a")
    os.waitpid(person.process.pid, os.WUNTRACED)
    person.look(0.1)
    assert termios.tcgetattr(person._their_fd) == person.attributes
    expect_restored(person)
    person.signal(signal.SIGCONT)
    person.wait_for(SCREEN_ON, "camera")
    person.press("q")
    assert person.end() == (0, "")
