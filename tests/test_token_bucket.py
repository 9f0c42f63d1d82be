"""How often something may happen."""

import pytest

from edgesdk.token_bucket import TokenBucket


def test_as_often_as_it_holds_and_then_as_often_as_it_fills():
    bucket = TokenBucket(5, 10, 1_000_000)
    assert [bucket.takes(1_000_000) for _ in range(7)] == [True] * 5 + [False] * 2
    assert not bucket.takes(1_099_000)
    assert bucket.takes(1_100_001) and not bucket.takes(1_100_001)


def test_what_is_saved_up_has_an_end():
    bucket = TokenBucket(5, 10, 0)
    assert sum(bucket.takes(10**12) for _ in range(100)) == 5


@pytest.mark.parametrize("per_s", [0.5, 4.0, 100.0])
def test_in_the_long_run_it_is_the_rate_that_counts(per_s):
    bucket = TokenBucket(2, per_s, 0)
    taken = sum(bucket.takes(at_us) for at_us in range(0, 100_000_000, 1_000))
    assert taken == pytest.approx(100 * per_s, rel=0.02)
