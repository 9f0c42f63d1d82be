"""The dashboard and the Prometheus file of the examples ask for what a worker really tells."""

import itertools
import json
import re
from pathlib import Path

import pytest
from clusters import CAMERA, HELPER, Clustered
from gated import dim
from known_stats import DOCUMENT
from scrapes import scrape

pytest.importorskip("prometheus_client")

from edgesdk.telemetry.prometheus import MetricsServer

ROOT = Path(__file__).resolve().parent.parent.parent
DASHBOARD = json.loads((ROOT / "examples" / "grafana-dashboard.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
VARIABLES = {each["name"]: each for each in DASHBOARD["templating"]["list"]}

# What a board may not know, and what a quiet cluster has none of: looked for in a document.
NOT_ALWAYS = re.compile("edgesdk_(board_.*|resident_bytes|cpu_.*|transport_events_total)")
FROM_PROMETHEUS = {"instance", "job", "le"}
GRID_COLUMNS = 24


@pytest.fixture(scope="module")
def told(tmp_path_factory, bundle):
    """{metric: names of its labels} of two real workers; of a document, what they may not have."""
    clustered = Clustered(tmp_path_factory.mktemp("dashboard"), bundle).describe(CAMERA, HELPER)
    sources = [lambda: DOCUMENT]
    try:
        helper, camera = clustered.open("helper"), clustered.open("camera")
        clustered.meet()
        camera.infer(dim(5))
        sources += [lambda: camera.stats(buckets=True), lambda: helper.stats(buckets=True)]
        found = {}
        for index, source in enumerate(sources):
            server = MetricsServer(source, 0)
            for name, labels in scrape(server.url):
                if index > 0 or NOT_ALWAYS.fullmatch(name):
                    found.setdefault(name, set()).update(label for label, _ in labels)
            server.close()
    finally:
        clustered.close()
    return found


def test_every_metric_and_label_of_a_query_is_told(told):
    for query in QUERIES:
        metrics = re.findall(r"\b(edgesdk_[a-z_]+)\{", query)
        assert metrics and len(metrics) == query.count("edgesdk_"), query
        for name in metrics:
            assert name in told, "{}: no such metric".format(name)
            used = re.findall(r'([a-z_]+)(?:=~|!~|!=|=)"', query)
            for group in re.findall(r"by \(([^)]*)\)", query):
                used += group.split(", ")
            assert set(used) <= told[name] | FROM_PROMETHEUS, query


def test_every_label_of_a_legend_is_left_by_its_query(told):
    for panel in PANELS:
        for target in panel["targets"]:
            wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            groups = re.findall(r"by \(([^)]*)\)", target["expr"])
            (name, *_) = re.findall(r"\b(edgesdk_[a-z_]+)\{", target["expr"])
            kept = set(groups[0].split(", ")) if groups else told[name] | FROM_PROMETHEUS
            assert wanted <= kept, panel["title"]


def test_every_event_that_is_chosen_is_one_that_is_counted():
    sources = [path.read_text("utf-8") for path in (ROOT / "edgesdk" / "core").glob("*.py")]
    chosen = [
        name
        for q in QUERIES
        for names in re.findall(r'event=~"([^"]*)"', q)
        for name in names.split("|")
    ]
    assert len(chosen) >= 8
    for name in chosen:
        begins = '"' + name.replace(".+", "")
        assert any(begins in text for text in sources), name


def test_every_query_is_of_the_chosen_workers_and_source():
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]
            expression = target["expr"]
            assert expression.count('instance=~"$instance"') == expression.count("edgesdk_")
            for opening, closing in ("()", "{}", "[]"):
                assert expression.count(opening) == expression.count(closing), expression
    assert VARIABLES["datasource"]["type"] == "datasource"
    assert "label_values(edgesdk_info, instance)" in VARIABLES["instance"]["definition"]
    assert VARIABLES["instance"]["includeAll"] and VARIABLES["instance"]["multi"]


def test_what_only_grows_is_shown_as_a_rate_or_says_that_it_is_a_total():
    for panel in PANELS:
        for target in panel["targets"]:
            if "_total{" in target["expr"] and "rate(" not in target["expr"]:
                assert "opened" in panel["description"], panel["title"]


class TestPanels:
    def test_have_units_titles_and_numbers_of_their_own(self):
        for panel in PANELS:
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        for key in ("id", "title"):
            values = [panel[key] for panel in DASHBOARD["panels"]]
            assert len(set(values)) == len(values)

    def test_of_times_and_bytes_say_so(self):
        for panel in PANELS:
            unit, expression = panel["fieldConfig"]["defaults"]["unit"], panel["targets"][0]["expr"]
            if "_bytes" in expression:
                assert unit in ("bytes", "Bps")
            if "celsius" in expression or "watts" in expression:
                assert unit in ("celsius", "watt")
            if "latency_seconds" in expression or "delay_seconds" in expression:
                assert unit == "s"

    def test_do_not_overlap_and_leave_no_gap(self):
        cells = set()
        for panel in DASHBOARD["panels"]:
            x, y, w, h = (panel["gridPos"][key] for key in "xywh")
            own = set(itertools.product(range(x, x + w), range(y, y + h)))
            assert x >= 0 and x + w <= GRID_COLUMNS and not cells & own, panel["title"]
            cells |= own
        assert len(cells) == GRID_COLUMNS * (max(y for _, y in cells) + 1)

    def test_stand_in_rows(self):
        rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
        assert rows == ["Workers", "Answers", "Latency", "Where time goes", "Queues", "Links"] + [
            "Losses and retries",
            "Boards",
        ]
        assert DASHBOARD["panels"][0]["type"] == "row"


def test_prometheus_collects_from_the_workers_of_robots_toml():
    text = (ROOT / "examples" / "prometheus.yml").read_text("utf-8")
    robots = (ROOT / "examples" / "robots.toml").read_text("utf-8")
    names = re.findall(r"^name = \"(.*)\"", robots, re.M)
    assert re.findall(r"instance: ([\w-]+)", text) == names
    ports = re.findall(r"127\.0\.0\.1:(\d+)", text)
    assert len(set(ports)) == len(names)
    said = re.search(r"--metrics-port ([\d, ]+)", text).group(1)
    assert re.findall(r"\d+", said) == ports
    assert not set(ports) & set(re.findall(r":(\d+)", robots))
