"""The rule when a codec pays, and how its figures are learned."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.core.codec_choice import (
    FIRST_COUNT,
    HOPELESS_TURN,
    LEARN_EVERY,
    SMALL_BYTES,
    TRIAL_EVERY,
    CodecChooser,
    Estimate,
    break_even_bytes_per_s,
    candidates,
    gain_us_per_byte,
)
from edgesdk.errors import ConfigError

SIZE = 65536
GIGABIT, WIFI = 125e6, 2.5e6  # bytes/s
# name: ratio, encode MB/s, decode MB/s. zstd breaks even at 47 MB/s, lz4 at 400 MB/s.
SPEEDS = {
    "zstd": (2.0, 100.0, 1600.0),
    "lz4": (1.5, 2000.0, 3000.0),
    "uint8": (4.0, 8000.0, 8000.0),
    "float16": (2.0, 1000.0, 1000.0),
}
EVERY = ("raw",) + tuple(SPEEDS)


def send(chooser, count, rate, border=0, size=SIZE, speeds=SPEEDS, decodable=EVERY):
    """Choose codecs for `count` bodies and report what encoding each of them took."""
    chosen = []
    for _ in range(count):
        name = chooser.choose(border, size, rate, decodable)
        chosen.append(name)
        if name != "raw":
            ratio, encode_mb_s, _ = speeds[name]
            chooser.encoded(border, name, size, int(size / ratio), size / encode_mb_s)
    return chosen


def receive(chooser, count=FIRST_COUNT, speeds=SPEEDS):
    for name, (_, _, decode_mb_s) in speeds.items():
        for _ in range(count):
            chooser.decoded(name, SIZE, SIZE / decode_mb_s)


def learned(*names, rate=GIGABIT):
    """A chooser that knows these codecs, and stands right behind a trial."""
    chooser = CodecChooser(names)
    receive(chooser)
    send(chooser, TRIAL_EVERY * HOPELESS_TURN, rate)
    return chooser


def most_used(chosen):
    return max(set(chosen), key=chosen.count)


# --- the rule -----------------------------------------------------------------------------------


@given(st.floats(0.01, 1.2), st.floats(1e-6, 1.0), st.floats(1e-6, 1.0), st.floats(1e3, 1e11))
def test_a_codec_gains_on_links_below_its_break_even_rate_only(share, encode, decode, rate):
    estimate = Estimate(share, encode, decode)
    even = break_even_bytes_per_s(estimate)
    gain = gain_us_per_byte(estimate, rate)
    if rate < 0.999 * even:
        assert gain > 0
    elif rate > 1.001 * even:
        assert gain < 0


def test_the_gain_is_the_difference_of_two_journeys():
    """65,536 bytes at 2.5 MB/s take 26.2 ms; half of it 13.1 ms, and 0.7 ms for the codec."""
    estimate = Estimate(0.5, 1 / 100.0, 1 / 1600.0)
    plain_us = SIZE / WIFI * 1e6
    packed_us = SIZE / 2 / WIFI * 1e6 + SIZE / 100.0 + SIZE / 1600.0
    assert SIZE * gain_us_per_byte(estimate, WIFI) == pytest.approx(plain_us - packed_us)


def test_what_does_not_shrink_never_pays():
    assert break_even_bytes_per_s(Estimate(1.0, 0.0, 0.0)) == 0
    assert break_even_bytes_per_s(Estimate(1.1, 0.1, 0.1)) == 0
    assert break_even_bytes_per_s(Estimate(0.5, 0.0, 0.0)) == float("inf")


def test_lossy_codecs_are_candidates_where_they_are_allowed():
    usable = ("raw", "float16", "uint8", "zstd")
    assert candidates(usable) == ("zstd",)
    assert candidates(usable, ["uint8"]) == ("uint8", "zstd")
    assert candidates(("raw", "zstd"), ["uint8"]) == ("zstd",)


# --- what is chosen -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (WIFI, "zstd"),
        (40e6, "lz4"),
        (GIGABIT, "lz4"),
        (390e6, "lz4"),
        (410e6, "raw"),
        (1e10, "raw"),
    ],
)
def test_the_codec_that_saves_most_time_is_used(rate, expected):
    chooser = learned("zstd", "lz4", rate=rate)
    assert send(chooser, TRIAL_EVERY - 1, rate) == [expected] * (TRIAL_EVERY - 1)


def test_a_lossy_codec_competes_where_it_is_a_candidate():
    assert most_used(send(learned("zstd", "lz4", "uint8"), 100, GIGABIT)) == "uint8"


def test_one_chooser_serves_links_of_different_rates():
    chooser = learned("zstd", "lz4")
    links = {WIFI: "zstd", GIGABIT: "lz4", 1e10: "raw"}
    for rate in (WIFI, GIGABIT, 1e10, WIFI, GIGABIT, 1e10):
        assert chooser.choose(0, SIZE, rate, EVERY) == links[rate]


@pytest.mark.parametrize("rate", [None, 0.0])
def test_an_unknown_link_gets_raw_bodies(rate):
    chooser = learned("lz4")
    assert set(send(chooser, 1000, rate)) == {"raw"}


def test_small_bodies_stay_raw():
    chooser = learned("lz4")
    assert set(send(chooser, 1000, WIFI, size=SMALL_BYTES - 1)) == {"raw"}
    assert most_used(send(chooser, 10, WIFI, size=SMALL_BYTES)) == "lz4"


def test_without_candidates_everything_is_raw():
    assert set(send(CodecChooser(()), 1000, WIFI)) == {"raw"}


@pytest.mark.parametrize("name", ["raw", "zip"])
def test_other_candidates_are_refused(name):
    with pytest.raises(ConfigError, match="codecs: found '{}', expected some of".format(name)):
        CodecChooser(("zstd", name))


# --- what the other end decodes -----------------------------------------------------------------


def test_the_best_codec_that_the_other_end_decodes_is_used():
    chooser = learned("zstd", "lz4", "uint8", rate=WIFI)
    assert most_used(send(chooser, 10, WIFI)) == "uint8"
    assert most_used(send(chooser, 10, WIFI, decodable=("raw", "zstd", "lz4"))) == "zstd"
    assert most_used(send(chooser, 10, WIFI, decodable=("raw", "lz4"))) == "lz4"


@pytest.mark.parametrize("rate", [WIFI, GIGABIT, 1e10])
def test_nobody_gets_another_one_not_even_for_trial(rate):
    chooser = CodecChooser(("zstd", "lz4", "uint8"))
    count = 2 * TRIAL_EVERY * HOPELESS_TURN
    assert "zstd" not in send(chooser, count, rate, decodable=("raw", "lz4", "uint8", "float16"))
    assert set(send(chooser, count, rate, decodable=("raw",))) == {"raw"}
    assert chooser.estimate(0, "zstd") is None and chooser.estimate(0, "lz4") is not None


def test_a_neighbour_without_codecs_takes_no_trials():
    """Bodies to it and to another one in turn: counted together, it would have all trials."""
    chooser = CodecChooser(("zstd",))
    chosen = []
    for _ in range(TRIAL_EVERY):
        assert send(chooser, 1, WIFI, decodable=("raw",)) == ["raw"]
        chosen += send(chooser, 1, WIFI)
    assert chosen[0] == "zstd" and most_used(chosen) == "zstd"


# --- trials -------------------------------------------------------------------------------------


def test_every_candidate_is_learned_at_once_and_most_bodies_go_as_before():
    chooser = CodecChooser(("zstd", "lz4"))
    needed = LEARN_EVERY * FIRST_COUNT * 2
    chosen = send(chooser, needed, 1e10)
    assert [i for i, name in enumerate(chosen) if name != "raw"] == list(
        range(0, needed, LEARN_EVERY)
    )
    assert chosen.count("zstd") == chosen.count("lz4") == FIRST_COUNT


def test_what_is_not_in_use_is_tried_in_turn():
    chooser = learned("zstd", "lz4", "uint8", rate=40e6)
    chosen = send(chooser, 4 * TRIAL_EVERY, 40e6)
    tried = [(index + 1, name) for index, name in enumerate(chosen) if name != "uint8"]
    assert tried == [
        (TRIAL_EVERY, "lz4"),
        (2 * TRIAL_EVERY, "zstd"),
        (3 * TRIAL_EVERY, "lz4"),
        (4 * TRIAL_EVERY, "zstd"),
    ]


def test_what_is_hopeless_is_tried_rarely():
    chooser = learned("zstd", rate=1e10)
    chosen = send(chooser, 3 * TRIAL_EVERY * HOPELESS_TURN, 1e10)
    tried = [index + 1 for index, name in enumerate(chosen) if name != "raw"]
    assert tried == [TRIAL_EVERY * HOPELESS_TURN * turn for turn in (1, 2, 3)]


def test_hopeless_codecs_take_turns():
    chooser = learned("zstd", "float16", rate=1e11)
    chosen = send(chooser, 2 * TRIAL_EVERY * HOPELESS_TURN, 1e11)
    assert sorted(name for name in chosen if name != "raw") == ["float16", "zstd"]


def test_a_hopeless_codec_is_used_at_once_where_the_link_becomes_slow():
    chooser = learned("zstd", rate=1e10)
    assert most_used(send(chooser, 10, WIFI)) == "zstd"


def test_a_codec_that_became_better_comes_into_use():
    slow = dict(SPEEDS, lz4=(1.01, 2000.0, 3000.0))
    chooser = CodecChooser(("lz4",))
    receive(chooser)
    assert most_used(send(chooser, 2000, GIGABIT, speeds=slow)) == "raw"
    send(chooser, 10 * TRIAL_EVERY * HOPELESS_TURN, GIGABIT)
    assert most_used(send(chooser, TRIAL_EVERY, GIGABIT)) == "lz4"


def test_a_codec_that_became_worse_goes_out_of_use():
    chooser = learned("lz4")
    send(chooser, 20, GIGABIT, speeds=dict(SPEEDS, lz4=(1.0, 2000.0, 3000.0)))
    assert most_used(send(chooser, 10, GIGABIT, speeds=dict(SPEEDS, lz4=(1.0, 1.0, 1.0)))) == "raw"


# --- figures ------------------------------------------------------------------------------------


def test_the_first_call_which_loads_and_allocates_does_not_count():
    chooser = CodecChooser(("lz4",))
    for encode_us in (20000.0, 32.0, 33.0):
        chooser.encoded(0, "lz4", SIZE, SIZE // 2, encode_us)
    assert chooser.estimate(0, "lz4").encode_us_per_byte == 32.0 / SIZE


def test_one_interruption_does_not_put_a_codec_out_of_use():
    chooser = learned("lz4", rate=GIGABIT)
    before = chooser.estimate(0, "lz4").encode_us_per_byte
    chooser.encoded(0, "lz4", SIZE, int(SIZE / 1.5), 1e6)
    assert chooser.estimate(0, "lz4").encode_us_per_byte == pytest.approx(1.25 * before)
    assert chooser.choose(0, SIZE, GIGABIT, EVERY) == "lz4"


def test_figures_follow_what_lasts():
    chooser = learned("lz4")
    for _ in range(40):
        chooser.encoded(0, "lz4", SIZE, SIZE // 4, SIZE / 100.0)
        chooser.decoded("lz4", SIZE, SIZE / 50.0)
    found = chooser.estimate(0, "lz4")
    assert found == pytest.approx(Estimate(0.25, 1 / 100.0, 1 / 50.0), rel=0.01)


def test_a_clock_that_shows_nothing_does_not_stop_learning():
    chooser = CodecChooser(("lz4",))
    for encode_us in (0.0, 0.0, 0.0) + (100.0,) * 20:
        chooser.encoded(0, "lz4", SIZE, SIZE // 2, encode_us)
    assert chooser.estimate(0, "lz4").encode_us_per_byte > 90.0 / SIZE


def test_decoding_counts_as_slow_as_encoding_until_something_was_decoded():
    chooser = CodecChooser(("zstd",))
    send(chooser, 20, WIFI)
    assert chooser.estimate(0, "zstd").decode_us_per_byte == pytest.approx(1 / 100.0)
    receive(chooser)
    assert chooser.estimate(0, "zstd").decode_us_per_byte == pytest.approx(1 / 1600.0)


def test_every_border_has_figures_of_its_own():
    """Early features shrink more than late ones."""
    chooser = CodecChooser(("zstd",))
    receive(chooser)
    late = dict(SPEEDS, zstd=(1.01, 100.0, 1600.0))
    assert most_used(send(chooser, 200, WIFI, border=1)) == "zstd"
    assert most_used(send(chooser, 200, WIFI, border=6, speeds=late)) == "raw"
    assert chooser.estimate(3, "zstd") is None
    assert most_used(send(chooser, 50, WIFI, border=1)) == "zstd"


def test_of_what_is_no_candidate_nothing_is_learned():
    chooser = CodecChooser(("zstd",))
    for name in ("raw", "lz4"):
        chooser.encoded(0, name, SIZE, SIZE, 10.0)
        chooser.decoded(name, SIZE, 10.0)
        assert chooser.estimate(0, name) is None


def test_the_same_history_gives_the_same_choices():
    def history():
        chooser = CodecChooser(("zstd", "lz4", "uint8"))
        return [name for rate in (WIFI, GIGABIT, 1e10) for name in send(chooser, 3000, rate)]

    assert history() == history()
