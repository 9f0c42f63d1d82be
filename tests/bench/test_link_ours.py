"""edgesdk as a contender of its own bench: the cluster file, and what is missing where it is."""

import importlib
import re
import sys

import pytest

from edgesdk.bench.link_contender import ANSWER, SIZES, payload_of
from edgesdk.bench.link_ours import Ours, OursCurve, cluster_text

toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


def test_the_cluster_file_computes_everything_at_the_worker():
    found = toml.loads(cluster_text("/folder/echo/1", "insecure = true"))
    assert found["bundle"] == "/folder/echo/1"
    assert found["security"] == {"insecure": True}
    source, worker = found["worker"]
    assert (source["name"], source["stages"]) == ("source", [])
    assert (worker["name"], "stages" in worker) == ("echo", False)


def test_no_two_lanes_share_a_port():
    for _ in range(20):
        text = cluster_text("b", "insecure = true")
        ports = [int(port) for port in re.findall(r"tcp://127\.0\.0\.1:(\d+)", text)]
        assert len(set(ports) | {port + 1 for port in ports}) == 4


@pytest.mark.parametrize("kind", [Ours, OursCurve], ids=lambda kind: kind.name)
def test_payloads_travel_and_answers_come_back(kind):
    contender = kind()
    contender.start(None)
    try:
        for size in SIZES[:2]:
            payload = payload_of(size)
            contender.fit(payload)
            contender.check(payload)
            assert contender.stream(40, 4, ANSWER) == 40
    finally:
        contender.stop()
