"""What `bench link` says of what it found: ratios within rounds, targets, what is missing."""

import pytest

from edgesdk.bench.link_contender import ANSWER, ECHO, ONE_WAY, SIZES, Contender
from edgesdk.bench.link_report import (
    CANNOT,
    CURVE_TRIP_MAX,
    GRPC_MIN,
    OURS,
    OURS_CURVE,
    RAW,
    RAW_CURVE,
    STREAM_MIN,
    TORCH_MIN,
    TRIP_MAX,
    Found,
    figures,
    header,
    judgements,
    rows,
)

EVERYONE = [RAW, RAW_CURVE, OURS, OURS_CURVE, "grpc unary", "torch rpc"]


def found_at(size=SIZES[1], ours_us=150.0, ours_mb_s=700.0):
    """Everyone in two rounds; raw takes 100 us with the payload back, 80 us with an answer."""
    times = {
        (RAW, ECHO): 100.0,
        (RAW, ANSWER): 80.0,
        (RAW_CURVE, ECHO): 200.0,
        (RAW_CURVE, ANSWER): 160.0,
        (OURS, ANSWER): ours_us,
        (OURS_CURVE, ANSWER): 2 * ours_us,
        ("grpc unary", ECHO): 400.0,
        ("grpc unary", ANSWER): 350.0,
        ("torch rpc", ECHO): 600.0,
        ("torch rpc", ANSWER): 500.0,
    }
    streams = {(RAW, ONE_WAY): 1000.0, (RAW, ANSWER): 800.0, (OURS, ANSWER): ours_mb_s}
    streams.update({(RAW_CURVE, ONE_WAY): 500.0, (OURS_CURVE, ANSWER): 400.0})
    trips = {way: [[us, us, us], [us, us, us]] for way, us in times.items()}
    return Found(size, trips, {way: [rate, rate] for way, rate in streams.items()})


def judged(found, asked=EVERYONE, missing=None):
    """name -> (value, target, ok) of every ratio."""
    return {
        figure["name"]: (round(figure["value"], 6), figure["target"], figure["ok"])
        for figure in figures(found, asked, missing or {})
        if figure["unit"] == "x"
    }


@pytest.mark.parametrize(("ours_us", "ok"), [(179.0, True), (181.0, False)])
def test_a_round_trip_is_held_to_its_limit(ours_us, ok):
    ratios = judged(found_at(ours_us=ours_us))
    name = "16KB: round trip of edgesdk (answer) over raw (echo)"
    assert ratios[name] == (ours_us / 100, 1.8, ok)
    harder = ratios["16KB: round trip of edgesdk (answer) over raw (answer)"]
    assert harder == (round(ours_us / 80, 6), None, None)


@pytest.mark.parametrize(("ours_mb_s", "ok"), [(601.0, True), (599.0, False)])
def test_throughput_is_held_to_the_one_without_any_replies(ours_mb_s, ok):
    ratios = judged(found_at(ours_mb_s=ours_mb_s))
    name = "16KB: throughput of edgesdk (answer) over raw (one way)"
    assert ratios[name] == (ours_mb_s / 1000, 0.6, ok)


@pytest.mark.parametrize(
    ("ours_us", "grpc_ok", "torch_ok"), [(199, True, True), (201, False, False)]
)
def test_others_are_to_be_behind(ours_us, grpc_ok, torch_ok):
    ratios = judged(found_at(ours_us=float(ours_us)))
    assert ratios["16KB: round trip of grpc unary (echo) over edgesdk (answer)"][1:] == (
        2.0,
        grpc_ok,
    )
    assert ratios["16KB: round trip of torch rpc (echo) over edgesdk (answer)"][1:] == (
        3.0,
        torch_ok,
    )


def test_curve_is_compared_with_curve():
    ratios = judged(found_at(ours_us=150.0))
    name = "16KB: round trip of edgesdk curve (answer) over raw curve (echo)"
    assert ratios[name] == (1.5, 1.5, True)


