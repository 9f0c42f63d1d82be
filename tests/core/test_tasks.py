"""Tasks that travel, and the ways back."""

import math

from edgesdk.core.messages import ItemId
from edgesdk.core.tasks import PATHS_MAX, FleetTask, Paths

ITEM = ItemId(9, 1, 5)


def test_a_new_task_is_ours_and_went_nowhere():
    task = FleetTask(5, 1, 2, None)
    assert (task.guest, task.sent, task.attempt, task.hop, task.drawn) == (None, None, 0, 0, {})
    assert math.isnan(task.threshold)


def test_a_task_needs_its_part_and_stage():
    assert FleetTask(5, 1, 2, None).needs == (1, 2)


class TestPaths:
    def test_a_result_goes_where_the_task_came_from(self):
        paths = Paths()
        paths.remember(ITEM, 0, 3)
        assert paths.get(ITEM, 0) == 3
        assert paths.pop(ITEM, 0) == 3

    def test_it_is_asked_once(self):
        paths = Paths()
        paths.remember(ITEM, 0, 3)
        paths.pop(ITEM, 0)
        assert paths.pop(ITEM, 0) is None and paths.get(ITEM, 0) is None

    def test_the_first_origin_counts_or_two_workers_would_name_each_other(self):
        paths = Paths()
        paths.remember(ITEM, 0, 3)
        paths.remember(ITEM, 0, 4)
        assert paths.pop(ITEM, 0) == 3

    def test_every_part_has_its_own(self):
        paths = Paths()
        paths.remember(ITEM, 0, 3)
        paths.remember(ITEM, 1, 4)
        assert (paths.pop(ITEM, 1), paths.pop(ITEM, 0)) == (4, 3)

    def test_the_oldest_is_forgotten_beyond_the_limit(self):
        paths = Paths()
        for number in range(PATHS_MAX + 2):
            paths.remember(ItemId(9, 1, number), 0, 3)
        assert len(paths) == PATHS_MAX
        assert paths.get(ItemId(9, 1, 1), 0) is None
        assert paths.get(ItemId(9, 1, 2), 0) == 3
