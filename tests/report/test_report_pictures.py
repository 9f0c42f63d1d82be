"""Charts: what is drawn, as text that stands in a page."""

import xml.etree.ElementTree as ET

import pytest
from recorded_runs import item, pair, recording, run_of

from edgesdk.errors import BackendUnavailable
from edgesdk.report import pictures
from edgesdk.report.facts import facts_of
from edgesdk.report.pictures import pictures_of

SVG = "{http://www.w3.org/2000/svg}"


def drawn(run):
    return pictures_of(facts_of(run))


def texts(picture):
    return ["".join(each.itertext()) for each in ET.fromstring(picture.svg).iter(SVG + "text")]


def test_every_chart_is_an_element_without_a_size_of_its_own():
    found = drawn(pair())
    assert set(found) == {"latency", "latency-over-time", "throughput", "exit-latency", "spent"}
    for name, picture in found.items():
        root = ET.fromstring(picture.svg)
        assert "viewBox" in root.attrib and "width" not in root.attrib
        assert picture.svg.startswith("<svg ") and "<metadata>" not in picture.svg
        ids = [each.get("id") for each in root.iter() if each.get("id")]
        assert ids and all(each.startswith(name + "-") for each in ids)


def test_colours_are_the_pages():
    for picture in drawn(pair()).values():
        assert "var(--ink-2)" in picture.svg and "#0102" not in picture.svg


def test_texts_are_texts():
    found = drawn(pair())
    assert {"p50", "p95", "p99", "latency (ms)", "images"} <= set(texts(found["latency"]))
    assert {"exit 0", "exit 1"} <= set(texts(found["throughput"]))
    assert "computing elsewhere" in texts(found["spent"])


def test_names_are_drawn_as_they_are():
    names = ["$x_{1$", "_hidden", "<b>&", "x" * 99]
    samples = [(0, 1), (10, 2), (20, 0)]
    workers = [
        recording([], worker=n, name=name, samples=samples) for n, name in enumerate(names, 1)
    ]
    found = texts(drawn(run_of(*workers))["queues"])
    assert {"$x_{1$", "hidden", "<b>&"} <= set(found)
    assert any(text.startswith("xxx") and len(text) < 30 for text in found)


def test_many_workers_are_lines_without_names():
    samples = [(0, 1), (10, 2)]
    workers = [recording([], worker=n, name=str(n), samples=samples) for n in range(1, 9)]
    picture = drawn(run_of(*workers))["queues"]
    assert "Each of the 8 workers is a line" in picture.caption
    assert "queues-legend_1" not in picture.svg


def test_of_one_image_there_is_little_to_draw():
    found = drawn(run_of(recording([item(0, 1, 1)])))
    assert set(found) == {"latency", "exit-latency", "spent"}


def test_of_nothing_there_is_nothing():
    assert drawn(run_of(recording([]))) == {}


def test_a_loss_is_marked_where_it_happened():
    spans = [item(n, n, n + 5) for n in range(100)]
    made = {
        "counters": {"sessions_lost.silent": 1},
        "ticks": {"sessions_lost.silent": [60_000]},
    }
    with_loss, without = drawn(run_of(recording(spans, **made))), drawn(run_of(recording(spans)))
    assert "var(--bad)" in with_loss["throughput"].svg
    assert "Red lines" in with_loss["throughput"].caption
    assert "var(--bad)" not in without["throughput"].svg


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(BackendUnavailable, match=r"pip install .*edgesdk\[demo\]"):
        pictures.matplotlib()