def test_the_promises_by_size():
    assert TRIP_MAX == {"64B": 2.0, "16KB": 1.8, "128KB": 1.5, "3.2MB": 1.15}
    assert CURVE_TRIP_MAX == {"64B": 1.6, "16KB": 1.5, "3.2MB": 1.1}
    assert STREAM_MIN == {"16KB": 0.6, "128KB": 0.6, "3.2MB": 0.85}
    assert set(TORCH_MIN) == {"64B", "16KB", "128KB"} and set(TORCH_MIN.values()) == {3.0}
    assert set(GRPC_MIN) == {size.name for size in SIZES} and set(GRPC_MIN.values()) == {2.0}


def test_a_size_without_a_promise_is_told_and_not_judged():
    ratios = judged(found_at(size=SIZES[3]))
    name = "3.2MB: round trip of torch rpc (echo) over edgesdk (answer)"
    assert ratios[name] == (4.0, None, None)


def test_who_is_missing_is_not_ok_and_why():
    found = found_at()
    del found.trips_us["grpc unary", ECHO], found.trips_us["grpc unary", ANSWER]
    every = figures(found, EVERYONE, {"grpc unary": "pip install grpcio"})
    (figure,) = [each for each in every if CANNOT in each["name"]]
    assert figure["name"].endswith(CANNOT + "pip install grpcio")
    assert (figure["value"], figure["target"], figure["ok"]) == (0.0, 2.0, False)
    row = next(row for row in judgements(every) if "grpc" in row[0])
    assert row[1:] == ("missing", "2 MISSED") and "pip" not in row[0]


def test_who_was_not_asked_is_not_missed():
    found = found_at()
    for way in [way for way in found.trips_us if way[0] == "torch rpc"]:
        del found.trips_us[way]
    names = judged(found, [name for name in EVERYONE if name != "torch rpc"])
    assert names and not any("torch" in name for name in names)


def test_ratios_are_taken_within_rounds():
    # the machine was three times as slow in two of three rounds, for both
    trips = {(RAW, ECHO): [[100.0], [300.0], [300.0]], (OURS, ANSWER): [[150.0], [450.0], [450.0]]}
    found = Found(SIZES[0], trips, {})
    assert found.trip_ratio((OURS, ANSWER), (RAW, ECHO)) == 1.5
    assert found.trip_ratio((OURS, ANSWER), (RAW, ANSWER)) is None


def test_percentiles_are_of_all_rounds():
    found = Found(SIZES[0], {(RAW, ECHO): [[1.0, 2.0], [3.0, 100.0]]}, {})
    assert found.trip_us((RAW, ECHO), 0.5) == 2.0
    assert found.trip_us((RAW, ECHO), 0.99) == 100.0


def contender(name, curve=False):
    one = Contender()
    one.name, one.curve = name, curve
    return one


def test_the_table_has_the_harder_comparison_beside_the_easier():
    table = rows(found_at(), [contender(RAW), contender(OURS), contender(OURS_CURVE, True)], False)
    assert [row[:2] for row in table] == [
        (RAW, "payload"),
        (RAW, "answer"),
        (RAW, "nothing"),
        (OURS, "answer"),
    ]
    assert all(len(row) == len(header(SIZES[1], False)) for row in table)
    columns = dict(zip(header(SIZES[1], False), table[3]))
    assert (columns["x raw, echo"], columns["x raw, answer"]) == ("1.50", "1.88")
    assert (columns["MB/s"], columns["x raw, one way"]) == ("700", "0.70")


def test_encrypted_ones_have_a_table_of_their_own():
    table = rows(found_at(), [contender(RAW), contender(OURS_CURVE, True)], True)
    assert [row[0] for row in table] == [OURS_CURVE]
    columns = dict(zip(header(SIZES[1], True), table[0]))
    assert columns["x raw curve, answer"] == "1.88"
