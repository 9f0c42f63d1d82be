"""Tables and documents of a placement: each figure where it belongs."""

import math

import pytest
from placements import LINK, pair

from edgesdk.core.placement import LATENCY, evaluate
from edgesdk.core.placement_search import search
from edgesdk.plan.preview import document, lines, preview, ranges


def shown(problem=None, placement=(0, 1, 1), rate_hz=None):
    problem = pair() if problem is None else problem
    expected = evaluate(problem, placement)
    return preview(problem, placement, expected, LATENCY, 200.0, rate_hz)


def rows(found):
    """The words of each line, by its first."""
    return {line.split("  ")[0]: line.split() for line in lines(found) if line}


def test_stages_are_ranges():
    assert ranges(()) == "none" and ranges((3,)) == "3"
    assert ranges((0, 1, 2, 5, 7, 8)) == "0-2, 5, 7-8"


def test_loads_are_those_of_the_most_images_there_can_be():
    found = rows(shown())
    assert found["robot"] == ["robot", "0", "100.0", "50", "%", "10", "B"]
    assert found["server"] == ["server", "1-2", "20.0", "10", "%", "50", "B"]
    assert found["robot -> server"][3:] == ["2000", "200.0", "100", "%"]
    assert "load: at 5000.0 images/s" in lines(shown())


def test_loads_may_be_those_of_a_rate():
    found = rows(shown(rate_hz=10_000.0))
    assert found["robot"][3] == "100" and found["robot -> server"][5] == "200"


def test_links_that_carry_nothing_are_not_shown():
    assert "link" not in rows(shown(placement=(0, 0, 0)))


def test_a_medium_has_one_load():
    air = LINK._replace(medium="air")
    found = rows(shown(pair(links={(0, 1): air, (1, 0): air})))
    assert found["robot -> server"][5:] == found["server -> robot"][5:] == ["100", "%", "of", "air"]


def test_other_placements_stand_beside_it():
    quick = LINK._replace(delay_us=1.0)
    found = rows(shown(pair(links={(0, 1): quick, (1, 0): quick})))
    assert list(found)[-4:] == [
        "this placement",
        "local only",
        "full offload to server",
        "split before stage 0, server",
    ]
    assert found["local only"][2:] == ["0.30", "3333.3", "3.00", "robot"]


def test_a_split_that_is_local_is_shown_once():
    far = pair(links={(0, 1): LINK._replace(delay_us=1e6), (1, 0): LINK})
    assert [case.name for case in shown(far).others] == ["local only", "full offload to server"]


def test_others_that_cannot_be_are_left_out():
    alone = pair(links={}, sites=(pair().sites[0],))
    assert [case.name for case in shown(alone, (0, 0, 0)).others] == ["local only"]


def test_the_document_has_all_of_it():
    found = document(shown())
    assert found["stages"] == {"robot": [0], "server": [1, 2]}
    assert found["expected"]["latency_us"] == evaluate(pair(), (0, 1, 1)).latency_us
    assert [row["memory_bytes"] for row in found["workers"]] == [10, 50]
    assert [row["load"] for row in found["workers"]] == pytest.approx([0.5, 0.1])
    assert found["links"][0] == {
        "from": "robot",
        "to": "server",
        "medium": None,
        "bytes_per_image": 2000,
        "busy_us": 200,
    }
    assert found["others"][0]["name"] == "local only"


def test_a_placement_that_keeps_nobody_busy_has_no_rate():
    free = pair(sites=tuple(s._replace(stage_us=(0.0, 0.0, 0.0)) for s in pair().sites))
    found = shown(free, (0, 0, 0))
    assert found.rate_hz == 0 and math.isinf(found.expected.throughput_per_s)
    assert search(free, LATENCY).expected.latency_us == 0
    assert "inf" in rows(found)["this placement"]
