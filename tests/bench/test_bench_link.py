"""`bench link` as a whole: turns, figures, options, and that nobody is left behind."""

import json
import os
import signal
import subprocess
import sys

import link_children
import pytest
from link_children import children_of, is_alive, wait_until

from edgesdk.bench import __main__ as bench
from edgesdk.bench import link
from edgesdk.bench.link_contender import ANSWER, ECHO, ONE_WAY, SIZES, Contender
from edgesdk.errors import BackendUnavailable, TransportError

QUICK = ["--seconds", "0.05", "--rounds", "5", "--sizes", "64B"]
needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self"), reason="processes are watched in /proc"
)


@pytest.fixture(autouse=True)
def own_cores():
    """Puts back the cores this process may use."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield cores
    if cores is not None:
        os.sched_setaffinity(0, cores)


class Double(Contender):
    """Replies from memory; writes down what is asked of it."""

    name = "double"
    stream_forms = (ANSWER,)
    asked = ()  # a list, in tests
    wrong = False

    def start(self, cores):
        self.asked.append("start")

    def fit(self, payload):
        self.asked.append("fit")
        self._payload = payload

    def round_trip(self, form):
        self.asked.append(form)
        reply = bytes(100) if form == ANSWER else self._payload.tobytes()
        return reply[1:] if self.wrong else reply

    def stream(self, count, window, form):
        self.asked.append("stream")
        return count

    def stop(self):
        self.asked.append("stop")


class Absent(Contender):
    name = "grpc unary"

    @staticmethod
    def require():
        raise BackendUnavailable("pip install grpcio")


@pytest.fixture
def double(monkeypatch):
    monkeypatch.setattr(link, "CONTENDERS", (Double, Absent))
    monkeypatch.setattr(Double, "asked", [])
    return Double


def test_replies_are_checked_then_everyone_takes_turns_then_all_stop(double, capsys):
    assert bench.main(["link", "--json"] + QUICK) == 0
    asked = double.asked
    assert asked[:5] == ["start", "fit", ECHO, ANSWER, "stream"]
    assert asked[-1] == "stop"
    turns = [each for each, next_one in zip(asked, asked[1:]) if each != next_one]
    assert turns.count("stream") >= 5, "a stream in every round"
    found = json.loads(capsys.readouterr().out)
    values = {figure["name"]: figure["value"] for figure in found["figures"]}
    assert values["64B, double (echo): round trip, median"] > 0
    assert values["64B, double (answer): throughput"] > 0


def test_a_wrong_reply_ends_it_before_anything_is_timed(double, capsys, monkeypatch):
    monkeypatch.setattr(double, "wrong", True)
    assert bench.main(["link", "--json"] + QUICK) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "TransportError: double: found a reply of 63 bytes, expected the 64" in err
    assert double.asked == ["start", "fit", ECHO, "stop"]


def test_missing_payloads_of_a_stream_are_found(double, monkeypatch):
    monkeypatch.setattr(double, "stream", lambda self, count, window, form: count - 1)
    one = double()
    one.fit(link.payload_of(SIZES[0]))
    with pytest.raises(TransportError, match="found 31 payloads of a stream received, expected 32"):
        one.check(link.payload_of(SIZES[0]))


def test_everyone_is_stopped_when_somebody_fails(double, monkeypatch, capsys):
    def fail(self, count, window, form):
        raise KeyboardInterrupt

    monkeypatch.setattr(double, "stream", fail)
    assert bench.main(["link"] + QUICK) == 130
    assert double.asked[-1] == "stop"


def test_who_cannot_take_part_is_named_with_the_remedy(double, capsys):
    assert bench.main(["link"] + QUICK) == 0
    assert "grpc unary: pip install grpcio" in capsys.readouterr().out


def test_rounds_come_in_another_order_each(double, monkeypatch):
    seen = []
    monkeypatch.setattr(link, "_trips_us", lambda c, form, s: seen.append(form) or [1.0])
    monkeypatch.setattr(link, "_stream_mb_s", lambda c, form, n, b: seen.append("stream") or 1.0)
    bench.main(["link", "--rounds", "20"] + QUICK[:2] + QUICK[4:])
    rounds = [tuple(seen[i : i + 3]) for i in range(0, len(seen), 3)]
    assert len(rounds) == 20
    assert all(sorted(one) == sorted([ECHO, ANSWER, "stream"]) for one in rounds)
    assert len(set(rounds)) > 2


def test_pyzmq_is_measured_in_every_form(capsys):
    names = "raw,raw curve"
    assert bench.main(["link", "--json", "--contenders", names, "--no-curve"] + QUICK) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    measured = {figure["name"].split(":")[0] for figure in found["figures"]}
    assert measured == {"64B, raw ({})".format(form) for form in (ECHO, ANSWER, ONE_WAY)}
    assert all(figure["value"] > 0 for figure in found["figures"])
    assert found["conditions"]["cores"] and found["conditions"]["other_process_cores"]
    assert "the others on" in err and "x raw, answer" in err


def test_only_with_encryption(capsys):
    assert bench.main(["link", "--contenders", "raw,raw curve", "--curve"] + QUICK) == 0
    out = capsys.readouterr().out
    assert "64B, CURVE" in out and "x raw, echo" not in out


def test_the_other_process_gets_cores_of_its_own(own_cores):
    if own_cores is None or len(own_cores) < 2:
        pytest.skip("one core, or a system that cannot pin processes")
    found = link.place(bench.argparse.Namespace(threads=1))
    assert found["cores"] == [max(own_cores)] == sorted(os.sched_getaffinity(0))
    assert len(found["other_process_cores"]) == 1
    assert not set(found["cores"]) & set(found["other_process_cores"])


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--sizes", "1MB"], 1, "--sizes: found '1MB', expected some of 64B,16KB,128KB,3.2MB"),
        (["--contenders", "raw,http"], 1, "--contenders: found 'http', expected some of raw,"),
        (["--rounds", "4"], 2, "found 4, expected at least 5"),
        (["--curve", "--no-curve"], 2, "not allowed with"),
    ],
    ids=["size", "contender", "rounds", "curve"],
)
def test_wrong_options_are_refused(arguments, status, text, capsys):
    try:
        found = bench.main(["link"] + arguments)
    except SystemExit as ended:
        found = ended.code
    assert found == status
    assert text in capsys.readouterr().err


@needs_proc
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)], ids=["ctrl-c", "kill"]
)
def test_no_process_is_left_behind(number, status):
    command = [sys.executable, "-m", "edgesdk.bench", "link", "--contenders", "raw,raw curve"]
    parent = subprocess.Popen(
        command + ["--seconds", "300", "--sizes", "64B"],
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(link.__file__))),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        children = wait_until(lambda: _both(children_of(parent.pid)))
        os.killpg(parent.pid, number)
        _, errors = parent.communicate(timeout=link_children.WAIT_S)
        assert parent.returncode == status, errors
        wait_until(lambda: not any(is_alive(child) for child in children))
    finally:
        if parent.poll() is None:
            parent.kill()
            parent.wait()


def _both(children):
    return children if len(children) == 2 else None
