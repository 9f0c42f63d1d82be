"""Leases of tasks that are away."""

import math

from edgesdk.core.agenda import Agenda
from edgesdk.core.leases import LEASE, LEASE_US_MAX, LEASE_US_MIN, RENEWED_US_MAX, Leases
from edgesdk.core.tasks import FleetTask

KEY = (5, 0)
DUTY = (LEASE, KEY)


def leases(accepted_at_us=None):
    """One task is away at worker 2."""
    agenda = Agenda()
    found = Leases(agenda)
    found.sent(FleetTask(5, 0, 1, None), 2)
    if accepted_at_us is not None:
        found.accepted(KEY, accepted_at_us)
    return found, agenda


class TestTime:
    def test_is_three_times_the_latency_within_limits(self):
        found = Leases(Agenda())
        for latency_us, expected_us in (
            (1_000, LEASE_US_MIN),
            (500_000, 1_500_000),
            (60_000_000, LEASE_US_MAX),
            (math.nan, LEASE_US_MIN),
        ):
            found.set_latency(latency_us)
            assert found.time_us == expected_us

    def test_a_lease_begins_when_the_task_is_accepted(self):
        found, agenda = leases()
        assert agenda.next_us() is None and found.accepted_by(2) == []
        found.accepted(KEY, 700)
        assert list(agenda.due(700 + LEASE_US_MIN)) == [DUTY]
        assert found.accepted_by(2) == [KEY]

    def test_what_was_never_sent_has_no_lease(self):
        found, agenda = leases()
        found.accepted((6, 0), 0)
        found.renew([(6, 0)], 0)
        assert agenda.next_us() is None and len(found) == 1


class TestRenewal:
    def test_begins_the_lease_anew(self):
        found, agenda = leases(0)
        found.renew([KEY], 600_000)
        assert agenda.next_us() == 600_000 + LEASE_US_MIN

    def test_is_nothing_before_the_task_was_accepted(self):
        found, agenda = leases()
        found.renew([KEY], 600_000)
        assert agenda.next_us() is None

    def test_is_not_for_ever(self):
        found, agenda = leases(0)
        last_us = RENEWED_US_MAX
        now_us = 0
        while now_us < last_us:
            assert agenda.next_us() <= last_us
            now_us += 500_000
            found.renew([KEY], now_us)
        assert list(agenda.due(last_us)) == [DUTY]
        found.renew([KEY], last_us)
        assert agenda.next_us() is None


class TestEnd:
    def test_a_task_that_came_back_is_not_awaited(self):
        found, agenda = leases(0)
        assert found.pop(KEY).peer == 2
        assert agenda.next_us() is None
        assert found.pop(KEY) is None

    def test_only_what_a_neighbour_has_accepted_is_lost_with_it(self):
        found, _ = leases(0)
        found.sent(FleetTask(6, 0, 1, None), 2)
        found.sent(FleetTask(7, 0, 1, None), 3)
        found.accepted((7, 0), 0)
        assert (found.accepted_by(2), found.accepted_by(3)) == ([KEY], [(7, 0)])

    def test_a_part_has_its_own_lease(self):
        found, _ = leases(0)
        found.sent(FleetTask(5, 1, 1, None), 3)
        found.pop((5, 1))
        assert len(found) == 1
