"""bench telemetry: what is lost, by turns beside each other; real workers that are looked at."""

import itertools
import json
import socket
import threading

import pytest

from edgesdk import Failed, TransportError
from edgesdk.bench import __main__ as bench
from edgesdk.bench import telemetry
from edgesdk.bench.telemetry import AGAIN, OFF, Pair, Rate, Turn, Way, lost_percent, scrape

pytest.importorskip("zmq")

BOTH = Way("both", metrics=True, observer=True, target=2.0)


def turns(*ratios, before=100.0, behind=100.0):
    middle = 0.5 * (before + behind)
    return [
        Turn(Rate(middle * ratio, 0.1 * middle * ratio), Rate(before, 10.0), Rate(behind, 10.0))
        for ratio in ratios
    ]


class TestLost:
    def test_is_the_median_over_turns(self):
        assert lost_percent(turns(0.5, 0.98, 0.96, 0.97, 1.5), 0).value == pytest.approx(3.0)

    def test_is_told_of_both_rates(self):
        assert lost_percent(turns(0.9, 0.9, 0.9), 1).value == pytest.approx(10.0)

    def test_a_machine_that_becomes_slower_changes_nothing(self):
        assert lost_percent(turns(0.98, before=120.0, behind=80.0), 0).value == pytest.approx(2.0)

    def test_is_between_two_ranks_and_the_more_turns_the_nearer(self):
        ratios = [1 - number / 1000 for number in range(101)]  # lost 0 to 10 %
        found = lost_percent(turns(*ratios), 0)
        assert found == pytest.approx((5.0, 4.0, 6.0))  # 0.98 * sqrt(101), up: 10 ranks
        few = lost_percent(turns(*ratios[::25]), 0)
        assert few == pytest.approx((5.0, 0.0, 10.0))
        assert lost_percent(turns(0.97), 0) == pytest.approx((3.0, 3.0, 3.0))


class TestFigures:
    def figure(self, found, name):
        (one,) = [each for each in telemetry.figures(found) if each["name"] == name]
        return one

    @pytest.mark.parametrize(("ratio", "ok"), [(0.81, True), (0.79, False)])
    def test_hold_one_look_a_second_to_its_target(self, ratio, ok):
        name = "both: processor time lost by one look a second"
        found = self.figure({BOTH: turns(ratio)}, name)
        assert found["value"] == pytest.approx(100 * (1 - ratio) / telemetry.LOOKS_PER_S)
        assert (found["target"], found["ok"]) == (2.0, ok)

    def test_of_ways_that_do_not_look_have_none(self):
        found = telemetry.figures({AGAIN: turns(0.5)})
        assert all(each["target"] is None and "a second" not in each["name"] for each in found)
        assert self.figure({AGAIN: turns(0.5)}, "off, again: lost of throughput")["value"] == 50

    def test_a_person_sees_the_same(self):
        (row,) = telemetry.rows({BOTH: turns(0.9)})
        assert row == ("both", "90", "111111", "10.0 % (10.0 to 10.0)", "10.0 % (10.0 to 10.0)")


@pytest.fixture
def pair(bundle, tmp_path):
    pytest.importorskip("prometheus_client")
    made = Pair(BOTH, bundle.path, str(tmp_path), None)
    yield made
    made.close()


class TestAPair:
    def test_answers_images_while_it_is_looked_at(self, pair, brightnesses, monkeypatch):
        looks = []
        look = pair.look
        monkeypatch.setattr(pair, "look", lambda: looks.append(look()))
        rate = pair.turn(itertools.cycle(brightnesses.images), 1.0)
        assert rate.per_s > 10 and rate.per_processor_s > 10
        assert looks  # ten a second, where the machine has time for them
        assert pair.pipe.stats()["admitted_count"] >= rate.per_s

    def test_a_look_that_fails_fails_the_turn(self, pair, brightnesses):
        pair._ports = [1]
        with pytest.raises(OSError):
            pair.turn(itertools.cycle(brightnesses.images), 0.3)

    def test_a_worker_that_is_gone_is_named(self, pair, monkeypatch):
        monkeypatch.setattr(telemetry, "ANSWER_S", 0.5)
        pair._child.stop()
        pair._ports = []
        with pytest.raises(Failed, match="no answer to the observer from worker"):
            pair.look()


def test_what_is_no_page_of_metrics_is_refused():
    def answer(server):
        client, _ = server.accept()
        client.recv(100)
        client.sendall(b"HTTP/1.0 500 no\r\n\r\n")
        client.close()

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        with pytest.raises(TransportError, match=r"found b'HTTP/1\.0 500 no.*, expected metrics"):
            scrape(server.getsockname()[1])
        thread.join()


def test_in_one_go(monkeypatch, bundle, brightnesses, capsys):
    pytest.importorskip("prometheus_client")
    monkeypatch.setattr(bench, "pin", lambda threads: None)
    monkeypatch.setattr(telemetry, "read_test_images", lambda data, labels: brightnesses)
    everything = BOTH._replace(name="everything", files=("trace", "timeline"))
    monkeypatch.setattr(telemetry, "WAYS", (OFF, everything))
    monkeypatch.setattr(telemetry, "TURN_S", 0.12)
    arguments = ["telemetry", "--json", "--seconds", "0.1", "--bundle", bundle.path]
    assert bench.main(arguments) == 0
    out, err = capsys.readouterr()
    found = {each["name"]: each["value"] for each in json.loads(out)["figures"]}
    assert found["everything: throughput"] > 1
    low, high = (
        found["everything: lost, at {} of throughput".format(m)] for m in ("least", "most")
    )
    assert low <= found["everything: lost of throughput"] <= high
    assert found["stats(buckets=True)"] > 1 and found["a scrape of this worker"] > 10
    assert "everything  " in err and "looks a second, 3 turns each" in err
