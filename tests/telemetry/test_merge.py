"""Traces of one world become one timeline, on the clock of the first of them."""

import os
import shutil

import pytest
from trace_events import problems, processes, read, slices, threads, unordered_flows
from traces import SPEC, lines_of, record_world, write_trace

from edgesdk.errors import ConfigError
from edgesdk.sim import chaos
from edgesdk.telemetry.merge import merge
from edgesdk.trace.file import TraceWriter


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "timeline.json")


def with_clocks(scenario, steady=True):
    """`scenario` with clocks that are far from each other."""
    nodes = tuple(
        node._replace(clock_offset_us=10**9 * (i + 1), drift_ppm=0.0 if steady else 40.0 * i - 50)
        for i, node in enumerate(scenario.nodes)
    )
    return scenario._replace(nodes=nodes)


@pytest.mark.parametrize("seed", range(6))
def test_of_a_world_where_much_goes_wrong(tmp_path, out, seed):
    paths = record_world(tmp_path, with_clocks(chaos.draw(seed), seed % 2 == 0), seed)
    merged = merge(paths, out)
    events = read(out)
    assert problems(events) == []
    assert len(merged) == len(paths) == len(processes(events))
    assert [each.part.name for each in merged] == list(processes(events).values())
    ended = sum(sum(each.replayed.ended.values()) for each in merged)
    items = slices(events)
    rows = threads(events)
    items = [e for e in items if rows[e["pid"], e["tid"]].startswith("items")]
    assert len([e for e in items if e["name"] != "open"]) == ended > 0
    for each in merged:
        assert each.replayed.difference is None
        assert each.part.shift_us is not None or 0 <= each.part.alignment.uncertainty_us < 10**6


def test_events_are_in_order_where_clocks_are_far_apart(tmp_path, out):
    """An arrow never leads from a worker to the past of another one, but by the uncertainty."""
    scenario = with_clocks(chaos.draw(3))
    merged = merge(record_world(tmp_path, scenario, 3), out)
    assert {each.part.reference for each in merged} == {"worker 1"}
    span_us = max(e["ts"] for e in read(out) if "ts" in e) - min(
        e["ts"] for e in read(out) if "ts" in e
    )
    assert span_us < 60_000_000  # and not the thousands of seconds between the clocks
    assert list(unordered_flows(read(out))) == []


class TestClocks:
    def write(self, tmp_path, name, worker, clock, at_us=1_000_000):
        spec = SPEC._replace(identity=SPEC.identity._replace(worker=worker))
        path = write_trace(tmp_path / "plain", spec=spec).path
        moved = str(tmp_path / name)
        lines = lines_of(path)
        head = lines[0].replace(b'{"device": "test"}', clock)
        with open(moved, "wb") as file:
            file.write(head + b"".join(lines[1:]))
        os.remove(path)
        return moved

    def test_of_strangers_are_not_aligned_and_that_is_said(self, tmp_path, out):
        paths = [
            self.write(tmp_path, "a", 1, b'{"worker": "a"}'),
            self.write(tmp_path, "b", 2, b'{"worker": "b"}'),
        ]
        first, second = merge(paths, out)
        assert first.part.clock == "the clock of the timeline"
        assert "not aligned" in second.part.clock and second.part.shift_us is not None
        labels = [e["args"]["labels"] for e in read(out) if e["name"] == "process_labels"]
        assert labels == [first.part.clock, second.part.clock]
        assert read(out)[0]["args"]["clocks"] == dict(zip("ab", labels))

    def test_of_one_machine_are_one(self, tmp_path, out):
        paths = [
            self.write(tmp_path, "a", 1, b'{"worker": "a", "clock": "board"}'),
            self.write(tmp_path, "b", 2, b'{"worker": "b", "clock": "board"}'),
        ]
        _, second = merge(paths, out)
        assert (second.part.clock, second.part.shift_us) == ("the clock of a", None)


class TestTrouble:
    def test_a_core_that_decides_otherwise_is_drawn_up_to_there(self, tmp_path, out):
        path = write_trace(tmp_path / "a.trace").path
        lines = lines_of(path)
        lines[6] = lines[6][: lines[6].rindex(b",")] + b",1]\n"
        with open(path, "wb") as file:
            file.write(b"".join(lines))
        (merged,) = merge([path], out)
        assert merged.replayed.difference.record.line == 7
        events = read(out)
        assert problems(events) == [] and len(slices(events, "items")) == 2
        assert "not drawn from here on" in [e for e in events if e["ph"] == "i"][-1]["name"]

    def test_one_that_was_cut_off_says_so(self, tmp_path, out):
        path = write_trace(tmp_path / "a.trace").path
        content = b"".join(lines_of(path)[:-1])
        with open(path, "wb") as file:
            file.write(content[:-7])
        (merged,) = merge([path], out)
        assert not merged.replayed.is_complete and merged.replayed.difference is None
        events = read(out)
        assert "its trace ends here" in [e for e in events if e["ph"] == "i"][-1]["name"]
        assert [e["name"] for e in slices(events, "items")][-1] == "open"

    def test_of_one_process_twice(self, tmp_path, out):
        path = write_trace(tmp_path / "a.trace").path
        shutil.copy(path, path + "2")
        with pytest.raises(ConfigError, match=r"a\.trace2: found the same process as in .*a"):
            merge([path, path + "2"], out)
        assert not os.path.exists(out)

    def test_without_events(self, tmp_path, out):
        TraceWriter(str(tmp_path / "a.trace"), SPEC, {}).close()
        with pytest.raises(ConfigError, match="found no events"):
            merge([str(tmp_path / "a.trace")], out)

    def test_no_trace(self, tmp_path, out):
        (tmp_path / "x").write_text("{}\n")
        with pytest.raises(ConfigError, match="x:1: "):
            merge([write_trace(tmp_path / "a").path, str(tmp_path / "x")], out)
        assert not os.path.exists(out)
