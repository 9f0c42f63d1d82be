"""Sentences and numbers for people."""

import pytest

from edgesdk.report import words


@pytest.mark.parametrize(
    ("value_us", "text"),
    [(0, "0 µs"), (99, "99 µs"), (311, "0.311 ms"), (12_510, "12.5 ms"), (2_310_000, "2.31 s")],
)
def test_durations_have_three_digits_and_a_unit(value_us, text):
    assert words.milliseconds(value_us) == text.replace(" ", "\u00a0")


def test_times_of_a_run():
    assert words.seconds(4_907_000) == "4.91\u00a0s"
    assert words.seconds(123_456_789) == "123.5\u00a0s"


@pytest.mark.parametrize(
    ("count", "of", "text"),
    [
        (0, 9, "0 %"),
        (9, 9, "100 %"),
        (1, 9, "11.1 %"),
        (99_999, 100_000, "> 99.9 %"),
        (1, 100_000, "< 0.1 %"),
        (0, 0, "-"),
    ],
)
def test_shares_are_all_or_nothing_only_if_they_are(count, of, text):
    assert words.percent(count, of) == text.replace(" ", "\u00a0")


def test_counts_and_bytes():
    assert words.number(1234567) == "1\u202f234\u202f567"
    assert (words.plural(1, "image"), words.plural(2, "image")) == ("1 image", "2 images")
    assert words.binary(512) == "512\u00a0B" and words.binary(3 << 20) == "3\u00a0MiB"
    assert words.binary(5 << 30) == "5\u00a0GiB"


def test_every_outcome_and_count_is_a_sentence():
    for sentence in list(words.OUTCOMES.values()) + [each[1] for each in words.TROUBLES.values()]:
        assert sentence[0].isupper() and sentence.endswith(".")
    for level, _ in words.TROUBLES.values():
        assert level in words.LEVELS


def test_what_is_not_known_is_told_as_it_is():
    assert words.outcome_sentence("lost", "odd") == "It ended as lost, with the reason odd."
    assert words.trouble("odd") == ("note", "Counted as odd.")
