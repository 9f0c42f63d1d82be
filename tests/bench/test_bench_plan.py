"""The bench of planning: problems are drawn from a seed, figures have their targets."""

from random import Random

from edgesdk.bench import plan
from edgesdk.core.placement import check_problem


def test_problems_are_drawn_from_the_seed_and_sound():
    first = check_problem(plan.drawn(Random(1), 7, 3))
    assert first == plan.drawn(Random(1), 7, 3) != plan.drawn(Random(2), 7, 3)
    assert (len(first.stages), len(first.sites), len(first.links)) == (7, 3, 6)
    assert first.sites[0].memory_bytes is None


def test_where_memory_is_short_all_of_it_holds_the_stages_and_one_does_not():
    tight = plan.drawn(Random(1), 7, 3, is_tight=True)
    needed = sum(stage.memory_bytes for stage in tight.stages)
    assert tight.sites[0].memory_bytes < needed < sum(site.memory_bytes for site in tight.sites)


def test_every_case_has_a_time_and_what_is_proven(monkeypatch):
    monkeypatch.setattr(plan, "ROUNDS", 1)
    monkeypatch.setattr(plan, "LARGE", (12, 3))
    figures = plan.measure()
    times = [figure for figure in figures if figure["unit"] == "ms"]
    proven = [figure for figure in figures if figure["unit"] == "of 1"]
    assert len(times) == len(proven) == 6
    assert all(figure["value"] > 0 for figure in times)
    assert all(figure["value"] == 1 for figure in proven)
    with_target = [figure for figure in times if figure["target"]]
    assert len(with_target) == 2 and all(figure["ok"] for figure in with_target)
