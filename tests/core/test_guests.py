"""Tasks of others."""

import math

from edgesdk.core.events import WAKE
from edgesdk.core.exits import FinalExit, Patience
from edgesdk.core.guests import GUESTS_MAX, Guests, deadline_passed, opened
from edgesdk.core.messages import ITEMS_MAX, ItemId, Progress, Task
from edgesdk.core.tasks import FleetTask

NAN = math.nan


def message(number=5, source=9, part=0, deadline_us=0, policy_state=(0, 0), threshold=NAN):
    item = ItemId(source, 1, number)
    return Task(1, 1, item, part, 2, 3, 4, deadline_us, threshold, policy_state)


def admit(guests, *arguments, **options):
    return guests.admit(message(*arguments, **options), 3, FinalExit(), 1_000)


def test_names_begin_below_wake_and_are_never_used_again():
    guests = Guests()
    first = admit(guests)
    guests.forget(first.item)
    assert (first.item, admit(guests, 6).item) == (WAKE - 1, WAKE - 2)


def test_the_task_is_what_the_message_says():
    task = opened(message(part=1, policy_state=(3, 2), threshold=0.6), -7, Patience(2))
    assert (task.item, task.part, task.stage, task.attempt, task.hop) == (-7, 1, 2, 3, 4)
    assert (task.policy_state, task.threshold) == ((3, 2), 0.6)


def test_a_guest_knows_its_item_its_origin_and_its_deadline_here():
    task = admit(Guests(), deadline_us=500)
    assert task.guest[:3] == (ItemId(9, 1, 5), 3, 1_500)
    assert admit(Guests()).guest.deadline_us is None


def test_deadlines_of_guests_alone_can_pass():
    task = admit(Guests(), deadline_us=500)
    assert not deadline_passed(task, 1_499)
    assert deadline_passed(task, 1_500)
    assert not deadline_passed(admit(Guests()), 10**12)
    assert not deadline_passed(FleetTask(1, 0, 0, None), 10**12)
    assert not deadline_passed(None, 10**12)


def test_forgetting_releases_once():
    guests = Guests()
    name = admit(guests).item
    assert name in guests and list(guests) == [name]
    guests.forget(name)
    guests.forget(name)
    assert guests.released == [name]
    assert len(guests) == 0


def test_the_tasks_of_an_item_are_all_its_parts():
    guests = Guests()
    parts = [admit(guests, part=part) for part in (0, 1)]
    admit(guests, 6)
    assert guests.of_item(ItemId(9, 1, 5)) == parts
    assert len(guests.tasks()) == 3


def test_every_source_hears_of_its_items_by_way_of_the_first_ones_origin():
    guests = Guests()
    admit(guests, 5)
    guests.admit(message(6, part=1), 4, FinalExit(), 0)
    guests.admit(message(7, source=8), 4, FinalExit(), 0)
    assert list(guests.progress(1)) == [
        (3, Progress(9, 1, 1, 1, ((5, 0), (6, 1)))),
        (4, Progress(8, 1, 1, 1, ((7, 0),))),
    ]


def test_one_message_names_all_guests_there_can_be():
    assert GUESTS_MAX <= ITEMS_MAX


def test_a_guest_that_nobody_can_wait_for_any_more_is_overdue():
    guests = Guests()
    task = admit(guests)
    assert guests.overdue(task.guest.forgotten_us - 1) == []
    assert guests.overdue(task.guest.forgotten_us) == [task]
